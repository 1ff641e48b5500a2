"""Maskers of others' making: released checkpoints as files of ours."""

from maskwise.convert.casm import Converted, convert

__all__ = ["Converted", "convert"]

"""Classifiers whose mechanism is known, the pixels that decide, and maps at a known distance to them."""

from maskwise.core.registry import discover
from maskwise.studies.mechanisms.base import KnownCase, KnownSettings, mechanisms

discover(__name__, __path__)  # importing a file registers the mechanisms in it

__all__ = ["KnownCase", "KnownSettings", "mechanisms"]

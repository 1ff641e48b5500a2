"""Maskers: networks trained once that predict a mask in one forward pass."""

from maskwise.maskers.decoder import Decoder
from maskwise.maskers.masker import Masker
from maskwise.maskers.store import load_masker, read_header, save_masker

__all__ = ["Decoder", "Masker", "load_masker", "read_header", "save_masker"]

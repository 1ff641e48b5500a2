"""Maskers: networks trained once that predict a mask in one forward pass."""

from maskwise.maskers.class_masker import ClassMasker
from maskwise.maskers.decoder import Decoder
from maskwise.maskers.masker import Masker
from maskwise.maskers.shapley_masker import ShapleyMasker
from maskwise.maskers.store import (
    load_agnostic_masker,
    load_class_masker,
    load_masker,
    load_shapley_masker,
    read_header,
    save_masker,
)

__all__ = [
    "ClassMasker",
    "Decoder",
    "Masker",
    "ShapleyMasker",
    "load_agnostic_masker",
    "load_class_masker",
    "load_masker",
    "load_shapley_masker",
    "read_header",
    "save_masker",
]

"""The number format of forwards: one vocabulary, one check."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from maskwise.core.errors import InputError

Precision = Literal["fp32", "bf16", "fp16", "auto"]
HALVES = (torch.float16, torch.bfloat16)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def check_precision(precision: str, name: str = "precision") -> None:
    """Refuses any other word.

    Args:
        precision: what was given.
        name: of the parameter, for the message.

    Raises:
        InputError: it is none of fp32, bf16, fp16 and auto.
    """
    if precision not in get_args(Precision):
        raise InputError(f"`{name}={precision}` is unknown: use {', '.join(get_args(Precision))}")


def resolved_precision(precision: str, device: str) -> str:
    """fp32, bf16 or fp16: ``auto`` is bf16 on a CUDA GPU that has it, else fp32.

    Args:
        precision: fp32, bf16, fp16 or auto.
        device: its type: cpu, cuda or mps.

    Raises:
        InputError: another precision.

    Example:
        >>> resolved_precision("auto", "cpu"), resolved_precision("bf16", "cpu")
        ('fp32', 'bf16')
    """
    check_precision(precision)
    if precision != "auto":
        return precision
    return "bf16" if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def autocast(precision: str, device: str) -> torch.autocast:
    """The context in which forwards run in ``precision``; parameters stay float32.

    Raises:
        InputError: as ``resolved_precision``.
    """
    dtype = DTYPES[resolved_precision(precision, device)]
    half = dtype is not torch.float32
    return torch.autocast(device, dtype if half else None, enabled=half)

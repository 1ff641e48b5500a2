"""What stands beside every number of the checks."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

import maskwise
from maskwise.checks.intervals import interval_said
from maskwise.checks.similarity import Similarity
from maskwise.checks.subject import Subject
from maskwise.core.errors import InputError


def versions() -> dict[str, str]:
    return {"maskwise": maskwise.__version__, "torch": torch.__version__, "scikit-image": version("scikit-image")}


def comparison_protocol(
    subject: Subject, measures: dict[str, Similarity], undefined: str, groups: Tensor | None = None
) -> dict[str, Any]:
    """How maps were compared."""
    return {
        "maps": "mask logits" if subject.logits else "values in [0,1]",
        "similarities": {name: measure.protocol() for name, measure in measures.items()},
        "undefined": undefined,
        "interval": interval_said(groups),
    }


def check_seed(seed: int) -> None:
    if seed < 0:
        raise InputError(f"seed must not be negative, and is {seed}")

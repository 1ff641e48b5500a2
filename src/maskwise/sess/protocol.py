"""Where the paper and its authors' code differ, and the settings that the paper names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from maskwise.core.errors import InputError

WeightRule = Literal["softmax", "softmax_max", "logit"]


@dataclass(frozen=True)
class Protocol:
    """The switches between readings.

    Attributes:
        weights: what a patch is worth, and what the pre-filter ranks by: the target's softmax probability; the same
            over the largest of the picture; or the logit.
        final_min_max: stretch the fused map to [0,1].
        antialias: of the resize to each scale; without it a large photograph is picked at every n-th pixel.
        nan_safe: a patch whose map is constant counts as zeros; otherwise it makes a hole, as 0/0 does in the code.
    """

    weights: WeightRule = "softmax"
    final_min_max: bool = True
    antialias: bool = True
    nan_safe: bool = True


PROTOCOLS: Mapping[str, Protocol] = {
    "paper": Protocol(),
    "released": Protocol(weights="softmax_max", final_min_max=False, antialias=False, nan_safe=False),
}

# Of the paper's sections on quality, on insertion and deletion, and on the pointing game.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "sess_quality": {"scales": 12, "prefilter": 0.0, "smooth": True},
    "sess_metrics": {"scales": 10, "prefilter": 0.9, "smooth": False},
    "sess_fast": {"scales": 10, "prefilter": 0.99, "smooth": False},
}


def protocol_of(name: str, switches: Mapping[str, Any]) -> Protocol:
    """A protocol by name with some switches set otherwise; those that are None stay.

    Raises:
        InputError: unknown name or value.
    """
    if name not in PROTOCOLS:
        raise InputError(f"protocol is {' or '.join(PROTOCOLS)}, not {name!r}")
    chosen = replace(PROTOCOLS[name], **{key: value for key, value in switches.items() if value is not None})
    if chosen.weights not in ("softmax", "softmax_max", "logit"):
        raise InputError(f"weights is softmax, softmax_max or logit, not {chosen.weights!r}")
    return chosen

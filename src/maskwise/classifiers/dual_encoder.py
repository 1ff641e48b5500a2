"""A network for pictures and one for texts that meet in one space: what CLIP, SigLIP and their kin have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class DualEncoder:
    """The parts of a model of pictures and texts.

    Attributes:
        pictures: network from normalised pictures (N,3,H,W) to embeddings (N,D).
        texts: from texts to embeddings (n,D).
        scale, bias: what the model makes logits of cosines by. A bias is the mark of SigLIP, whose texts are judged one
            by one (sigmoid); None of CLIP, whose texts compete (softmax).
        mean, std: of its normalisation, in units of [0,1].
        size: of its pictures, a side or (h,w).
        name: what reports call it.
    """

    pictures: nn.Module
    texts: Callable[[list[str]], Tensor]
    scale: float
    bias: float | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int | tuple[int, int]
    name: str

"""Masks of several classes of one picture while a masker learns: those that it shows, and some that it does not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ClassMasks:
    """Masks of some classes of each picture; pictures may have different numbers of them.

    Attributes:
        masks: (B,K,H,W) in [0,1].
        there: (B,K) bool; the other places hold no mask that counts.
    """

    masks: Tensor
    there: Tensor

    def union(self) -> Tensor:
        """(B,H,W): the largest of each picture's masks, 0 where it has none."""
        return self.kept.amax(1)

    @property
    def kept(self) -> Tensor:
        """(B,K,H,W), 0 where there is no mask."""
        return self.masks * self.there[:, :, None, None]

    def mean(self, values: Tensor) -> Tensor:
        """Values (B,K), one a mask: their mean over the masks of each picture, 0 where it has none; then over B."""
        return ((values * self.there).sum(1) / self.there.sum(1).clamp(min=1)).mean()


@dataclass(frozen=True)
class ByClass:
    """All masks that a step makes of each picture.

    Attributes:
        own: of the classes that it shows.
        others: of classes that it does not show; None where none were asked for.
    """

    own: ClassMasks
    others: ClassMasks | None = None

    @property
    def every(self) -> ClassMasks:
        if self.others is None:
            return self.own
        pairs = zip((self.own.masks, self.own.there), (self.others.masks, self.others.there), strict=True)
        return ClassMasks(*(torch.cat(pair, 1) for pair in pairs))


@dataclass(frozen=True)
class AskedClasses:
    """Classes of each picture for which a masker is asked.

    Attributes:
        classes: (B,K) int64, those that the picture shows first.
        there: (B,K) bool; the other places hold some class that does not count.
        own: how many of the K places are for classes that the picture shows.
    """

    classes: Tensor
    there: Tensor
    own: int

    def split(self, masks: Tensor) -> ByClass:
        """Masks (B,K,H,W) of ``classes``."""
        shown, rest = (slice(None), slice(self.own)), (slice(None), slice(self.own, None))
        others = ClassMasks(masks[rest], self.there[rest]) if masks.shape[1] > self.own else None
        return ByClass(ClassMasks(masks[shown], self.there[shown]), others)


def ask(labels: Tensor, weights: Tensor, most: int, negatives: int) -> AskedClasses:
    """For each picture the classes that it shows, and others, drawn from the global generator.

    Args:
        labels: (B,) classes, or (B,C) bool, sets of findings.
        weights: (C,), how often a class is drawn for a picture that does not show it.
        most: findings that are asked for; of more, so many are drawn.
        negatives: classes that the picture does not show, each at most once. There may be fewer.
    """
    count = len(weights)
    shown = labels if labels.ndim == 2 else F.one_hot(labels, count).bool()
    if labels.ndim == 2:
        own, there = drawn(shown.float(), min(most, count))
    else:
        own, there = labels[:, None], torch.ones_like(labels, dtype=torch.bool)[:, None]
    if not negatives:
        return AskedClasses(own, there, own.shape[1])
    others, absent = drawn(weights * ~shown, min(negatives, count))
    return AskedClasses(torch.cat([own, others], 1), torch.cat([there, absent], 1), own.shape[1])


def drawn(weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(B,count) places in each row of weights (B,C), without repetition, and whether there was a place to draw.

    A race: place c arrives at an exponential time of rate w_c, and the first ones are taken, so that each next one is
    drawn in proportion to the weights that are left.
    """
    times = -torch.rand(weights.shape, device=weights.device).clamp(min=1e-30).log() / weights
    arrived = times.topk(count, 1, largest=False)
    return arrived.indices, arrived.values.isfinite()

"""Losses on regions of frozen features: TriLite's, SAT's batch area, C2AM's and BAS's, in our own words.

Regions are R (B,r,h,w), a softmax over r: fg, bg and, where r is 3, ambiguous. Features are taps A (B,C,h,w), each on a
grid of its own. No loss needs a masked picture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.func import functional_call

from maskwise.core.registry import Registry
from maskwise.maskers.region_decoder import BG, FG
from maskwise.training.tail import Tail

CLOSEST, FURTHEST = 0.9995, 0.0005  # that a cosine is taken to be, so that its logarithms stay finite
NONE = 1e-6  # of a region without a place


# ---- the formulas -------------------------------------------------------------------------------------------------


def region_means(regions: Tensor, taps: Sequence[Tensor]) -> Tensor:
    """sum_i R_i A_i / (sum_i R_i + 1e-6), (B,r,C): the mean feature of each region, tap beside tap.

    On a coarser tap's grid the regions are averaged.
    """
    found = []
    for tap in taps:
        grid = (tap.shape[-2], tap.shape[-1])
        there = regions if regions.shape[-2:] == grid else F.adaptive_avg_pool2d(regions, grid)
        found.append(torch.einsum("brhw,bchw->brc", there, tap) / (there.sum((2, 3))[..., None] + NONE))
    return torch.cat(found, 2)


def log_of_the_others(logits: Tensor, labels: Tensor) -> Tensor:
    """log(1 - p_y) (B,) of logits (B,K), with a gradient that is finite and does not vanish where p_y is 1."""
    own = F.one_hot(labels, logits.shape[1]).bool()
    return logits.masked_fill(own, -torch.inf).logsumexp(1) - logits.logsumexp(1)


def trilite(
    means: Tensor,
    labels: Tensor,
    head: Callable[[Tensor], Tensor],
    alpha: float,
    judge: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """CE(W f_fg, y) - alpha mean log(1 - softmax(W f_bg)_y): the fg shows the class and the bg does not.

    Args:
        means: f (B,r,C), as ``region_means`` gives them.
        head: W, from mean features (B,C) to logits (B,K).
        alpha: of the bg's part.
        judge: W as the bg's part has it; None is ``head`` itself, which then learns from both, as released.
    """
    hidden = log_of_the_others((judge or head)(means[:, BG]), labels).mean()
    return F.cross_entropy(head(means[:, FG]), labels) - alpha * hidden


def batch_area(fg: Tensor, area: float) -> Tensor:
    """|mean over batch and places of fg (B,h,w) - area|: the batch's mean is held, no picture's."""
    return (fg.mean() - area).abs()


def undecided(fg: Tensor) -> Tensor:
    """mean s (1 - s), s the mean of fg (B,h,w) over 3x3 places (SAT's normalisation): 0 where each place is 0 or 1."""
    smooth = F.avg_pool2d(fg[:, None], 3, 1, 1, count_include_pad=False)
    return (smooth * (1 - smooth)).mean()


def c2am(means: Tensor, falls: float = 0.05) -> Tensor:
    """Mean features of fg and of bg are alike among pictures and unlike each other; no label is read.

    mean_ij -log(1 - cos(f_i,b_j)), and for f and for b mean_ij -exp(-falls rank_ij) log cos_ij, rank_ij being how many
    pictures are closer to i than j is. Which of both is the object it does not say: it is the same with both exchanged.

    Args:
        means: (B,r,C), as ``region_means`` gives them.
        falls: how fast less similar pictures lose their weight.
    """
    fg, bg = F.normalize(means[:, [FG, BG]], dim=2).unbind(1)

    def cosines(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T).clamp(FURTHEST, CLOSEST)

    def pulled(cosine: Tensor) -> Tensor:
        rank = cosine.argsort(1, descending=True).argsort(1)
        return -(torch.exp(-falls * rank) * cosine.log()).mean()

    return -(1 - cosines(fg, bg)).log().mean() + pulled(cosines(fg, fg)) + pulled(cosines(bg, bg))


def suppressed(outside: Tensor, whole: Tensor) -> Tensor:
    """mean e/s, e (B,) the class activation outside of the mask and s the whole picture's; 0 where e > s (BAS)."""
    ratio = outside / whole.clamp(min=NONE)
    return torch.where(outside > whole, 0, ratio).mean()


# ---- the same, as a recipe names them ------------------------------------------------------------------------------


@dataclass(frozen=True)
class RegionBatch:
    """What a loss may read of a batch.

    Attributes:
        regions: R, as above, on the grid of the finest tap.
        taps: A, fine to coarse.
        labels: (B,).
        head: W with its dropout, from mean features (B,C) to logits (B,K); there where a loss of the recipe reads it.
        tail: the classifier behind the finest of ``taps``; there where a loss of the recipe reads it.
    """

    regions: Tensor
    taps: Sequence[Tensor]
    labels: Tensor
    head: nn.Module | None = None
    tail: Tail | None = None

    @property
    def means(self) -> Tensor:
        return region_means(self.regions, self.taps)


class RegionLoss(BaseModel, ABC):
    """Called with a batch it gives a scalar, to be minimised; its fields are its options in a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    needs_head: ClassVar[bool] = False
    needs_tail: ClassVar[bool] = False
    tells: ClassVar[bool] = True  # does it tell fg from bg?
    weight: float = Field(1.0, gt=0, description="of this loss in the sum")

    @abstractmethod
    def __call__(self, batch: RegionBatch) -> Tensor: ...


region_losses: Registry[type[RegionLoss]] = Registry("loss of regions")


def _as_it_is(head: nn.Module) -> Callable[[Tensor], Tensor]:
    """The module, which does not learn from what it says here."""
    weights = {name: weight.detach() for name, weight in head.named_parameters()}
    return lambda features: cast(Tensor, functional_call(head, weights, (features,)))


@region_losses.register("trilite", paper="TriLite, CVPR 2026")
class TriLite(RegionLoss):
    """A linear layer that learns along shall name the class from the fg, and not from the bg.

    Where that layer learns from the bg, too, it may learn to name any other class wherever the object is pure, and
    regions with the object in the bg are as good.
    """

    needs_head = True
    bg_teaches_head: bool = Field(False, description="does the linear layer learn from the bg's part too, as released?")
    alpha: float = Field(500.0, ge=0, description="of the bg's part: 500 on ILSVRC, 100 on CUB, 3 on OpenImages")

    def __call__(self, batch: RegionBatch) -> Tensor:
        assert batch.head is not None
        judge = batch.head if self.bg_teaches_head else _as_it_is(batch.head)
        return trilite(batch.means, batch.labels, batch.head, self.alpha, judge)


@region_losses.register("batch_area", paper="SAT, ICCV 2023")
class BatchArea(RegionLoss):
    """The mean fg of a batch is held at an area, and each place is to decide."""

    area: float = Field(0.35, gt=0, lt=1, description="0.35 on ILSVRC, 0.25 on CUB")
    undecided: float = Field(1.0, ge=0, description="of the normalisation beside it")

    def __call__(self, batch: RegionBatch) -> Tensor:
        fg = batch.regions[:, FG]
        return batch_area(fg, self.area) + self.undecided * undecided(fg)


@region_losses.register("c2am", paper="C2AM, CVPR 2022")
class C2AM(RegionLoss):
    """Contrast of regions over pictures, without labels; which of them is the object is asked after the training."""

    tells = False
    falls: float = Field(0.05, ge=0, description="how fast less similar pictures lose their weight")

    def __call__(self, batch: RegionBatch) -> Tensor:
        return c2am(batch.means, self.falls)


@region_losses.register("bas", paper="BAS, CVPR 2022")
class BackgroundSuppression(RegionLoss):
    """Outside of the mask the class activation vanishes; inside the class shows; the mask is small.

    The classifier stays as it is, so its own cross entropy, which BAS trains it by, is left out.
    """

    needs_tail = True
    area: float = Field(2.0, ge=0, description="of the mask's mean")
    inside: float = Field(1.0, ge=0, description="of the cross entropy of the class map within the mask")

    def __call__(self, batch: RegionBatch) -> Tensor:
        assert batch.tail is not None
        mask = batch.regions[:, FG]
        finest, last = batch.taps[0], batch.taps[-1]
        outside = batch.tail(finest * (1 - mask[:, None]))
        with torch.no_grad():
            whole = batch.tail.activation(last, batch.labels)
        ratio = suppressed(batch.tail.activation(outside, batch.labels), whole)
        small = F.adaptive_avg_pool2d(mask[:, None], (last.shape[-2], last.shape[-1]))
        inside = F.cross_entropy(batch.tail.answer(last * small), batch.labels)
        return ratio + self.inside * inside + self.area * mask.mean()


def losses_of(named: Mapping[str, Mapping[str, Any]]) -> dict[str, RegionLoss]:
    """The losses that a recipe names.

    Raises:
        ValueError: none, an unknown name, or an option that it does not have.
    """
    unknown = [name for name in named if name not in region_losses]
    if unknown or not named:
        raise ValueError(f"name some of {', '.join(region_losses.names())}, not {', '.join(unknown) or 'nothing'}")
    found = {}
    for name, options in named.items():
        try:
            found[name] = region_losses.get(name).model_validate(dict(options))
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{name}.{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None
    return found

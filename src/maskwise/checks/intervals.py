"""Means over pictures with their 95% intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from maskwise.core.bootstrap import Average, interval
from maskwise.core.connected import of_rows
from maskwise.core.nan import nan_for_none, none_for_nan

RESAMPLES = 2000
UndefinedRule = Literal["zero", "left_out"]


@dataclass(frozen=True)
class MeanInterval:
    """The mean of a similarity over pictures.

    Attributes:
        mean: in [-1,1]; NaN where no picture is left.
        low: lower end of the 95% percentile bootstrap interval over pictures, or over groups of them.
        high: its upper end.
        undefined: for how many pictures the similarity is undefined, one of the maps being flat.
    """

    mean: float
    low: float
    high: float
    undefined: int

    def text(self, digits: int, times: float = 1) -> str:
        """As a table says it.

        Example:
            >>> MeanInterval(0.5, 0.25, 0.75, 0).text(2), MeanInterval(0.5, math.nan, math.nan, 0).text(1, 100)
            ('0.50 (0.25 to 0.75)', '50.0 (-)')
        """
        mean, low, high = (f"{times * end:.{digits}f}" for end in (self.mean, self.low, self.high))
        return f"{mean} (-)" if math.isnan(self.low) else f"{mean} ({low} to {high})"

    @classmethod
    def of_plain(cls, found: Mapping[str, Any]) -> MeanInterval:
        """From what ``plain`` gave, maybe by way of a file.

        Example:
            >>> MeanInterval.of_plain(MeanInterval(0.5, math.nan, math.nan, 0).plain()).text(1)
            '0.5 (-)'
        """
        return cls(**nan_for_none(found))

    def plain(self) -> dict[str, float | None]:
        """As plain data, where None stands for NaN, which JSON does not have."""
        return none_for_nan(asdict(self))


def mean_of(
    values: Tensor, undefined: UndefinedRule = "zero", seed: int = 0, groups: Tensor | None = None
) -> MeanInterval:
    """Mean and interval of similarities (N,), of which NaN are undefined.

    Args:
        values: one a picture.
        undefined: such a picture counts ``zero``, since a flat map says nothing of the other one; or is ``left_out``.
        seed: of the bootstrap.
        groups: (N,) int64: values of one number, as of one patient, are drawn together; None is each by itself.

    Example:
        >>> mean_of(torch.tensor([1.0, 0.5, torch.nan, 0.5])).mean
        0.5
    """
    values = values.detach().cpu().double()
    missing = values.isnan()
    kept = values[~missing] if undefined == "left_out" else values.nan_to_num(0.0)
    if not len(kept):
        return MeanInterval(torch.nan, torch.nan, torch.nan, int(missing.sum()))
    among = of_rows(groups, ~missing) if undefined == "left_out" else groups
    low, high = interval(Average(), kept[:, None], RESAMPLES, seed=seed, groups=among)
    return MeanInterval(float(kept.mean()), low, high, int(missing.sum()))


def interval_said(groups: Tensor | None, how: str = "") -> str:
    """How intervals are made, for a protocol: over pictures, or over their groups (N,)."""
    over = "pictures" if groups is None else f"{len(groups.unique())} subjects of {len(groups)} pictures"
    return f"95%, percentile bootstrap over {over}{how}, {RESAMPLES} resamples"

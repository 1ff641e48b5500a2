"""Batches of patches: cut out of the scaled pictures, scored, filtered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple

import torch
from torch import Tensor

from maskwise.core.min_max import min_max
from maskwise.explainers.doubts import within_rounding
from maskwise.sess.windows import Size, Window, multi_scale

ROUNDING = 1e-6  # of a patch's range: below it a value is float32's rounding


class WindowOf(NamedTuple):
    """One patch: which window of which picture."""

    window: int
    picture: int


class Run(NamedTuple):
    """Neighbours in a batch that share a window: rows ``first:last`` of the batch, and their pictures."""

    window: int
    pictures: slice | Tensor
    first: int
    last: int


def runs(jobs: Sequence[WindowOf]) -> Iterator[Run]:
    """Runs of a batch whose jobs are sorted by window, so that all pictures of a window are handled at once."""
    first = 0
    for window, group in groupby(jobs, key=lambda job: job.window):
        pictures = [job.picture for job in group]
        last = first + len(pictures)
        contiguous = pictures[-1] - pictures[0] == len(pictures) - 1
        yield Run(window, slice(pictures[0], pictures[-1] + 1) if contiguous else torch.tensor(pictures), first, last)
        first = last


def cut(
    images: Tensor,
    sizes: Sequence[Size],
    tiles: Sequence[Window],
    jobs: Iterator[WindowOf],
    shape: Size,
    batch: int,
    antialias: bool,
) -> Iterator[tuple[list[WindowOf], Tensor]]:
    """Jobs and their patches (n,C,h,w), ``batch`` at a time; one scale of the pictures lives at a time.

    Args:
        images: (N,C,H,W).
        jobs: sorted by window.
        shape: (h,w) of a window.
    """
    scaled, scale = images, -1
    while group := list(islice(jobs, batch)):
        patches = images.new_empty(len(group), images.shape[1], *shape).contiguous(memory_format=torch.channels_last)
        for run in runs(group):
            window = tiles[run.window]
            if window.scale != scale:
                scaled, scale = images, window.scale  # the last scale is let go before the next one is made
                scaled = multi_scale(images, sizes[scale], antialias)
            view = scaled[:, :, window.y : window.y + shape[0], window.x : window.x + shape[1]]
            patches[run.first : run.last] = view[run.pictures]
        yield group, patches


def prefilter(scores: Tensor, ratio: float) -> Tensor:
    """(N,K,P) bool: which patches of each picture and target stay (step 3 of Algorithm 1).

    Of P patches, int(P * ratio) of the lowest scores go; of equals the first ones. What was never scored (-inf) goes.

    Args:
        scores: (N,K,P).
        ratio: in [0,1).

    Example:
        >>> prefilter(torch.tensor([[[0.1, 0.7, 0.2, 0.7]]]), 0.75).tolist()
        [[[False, False, False, True]]]
    """
    ranked = scores.sort(dim=-1, stable=True).indices[..., int(scores.shape[-1] * ratio) :]
    kept = torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, ranked, True)
    return kept & (scores > -torch.inf)


def extracted(maps: Tensor, nan_safe: bool = True) -> Tensor:
    """Maps (…,h,w) of patches, min-max each (step 4); what is within rounding of its smallest value is 0.

    A map is constant where its range is within rounding of its values: resizing leaves as much in a window of one
    colour, and stretched it would be a map of noise.

    Args:
        maps: at the windows' size.
        nan_safe: a constant map becomes zeros; otherwise NaN, the 0/0 of the released code.

    Example:
        >>> extracted(torch.tensor([[[2.0, 3.0], [4.0, 6.0]], [[5.0, 5.0], [5.0, 5.0]]])).tolist()
        [[[0.0, 0.25], [0.5, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]
    """
    flat = 0.0 if nan_safe else torch.nan
    constant = within_rounding(maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True))
    normalised = torch.where(constant, flat, min_max(maps, flat))
    # Where one batch gives 0 another gives 1e-8, and what exceeds theta = 0 is counted.
    return torch.where(normalised < ROUNDING, 0.0, normalised)

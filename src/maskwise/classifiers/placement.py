"""Do the places of a layer lie where those of the picture lie? Asked by changing the picture at each of its borders.

A network may mirror, crop or pad its pictures before it reads them, or keep its tokens in another order than rows. The
layer's grid then has the usual shape, and a map made of it points elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from maskwise.classifiers.classifier import Classifier
from maskwise.classifiers.grids import GridSize
from maskwise.core.modes import eval_mode

STRIP = 1 / 16  # of a side, at least: what is cut off by less is less than a map of 16 places shows
MOVES = 0.1  # share of a place's change, under a change of the whole picture, that a border strip must make to tell
APART = 4.0  # how many times as much other places must follow one strip as those that lie there
RATHER = 2.0  # likewise, where it is so at three borders or four
HARDLY = 1e-2  # of the mean change: places that change less have no share to speak of
FEWEST = 9  # places of a grid; of fewer each one sees all
FEWEST_ASIDE = 4  # likewise of one side, whose halves are then more than a border each
FAR = 0.25  # share of places, of which sound grids had none and those of Hiera, by windows, nearly half


def is_misplaced(classifier: Classifier, layer: str) -> bool:
    """Does a border of the picture move other places of the layer than its own border there?

    Or do many places follow the half of the picture where they are not? A grid by windows may have something of each
    border at its own border, so that borders alone don't tell. Costs ten forwards of a picture of noise. Where every
    place sees the whole picture nothing is found.

    Args:
        classifier: whose.
        layer: name of a layer with a grid.
    """
    draws = torch.Generator().manual_seed(0)
    one, other = torch.rand(2, 1, classifier.channels, *classifier.size, generator=draws).to(classifier.device)
    try:
        before = _places(classifier, layer, one)
        if before is None or before.shape[1] * before.shape[2] < FEWEST:
            return False
        whole = _change(classifier, layer, other, before)
        unmoved, elsewhere = [], 0
        for picture, own in _strips(one, other, (before.shape[1], before.shape[2])):
            share = (_change(classifier, layer, picture, before) / whole.clamp(min=HARDLY * whole.mean())).clamp(max=1)
            beside, below = share[~own & (whole > 0)], share[own & (whole > 0)]
            if not len(below):
                unmoved.append(bool(len(beside)) and float(beside.amax()) > MOVES)
                continue
            unmoved.append(False)
            if not share.any():  # the network does not read that far
                return True
            here, most = float(below.mean()), beside.sort(descending=True).values[: len(below)]
            there = float(most.mean()) if len(most) else 0.0
            if there > max(MOVES, APART * here):
                return True
            elsewhere += there > max(MOVES, RATHER * here)
        if elsewhere > 2 or all(unmoved[:2]) or all(unmoved[2:]):  # two opposite borders of the grid: padding
            return True
        return any(_far(classifier, layer, one, other, before, axis) > FAR for axis in (-2, -1))
    except Exception:  # it is the map's own forward that says what does not work
        return False


def _far(classifier: Classifier, layer: str, one: Tensor, other: Tensor, before: Tensor, axis: int) -> float:
    """Share of the places that follow the other half of the picture rather than the one that they lie in.

    Args:
        one, other: (1,C,H,W), the picture, and what its halves are changed into.
        before: (c,h,w) of the picture.
        axis: -2 for the upper and the lower half, -1 for the left and the right.
    """
    side, places = one.shape[axis], before.shape[axis]
    if places < FEWEST_ASIDE:
        return 0.0
    changes = []
    for first in (True, False):
        picture, begin = one.clone(), 0 if first else side // 2
        length = side // 2 if first else side - side // 2
        picture.narrow(axis, begin, length).copy_(other.narrow(axis, begin, length))
        change = _change(classifier, layer, picture, before)
        changes.append(change / change.mean().clamp(min=1e-30))  # one half may move all places more than the other does
    half = places // 2  # where there is a middle one it lies in both
    own, others = (
        torch.cat([changes[k].narrow(axis, 0, half), changes[1 - k].narrow(axis, places - half, half)], axis)
        for k in (0, 1)
    )
    return float((others > RATHER * own).float().mean())


def _places(classifier: Classifier, layer: str, image: Tensor) -> Tensor | None:
    """(c,h,w) of the layer."""
    layout = classifier.layout(layer)
    with torch.inference_mode(False), torch.no_grad(), eval_mode(classifier):
        with classifier.tapped([layer], raw=True) as seen:
            classifier.logits(image)
        grid = None if layout is None else layout.grid(seen[layer])
    return None if grid is None else grid[0].float()


def _change(classifier: Classifier, layer: str, image: Tensor, before: Tensor) -> Tensor:
    """(h,w): how much each place is another one than it was before."""
    after = _places(classifier, layer, image)
    assert after is not None
    return (after - before).square().sum(0)


def _strips(one: Tensor, other: Tensor, grid: GridSize) -> Iterator[tuple[Tensor, Tensor]]:
    """The picture with a strip of the other at its top, bottom, left and right; and which places (h,w) lie there."""
    for axis, places in zip((-2, -1), grid, strict=True):
        side = one.shape[axis]
        width = math.ceil(side * max(STRIP, 1 / places))
        cells = max(1, math.ceil(width / side * places - 0.5))
        for first in (True, False):
            picture, own = one.clone(), torch.zeros(grid, dtype=torch.bool, device=one.device)
            picture.narrow(axis, 0 if first else side - width, width).copy_(
                other.narrow(axis, 0 if first else side - width, width)
            )
            own.narrow(axis, 0 if first else places - cells, cells).fill_(True)
            yield picture, own

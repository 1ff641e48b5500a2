"""Focus: in a mosaic of four pictures, how much of the map lies in the two of its class? (Arias-Duart et al. 2022)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from maskwise.checks.base import register_check
from maskwise.checks.explained_again import AgainResult, result_of, subjects_of
from maskwise.checks.rows import Values, as_float
from maskwise.checks.subject import ProgressCallback, own_answers, top_classes
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.images import resize
from maskwise.sess.sweep import AnyExplainer


@dataclass(frozen=True, eq=False)
class Mosaics:
    """Which pictures make which mosaics.

    Attributes:
        pictures: (M,4) indices of pictures, row by row.
        own: (M,4) bool, the two cells of the class.
        classes: (M,), the class.
    """

    pictures: Tensor
    own: Tensor
    classes: Tensor

    def drawn(self, images: Values, part: Tensor) -> Tensor:
        """The mosaics (B,3,H,W) with numbers ``part`` (B,), of pictures (N,3,H,W), each brought to half its sides."""
        height, width = images.shape[-2:]
        rows = self.pictures[part].flatten()
        cells = resize(as_float(images[rows]), (height // 2, width // 2)).unflatten(0, (len(part), 2, 2))
        drawn = cells.permute(0, 3, 1, 4, 2, 5).reshape(len(part), 3, height // 2 * 2, width // 2 * 2)
        return drawn if drawn.shape[-2:] == (height, width) else resize(drawn, (height, width))


def mosaics_of(classes: Tensor, seed: int = 0, found: Tensor | None = None) -> Mosaics:
    """Two pictures of a class and two of others, in four cells at random; each picture is once one of the two at most.

    Args:
        classes: (N,) of the pictures.
        seed: of the draws.
        found: (N,C) bool, all that is found in each, where that may be several classes or none: in the two pictures of
            a class it is, and in the two others it is not.

    Raises:
        InputError: no class has two pictures, or no two pictures are of others.
    """
    there = one_hot(classes) > 0 if found is None else found
    draws = torch.Generator().manual_seed(seed)
    pictures, own, explained = [], [], []
    for category in classes.unique().tolist():
        is_there = there[:, category]
        mine, others = ((classes == category) & is_there).nonzero()[:, 0], (~is_there).nonzero()[:, 0]
        mine = mine[torch.randperm(len(mine), generator=draws)]
        for first in range(0, len(mine) - 1, 2) if len(others) >= 2 else ():
            rest = others[torch.randperm(len(others), generator=draws)[:2]]
            order = torch.randperm(4, generator=draws)
            pictures.append(torch.cat([mine[first : first + 2], rest])[order])
            own.append(order < 2)
            explained.append(category)
    if not pictures:
        raise InputError("focus needs two pictures of one class and two of others, as the classifier sees them")
    return Mosaics(torch.stack(pictures), torch.stack(own), torch.tensor(explained))


def focus_of(maps: Tensor, own: Tensor) -> Tensor:
    """Share of maps (N,H,W) that lies in the cells that are ``own`` (N,4), of what is above 0; NaN where nothing is.

    The middle row or column of an odd side belongs half to either cell, as in the mosaic.
    """
    down, across = (_halves(side).to(maps.device) for side in maps.shape[-2:])
    cells = (down @ maps.double().clamp(min=0) @ across.T).flatten(1)
    whole = cells.sum(1)
    return (cells * own).sum(1) / whole.where(whole > 0, torch.nan)


def _halves(side: int) -> Tensor:
    """(2,side) float64: how much of each pixel lies in the first half of a side, and in the second."""
    first = (side / 2 - torch.arange(side, dtype=torch.float64)).clamp(0, 1)
    return torch.stack([first, 1 - first])


@register_check(
    "focus",
    title="in a mosaic of four pictures, how much of the map lies in the two of its class?",
    paper="Arias-Duart et al. 2022",
    trains=False,
)
def focus(
    methods: Mapping[str, AnyExplainer],
    classifier: Classifier,
    images: Values,
    *,
    seed: int = 0,
    batch: int = 32,
    progress: ProgressCallback | None = None,
) -> AgainResult:
    """Explains a class in 2x2 mosaics of two pictures of it and two of others; 1 is the best, 0.5 knows nothing.

    A picture's class is the classifier's top class of it, so that no labels are needed. Of a network of findings the
    other two pictures are ones in which the class is not found at all. A mosaic is as large as a picture. A map that
    marks all evidence of a class wherever it lies has less than 1 where other pictures hold some.

    Args:
        methods: explainers by name, that take a target.
        classifier: what they explain.
        images: (N,3,H,W), RGB in [0,1], or uint8; at least two of one class and two of others.
        seed: of the mosaics and of the intervals.
        batch: mosaics at once.
        progress: called with (done, total), in mosaics times methods.

    Returns:
        The score ``focus``, mean over mosaics; a mosaic whose map is nowhere above 0 is left out.

    Raises:
        InputError: no method or picture, no mosaic can be made, or maps that are NaN.
    """
    subjects = subjects_of("focus", methods, classifier, images, seed)
    classes = torch.cat([top_classes(classifier, as_float(part), batch) for part in images.split(batch)])
    found_in = own_answers(classifier, images, batch) if classifier.gives_findings else None
    made = mosaics_of(classes, seed, found_in)
    found: dict[str, list[Tensor]] = {name: [] for name in subjects}
    done, total = 0, len(made.classes) * len(subjects)
    for part in torch.arange(len(made.classes)).split(batch):
        drawn = made.drawn(images, part)
        for name, subject in subjects.items():
            found[name].append(focus_of(subject.maps(drawn, made.classes[part], batch), made.own[part]))
            done += len(part)
            if progress is not None:
                progress(done, total)
    values = {(name, "focus"): torch.cat(parts) for name, parts in found.items()}
    settings = {
        "mosaics": len(made.classes),
        "target": "the class of two of a mosaic's four pictures, by the classifier's top class of each",
    }
    return result_of("focus", subjects, classifier, images, values, settings, seed)

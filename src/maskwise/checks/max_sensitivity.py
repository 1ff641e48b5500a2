"""Max-sensitivity: how far does a map go when the picture hardly changes? (Yeh et al. 2019)"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from maskwise.checks.base import register_check
from maskwise.checks.explained_again import AgainResult, explained_again
from maskwise.checks.rows import Values
from maskwise.checks.subject import ProgressCallback, Subject
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.keyed import keyed_generator
from maskwise.core.options import in_range
from maskwise.sess.sweep import AnyExplainer


@register_check(
    "max_sensitivity",
    title="how far does a map go when the picture hardly changes?",
    paper="Yeh et al. 2019",
    trains=False,
)
def max_sensitivity(
    methods: Mapping[str, AnyExplainer],
    classifier: Classifier,
    images: Values,
    *,
    radius: float = 0.02,
    samples: int = 10,
    groups: Tensor | None = None,
    seed: int = 0,
    batch: int = 32,
    progress: ProgressCallback | None = None,
) -> AgainResult:
    """Largest ||m(x + d) - m(x)|| / ||m(x)|| of noise d, for the class of the whole picture; smaller is steadier.

    A map that never changes has 0, and says nothing: read it beside a check of faithfulness.

    Args:
        methods: explainers by name.
        classifier: what they explain.
        images: (N,3,H,W), RGB in [0,1], or uint8.
        radius: each value of a picture moves by up to so much, in [0,1], and stays in [0,1].
        samples: noises of a picture; they belong to picture and seed, and are the same for every method.
        groups: (N,) int64: pictures of one number, as of one patient, are drawn together for intervals (see
            ``subject_numbers``); None is each by itself.
        seed: of the noise and of the intervals.
        batch: pictures at once.
        progress: called with (done, total), in pictures times methods.

    Returns:
        The score ``max_sensitivity``, mean over pictures; a picture whose map is all zeros is left out.

    Raises:
        InputError: no method or picture, a radius or a number of samples that makes no sense, or maps that are NaN.
    """
    in_range("radius", radius, 0, 1, above=True)
    if samples < 1:
        raise InputError(f"samples must be at least 1, not {samples}")

    def scores(subject: Subject, pictures: Tensor, classes: Tensor) -> dict[str, Tensor]:
        draws = [keyed_generator(picture, seed) for picture in pictures]
        maps = subject.maps(pictures, classes, batch).double()
        farthest = torch.zeros(len(maps), dtype=torch.float64)
        for _ in range(samples):
            noise = torch.stack([torch.rand(p.shape, generator=g) for p, g in zip(pictures, draws, strict=True)])
            moved = (pictures + radius * (2 * noise.to(pictures) - 1)).clamp(0, 1)
            change = subject.maps(moved, classes, batch).double() - maps
            farthest = farthest.maximum(change.flatten(1).norm(dim=1))
        size = maps.flatten(1).norm(dim=1)
        return {"max_sensitivity": farthest / size.where(size > 0, torch.nan)}

    told = {"radius": radius, "samples": samples, "noise": "uniform, in [0,1] units"}
    return explained_again("max_sensitivity", methods, classifier, images, scores, told, groups, seed, batch, progress)

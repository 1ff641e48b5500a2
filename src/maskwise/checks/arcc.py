"""ARCC: coherency, complexity and ROAD of a map in one number (after ADCC, Poppi et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from maskwise.blending import masked_in
from maskwise.checks.base import register_check
from maskwise.checks.explained_again import AgainResult, explained_again
from maskwise.checks.rows import Values
from maskwise.checks.subject import ProgressCallback, Subject
from maskwise.classifiers import Classifier
from maskwise.core.correlation import pearson
from maskwise.core.errors import InputError
from maskwise.measures.filling import fill_of
from maskwise.measures.road import road_scores
from maskwise.sess.sweep import AnyExplainer

PERCENT = (20, 40, 60, 80)
BEYOND = 1e-3  # of maps: what resizing may overshoot by


@register_check(
    "arcc",
    title="is a map faithful, small, and the same again for what it kept?",
    paper="after Poppi et al. 2021, with ROAD",
    trains=False,
)
def arcc(
    methods: Mapping[str, AnyExplainer],
    classifier: Classifier,
    images: Values,
    *,
    fill: str = "noisy_linear",
    groups: Tensor | None = None,
    seed: int = 0,
    batch: int = 32,
    progress: ProgressCallback | None = None,
) -> AgainResult:
    """Harmonic mean of coherency, 1 - complexity, and ROAD, each in [0,1]; higher is better.

    Coherency: (Pearson(m, m') + 1) / 2, m' the map of what m keeps of the picture, the rest the mean colour; 0 where
    either is flat. Complexity: mean of m. ROAD: twice the combined one over 20, 40, 60 and 80%, cut to [0,1].

    Args:
        methods: explainers by name, with maps in [0,1].
        classifier: what they explain.
        images: (N,3,H,W), RGB in [0,1], or uint8.
        fill: ROAD's infiller.
        groups: (N,) int64: pictures of one number, as of one patient, are drawn together for intervals (see
            ``subject_numbers``); None is each by itself.
        seed: of the intervals.
        batch: pictures at once.
        progress: called with (done, total), in pictures times methods.

    Returns:
        The scores ``arcc``, ``coherency``, ``complexity`` and ``road``, means over pictures.

    Raises:
        InputError: no method or picture, an unknown infiller, or maps that are NaN or beyond [0,1].
    """
    filled = fill_of(fill)

    def scores(subject: Subject, pictures: Tensor, classes: Tensor) -> dict[str, Tensor]:
        maps = in_unit_range(subject.maps(pictures, classes, batch))
        colour = classifier.mean.to(pictures)[None, :, None, None]
        again = subject.maps(masked_in(pictures, maps.to(pictures), colour), classes, batch)
        coherency, complexity = coherency_of(maps, again), maps.double().mean((1, 2))
        least, most = (
            road_scores(classifier, pictures, maps, PERCENT, filled, classes, order).mean(1).cpu()
            for order in ("lerf", "morf")
        )
        road = (least - most).clamp(0, 1)  # twice half their difference
        return {
            "arcc": harmonic_mean(coherency, 1 - complexity, road),
            "coherency": coherency,
            "complexity": complexity,
            "road": road,
        }

    told = {"fill": filled.text()}
    return explained_again("arcc", methods, classifier, images, scores, told, groups, seed, batch, progress)


def in_unit_range(maps: Tensor) -> Tensor:
    """Maps as they are.

    Raises:
        InputError: values beyond [0,1], of which the mean is no complexity and which keep no part of a picture.
    """
    low, high = maps.aminmax()
    if low < -BEYOND or high > 1 + BEYOND:
        raise InputError(
            f"arcc takes maps in [0,1], whose mean is their complexity, and these lie in [{low:.3g}, {high:.3g}]: "
            "stretch them, or leave `signed` out"
        )
    return maps


def coherency_of(first: Tensor, second: Tensor) -> Tensor:
    """(Pearson + 1) / 2 (N,), float64, of maps (N,H,W); 0 where one of them is flat."""
    return (pearson(first.flatten(1), second.flatten(1), flat=-1.0) + 1) / 2


def harmonic_mean(*parts: Tensor) -> Tensor:
    """Of numbers (N,) from 0; 0 where one of them is.

    Example:
        >>> harmonic_mean(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])).tolist()
        [0.6666666865348816, 0.0]
    """
    together = torch.stack(parts)
    return len(parts) / (1 / together).sum(0)

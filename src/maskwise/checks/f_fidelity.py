"""F-Fidelity: does the class go with part of the salient pixels, to a judge used to holes? (Zheng et al. 2024)"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from maskwise.checks.base import register_check
from maskwise.checks.explained_again import AgainResult, explained_again
from maskwise.checks.rows import Values
from maskwise.checks.small_training import SmallTraining
from maskwise.checks.subject import ProgressCallback, Subject, own_answers
from maskwise.checks.used_to_holes import JUDGE_TRAINING, used_to_holes
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.keyed import keyed_generator
from maskwise.core.options import in_range
from maskwise.measures.perturbation import places
from maskwise.measures.scoring import log_probabilities
from maskwise.sess.sweep import AnyExplainer

PERCENT = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
MOST = 0.5  # chance at which a pixel goes at most: the paper's alpha


def says(judge: Classifier, log_probability: Tensor, classes: Tensor) -> Tensor:
    """(N,) bool of log probabilities (N,C): is the class (N,) the likeliest?

    Of a network of findings it is asked by itself, for others may be there beside it: is it likelier than not?
    """
    if judge.gives_findings:
        return log_probability.gather(1, classes[:, None])[:, 0] > math.log(0.5)
    return log_probability.argmax(1) == classes


def class_kept(
    judge: Classifier,
    images: Tensor,
    maps: Tensor,
    classes: Tensor,
    percent: Sequence[float],
    draws: int,
    share: float = 0.1,
    seed: int = 0,
    batch: int | None = None,
) -> tuple[Tensor, Tensor]:
    """How often the judge still ``says`` the class without part of the most, and of the least, salient pixels.

    Of the ``percent`` s of pixels that a map (N,H,W) puts first, or last, each goes with the chance
    min(0.5, share / s): as many as the judge is used to, so that no picture is emptier than those it has learned from.
    The random numbers belong to picture and seed, and are the same for every map, size and side.

    Returns:
        Twice (N,len(percent)), float64 in [0,1].
    """
    images, classes = images.to(judge.device), classes.to(judge.device)
    place, (n, _, height, width) = places(maps.to(images.device)), images.shape
    counts = torch.tensor([round(s / 100 * height * width) for s in percent], device=images.device)
    chances = torch.tensor([min(MOST, 100 * share / s) for s in percent], device=images.device)
    lots = torch.stack([torch.rand(draws, height, width, generator=keyed_generator(p, seed)) for p in images])
    lots, each = lots.to(images.device), len(percent) * draws
    found = []
    for order in (place, height * width - 1 - place):

        def copies(numbers: Tensor, order: Tensor = order) -> Tensor:
            rows, size, draw = numbers // each, numbers % each // draws, numbers % draws
            gone = (order[rows] < counts[size, None, None]) & (lots[rows, draw] < chances[size, None, None])
            return torch.where(gone[:, None], judge.mean[:, None, None], images[rows])

        kept = says(judge, log_probabilities(judge, n * each, copies, batch), classes.repeat_interleave(each))
        found.append(kept.reshape(n, len(percent), draws).double().mean(2).cpu())
    return found[0], found[1]


@register_check(
    "f_fidelity",
    title="does the class go with part of the salient pixels, to a judge used to holes?",
    paper="Zheng et al. 2024",
    trains=True,
)
def f_fidelity(
    methods: Mapping[str, AnyExplainer],
    classifier: Classifier,
    images: Values,
    train: Values,
    *,
    judge: Classifier | None = None,
    settings: SmallTraining | None = None,
    percent: Sequence[float] = PERCENT,
    draws: int = 20,
    share: float = 0.1,
    groups: Tensor | None = None,
    seed: int = 0,
    batch: int = 32,
    progress: ProgressCallback | None = None,
) -> AgainResult:
    """Fine-tunes the classifier once on pictures with holes, and takes part of the salient pixels from it.

    The judge is right about the whole picture (1) or not (0); ``ffid_plus`` is that less how often it is right without
    part of the most salient pixels, mean over sizes and draws, and ``ffid_minus`` the same of the least salient ones.
    ``f_fidelity`` is their difference: 0 for a map in random order. It is right where the class is the likeliest; of a
    network of findings where that finding is likelier than not, and pictures in which nothing is found are left out.

    Args:
        methods: explainers by name.
        classifier: what they explain.
        images: (N,3,S,S), RGB in [0,1], or uint8: what is measured on.
        train: likewise, at the input size: what the judge is fine-tuned on; see ``used_to_holes``.
        judge: one that is used to holes already; ``train`` is then not looked at.
        settings: of the fine-tuning; None is ten epochs of SGD at 0.001.
        percent: sizes, in percent of the pixels; the paper has 20 of them and 50 draws.
        draws: holes of each size.
        share: of pixels that the judge is used to miss, in (0,1].
        groups: (N,) int64: pictures of one number, as of one patient, are drawn together for intervals (see
            ``subject_numbers``); None is each by itself.
        seed: of the holes and of the intervals.
        batch: pictures explained at once.
        progress: called with (done, total), in pictures times methods.

    Raises:
        InputError: no method or picture, an option that makes no sense, or maps that are NaN.
    """
    in_range("share", share, 0, 1, above=True)
    if draws < 1 or not percent or not all(0 < s <= 100 for s in percent):
        raise InputError("f_fidelity needs a draw, and sizes above 0 and up to 100 percent")
    asked = used_to_holes(classifier, train, share=share, settings=settings, batch=batch) if judge is None else judge

    def scores(subject: Subject, pictures: Tensor, classes: Tensor) -> dict[str, Tensor]:
        maps = subject.maps(pictures, classes, batch)
        whole = log_probabilities(asked, len(pictures), lambda rows: pictures.to(asked.device)[rows]).cpu()
        right = says(asked, whole, classes).double()
        if classifier.gives_findings:  # where the class is not found there is nothing that could go
            there = own_answers(classifier, pictures, batch).gather(1, classes[:, None])[:, 0]
            right = right.where(there, torch.nan)
        most, least = class_kept(asked, pictures, maps, classes, percent, draws, share, seed)
        plus, minus = right - most.mean(1), right - least.mean(1)
        return {"f_fidelity": plus - minus, "ffid_plus": plus, "ffid_minus": minus}

    told = {
        "judge": asked.fingerprint(), "trained_on": None if judge is not None else len(train),
        "training": None if judge is not None else (settings or JUDGE_TRAINING).model_dump(),
        "percent": list(percent), "draws": draws, "share": share, "removed": "the mean colour",
    }  # fmt: skip
    return explained_again("f_fidelity", methods, classifier, images, scores, told, groups, seed, batch, progress)

"""Does a masker smuggle the class through the shape of its masks? (after EVAL-X, Jethani et al. 2021)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.blending import masked_in, masked_out
from maskwise.checks.area_controls import above_mean, centre_squares, random_blobs
from maskwise.checks.base import register_check
from maskwise.checks.intervals import MeanInterval, interval_said, mean_of
from maskwise.checks.leak_result import (
    BLOBS,
    CONTROLS,
    OTHER,
    OWN,
    SAME,
    SQUARE,
    Judge,
    LeakResult,
    LeakRow,
    LeakSummary,
    ShownPart,
    answer_of,
)
from maskwise.checks.mask_probe import FOLDS, PROBE, mask_probe
from maskwise.checks.pictures import Labelled
from maskwise.checks.protocol import check_seed, versions
from maskwise.checks.rows import as_float
from maskwise.checks.small_training import SmallTraining
from maskwise.checks.subject import ProgressCallback, Subject, top_classes
from maskwise.classifiers import Classifier
from maskwise.core.connected import of_rows, or_alone
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode
from maskwise.evaluation.contender import innermost
from maskwise.explainers.masker import MaskerExplainer
from maskwise.infill import Infiller, infiller
from maskwise.sess.sweep import AnyExplainer

BOUND = 0.05
_ASKED: tuple[tuple[str, ShownPart], ...] = (
    (OWN, "in"), (OWN, "out"), (SQUARE, "in"), (SQUARE, "out"), (BLOBS, "in"), (BLOBS, "out"), (SAME, "in"),
    (OTHER, "in"),
)  # fmt: skip
_Answers = dict[tuple[str, ShownPart, Judge], Tensor]  # (N,2): right or not, and nats; NaN where there is no such mask


@register_check(
    "leak",
    title="does the shape of the masks give the class away?",
    paper="after EVAL-X, Jethani et al. 2021",
    trains=True,
)
def leak(
    methods: Mapping[str, AnyExplainer],
    classifier: Classifier,
    robust: Classifier,
    test: Labelled,
    *,
    judges: Mapping[str, Classifier] | None = None,
    fill: str = "mean",
    boxes: Tensor | None = None,
    probe: SmallTraining | None = PROBE,
    bound: float = BOUND,
    seed: int = 0,
    batch: int = 16,
    progress: ProgressCallback | None = None,
) -> LeakResult:
    """Compares how a masker's own judge and a robust one answer for its masks, and for masks that know nothing.

    A map is cut at its mean. Both judges answer among the classes of the test pictures. With a(m) and b(m) the
    accuracies of the own and of the robust judge on what m keeps, the gap is a(m) - b(m) - (a(c) - b(c)) for controls c
    of the very same area. Where it lies beyond ``bound`` against each control, and the own judge follows the class of
    another picture's mask more than the robust one does, the masks leak.

    Args:
        methods: explainers by name; each explains the classifier's top class.
        classifier: what they explain; softmax over its classes.
        robust: of ``robust_judge``, trained with the same ``fill`` on other pictures.
        test: pictures at the size that is explained, labels of the classifier's classes.
        judges: by method, whom its masks were made for. Left out, a masker's own adapted classifier, else
            ``classifier``.
        fill: infiller of what is missing: the maskers' own.
        boxes: (N,S,S) bool, the objects' boxes; pictures without one are left out where masks are compared with them.
        probe: how networks that see masks alone are trained; None leaves them out.
        bound: of the gap, in accuracy from 0 to 1.
        seed: of blobs, borrowed masks and intervals.
        batch: pictures explained at once.
        progress: called with (done, total), in pictures times methods.

    Raises:
        InputError: no method, a classifier or judges of other classes, fewer than two classes, maps that are NaN.
    """
    check_seed(seed)
    if not methods or not 0 <= bound < 1 or len(test) < 2:
        raise InputError("leak needs a method, at least two pictures, and a bound from 0 up to 1")
    given = dict(judges or {})
    own = {name: given.get(name) or own_judge(explainer, classifier) for name, explainer in methods.items()}
    for judge in (classifier, robust, *own.values()):
        if judge.activation != "softmax" or len(judge.labels) != len(test.classes):
            raise InputError(
                f"{judge.name}: a judge names one of the {len(test.classes)} classes of the pictures (softmax)"
            )
    classes = test.labels.unique()
    if len(classes) < 2:
        raise InputError("all pictures are of one class: there is nothing to give away")
    run = _Run(robust, test, classes, infiller(fill), seed, batch)
    goals = top_classes(classifier, test.images, batch)
    subjects = {name: Subject.of(one, classifier, before_sigmoid=False) for name, one in methods.items()}
    total = len(test) * len(methods)
    keeps, answers = {}, {}
    for k, (name, subject) in enumerate(subjects.items()):
        keeps[name] = run.keeps(subject, goals)
        step = None if progress is None else lambda done, k=k: progress(k * len(test) + done, total)
        answers[name] = run.asked(own[name], keeps[name], step)
    groups = test.groups
    probes, on_boxes, why = _probes(keeps, boxes, test.labels, probe, groups)
    rows, summaries = [], []
    for name in methods:
        rows += [
            LeakRow(name, masks, kept, judge, _mean(values[:, 0], seed, groups), _mean(values[:, 1], seed, groups))
            for (masks, kept, judge), values in answers[name].items()
        ]
        summaries.append(_summary(name, keeps[name], answers[name], probes.get(name), on_boxes, bound, seed, groups))
    protocol: dict[str, Any] = {
        "check": "leak", "classifier": classifier.name, "fingerprint": classifier.fingerprint(),
        "robust_judge": robust.fingerprint(),
        "robust_judge_size": robust.size[0] if robust.size[0] == robust.size[1] else list(robust.size),
        "own_judges": {name: judge.fingerprint() for name, judge in own.items()},
        "methods": {name: subject.identity for name, subject in subjects.items()},
        "target": "the classifier's top class", "pictures": len(test), "test": test.checksum(),
        "among_classes": len(classes), "mask": "map > its mean",
        "fill": fill, "bound": bound, "seed": seed, "probe": why or f"small_cnn on 56x56, {FOLDS} folds",
        "probe_training": None if probe is None else probe.model_dump(),
        "interval": interval_said(groups, ", in pairs"), "versions": versions(),
    }  # fmt: skip
    boxed = None if on_boxes is None else _mean(on_boxes, seed, groups)
    return LeakResult(rows, summaries, boxed, protocol)


def own_judge(explainer: AnyExplainer, classifier: Classifier) -> Classifier:
    """Whom its masks were made for: a masker's own, perhaps adapted, classifier; else the one explained."""
    inner = innermost(explainer)
    return inner.judge if isinstance(inner, MaskerExplainer) else classifier


@dataclass(frozen=True)
class _Run:
    """What all methods share."""

    robust: Classifier
    test: Labelled
    classes: Tensor
    fill: Infiller
    seed: int
    batch: int

    def keeps(self, subject: Subject, goals: Tensor) -> Tensor:
        """(N,H,W) bool, the maps above their means."""
        parts = zip(self.test.images.split(self.batch), goals.split(self.batch), strict=True)
        return torch.cat([above_mean(subject.maps(as_float(part), goal, self.batch)) for part, goal in parts])

    def asked(self, own: Classifier, keeps: Tensor, step: Any) -> _Answers:
        """What both judges say under every kind of mask."""
        same, other = lenders(self.test.labels, self.seed, self.test.groups)
        found: dict[tuple[str, ShownPart, Judge], list[Tensor]] = {}
        done = 0
        for part in self.test.images.split(self.batch):
            rows = slice(done, done + len(part))
            images, labels = as_float(part), self.test.labels[rows]
            masks = {OWN: keeps[rows], SQUARE: centre_squares(keeps[rows]),
                     BLOBS: random_blobs(keeps[rows], images, self.seed),
                     SAME: keeps[same[rows].clamp(min=0)], OTHER: keeps[other[rows].clamp(min=0)]}  # fmt: skip
            missing = {SAME: same[rows] < 0, OTHER: other[rows] < 0}
            for kind, kept in _ASKED:
                shown = self._shown(images, masks[kind], kept, own)
                judges: tuple[tuple[Judge, Classifier], ...] = (("own", own), ("robust", self.robust))
                for who, judge in judges:
                    values = self._answers(judge, shown, labels)
                    values[missing.get(kind, torch.zeros(len(part), dtype=torch.bool))] = torch.nan
                    found.setdefault((kind, kept, who), []).append(values)
            done += len(part)
            if step is not None:
                step(done)
        return {key: torch.cat(parts) for key, parts in found.items()}

    def _shown(self, images: Tensor, masks: Tensor, kept: ShownPart, own: Classifier) -> Tensor:
        """The mean colour is the network's: of judges that differ in it both would need pictures of their own."""
        blend, holes = (masked_in, ~masks) if kept == "in" else (masked_out, masks)
        return blend(images, masks, self.fill(images, holes, own.mean.cpu()))

    def _answers(self, judge: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """(N,2) float64: right, and nats, among the classes of the pictures."""
        with eval_mode(judge), torch.no_grad():
            logits = judge.logits(judge.prepare(images)).cpu()[:, self.classes]
        place = torch.searchsorted(self.classes, labels)
        right = logits.argmax(1) == place
        return torch.stack([right.double(), F.cross_entropy(logits.double(), place, reduction="none")], 1)


def lenders(labels: Tensor, seed: int, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """For each picture one of the same class, and one of another, whose mask it gets; -1 where there is none.

    Each mask is lent once in either way where that can be.

    Args:
        labels: (N,) int64.
        seed: of the order.
        groups: (N,) int64, pictures of one subject, which lend each other no mask of their class; None is each by
            itself.
    """
    draws = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=draws)
    order = order[labels[order].argsort(stable=True)]  # by class, in random order within each
    counts, whose = labels.unique(return_counts=True)[1], or_alone(groups, len(labels))
    same, other = torch.full_like(labels, -1), torch.full_like(labels, -1)
    for members in order.split(counts.tolist()):
        among = members if groups is None else members[groups[members].argsort(stable=True)]
        borrowed = among.roll(int(whose[among].unique(return_counts=True)[1].max()))  # beyond the largest subject's
        same[among] = borrowed.where(whose[borrowed] != whose[among], torch.full_like(borrowed, -1))
    far = order.roll(int(counts.max()))  # beyond the largest class, and so beyond every one
    different = labels[far] != labels[order]
    other[order[different]] = far[different]
    return same, other


def _probes(
    keeps: Mapping[str, Tensor],
    boxes: Tensor | None,
    labels: Tensor,
    settings: SmallTraining | None,
    groups: Tensor | None = None,
) -> tuple[dict[str, Tensor], Tensor | None, str | None]:
    """By method, and on boxes: right or not (N,), NaN where a picture has no box; or why there is no probe."""
    if settings is None:
        return {}, None, "left out"
    try:
        found = {name: mask_probe(own, labels, settings, groups=groups).double() for name, own in keeps.items()}
        if boxes is None or not (known := boxes.flatten(1).any(1)).any():
            return found, None, None
        on_boxes = torch.full((len(labels),), torch.nan, dtype=torch.float64)
        on_boxes[known] = mask_probe(boxes[known], labels[known], settings, groups=of_rows(groups, known)).double()
    except InputError as error:
        return {}, None, f"not done: {error}"
    return found, on_boxes, None


def _summary(
    name: str,
    keeps: Tensor,
    answers: _Answers,
    probe: Tensor | None,
    on_boxes: Tensor | None,
    bound: float,
    seed: int,
    groups: Tensor | None,
) -> LeakSummary:
    def lead(masks: str) -> Tensor:
        """(N,): is the own judge right where the robust one is not? 1, 0, or -1."""
        return answers[masks, "in", "own"][:, 0] - answers[masks, "in", "robust"][:, 0]

    gaps = {control: _mean(lead(OWN) - lead(control), seed, groups) for control in CONTROLS}
    borrowed = _mean(lead(SAME) - lead(OTHER), seed, groups)
    over = None if probe is None or on_boxes is None else _mean(probe - on_boxes, seed, groups)
    return LeakSummary(
        name, float(keeps.double().mean()), gaps, borrowed, None if probe is None else _mean(probe, seed, groups), over,
        answer_of(gaps, borrowed, bound, len(keeps) if groups is None else len(groups.unique())),
    )  # fmt: skip


def _mean(values: Tensor, seed: int, groups: Tensor | None) -> MeanInterval:
    return mean_of(values, "left_out", seed, groups)

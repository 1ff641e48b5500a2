"""The report page of a comparison: its leaderboard, and some of its pictures with every method's answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup

from maskwise.blending import masked_out
from maskwise.box import binarise, boxes, iou
from maskwise.classifiers import Classifier
from maskwise.core.spread import evenly_spread
from maskwise.core.text import utf8
from maskwise.data import DataSet, Sample, read_data
from maskwise.drawing import heat_scale
from maskwise.evaluation import Contender, Settings
from maskwise.evaluation.batch import Batch
from maskwise.evaluation.given_maps import GivenMaps
from maskwise.evaluation.loader import batches
from maskwise.explainers import Explainer
from maskwise.explainers.doubts import handed_on, line_of
from maskwise.infill import infiller
from maskwise.report import page
from maskwise.report.masked_confidence import masked_confidences
from maskwise.report.page_cards import Answer, Stored, card
from maskwise.sess.sweep import AnyExplainer

PICTURES = 60  # of each data set, evenly spread over it: their maps are made again for the page


def write_compared(
    contenders: Sequence[Contender],
    classifier: Classifier,
    data: Sequence[str | DataSet],
    settings: Settings,
    folder: Path,
    board: Markup,
    pictures: int = PICTURES,
    progress: Callable[[int, int], None] | None = None,
    display: str = "auto",
) -> None:
    """``report.html`` of a comparison: its leaderboard, what the numbers mean, and pictures with every method's map.

    Args:
        contenders, classifier, data, settings: of the comparison; contenders and data as it left them, where maps come
            from folders.
        folder: where the page goes.
        board: the leaderboard, as ``leaderboard_part`` gives it.
        pictures: of each data set, at most.
        progress: called with (done, total), in pictures.
        display: how the maps' values become colours, see ``maskwise.drawing.heat_scale``.
    """
    sets = [source if isinstance(source, DataSet) else read_data(source) for source in data]
    measured = [evenly_spread(len(s), settings.limit) for s in sets]  # the page shows no others
    chosen = [[own[i] for i in evenly_spread(len(own), pictures)] for own in measured]
    cards: list[dict[str, Any]] = []
    for data_set, indices in zip(sets, chosen, strict=True):
        for batch, places, _ in batches(data_set, indices, classifier, settings):
            stored = [_stored(data_set[index], settings) for index, _ in places]
            cards += cards_of(batch, contenders, classifier, stored, display)
            if progress is not None:
                progress(len(cards), max(sum(map(len, chosen)), len(cards)))
    title = f"Which method finds what {classifier.name} uses?"
    page.write(cards, folder / "report.html", title, colour=classifier.mean.tolist(), leaderboard=board)


def _stored(sample: Sample, settings: Settings) -> Stored:
    return Stored(sample.width, sample.height, cut=settings.resize == "crop")


def cards_of(
    batch: Batch,
    contenders: Sequence[Contender],
    classifier: Classifier,
    stored: Sequence[Stored] = (),
    display: str = "auto",
) -> list[dict[str, Any]]:
    """A card for each picture of a batch.

    Args:
        batch: of N pictures.
        contenders, classifier: as ``write_compared`` takes them.
        stored: of each picture, its size in its file; none: the size that it has in the batch.
        display: how the maps' values become colours.
    """
    names, colour = classifier.labels, classifier.mean.cpu()
    answers: list[list[Answer]] = [[] for _ in batch.items]
    for contender in contenders:
        began = time.perf_counter()
        given = batch.images.to(classifier.device), batch.targets.to(classifier.device)
        with handed_on():
            maps = contender.explain(*given, [item.sample.id for item in batch.items])
        maps = torch.as_tensor(maps).detach().float().cpu()
        read = isinstance(contender.explainer, GivenMaps)
        seconds = None if read else (time.perf_counter() - began) / len(maps)
        keep = binarise(maps)
        painted = masked_out(batch.images, keep, infiller("telea")(batch.images, keep, colour))
        confidences = masked_confidences(classifier, batch.images, keep, painted, batch.targets.tolist())
        for i, box in enumerate(boxes(maps)):
            truth = _truth(batch, i)
            best = float(iou(box[None], truth).max()) if len(truth) else None
            # Of which class a file's map is nobody knows.
            asked = not read and getattr(contender.explainer, "needs_target", True)
            target = names.name(int(batch.targets[i])) if asked else None
            answer = Answer(
                contender.name, maps[i], keep[i], box.tolist(), painted[i], target, best, seconds,
                warnings=_doubts_of(contender.explainer, i, classifier),
            )  # fmt: skip
            answers[i].append(replace(answer, confidence=confidences[i], scale=heat_scale(maps[i], display)))
    found = []
    for i, item in enumerate(batch.items):
        best_classes = batch.top[i].tolist()
        top = [(names.name(c), float(batch.probabilities[i, c])) for c in best_classes]
        label = names.name(int(batch.labels[i])) if batch.labels[i] >= 0 else None
        correct = None if label is None else best_classes[0] == int(batch.labels[i])
        size = stored[i] if stored else None
        edges, name = _truth(batch, i).tolist(), utf8(item.sample.id)
        found.append(card(name, batch.images[i], answers[i], top, label, edges, correct=correct, stored=size))
    return found


def _doubts_of(explainer: AnyExplainer, i: int, classifier: Classifier) -> list[str]:
    """Why the i-th map of the last call may be wrong, a line each."""
    if not isinstance(explainer, Explainer):
        return []
    return [
        line_of(kind, explainer.title, classifier.name)
        for kind, where in explainer.doubted.items()
        if bool(where if where.ndim == 0 else where[i])
    ]


def _truth(batch: Batch, i: int) -> torch.Tensor:
    """(M,4), the boxes that the metrics take."""
    boxes: torch.Tensor = batch.truth(["boxes"], [i]).get("boxes", [torch.zeros(0, 4)])[0]
    return boxes

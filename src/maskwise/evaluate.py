"""Localisation error of an explainer on data sets with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from maskwise.boxes import boxes
from maskwise.classifiers import Classifier
from maskwise.data import read_pictures
from maskwise.errors import InputError
from maskwise.images import resize
from maskwise.methods import Explainer
from maskwise.metrics import localisation_error

BATCH = 32


def evaluate_localisation(
    explainer: Explainer, classifier: Classifier, data: Sequence[str], limit: int | None = None
) -> list[dict[str, Any]]:
    """LE of each data set, and of all their pictures together if there are several.

    Pictures are squashed to the classifier's input size and boxes scaled with them; threshold at the map's mean,
    largest 4-connected component, tightest box, IoU > 0.5 with any ground-truth box. The class explained is the
    classifier's own top one.

    Raises:
        InputError: a data set without boxes.
    """
    size = classifier.input_size
    rows: list[dict[str, Any]] = []
    predicted_all, truth_all, areas_all = [], [], []
    for source in data:
        pictures = read_pictures(source)
        samples = [s for s in pictures.samples if s.boxes][:limit]
        if not samples:
            raise InputError(f"{source}: has no boxes to compare with")
        predicted, truth, areas = [], [], []
        for first in range(0, len(samples), BATCH):
            images = []
            for sample in samples[first : first + BATCH]:
                image = pictures.image(sample)
                scale = torch.tensor([size / image.shape[-1], size / image.shape[-2]] * 2, dtype=torch.float64)
                truth.append(torch.tensor(sample.boxes, dtype=torch.float64) * scale)
                images.append(resize(image[None], size))
            maps = explainer(torch.cat(images))
            predicted.append(boxes(maps))
            areas.append(maps.mean((1, 2)))
        rows.append(_row(source.replace("\\", "/").rsplit("/", 1)[-1], torch.cat(predicted), truth, torch.cat(areas)))
        predicted_all += predicted
        truth_all += truth
        areas_all += areas
    if len(rows) > 1:
        rows.append(_row("all", torch.cat(predicted_all), truth_all, torch.cat(areas_all)))
    return rows


def _row(name: str, predicted: torch.Tensor, truth: list[torch.Tensor], areas: torch.Tensor) -> dict[str, Any]:
    error = localisation_error(predicted, truth)
    return {"data": name, "pictures": len(truth), "LE": round(error, 2), "area": round(float(areas.mean()), 4)}

"""Audits of classifiers that show no layer: black boxes, and networks without places."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from audit.scenes import SIDE, criterion, reader
from calling import call
from torch import Tensor, nn

from maskwise.audit import audit
from maskwise.audit.rows import Features, shows_layers
from maskwise.classifiers import Classifier


def box_of(classifier: Classifier) -> Classifier:
    """The same answers from a function that shows nothing else."""

    def predict(images: Tensor) -> np.ndarray:
        with torch.no_grad():
            return classifier.probabilities(classifier.logits(images)).numpy()

    return Classifier(predict, input_size=SIDE, labels=classifier.labels)


class WithoutPlaces(nn.Module):
    """Reads all pixels at once: no layer of it has rows and columns."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read = nn.Linear(3 * SIDE * SIDE, 4)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.read(images.flatten(1))
        return scores


def test_a_black_box_is_audited_by_what_only_asks(data: Path, tmp_path: Path) -> None:
    """Unasked by which method, it takes one that the box allows, and says what no box can tell."""
    box = box_of(reader("object"))
    found = audit(box, data, parts=("accuracy", "evidence", "shortcut"), out=tmp_path / "a", limit=16)
    assert found.stamp["method"] == "banzhaf" and "black box" in found.stamp["why_method"]
    assert criterion(found, "evidence").holds is True and criterion(found, "accuracy").holds is True
    few = audit(box, data, parts="sanity", out=tmp_path / "b", limit=2)
    mprt, shortcut = criterion(few, "mprt"), criterion(found, "shortcut")
    assert mprt.holds is None and "black box" in mprt.figure
    assert shortcut.holds is None and "no last linear layer" in shortcut.figure
    assert "agreement" not in found.plain()["sections"]["evidence"]


def test_its_evidence_tells_objects_from_backgrounds(data: Path, tmp_path: Path) -> None:
    found = audit(box_of(reader("ground")), data, parts="evidence", out=tmp_path, limit=12)
    assert criterion(found, "evidence").holds is False


def test_a_network_without_places_is_audited(data: Path, tmp_path: Path) -> None:
    classifier = Classifier(WithoutPlaces(), mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE)
    found = audit(classifier, data, parts=("accuracy", "errors"), out=tmp_path, limit=16)
    assert found.stamp["method"] == "gradient" and found.plain()["sections"]["errors"]["wrong"] > 0


@pytest.mark.parametrize("shown", [True, False])
def test_what_is_alike_by_hand(shown: bool) -> None:
    """By the last layer with places where there is one, else by Bhattacharyya's coefficient of the probabilities."""
    inner = reader("object")
    classifier = inner if shown else box_of(inner)
    assert shows_layers(classifier) is shown
    images = torch.rand(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    rows = Features(classifier).per_image(torch.zeros(5, SIDE, SIDE), images=images).numpy()
    with torch.no_grad():
        logits, taps = inner.features(images)
    if shown:
        means = taps[-1].double().mean((2, 3)).numpy()
        wanted = [[a @ b / np.sqrt((a @ a) * (b @ b)) for b in means] for a in means]
    else:
        chances = logits.double().softmax(1).numpy()
        wanted = [[sum(np.sqrt(p * q) for p, q in zip(a, b, strict=True)) for b in chances] for a in chances]
    np.testing.assert_allclose(rows @ rows.T, wanted, atol=1e-5)


BOX = """
from audit.scenes import reader

_inner = reader("object")


def predict(images):
    return _inner.probabilities(_inner.logits(images)).detach()
"""


def test_auto_is_as_if_nothing_was_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "box.py").write_text(BOX)
    said = ["audit", "--classifier", f"{tmp_path}/box.py:predict", "--data", data, "--limit", 4, "--json"]
    said += ["--parts", "accuracy"]
    stamps = []
    for more in ([], ["--method", "auto"]):
        found = call(*said, "--size", SIDE, *more, "--out", tmp_path / "a")
        assert found.exit_code == 0, found.output
        stamps.append(json.loads(found.stdout)["stamp"])
    assert stamps[0] == stamps[1] and stamps[0]["method"] == "banzhaf" and "black box" in stamps[0]["why_method"]

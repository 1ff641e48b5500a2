"""Classes whose probabilities are all 1 in float32: wherever classes are ranked, the largest score comes first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from maskwise.audit.rows import Answers
from maskwise.classifiers import Classifier
from maskwise.data import read_data
from maskwise.evaluation import Contender
from maskwise.evaluation.batch import Batch
from maskwise.explain import look_at
from maskwise.explainers import explainer
from maskwise.live import loop
from maskwise.measures import metric
from maskwise.report.page_compared import cards_of
from maskwise.web.job import ExplainJob, best_guesses

SCORES = (18.0, 25.0, 34.0, 30.0, -3.0, 20.0)
RANKED = [2, 3, 1, 5, 0]


class Sure(nn.Module):
    """The third class is the surest; a picture moves the scores by a little."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor(SCORES) + 0.1 * self.conv(x).relu().mean((2, 3))


@pytest.fixture
def sure() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = Classifier(Sure().eval(), input_size=16, activation="sigmoid", name="sure")
    image = torch.rand(1, 3, 16, 16)
    assert (found.probabilities(found.logits(image))[0, [0, 1, 2, 3, 5]] == 1).all(), "they can't be told apart"
    return found


@pytest.fixture
def batch(tmp_path: Path, sure: Classifier) -> Batch:
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    (tmp_path / "labels.csv").write_text("file,label\na.png,2\n")
    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\na.png,0,0,16,16\n")
    return Batch.of([read_data(str(tmp_path))[0]], sure, "squash", "predicted")


def test_the_page_of_a_comparison_names_the_class_that_is_explained(sure: Classifier, batch: Batch) -> None:
    (found,) = cards_of(batch, [Contender.of("grad_cam", explainer("grad_cam", sure, layer="conv"))], sure)
    names = [sure.labels.name(i) for i in RANKED]
    assert [name for name, _ in found["top"]] == names and found["correct"] is True
    assert found["answers"][0]["target"] == found["answers"][0]["confidence"]["of"] == names[0]


def test_metrics_count_the_first_guess(sure: Classifier, batch: Batch) -> None:
    whole = torch.ones(1, 16, 16)
    for name, missed in (("om", 0.0), ("om5", 0.0)):
        measured = metric(name, sure)
        truth = batch.truth([*measured.needs, *measured.takes], [0])
        assert measured.per_image(whole, **truth).tolist() == [[missed]], "the right box, and the right class"
    truth = batch.truth(["probabilities", "labels"], [0])
    assert Answers().per_image(whole, **truth)[0, 0] == RANKED[0]


def test_the_web_page_names_the_class_that_is_explained(sure: Classifier, tmp_path: Path) -> None:
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    job = ExplainJob(image, sure, ["gradient"])
    (answer,) = job.answers(lambda _: None)
    assert answer.target == answer.confidence.of == sure.labels.name(RANKED[0])  # type: ignore[union-attr]
    assert torch.equal(answer.map, explainer("gradient", sure)(image[None], RANKED[0])[0])
    assert [index for index, _ in best_guesses(image, sure)] == RANKED


def test_a_live_frame_names_it_too(sure: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(loop, "_write", lambda picture, text, *_: said.append(text))
    explain = explainer("gradient", sure)
    frame = np.full((16, 16, 3), 90, np.uint8)
    maps, logits = loop.explained(frame, explain, ())
    loop.annotated(frame, maps, logits, explain, (), 1.0)
    assert said[0].startswith(f"{sure.labels.name(RANKED[0])} ")


def test_of_equal_scores_the_first_class_is_named_and_explained(tmp_path: Path) -> None:
    """Of a head of zeros all scores are one."""
    flat = Classifier(Sure().eval(), input_size=16, name="flat")
    monkey = flat.module
    monkey.forward = lambda x: torch.zeros(len(x), 600)  # type: ignore[method-assign]
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    look = look_at(tmp_path / "a.png", flat)
    assert look.best == 0 and [name for name, _ in look.top] == [flat.labels.name(i) for i in range(5)]

"""Measures of a class's probability refuse outputs that are none, and take those that are, whatever makes them."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_net
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.measures import metric, metrics
from maskwise.measures.perturbation import curves
from maskwise.measures.scoring import log_probabilities

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
MAPS = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(1))
OF_PROBABILITIES = (
    "insertion", "deletion", "road_morf", "average_drop", "increase_in_confidence", "average_gain", "mu_fidelity",
)  # fmt: skip


class Ends(nn.Module):
    def __init__(self, scale: float, offset: float, softmax: bool = False) -> None:
        super().__init__()
        self.network, self.scale, self.offset, self.softmax = tiny_net(), scale, offset, softmax

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.network(images)
        return scores.softmax(1) if self.softmax else self.scale * scores + self.offset


def taken(*given: float, softmax: bool = False) -> Classifier:
    return Classifier(Ends(*given, softmax=softmax), input_size=32, activation="none", name="scores")


@pytest.mark.parametrize("name", OF_PROBABILITIES)
@pytest.mark.parametrize(("scale", "offset"), [(1, -3), (0.1, 1.5), (30, 0)])
def test_scores_that_are_no_probabilities_are_refused(name: str, scale: float, offset: float) -> None:
    """Below 0 they were taken for the smallest number there is, so that a curve of ages was flat at 0."""
    with pytest.raises(InputError, match=r"of probabilities, and with activation none the network gives -?[\d.]+"):
        metric(name, taken(scale, offset)).per_image(MAPS, images=IMAGES)


@pytest.mark.parametrize(("far", "named"), [(-0.002, "-0.002"), (1.002, "1.002"), (-0.0005, None), (1.0005, None)])
def test_half_precision_s_rounding_is_let_pass_and_no_more(far: float, named: str | None) -> None:
    scores = torch.tensor([[0.25, far], [0.5, 0.5]])
    classifier = Classifier(lambda images: scores[: len(images)], input_size=32, activation="none", name="scores")
    if named is None:
        assert log_probabilities(classifier, 2, lambda rows: IMAGES[rows]).isfinite().all()
        return
    with pytest.raises(InputError, match=f"the network gives {named};"):
        log_probabilities(classifier, 2, lambda rows: IMAGES[rows])


def test_all_metrics_that_ask_are_asked_here() -> None:
    asking = {name for name, facts in metrics.items() if getattr(metrics.get(name), "needs_classifier", False)}
    assert set(OF_PROBABILITIES) <= asking


def test_probabilities_that_the_network_makes_itself_are_those_of_its_logits() -> None:
    own, plain = taken(1, 0, softmax=True), Classifier(tiny_net(), input_size=32)
    for kind in ("insertion", "deletion"):
        torch.testing.assert_close(
            curves(own, IMAGES, MAPS, None, kind, 256), curves(plain, IMAGES, MAPS, None, kind, 256)
        )

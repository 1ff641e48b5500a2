"""A linear head on the mean of a tap: what each place adds to the class is a number that can be read off."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.min_max import min_max
from maskwise.studies.mechanisms.base import KnownCase, KnownSettings, kept_right, measured_and_spare, mechanisms
from maskwise.studies.mechanisms.learned import patterned
from maskwise.studies.mechanisms.planted import PATTERNS

FILTERS, WIDTH = 32, 5
MARGIN = 3.0  # median lead of the likeliest class's logit, to which the head is scaled
RIDGE = 1e-3


class LinearTap(nn.Module):
    """logit_c = mean over places of w_c . relu(F x), F fixed random filters of 5x5 pixels without bias."""

    def __init__(self, classes: int, seed: int = 0) -> None:
        super().__init__()
        self.tap = nn.Conv2d(3, FILTERS, WIDTH, padding=WIDTH // 2, bias=False)
        self.head = nn.Linear(FILTERS, classes, bias=False)
        draws = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.tap.weight.copy_(torch.randn(self.tap.weight.shape, generator=draws) / (3 * WIDTH**2) ** 0.5)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.tap(images).relu().mean((2, 3)))
        return scores


def contributions(network: LinearTap, images: Tensor, classes: Tensor) -> Tensor:
    """What each place (N,S,S) adds to the lead of its class (N,) over the mean of all, of normalised images."""
    lead = network.head.weight - network.head.weight.mean(0)
    return torch.einsum("nchw,nc->nhw", network.tap(images).relu(), lead[classes])


@mechanisms.register("linear tap", title="a linear head on the mean of random filters: each place adds a number")
def linear_tap(grounds: Tensor, settings: KnownSettings) -> KnownCase:
    """The head is solved for by ridge regression on patterns planted on photographs; it has some of them right.

    Truth is what each place adds to the predicted class, whatever that is, brought to [0,1].
    """
    measured, spare = measured_and_spare(grounds, settings)
    network = LinearTap(len(PATTERNS))
    made = Classifier(
        network, mean=(0.5,) * 3, std=(0.25,) * 3, labels=PATTERNS, input_size=settings.side, taps=["tap"],
        name="linear tap",
    )  # fmt: skip
    with torch.no_grad():
        images, _, labels = patterned(spare, 1)
        features = network.tap(made.normalise(images)).relu().mean((2, 3)).double()
        wanted = torch.eye(len(PATTERNS), dtype=torch.float64)[labels] - 1 / len(PATTERNS)
        gram = features.T @ features + RIDGE * len(features) * torch.eye(FILTERS, dtype=torch.float64)
        head = torch.linalg.solve(gram, features.T @ wanted).T
        best = (features @ head.T).topk(2, 1).values
        network.head.weight.copy_(head * MARGIN / (best[:, 0] - best[:, 1]).median())
        images, _, _ = patterned(measured, 0)
        classes = made.logits(images).argmax(1)
        truth = min_max(contributions(network, made.normalise(images), classes))
    return kept_right(made, images, truth, classes)

"""Findings: classes above 1/2, each by itself; networks whose outputs are something else have none."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_net
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.classifiers.findings import check_findings, found_classes
from maskwise.classifiers.link import probabilities_of
from maskwise.core.errors import InputError
from maskwise.training.likelihood import Bernoulli


class Fixed(nn.Module):
    """The same numbers whatever the picture is."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, images: Tensor) -> Tensor:
        return self.values.expand(len(images), -1) + 0 * images.mean((1, 2, 3))[:, None]


def test_of_sigmoids_it_is_what_is_likelier_than_not() -> None:
    classifier = Classifier(tiny_net(), input_size=32, activation="sigmoid")
    logits = torch.tensor([[-3.0, 0.0, 1e-9, 30.0, -1e-9]])
    assert found_classes(classifier, logits).tolist() == [[False, False, True, True, False]]
    assert torch.equal(found_classes(classifier, logits), Bernoulli().likelier(logits))
    drawn = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found_classes(classifier, drawn), probabilities_of(drawn, "sigmoid") > 0.5)


def test_of_probabilities_too() -> None:
    box = Classifier(lambda images: Fixed(0.2, 0.7, 0.9)(images).detach(), input_size=8, activation="none")
    assert box.gives_findings
    given = torch.tensor([[0.5, 0.51, 0.02]])
    assert found_classes(box, given).tolist() == [[False, True, False]]
    assert torch.equal(found_classes(box, given), Bernoulli(of_probabilities=True).likelier(given))
    with pytest.raises(InputError, match="from 0 to 1.*activation=sigmoid"):
        found_classes(box, torch.tensor([[0.5, 1.51, 0.02]]))


def test_of_one_output_it_is_that_one() -> None:
    classifier = Classifier(tiny_net(classes=1), input_size=32)
    assert classifier.is_paired and not classifier.gives_findings
    assert found_classes(classifier, torch.tensor([[-2.0, 2.0], [2.0, -2.0]])).tolist() == [[False, True], [False] * 2]


@pytest.mark.parametrize(
    ("network", "activation", "why"),
    [
        (tiny_net(), "softmax", "exclude each other"),
        (tiny_net(), None, "exclude each other"),
        (nn.Sequential(tiny_net(), nn.Softmax(1)), None, "exclude each other"),
        (nn.Sequential(tiny_net(), nn.Softmax(1)), "none", "no probabilities of classes by themselves"),
        (Fixed(0.2, 3.0, -1.0), "none", "no probabilities of classes by themselves"),
    ],
)
def test_others_have_none(network: nn.Module, activation: str | None, why: str) -> None:
    classifier = Classifier(network, input_size=32, activation=activation)  # type: ignore[arg-type]
    assert not classifier.gives_findings
    with pytest.raises(InputError, match=why) as caught:
        check_findings(classifier)
    assert "\n" not in str(caught.value)

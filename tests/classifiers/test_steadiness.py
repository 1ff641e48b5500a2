"""Networks whose answers change by chance or with their company are found when they are made; sound ones are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net, tiny_vit
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.classifiers.steadiness import steadiness_of
from maskwise.core.errors import InputError
from maskwise.explainers import explainer
from maskwise.explainers.doubts import handed_on

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class NeverOff(nn.Module):
    """Dropout by a function is on unless it is told otherwise, in eval mode, too."""

    def __init__(self, *ending: nn.Module) -> None:
        super().__init__()
        self.net, self.ending = tiny_net(), nn.Sequential(*ending)

    def forward(self, images: Tensor) -> Tensor:
        return self.ending(F.dropout(self.net(images), 0.3))


class Whitened(nn.Module):
    """Scores less the mean of the batch, with no batch norm in sight."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tiny_net()

    def forward(self, images: Tensor) -> Tensor:
        scores = self.net(images)
        return scores - 0.5 * scores.mean(0)


def untracked() -> nn.Module:
    net = tiny_net()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean = part.running_var = None
    return net


def within(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """A function around a network, whose mode nobody else can set."""

    def ask(images: Tensor) -> Tensor:
        with torch.no_grad():
            return module(images)

    return ask


SOUND = {
    "eval": tiny_net, "train": lambda: tiny_net().train(), "transformer": tiny_vit,
    "half": lambda: tiny_net().half(), "bfloat16": lambda: tiny_vit().bfloat16(), "double": lambda: tiny_net().double(),
    "sigmoid": lambda: nn.Sequential(tiny_net(), nn.Sigmoid()), "one": lambda: tiny_net(classes=1),
    "instance norm": lambda: nn.Sequential(nn.InstanceNorm2d(3), tiny_net()),
    "function": lambda: within(tiny_net().eval()),
}  # fmt: skip
UNSOUND = {
    "dropout": (NeverOff, "random"), "dropout before a sigmoid": (lambda: NeverOff(nn.Sigmoid()), "random"),
    "untracked": (untracked, "batch"), "mean of the batch": (Whitened, "batch"),
    "function in train mode": (lambda: within(tiny_net().train()), "random"),
    "function with batch norm": (lambda: within(untracked()), "batch"),
}  # fmt: skip


TOLD = {
    "random": ("random_answers", "another answer each time"),
    "batch": ("answers_by_batch", "depends on the pictures that it is asked about at once"),
}


def made(network: Callable[[], object]) -> Classifier:
    activation = "softmax" if network in (SOUND["function"], *(make for make, _ in UNSOUND.values())) else None
    return Classifier(network(), input_size=32, name="net", activation=activation)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_network_is_steady(name: str) -> None:
    classifier = made(SOUND[name])
    assert classifier.steadiness == "steady"
    options = {"masks": 8} if classifier.is_black_box or name == "transformer" else {}
    explain = explainer("rise" if options else "gradient", classifier, **options)
    with handed_on():
        explain(IMAGES)
    assert not {"random_answers", "answers_by_batch"} & set(explain.doubted)


@pytest.mark.parametrize("name", UNSOUND)
def test_what_is_not_is_told_with_every_map(name: str) -> None:
    network, expected = UNSOUND[name]
    classifier = made(network)
    assert classifier.steadiness == expected
    kind, words = TOLD[expected]
    explain = explainer("rise", classifier, masks=8)
    sess = mw.SESS(explainer("rise", classifier, masks=8), classifier, scales=2)
    for one in (explain, sess):
        with handed_on():
            one(IMAGES)
        assert any(words in line for line in one.report["warnings"]) and kind in one.doubted
    with pytest.raises(InputError, match=words):
        explainer("rise", classifier, masks=8, strict=True)(IMAGES)
    reference = explainer("edges", classifier)
    reference(IMAGES)
    assert not reference.doubted, "it asks no classifier"


def test_chance_and_company_are_told_apart_by_asking_a_third_time() -> None:
    net, first = nn.Identity(), torch.tensor([1.0, 2.0])
    answers = iter([[1.1, 2.0], [1.1, 2.0], [1.2, 2.0]])

    def ask() -> Tensor:
        return torch.tensor([next(answers)])

    assert steadiness_of(net, ask, first) == "batch"
    answers = iter([[1.1, 2.0], [1.2, 2.0]])
    assert steadiness_of(net, ask, first) == "random"
    answers = iter([[1.0004, 2.0]])
    assert steadiness_of(net, ask, first) == "steady", "of rounding nobody is told"
    nan = torch.tensor([torch.nan, 1.0])
    assert steadiness_of(net, lambda: nan[None], nan) == "steady"


def test_who_takes_no_single_picture_is_left_alone() -> None:
    def refuse() -> Tensor:
        raise RuntimeError("two at least")

    assert steadiness_of(nn.Identity(), refuse, torch.zeros(2)) == "steady"


def test_batch_norm_without_statistics_needs_no_asking() -> None:
    """Two pictures of noise may be so much alike that one has the other's answer."""
    first = torch.zeros(2)
    assert steadiness_of(untracked(), lambda: first[None], first) == "batch"
    assert steadiness_of(tiny_net(), lambda: first[None], first) == "steady"

"""An age, a cosine or another score that is no probability: what is added to it everywhere says nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import tiny_net
from explainers.test_methods import FAST
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer, methods
from maskwise.explainers.perturb import generators
from maskwise.explainers.rise import random_masks

IMAGES = torch.nn.functional.interpolate(
    torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(3)), (40, 52), mode="bilinear"
)


class Scaled(nn.Module):
    def __init__(self, offset: float) -> None:
        super().__init__()
        self.network, self.offset = tiny_net(), offset

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = 30 * self.network(images) + self.offset
        return scores


def scored(offset: float) -> Classifier:
    return Classifier(Scaled(offset), input_size=32, activation="none", name="scores")


ASKED = [name for name, facts in methods.items() if facts["family"] != "maskers" and facts["needs_target"]]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ASKED)
def test_maps_of_scores_do_not_hang_on_their_offset(name: str) -> None:
    """RISE's of scores around 45 showed where its masks happened to lie, and around -45 the opposite."""
    try:
        own, *others = (explainer(name, scored(by), **FAST.get(name, {}))(IMAGES, [1, 2]) for by in (0, 64, -64))
    except InputError:
        pytest.skip("takes no such network")
    for other in others:
        assert (own - other).abs().max() < 5e-3


@pytest.mark.parametrize("options", [{}, {"top": 5}])
def test_score_cam_s_map_follows_the_score(options: dict[str, int]) -> None:
    """Of scores that are all far above 0 it was the sum of all channels, and of those below 0 it was flat."""
    maps = [explainer("score_cam", scored(by), **options)(IMAGES, [[2, 3]] * 2) for by in (64, -64)]
    for found in maps:
        assert (found.amax((2, 3)) > 0.9).all() and not torch.allclose(found[:, 0], found[:, 1], atol=0.05)


@pytest.mark.parametrize("name", ["rise", "score_cam"])
def test_so_are_contrasts_and_functions_of_such_outputs(name: str) -> None:
    """A function that picks a class, or the difference of two, is explained as those are."""

    def found(offset: float, asked: Any) -> Tensor:
        return explainer(name, scored(offset), **FAST.get(name, {}))(IMAGES, asked)

    for asked, same in ((3, lambda logits: logits[:, 3]), ("3 - 1", lambda logits: logits[:, 3] - logits[:, 1])):
        assert (found(0, asked) - found(-64, asked)).abs().max() < 5e-3
        assert (found(64, asked) - found(64, same)).abs().max() < 5e-3 and found(0, asked).std() > 0.05


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("activation", "asked", "goal"),
    [
        ("none", 1, (0, 1, 0, 0, 0)),
        ("none", "1 - 3", (0, 1, 0, -1, 0)),
        ("softmax", 1, (0, 1, 0, 0, 0)),
        ("softmax", "1 - 3", (0, 1, 0, -1, 0)),
    ],
)
def test_rise_counts_from_the_whole_picture_and_of_probabilities_from_nothing(
    activation: Any, asked: Any, goal: tuple[float, ...]
) -> None:
    """The sum of (score - the whole picture's) x mask, by hand; the paper's, of probabilities."""
    classifier = Classifier(Scaled(64), input_size=32, activation=activation, name="scores")
    images = torch.nn.functional.interpolate(IMAGES, (32, 32), mode="bilinear")[:1]
    ours = explainer("rise", classifier, masks=64, batch=64)(images, asked)[0]
    masks = random_masks(generators(images, 0), 64, 7, 0.5, (32, 32))[0]
    clean = classifier.normalise(images)
    with torch.no_grad():
        scores = classifier.probabilities(classifier.network(clean * masks[:, None])) @ torch.tensor(goal).float()
        own = classifier.probabilities(classifier.network(clean))[0] @ torch.tensor(goal).float()
        whole = own if activation == "none" else 0.0
    wanted = ((scores - whole)[:, None, None] * masks).sum(0)
    wanted = (wanted - wanted.min()) / (wanted.max() - wanted.min())
    assert (ours - wanted).abs().max() < 1e-3


def test_rise_of_outputs_as_they_are_is_the_same_by_either_scoring() -> None:
    """Such a network has one score, which hung on its offset as a logit alone. A logit of softmax is the paper's."""
    asked = {"masks": 64, "batch": 64}
    for offset in (64, -64):
        first, second = (
            explainer("rise", scored(offset), scoring=way, **asked)(IMAGES, 1) for way in ("logit", "probability")
        )
        assert torch.equal(first, second)
    own, moved = (
        explainer("rise", Classifier(Scaled(by), input_size=32), scoring="logit", **asked)(IMAGES, 1) for by in (0, 64)
    )
    assert (own - moved).abs().max() > 0.1

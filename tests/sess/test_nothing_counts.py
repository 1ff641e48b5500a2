"""SESS where scores are below 0, or nothing exceeds theta: no window counts upside down, and zeros say why."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from conftest import tiny_net
from torch import Tensor

import maskwise as mw
from maskwise.classifiers import Classifier

TINY = Classifier(tiny_net(), input_size=32, name="tiny")
CURE = "exceeds `theta`; lower `theta`"


def picture() -> Tensor:
    return torch.rand(1, 3, 44, 52, generator=torch.Generator().manual_seed(2))


def brightness(images: Tensor, targets: object) -> Tensor:
    return images.mean(1)


def told(sess: mw.SESS, target: Any) -> tuple[Tensor, list[str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        maps = sess(picture(), target)
    return maps, sess.report["warnings"]


def below(logits: Tensor) -> Tensor:
    """A score that is below 0 wherever it is asked."""
    return logits[:, 0] * 0 - 1 - logits.softmax(1)[:, 1]


class TestScoresBelowZero:
    @pytest.mark.parametrize("weights", ["softmax", "softmax_max", "logit"])
    @pytest.mark.parametrize("prefilter", [0.0, 0.5])
    def test_no_window_counts(self, weights: Any, prefilter: float) -> None:
        """A share of the largest of such scores was above 0, and largest for the worst window."""
        maps, lines = told(mw.SESS(brightness, TINY, scales=4, prefilter=prefilter, weights=weights), below)
        assert maps.eq(0).all()
        assert len(lines) == 1 and CURE in lines[0]

    @pytest.mark.parametrize("weights", ["softmax", "softmax_max"])
    def test_some_below_zero_are_left_out(self, weights: Any) -> None:
        """Half of the windows score above 0: the map is theirs alone, whether filtered or not."""
        whole = TINY.logits(TINY.prepare(picture()))[0, 0].item()

        def split(logits: Tensor) -> Tensor:
            return logits[:, 0] - whole + 0.004

        loose = mw.SESS(brightness, TINY, scales=4, weights=weights, smooth=False)
        maps, lines = told(loose, split)
        scores = mw.SESS(brightness, TINY, scales=4, smooth=False).views(picture()[0], split)
        good = sum(view.score > 0 for view in scores)
        assert 0 < good < len(scores) and not lines
        filtered, _ = told(
            mw.SESS(
                brightness, TINY, scales=4, weights=weights, smooth=False, prefilter=1 - (good + 0.5) / len(scores)
            ),
            split,
        )
        assert torch.allclose(maps, filtered, atol=1e-6)

    def test_nothing_is_pruned(self) -> None:
        """Half of -2 is more than -2: even the best window's children went."""
        sess = mw.SESS(brightness, TINY, scales=5, weights="logit", prune=0.5)
        told(sess, below)
        assert torch.equal(sess.report["scored"], sess.report["windows"])


class TestTheta:
    def test_above_all_it_says_so(self) -> None:
        explain = mw.explainer("gradient", TINY)
        maps, lines = told(mw.SESS(explain, scales=3, theta=0.99), 1)
        assert maps.eq(0).all() and len(lines) == 1 and CURE in lines[0]
        assert not told(mw.SESS(explain, scales=3), 1)[1]

    def test_what_is_flat_without_it_is_not_its_doing(self) -> None:
        """Every window's map is flat: another class may help, another theta can't."""
        for explain in (mw.explainer("uniform", TINY), lambda images, targets: torch.ones(len(images), 8, 8)):
            for target, theta in ((1, 0.1), (below, 0.0)):
                _, lines = told(mw.SESS(explain, TINY, scales=3, theta=theta), target)
                assert len(lines) == 1 and "the map is flat" in lines[0]


def test_a_picture_of_one_colour_has_no_edges() -> None:
    """Resized, its pixels differ by float32's rounding: stretched, that was a map."""
    edges = mw.explainer("edges", TINY)
    for grey in (0.1, 0.4, 0.7):
        assert edges(torch.full((1, 3, 48, 41), grey)).eq(0).all()
    step = torch.full((1, 3, 32, 32), 0.4)
    step[..., 16:] += 1 / 255
    assert edges(step)[0, :, 15:17].min() > 0.99 and edges(step)[0, :, :14].eq(0).all()


@pytest.mark.parametrize(
    ("offset", "told"), [(64.0, True), (-0.5, False), (0.3, False), (0.7, True), (-1.0, True), (-64.0, True)]
)
def test_scores_that_are_no_probabilities_are_told(offset: float, told: bool) -> None:
    """An age of 64 in all windows weighs them alike, and windows below 0 were left out without a word; scores from 0 to
    1 that a network makes itself are taken."""

    def small(images: Tensor) -> Tensor:
        return torch.stack([images.mean((1, 2, 3)), images.amax((1, 2, 3))], 1) * 0.6 + offset

    classifier = Classifier(small, input_size=32, activation="none", name="box")
    for weights, said in (("softmax", told), ("logit", False)):
        sharper = mw.SESS(lambda images, targets: images.mean(1), classifier, scales=2, weights=weights)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sharper(torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0)), 1)
        assert bool(sharper.doubted.get("no_probability", torch.zeros(1)).any()) is said


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_a_contrast_of_probabilities_may_lie_below_0(activation: Any) -> None:
    """Where the other class is likelier, a window counts nothing: that is what was asked."""
    network = torch.nn.Sequential(tiny_net(), torch.nn.Softmax(1)) if activation == "none" else tiny_net()
    classifier = Classifier(network, input_size=32, activation=activation)
    sharper = mw.SESS(lambda images, targets: images.mean(1), classifier, scales=3, prune=1.0)
    images = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sharper(images, [["0 - 1", "1 - 0"]])
        assert not sharper.doubted.get("no_probability", torch.zeros(1)).any()
        sharper(images, [[0, 1]])  # windows that pruning leaves out have no score
    assert not bool(sharper.doubted.get("no_probability", torch.zeros(1)).any())

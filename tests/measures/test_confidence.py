"""Average drop and increase in confidence, picture by picture and where they can be derived."""

import pytest
import torch
from conftest import tiny_net
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.measures import metric

SIDE = 32
CLASSIFIER = Classifier(tiny_net(), input_size=SIDE, name="tiny")


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=15, deadline=None)
def test_all_equal_the_formula_picture_by_picture(seed: int, given_class: bool) -> None:
    """On the normalised picture, which the map multiplies."""
    draws = torch.Generator().manual_seed(seed)
    images, maps = torch.rand(4, 3, SIDE, SIDE, generator=draws), torch.rand(4, SIDE, SIDE, generator=draws)
    targets = torch.randint(0, 5, (4,), generator=draws)
    drops, rises, gains = [], [], []
    for image, m, target in zip(images, maps, targets.tolist(), strict=True):
        normal = CLASSIFIER.normalise(image[None])
        whole = CLASSIFIER.module(normal).double().softmax(1)[0]
        part = CLASSIFIER.module(normal * m).double().softmax(1)[0]
        category = target if given_class else int(whole.argmax())
        y, o = float(whole[category]), float(part[category])
        drops.append(100 * max(0.0, y - o) / y)
        rises.append(100.0 * (o > y))
        gains.append(100 * max(0.0, o - y) / (1 - y))
    target = "class" if given_class else "predicted"
    for name, expected in (("average_drop", drops), ("increase_in_confidence", rises), ("average_gain", gains)):
        rows = metric(name, CLASSIFIER, target=target, batch=3).per_image(maps, images=images, targets=targets)
        assert rows.flatten().tolist() == pytest.approx(expected, abs=1e-3)


def test_the_whole_picture_neither_drops_nor_rises() -> None:
    images = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for name in ("average_drop", "increase_in_confidence", "average_gain"):
        rows = metric(name, CLASSIFIER).per_image(torch.ones(3, SIDE, SIDE), images=images)
        assert rows.abs().max() < 1e-4


def test_a_map_of_zeros_leaves_the_mean_colour() -> None:
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    whole = CLASSIFIER.logits(images).softmax(1)
    grey = CLASSIFIER.module(torch.zeros(1, 3, SIDE, SIDE)).softmax(1)[0]
    y, o = whole.amax(1), grey[whole.argmax(1)]
    rows = metric("average_drop", CLASSIFIER).per_image(torch.zeros(2, SIDE, SIDE), images=images)
    assert rows.flatten().tolist() == pytest.approx((100 * (y - o).clamp(min=0) / y).tolist(), abs=1e-3)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_class_that_is_certain_or_impossible_has_numbers(sign: int) -> None:
    """Logits 2000 apart: in float64 the probability is 1, or 0, and what would be divided by is nothing."""
    network = tiny_net()
    with torch.no_grad():
        network[-1].weight.mul_(1e-3)
        network[-1].bias.copy_(torch.tensor([1000.0, -1000, -1000, -1000, -1000]) * sign)
    certain = Classifier(network, input_size=16)
    images, maps = torch.rand(2, 3, 16, 16), torch.rand(2, 16, 16)
    wanted = torch.zeros(2, dtype=torch.int64)
    for name in ("average_drop", "average_gain", "increase_in_confidence"):
        rows = metric(name, certain, target="class").per_image(maps, images=images, targets=wanted)
        assert rows.tolist() == [[0.0], [0.0]], name


def test_what_does_not_fit_is_refused() -> None:
    images = torch.rand(2, 3, SIDE, SIDE)
    with pytest.raises(InputError, match="must fit"):
        metric("average_drop", CLASSIFIER).per_image(torch.rand(1, SIDE, SIDE), images=images)
    with pytest.raises(InputError, match="needs `targets`"):
        metric("average_drop", CLASSIFIER, target="class").per_image(torch.rand(2, SIDE, SIDE), images=images)
    with pytest.raises(InputError, match=r"\[0,1\]"):
        metric("average_drop", CLASSIFIER).per_image(torch.full((2, SIDE, SIDE), 2.0), images=images)

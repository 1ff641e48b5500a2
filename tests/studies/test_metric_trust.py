"""Known mechanisms are what they say, maps are spoilt step by step, and a metric's order is judged rightly."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.stats import somersd
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.correlation import concordance
from maskwise.studies.jobs.trust import MARGIN, OrderedMaps, TrustJob
from maskwise.studies.mechanisms import KnownCase, KnownSettings, mechanisms
from maskwise.studies.mechanisms.ladder import closeness, maps_of, spoilt
from maskwise.studies.mechanisms.learned import patterned, shaped
from maskwise.studies.mechanisms.linear import LinearTap, contributions
from maskwise.studies.mechanisms.planted import places_apart

SETTINGS = KnownSettings(side=30, pictures=6, train=12, epochs=1, rise_masks=10)
DRAWS = torch.Generator().manual_seed(5)
GROUNDS = torch.rand(8, 3, 30, 30, generator=DRAWS)


def probabilities(case: KnownCase, images: Tensor) -> Tensor:
    return case.classifier.logits(case.classifier.prepare(images)).detach().softmax(1)


def case_of(name: str) -> KnownCase:
    return mechanisms.get(name)(GROUNDS, SETTINGS)


def test_concordance_is_somers_d() -> None:
    values, truth = torch.randint(0, 5, (4, 30), generator=DRAWS).float(), torch.randint(0, 3, (30,), generator=DRAWS)
    expected = [somersd(truth.numpy(), row.numpy()).statistic for row in values]
    assert concordance(values, truth).tolist() == pytest.approx(expected, abs=1e-12)
    set_of_pixels = (truth > 1).float()
    pairs = itertools.product(values[0][set_of_pixels == 1].tolist(), values[0][set_of_pixels == 0].tolist())
    wins = [(a > b) + 0.5 * (a == b) for a, b in pairs]
    assert concordance(values[:1], set_of_pixels).item() == pytest.approx(2 * sum(wins) / len(wins) - 1)
    assert concordance(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([0.0, 0.04, 1.0]), 0.05).item() == 1
    assert concordance(torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([0.0, 0.04, 1.0]), 0.05).item() == 1, "undecided"
    assert concordance(torch.tensor([[1.0, torch.nan]]), torch.tensor([0.0, 1.0])).isnan().all()


@pytest.mark.parametrize("name", ["one square", "either square", "both squares"])
def test_squares_alone_decide(name: str) -> None:
    case, count = case_of(name), 1 if name == "one square" else 2
    sure = probabilities(case, case.images)
    assert (case.truth.sum((1, 2)) == count * 36).all() and (sure.amax(1) > 0.97).all()
    elsewhere = torch.where(
        case.truth[:, None] > 0, case.images, torch.rand(case.images.shape, generator=DRAWS) / 2 + 0.25
    )
    assert torch.allclose(probabilities(case, elsewhere), sure, atol=1e-6), "nothing else plays a part"
    for colour in (0.0, 0.5, 1.0):
        gone = torch.where(case.truth[:, None] > 0, torch.tensor(colour), case.images)
        assert torch.allclose(probabilities(case, gone), torch.full_like(sure, 0.25), atol=1e-6)


@pytest.mark.parametrize(("name", "left"), [("either square", "all"), ("both squares", "none")])
def test_without_one_of_two_squares(name: str, left: str) -> None:
    case = case_of(name)
    for image, truth, whole in zip(case.images, case.truth, probabilities(case, case.images), strict=True):
        row, column = truth.nonzero()[0].tolist()
        part = image[None].clone()
        part[..., row : row + 6, column : column + 6] = 0.5
        found = probabilities(case, part)[0]
        assert torch.allclose(found, whole if left == "all" else torch.full((4,), 0.25), atol=1e-6)


def test_squares_do_not_touch() -> None:
    corners = places_apart(200, 2, 30, 6, DRAWS)
    apart = (corners[:, 0] - corners[:, 1]).abs().amax(1)
    assert int(apart.min()) > 6 and int(corners.min()) >= 0 and int(corners.max()) <= 24


def test_what_places_add_to_a_linear_tap_sums_up_to_the_lead_of_its_class() -> None:
    case = case_of("linear tap")
    network = case.classifier.module
    assert isinstance(network, LinearTap)
    with torch.no_grad():
        normal = case.classifier.normalise(case.images)
        logits = network(normal)
        added = contributions(network, normal, logits.argmax(1)).mean((1, 2))
    assert torch.allclose(added, logits.amax(1) - logits.mean(1), atol=1e-5)
    assert case.truth.amin() == 0 and case.truth.amax() == 1
    grey = torch.full_like(case.images, 0.5)
    assert torch.allclose(probabilities(case, grey), torch.full((1, 4), 0.25), atol=1e-6), (
        "the mean colour adds nothing"
    )


@pytest.mark.parametrize(("draw", "share"), [(patterned, 49 / 900), (shaped, None)])
def test_only_the_truth_differs_from_the_photograph(
    draw: Callable[[Tensor, int], tuple[Tensor, Tensor, Tensor]], share: float | None
) -> None:
    images, truth, labels = draw(GROUNDS, 3)
    assert torch.equal(images * (1 - truth[:, None]), GROUNDS * (1 - truth[:, None]))
    assert labels.bincount().min() >= 2 and (truth.sum((1, 2)) > 20).all()
    if share is not None:
        assert truth.mean().item() == pytest.approx(share)
    assert torch.equal(draw(GROUNDS, 3)[0], images) and not torch.equal(draw(GROUNDS, 4)[0], images)


@pytest.mark.parametrize("name", ["learned pattern", "learned shape"])
def test_learned_cases_are_the_same_each_time(name: str) -> None:
    first, second = case_of(name), case_of(name)
    assert first.classifier.fingerprint() == second.classifier.fingerprint()
    assert torch.equal(first.images, second.images) and 2 <= len(first.images) <= 6


def test_the_ladder_goes_down() -> None:
    truth = torch.zeros(5, 30, 30)
    truth[:, 8:16, 8:16] = 1
    maps = spoilt(truth, torch.rand(5, 3, 30, 30, generator=DRAWS))
    close = closeness(maps, truth)
    assert close["truth"] == 1 and close["reversed"] < -0.99
    for steps in (
        ["truth", "20% noise", "40% noise", "60% noise", "80% noise"],
        ["truth", "shifted by a sixteenth", "shifted by an eighth", "shifted by a quarter"],
    ):
        numbers = [close[name] for name in steps]
        assert numbers == sorted(numbers, reverse=True) and numbers[-1] < numbers[0] - 0.4
    assert 0.3 < close["half of it lost"] < 0.7
    assert all(float(m.min()) == 0 and float(m.max()) == 1 for m in maps.values())
    assert all(len(m.unique()) > 800 for m in maps["truth"]), "no map wins by the order of its ties"


def test_all_maps_are_made_and_lie_in_0_1() -> None:
    case = case_of("one square")
    maps = maps_of(case, SETTINGS)
    assert {"truth", "reversed", "center", "random", "grad_cam", "rise"} <= set(maps)
    assert all(m.shape == case.truth.shape and float(m.min()) >= 0 and float(m.max()) <= 1 for m in maps.values())


def ordered(case: KnownCase) -> OrderedMaps:
    maps = spoilt(case.truth, case.images)
    return OrderedMaps(case, maps, closeness(maps, case.truth))


@pytest.mark.parametrize(("metric", "sign"), [("deletion", -1), ("road", 1)])
def test_the_number_is_the_share_of_pairs_in_order(metric: str, sign: int) -> None:
    """By loops over pairs, of means that another call of the metric gives."""
    from maskwise.measures import metric as build

    maps = ordered(case_of("one square"))
    options: dict[str, Any] = {"step": 0.25} if metric == "deletion" else {"fill": "mean"}
    found = TrustJob(metric, options).on(maps, 40)
    values = {}
    for name, m in maps.maps.items():
        made = build(metric, maps.case.classifier, **options)
        made.update(m, images=maps.case.images)
        values[name] = sign * float(made.compute())
    signs = []
    for a, b in itertools.combinations(maps.maps, 2):
        gap = maps.close[a] - maps.close[b]
        if abs(gap) > MARGIN:
            better = values[a] - values[b]
            signs.append(0 if better == 0 else (1 if (better > 0) == (gap > 0) else -1))
    assert found.value == pytest.approx(sum(signs) / len(signs)) and found.value > 0.5
    assert found.draws.shape == (40,) and abs(found.draws.mean() - found.value) < 0.3


def test_a_metric_that_knows_the_truth_has_1_and_its_opposite_minus_1() -> None:
    maps = ordered(case_of("one square"))
    fixed = torch.tensor(list(maps.close.values()))
    assert concordance(torch.stack([fixed, -fixed]), fixed, MARGIN).tolist() == [1, -1]


def test_curves_are_shared_between_metrics() -> None:
    maps = ordered(case_of("one square"))
    for name in ("deletion", "aopc", "insertion_deletion"):
        TrustJob(name, {"step": 0.25}).on(maps, 5)
    assert len({key for key, _ in maps.rows}) == 2, "a deletion and an insertion"


def test_pictures_that_the_network_has_wrong_are_left_out() -> None:
    from maskwise.studies.mechanisms.base import kept_right

    case = case_of("one square")
    classes = case.classifier.logits(case.images).argmax(1)
    wrong = classes.clone()
    wrong[0] = (wrong[0] + 1) % 4
    assert len(kept_right(case.classifier, case.images, case.truth, wrong).images) == 5
    assert len(kept_right(case.classifier, case.images, case.truth, (classes + 1) % 4).images) == 6
    assert isinstance(case.classifier, Classifier)

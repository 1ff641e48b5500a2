"""What holds of every metric: sums over pictures in any order, in any batches, on any number of processes."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_net
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.measures import Metric, metric, metrics

N, SIDE, CLASSES = 7, 32, 5
OPTIONS: dict[str, dict[str, Any]] = {"pointing": {"classes": CLASSES}, "pointing_difficult": {"classes": CLASSES}}
DRAWS = torch.Generator().manual_seed(5)
CLASSIFIER = Classifier(tiny_net(), input_size=SIDE, name="tiny")


def a_box() -> Tensor:
    corners = torch.rand(2, 2, generator=DRAWS, dtype=torch.float64).sort(0).values * (SIDE - 4)
    return torch.cat([corners[0], corners[1] + 4])


MAPS = torch.rand(N, SIDE, SIDE, generator=DRAWS) ** 3
TRUTH: dict[str, Any] = {
    "boxes": [torch.stack([a_box() for _ in range(1 + i % 3)]) for i in range(N)],
    "masks": torch.rand(N, SIDE, SIDE, generator=DRAWS) < 0.3,
    "ignore": torch.rand(N, SIDE, SIDE, generator=DRAWS) < 0.1,
    "images": torch.rand(N, 3, SIDE, SIDE, generator=DRAWS),
    "targets": torch.arange(N) % CLASSES,
    "labels": torch.tensor([0, 1, 2, 3, 4, 0, -1]),
    "categories": torch.tensor([0, 1, 2, 3, 4, 0, 2]),
    "probabilities": torch.rand(N, CLASSES, generator=DRAWS).softmax(1),
    "regions": [
        {c: torch.rand(SIDE, SIDE, generator=DRAWS) < 0.02 for c in {i % CLASSES, (i + 1) % CLASSES}} for i in range(N)
    ],
    "difficult": [{i % CLASSES} if i % 2 else set() for i in range(N)],
}


def made(name: str) -> Metric:
    return metric(name, CLASSIFIER, **OPTIONS.get(name, {}))


def truth(name: str, rows: list[int]) -> dict[str, Any]:
    wanted = made(name)
    found = {}
    for key in (*wanted.needs, *wanted.takes):
        value = TRUTH[key]
        found[key] = value[rows] if isinstance(value, Tensor) else [value[i] for i in rows]
    return found


def rows_of(name: str, rows: list[int]) -> Tensor:
    return made(name).per_image(MAPS[rows], **truth(name, rows))


every = pytest.mark.parametrize("name", metrics.names())
ALL = list(range(N))


def fits(rows: torch.Tensor, name: str) -> bool:
    """A state of one number takes rows of any length: those of a curve are as long as a picture has steps."""
    return len(made(name).total) in (1, rows.shape[1])


@every
def test_statistics_are_rows_of_float64_that_fit_the_state(name: str) -> None:
    rows = rows_of(name, ALL)
    assert rows.dtype == torch.float64
    assert len(rows) == N and fits(rows, name)
    assert not rows.isinf().any()
    assert not rows.isnan().all()


@every
def test_batches_order_and_company_change_nothing(name: str) -> None:
    together, order = rows_of(name, ALL), [4, 0, 6, 2, 5, 1, 3]
    assert torch.allclose(rows_of(name, order), together[order], rtol=1e-5, atol=1e-5, equal_nan=True)
    whole, split = made(name), made(name)
    whole.update(MAPS, **truth(name, ALL))
    for part in (order[:3], order[3:4], order[4:]):
        split.update(MAPS[part], **truth(name, part))
    assert whole.compute().isfinite()
    assert float(split.compute()) == pytest.approx(float(whole.compute()), rel=1e-6, abs=1e-6)


@every
def test_states_of_two_processes_add_up(name: str) -> None:
    whole, first, second = made(name), made(name), made(name)
    whole.update(MAPS, **truth(name, ALL))
    first.update(MAPS[:4], **truth(name, ALL[:4]))
    second.update(MAPS[4:], **truth(name, ALL[4:]))
    total, count = first.total + second.total, first.count + second.count
    assert float(whole.value(total, count)) == pytest.approx(float(whole.compute()), rel=1e-6, abs=1e-6)
    assert all(how is torch.sum or "sum" in str(how) for how in whole._reductions.values())


@every
def test_pictures_without_truth_are_not_counted(name: str) -> None:
    rows = rows_of(name, ALL)
    known = ~rows.isnan().any(1)
    counted = made(name)
    counted.update(MAPS, **truth(name, ALL))
    assert counted.count == known.sum()
    assert torch.allclose(counted.total, rows[known].sum(0))
    assert made(name).value(torch.zeros_like(counted.total), torch.zeros((), dtype=torch.float64)).isnan()


@every
def test_values_of_many_sums_at_once(name: str) -> None:
    rows = rows_of(name, ALL)
    rows = rows[~rows.isnan().any(1)]
    weights = torch.tensor([[1.0] * len(rows), [2.0] * len(rows), [0.0] + [1.0] * (len(rows) - 1)]).double()
    values = made(name).value(weights @ rows, weights.sum(1))
    assert values.shape == (3,)
    for value, weight in zip(values, weights, strict=True):
        assert value == made(name).value(weight @ rows, weight.sum())
    if name != "area_std":  # n - 1 makes a spread depend on the number of pictures
        assert values[0] == pytest.approx(float(values[1]))


@every
def test_parts_side_by_side_are_the_whole(name: str) -> None:
    parts = made(name).parts()
    if parts:
        found = [part.per_image(MAPS, **truth(name, ALL)) for part in parts]
        assert torch.equal(torch.cat(found, 1), rows_of(name, ALL))


@every
def test_a_batch_of_none(name: str) -> None:
    assert len(rows_of(name, [])) == 0 and fits(rows_of(name, []), name)


@every
def test_maps_may_be_arrays(name: str) -> None:
    flipped = MAPS.numpy()[:, :, ::-1]  # negative strides: nothing that a tensor can share
    rows = made(name).per_image(flipped, **truth(name, ALL))
    expected = made(name).per_image(MAPS.flip(2), **truth(name, ALL))
    assert torch.equal(rows.nan_to_num(-1), expected.nan_to_num(-1))


@every
def test_facts_and_protocol(name: str) -> None:
    facts = metrics.facts(name)
    assert {
        "family",
        "title",
        "paper",
        "unit",
        "higher_is_better",
        "needs",
        "takes",
        "needs_classifier",
        "says",
    } == set(facts)
    chosen = made(name)
    assert chosen.needs == facts["needs"] and chosen.higher_is_better == facts["higher_is_better"]
    protocol = chosen.protocol()
    assert all(isinstance(value, str | int | float | bool | None) for value in protocol.values())
    assert ("classifier" in protocol) == chosen.needs_classifier == facts["needs_classifier"]


@every
def test_nan_is_refused(name: str) -> None:
    broken = MAPS.clone()
    broken[1, 0, 0] = torch.nan
    with pytest.raises(InputError):
        made(name).per_image(broken, **truth(name, ALL))


def test_metrics_by_name_and_their_options() -> None:
    assert metric("le", rule="rank", connectivity=8).protocol()["rule"] == "rank"
    with pytest.raises(InputError, match="did you mean pxap"):
        metric("pxapp")
    with pytest.raises(InputError, match="'le' has no option 'bins'"):
        metric("le", bins=3)
    with pytest.raises(InputError, match="'area' has no option 'x'; it has none"):
        metric("area", x=1)
    with pytest.raises(InputError, match="asks a classifier"):
        metric("insertion")
    with pytest.raises(InputError, match="bins must be a whole number, not .many."):
        metric("pxap", bins="many")
    for name, options in {
        "le": {"rule": "median"}, "om": {"connectivity": 6}, "pxap": {"bins": 0}, "f1": {"truth": "rounded"},
        "max_box_acc": {"steps": 0}, "pointing": {"tolerance": 0}, "insertion": {"blur": "box"},
        "deletion": {"step": 0}, "sm": {"resize": "nearest"}, "average_drop": {"target": "label"},
        "insertion_deletion": {"batch": 0},
    }.items():  # fmt: skip
        with pytest.raises(InputError):
            metric(name, CLASSIFIER, **options)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_calling_a_metric_gives_the_batch_s_own_value() -> None:
    area = metric("area")
    assert area(torch.zeros(2, 4, 4)) == 0
    assert area(np.ones((2, 4, 4))) == 1
    assert area.compute() == 0.5
    area.reset()
    assert area.compute().isnan()


def test_a_classifier_is_asked_as_it_is_and_left_as_it_was() -> None:
    CLASSIFIER.module.train()
    try:
        before = {key: value.clone() for key, value in CLASSIFIER.module.state_dict().items()}
        rows = rows_of("insertion", ALL)
        assert CLASSIFIER.module.training
        assert all(torch.equal(value, before[key]) for key, value in CLASSIFIER.module.state_dict().items())
    finally:
        CLASSIFIER.module.eval()
    assert torch.equal(rows, rows_of("insertion", ALL))
    assert not list(made("sm").children()), "moving or saving a metric must not move or save its classifier"

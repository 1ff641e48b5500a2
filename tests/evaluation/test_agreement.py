"""Which metrics rank alike: against scipy picture by picture, worked by hand, and where truth is missing."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_net
from PIL import Image
from scipy.stats import kendalltau, spearmanr
from torch import Tensor

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.evaluation import Contender, Measured, Settings, measure
from maskwise.evaluation.agreement import MetricAgreement, agreement, by_chance
from maskwise.measures import Metric, metric
from maskwise.report.agreement import agreement_page, write_agreement

NAMES = ("first", "second", "third", "fourth")


def of_rows(rows: dict[str, dict[str, Tensor]], metrics: dict[str, Metric], keys: list[str] | None = None) -> Measured:
    """A comparison with these rows, by metric and method."""
    methods = list(next(iter(rows.values())))
    count = len(next(iter(next(iter(rows.values())).values())))
    found = Measured("a classifier", metrics, Settings(), [Contender.of(m, _nothing) for m in methods])
    found.pictures["set"] = keys or [f"{i}#0" for i in range(count)]
    found.statistics = {("set", method, name): row for name, of in rows.items() for method, row in of.items()}
    return found


def _nothing(images: Tensor, targets: Tensor) -> Tensor:
    raise AssertionError("rows are there already")


def numbers(seed: int, count: int = 30) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return {name: torch.rand(count, 1, generator=draws, dtype=torch.float64) + i / 10 for i, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def three() -> tuple[dict[str, dict[str, Tensor]], dict[str, Metric]]:
    rows = {"le": numbers(1), "f1": numbers(2), "area": numbers(3)}
    return rows, {name: metric(name) for name in rows}


def test_both_matrices_are_scipys(three: tuple[dict[str, dict[str, Tensor]], dict[str, Metric]]) -> None:
    rows, metrics = three
    found = agreement(of_rows(rows, metrics), resamples=50)
    assert found.metrics == ["le", "f1", "area"] and found.neither == ["area"] and found.pictures["le"] == 30
    for i, one in enumerate(found.metrics):
        for j, other in enumerate(found.metrics):
            turned = (-1 if one == "le" else 1) * (-1 if other == "le" else 1)  # of LE less is better
            means = [[float(rows[k][name].mean()) for name in NAMES] for k in (one, other)]
            assert float(found.over_methods.value[i, j]) == pytest.approx(turned * kendalltau(*means).statistic)
            each = [spearmanr(rows[one][name][:, 0], rows[other][name][:, 0]).statistic for name in NAMES]
            assert float(found.over_pictures.value[i, j]) == pytest.approx(turned * float(np.mean(each)))


def test_intervals_are_those_of_drawing_the_pictures_themselves(
    three: tuple[dict[str, dict[str, Tensor]], dict[str, Metric]],
) -> None:
    rows, metrics = three
    found = agreement(of_rows(rows, metrics), resamples=300, seed=4)
    generator, over_methods, over_pictures = torch.Generator().manual_seed(4), [], []
    for drawn in torch.randint(30, (300, 30), generator=generator):
        first, second = ({name: rows[k][name][drawn, 0].numpy() for name in NAMES} for k in ("le", "f1"))
        means = [[of[name].mean() for name in NAMES] for of in (first, second)]
        over_methods.append(-kendalltau(*means).statistic)
        over_pictures.append(np.mean([-spearmanr(first[name], second[name]).statistic for name in NAMES]))
    for numbers_found, draws in ((found.over_methods, over_methods), (found.over_pictures, over_pictures)):
        low, high = np.quantile(draws, [0.025, 0.975])
        assert float(numbers_found.low[0, 1]) == pytest.approx(low, abs=1e-9)
        assert float(numbers_found.high[0, 1]) == pytest.approx(high, abs=1e-9)


def test_metrics_that_know_of_different_pictures_meet_on_those_that_both_know() -> None:
    rows = {"f1": numbers(1), "energy_pointing": numbers(2), "area": numbers(3)}
    for name in NAMES:
        rows["f1"][name][20:] = torch.nan
        rows["energy_pointing"][name][:8] = torch.nan
    found = agreement(of_rows(rows, {name: metric(name) for name in rows}), resamples=20)
    assert [found.pictures[name] for name in rows] == [20, 22, 30]
    for (i, one), (j, other), part in (
        ((0, "f1"), (1, "energy_pointing"), slice(8, 20)),
        ((0, "f1"), (2, "area"), slice(0, 20)),
        ((1, "energy_pointing"), (2, "area"), slice(8, 30)),
    ):
        each = [spearmanr(rows[one][name][part, 0], rows[other][name][part, 0]).statistic for name in NAMES]
        assert float(found.over_pictures.value[i, j]) == pytest.approx(float(np.mean(each)))


def test_the_classes_of_a_picture_are_drawn_together() -> None:
    """Two pictures with fifteen classes each: a resample has one of them, the other, or both; three numbers in all."""
    rows = {"f1": numbers(1), "area": numbers(2)}
    keys = [f"{i // 15}#{i % 15}" for i in range(30)]
    found = agreement(of_rows(rows, {name: metric(name) for name in rows}, keys), resamples=400)
    possible = []
    for part in (slice(0, 15), slice(15, 30), slice(0, 30)):
        each = [spearmanr(rows["f1"][name][part, 0], rows["area"][name][part, 0]).statistic for name in NAMES]
        possible.append(float(np.mean(each)))
    assert float(found.over_pictures.low[0, 1]) == pytest.approx(min(possible))
    assert float(found.over_pictures.high[0, 1]) == pytest.approx(max(possible))


def test_what_says_nothing_is_nan_or_left_out() -> None:
    rows = {"f1": numbers(1), "area": numbers(2)}
    rows["iou_oracle"] = {name: torch.full((30, 1), torch.nan) for name in NAMES}
    rows["entropy"] = {name: torch.ones(30, 1, dtype=torch.float64) for name in NAMES}
    found = agreement(of_rows(rows, {name: metric(name) for name in rows}), resamples=20)
    assert found.metrics == ["f1", "area", "entropy"], "no picture has a mask"
    assert found.over_methods.value[2].isnan().all() and found.over_pictures.value[2].isnan().all(), "all the same"
    assert found.over_methods.low[2].isnan().all() and not found.over_methods.value[:2, :2].isnan().any()


def test_too_few_are_refused() -> None:
    rows = {"f1": numbers(1), "area": numbers(2)}
    two = {name: {m: of[m] for m in NAMES[:2]} for name, of in rows.items()}
    with pytest.raises(InputError, match="at least 3 methods"):
        agreement(of_rows(two, {name: metric(name) for name in rows}))
    with pytest.raises(InputError, match="at least 2 metrics"):
        agreement(of_rows({"f1": rows["f1"]}, {"f1": metric("f1")}))


def test_of_one_picture_there_are_no_intervals(tmp_path: Path) -> None:
    rows = {"f1": numbers(1, 1), "area": numbers(2, 1)}
    found = agreement(of_rows(rows, {name: metric(name) for name in rows}), resamples=20)
    assert found.over_methods.value.isfinite().all() and found.over_pictures.value.isnan().all()
    assert all(one.isnan().all() for one in (found.over_methods.low, found.over_methods.high, found.over_pictures.low))
    write_agreement(found, tmp_path)
    page = (tmp_path / "agreement.md").read_text()
    assert "[-, -]" in page and "nan" not in page


@pytest.mark.parametrize("methods", [8, 14])
def test_unrelated_rankings_agree_by_chance(methods: int) -> None:
    """Normal theory against drawn rankings; a share of 2.5% above the end, give or take what so many draws say."""
    draws = np.random.default_rng(0)
    found = [kendalltau(draws.permutation(methods), np.arange(methods)).statistic for _ in range(4000)]
    assert np.mean(np.abs(found) > by_chance(methods)) == pytest.approx(0.05, abs=0.015)


class TestMeasured:
    @pytest.fixture(scope="class")
    def found(self) -> MetricAgreement:
        classifier = Classifier(tiny_net(classes=8), input_size=32, name="tiny")
        contenders = [Contender.of(name, mw.explainer(name, classifier)) for name in ("center", "edges", "random")]
        names = ("f1", "pxap", "pointing", "max_box_acc_v2", "deletion", "insertion_deletion", "road", "area_std")
        metrics = {name: metric(name, classifier) for name in names}
        return agreement(measure(contenders, classifier, ["shapes:n=6,size=32,seed=3,labels=own"], metrics), 30)

    def test_every_kind_of_metric_takes_part(self, found: MetricAgreement) -> None:
        assert found.metrics[0] == "f1" and len(found.metrics) == 8
        assert not found.over_methods.value[:5, :5].isnan().all()
        spread = found.metrics.index("area_std")
        assert found.over_pictures.value[spread].isnan().all(), "of one picture there is no spread"

    def test_the_page_has_the_numbers_of_its_table(self, found: MetricAgreement, tmp_path: Path) -> None:
        write_agreement(found, tmp_path)
        assert {p.name for p in tmp_path.iterdir()} == {f"agreement.{e}" for e in ("md", "csv", "json", "png")}
        with (tmp_path / "agreement.csv").open() as file:
            cells = {(c["row"], c["column"]): c for c in csv.DictReader(file)}
        assert len(cells) == 8 * 7
        assert cells["f1", "deletion"]["over"] == "methods" and cells["deletion", "f1"]["over"] == "pictures"
        assert float(cells["f1", "deletion"]["value"]) == float(found.over_methods.value[0, 4])
        page = agreement_page(found, "agreement.png")
        header = next(line for line in page.splitlines() if line.startswith("| | f1"))
        row = next(line for line in page.splitlines() if line.startswith("| deletion | ") and "[" not in line)
        shown = dict(zip(header.split(" | ")[1:], row.split(" | ")[1:], strict=True))
        assert shown["f1"] == f"{float(found.over_pictures.value[4, 0]):.2f}"
        assert shown["road"] == f"{float(found.over_methods.value[4, 6]):.2f}" and shown["deletion"] == ""
        assert not math.isnan(float(found.over_pictures.value[4, 0]))
        with Image.open(tmp_path / "agreement.png") as picture:
            assert min(picture.size) > 300


def test_two_pictures_in_common_say_nothing() -> None:
    """Two are always in the same order or in the opposite one."""
    rows = {"f1": numbers(1), "area": numbers(2)}
    for name in NAMES:
        rows["f1"][name][16:] = torch.nan
        rows["area"][name][:14] = torch.nan
    found = agreement(of_rows(rows, {name: metric(name) for name in rows}), resamples=20)
    assert found.over_pictures.value[0, 1].isnan() and not found.over_methods.value[0, 1].isnan()


def test_a_method_of_one_value_is_left_out_over_pictures() -> None:
    rows = {"f1": numbers(1), "area": numbers(2)}
    rows["f1"][NAMES[0]][:] = 0.5
    found = agreement(of_rows(rows, {name: metric(name) for name in rows}), resamples=20)
    each = [spearmanr(rows["f1"][name][:, 0], rows["area"][name][:, 0]).statistic for name in NAMES[1:]]
    assert float(found.over_pictures.value[0, 1]) == pytest.approx(float(np.mean(each)))
    assert not found.over_pictures.low[0, 1].isnan()


def test_where_there_is_no_value_there_is_no_interval() -> None:
    """All methods have one mean, so that nothing is ranked, though resamples of the pictures differ."""
    rows = {"f1": numbers(1), "area": numbers(2)}
    for k, name in enumerate(NAMES):
        rows["f1"][name] = torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(15)[:, None].roll(k, 0)
    found = agreement(of_rows(rows, {name: metric(name) for name in rows}), resamples=20)
    for part in (found.over_methods.value, found.over_methods.low, found.over_methods.high):
        assert part[0, 1].isnan()

"""One leaderboard in five forms, text, terminal, CSV, JSON and HTML: each number stands where it belongs in all."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_net
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.commands.tables import plain_lines
from maskwise.data import DataSet, Record
from maskwise.data.sample import Sample, no_boxes
from maskwise.evaluation import Contender, Leaderboard, Settings, leaderboard, measure
from maskwise.evaluation.measured import MEASURED, Measured
from maskwise.measures import Metric, metric
from maskwise.report.leaderboard import rich_tables, short_number, write_csv, write_html, write_json

SIDE = 24
NAMES = ("le", "area", "mae", "energy_lift", "pxap")
METHODS = ("=sum", "plain [x]")  # a spreadsheet would run the first name, and a table would read the other as a style


@dataclass(frozen=True, eq=False)
class Some(DataSet):
    """Pictures of noise; of ``boxed`` the first so many have a box, and likewise ``masked``."""

    boxed: int = 0
    masked: int = 0

    def sample(self, record: Record) -> Sample:
        place = int(record.id)
        draws = torch.Generator().manual_seed(100 * len(self) + place)
        box = torch.tensor([[2.0, 3, 12 + place, 15]], dtype=torch.float64)
        return Sample(
            record.id, torch.rand(3, SIDE, SIDE, generator=draws), label=place % 3,
            boxes=box if place < self.boxed else no_boxes(),
            mask=torch.rand(SIDE, SIDE, generator=draws) < 0.4 if place < self.masked else None,
        )  # fmt: skip


def some(name: str, count: int, **known: int) -> Some:
    return Some(name, [Record(str(i), i % 3) for i in range(count)], tuple("abc"), **known)


SETS = (some("boxed", 12, boxed=9), some("masked", 8, masked=8), some("both", 5, boxed=5, masked=3))


def low(images: Tensor, targets: Tensor) -> Tensor:
    return images.mean(1) ** 4


def high(images: Tensor, targets: Tensor) -> Tensor:
    return 1 - images.mean(1)


@pytest.fixture(scope="module")
def found() -> tuple[Measured, Leaderboard]:
    judge = Classifier(tiny_net(classes=3), input_size=SIDE, name="tiny")
    wanted: dict[str, Metric] = {name: metric(name) for name in NAMES}
    contenders = [Contender.of(name, explain) for name, explain in zip(METHODS, (low, high), strict=True)]
    measured = measure(contenders, judge, SETS, wanted, Settings("none", batch=3))
    return measured, leaderboard(measured, resamples=200)


def test_cells_are_their_rows(found: tuple[Measured, Leaderboard]) -> None:
    """Value, number of pictures, best and difference, from the rows in plain NumPy; ``all`` pools the pictures."""
    measured, board = found
    groups = {name: [name] for name in measured.pictures} | {"all": list(measured.pictures)}
    for line in board.lines:
        for name in NAMES:
            both = [
                np.concatenate([measured.statistics[one, method, name].numpy() for one in groups[line.data]
                                if measured.statistics[one, method, name].shape[1] > 1 or name in ("le", "area", "mae")]
                               or [np.zeros((0, 1))]) for method in METHODS
            ]  # fmt: skip
            known = [rows[~np.isnan(rows).any(1)] for rows in both]
            if not len(known[0]):
                assert name not in line.cells
                continue
            cell, mine = line.cells[name], METHODS.index(line.method)
            values = [value_of(name, rows) for rows in known]
            assert cell.pictures == len(known[mine])
            assert cell.value == pytest.approx(values[mine], abs=1e-9)
            if name == "area":
                assert cell.difference is None and not board.is_best(line, name)
                continue
            better = max if name in ("energy_lift", "pxap") else min
            winner = values.index(better(values))
            assert board.best[line.data, name] == METHODS[winner]
            assert board.is_best(line, name) == (values[mine] == values[winner])
            if mine == winner:
                assert cell.difference is None
            else:
                assert cell.difference is not None
                assert cell.difference[0] == pytest.approx(values[mine] - values[winner], abs=1e-9)


def value_of(name: str, rows: np.ndarray) -> float:
    total = rows.sum(0)
    if name == "energy_lift":
        return float(total[0] / total[1])
    if name != "pxap":
        return float(total[0] / len(rows))
    front, back = total[:101][::-1].cumsum(), total[101:][::-1].cumsum()
    steps = [(f / (f + b)) * (f - g) for f, g, b in zip(front, [0, *front], back, strict=False) if f + b]
    return 100 * float(sum(steps) / front[-1])


def test_intervals_are_percentiles_of_means_of_pictures_that_were_drawn(found: tuple[Measured, Leaderboard]) -> None:
    measured, board = found
    rows = [measured.statistics["both", method, "mae"].numpy()[:, 0] for method in METHODS]
    rows = [one[~np.isnan(one)] for one in rows]
    draws = torch.randint(3, (200, 3), generator=torch.Generator().manual_seed(0)).numpy()
    means = [one[draws].mean(1) for one in rows]
    for method, drawn in zip(METHODS, means, strict=True):
        cell = board.cell(method, "mae", "both")
        assert [cell.low, cell.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=1e-9)
    winner = METHODS.index(board.best["both", "mae"])
    difference = board.cell(METHODS[1 - winner], "mae", "both").difference
    ends = np.percentile(means[1 - winner] - means[winner], [2.5, 97.5])
    assert difference is not None and difference[1:] == pytest.approx(ends, abs=1e-9)


def test_the_text_has_a_dash_where_a_data_set_says_nothing(found: tuple[Measured, Leaderboard]) -> None:
    _, board = found
    head, *rows = str(board).splitlines()
    starts = [head.index(word) for word in head.split()]
    for row, line in zip(rows, board.lines, strict=True):
        fields = [row[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
        assert fields[:2] == [line.data, line.method]
        for name, field in zip(board.metrics, fields[2:], strict=True):
            cell = line.cells.get(name)
            assert field == ("-" if cell is None else f"{cell.value:.3g} [{cell.low:.3g}, {cell.high:.3g}]")
    assert any("-" in row.split() for row in rows)


def test_terminal_csv_json_and_page_say_the_same(found: tuple[Measured, Leaderboard], tmp_path: Path) -> None:
    _, board = found
    write_csv(board, tmp_path / "a.csv")
    write_json(board, tmp_path / "a.json")
    write_html(board, tmp_path / "a.html")
    with open(tmp_path / "a.csv", newline="") as file:
        table = {(r["data"], r["method"].removeprefix("'"), r["metric"]): r for r in csv.DictReader(file)}
    plain = {(r["data"], r["method"]): r for r in json.loads((tmp_path / "a.json").read_text())["rows"]}
    assert len(table) == sum(len(line.cells) for line in board.lines) and len(plain) == len(board.lines)
    shown = page_cells((tmp_path / "a.html").read_text())
    printed = dict(terminal_cells(board))
    for line in board.lines:
        for name, cell in line.cells.items():
            row, said = table[line.data, line.method, name], plain[line.data, line.method]["metrics"][name]
            assert [float(row[key]) for key in ("value", "low", "high")] == [said[k] for k in ("value", "low", "high")]
            assert said["value"] == cell.value and int(row["pictures"]) == said["pictures"] == cell.pictures
            number = short_number(cell.value)
            span = f"[{short_number(cell.low)}, {short_number(cell.high)}]"
            assert printed[line.data, line.method, name] == f"{number} {span}"
            assert shown[line.data, line.method, name][:3] == (number, span, board.is_best(line, name))
            if cell.difference is None:
                assert row["difference"] == "" and "difference" not in said
                assert shown[line.data, line.method, name][3] == ""
            else:
                told = said["difference"]
                assert [float(row[f"difference{end}"]) for end in ("", "_low", "_high")] == list(cell.difference)
                assert [told[key] for key in ("value", "low", "high")] == list(cell.difference)
                assert told["to"] == row["best"].removeprefix("'") == board.best[line.data, name]
                d, low, high = map(short_number, cell.difference)
                assert shown[line.data, line.method, name][3] == f"Δ {d} [{low}, {high}]"
    assert not any(value.startswith("=") for row in table.values() for value in row.values())


def terminal_cells(board: Leaderboard) -> Any:
    """((data, method, metric), number and interval) of the tables of a pipe."""
    groups = list(dict.fromkeys(line.data for line in board.lines))
    for data, tables in ((data, list(rich_tables(board, 10_000, [data]))) for data in groups):
        title, head, *rows = (text for table in tables for text in plain_lines(table))
        assert title.startswith(f"{data}, ")
        for row in rows:
            method, *values = row.split("\t")
            for heading, value in zip(head.split("\t")[1:-1], values[:-1], strict=True):
                yield (data, method, heading.split()[0]), value


def page_cells(page: str) -> dict[tuple[str, str, str], tuple[str, str, bool, str]]:
    """By data, method and metric: number, interval, best, and difference."""
    found = {}
    page = page.replace("&lt;", "<").replace("&#39;", "'")
    for part in page.split("<h2>")[1:]:
        data = re.split(r"[ <]", part)[0]
        for row in re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", part, re.S):
            for attributes, content in re.findall(r"<td (.*?)>(.*?)</td>", row[1], re.S):
                name = re.search(r'data-name="(\S+)', attributes)
                number, *small = re.split(r"<small>", content.replace("</small>", ""))
                if name is not None and small:
                    key = (data, row[0], name[1].rstrip('"'))
                    found[key] = (number, small[0], 'class="best"' in attributes, small[1] if len(small) > 1 else "")
    return found


def test_pictures_that_say_nothing_are_counted_in_words(found: tuple[Measured, Leaderboard]) -> None:
    _, board = found
    said = [line for line in board.protocol["in_words"] if line.startswith("Of the")]
    assert said == [
        "Of the 12 pictures of boxed, 9 count for le, energy_lift: the others lack what it takes.",
        "Of the 25 pictures of all, 14 count for le, energy_lift: the others lack what it takes.",
        "Of the 5 pictures of both, 3 count for mae, pxap: the others lack what it takes.",
        "Of the 25 pictures of all, 11 count for mae, pxap: the others lack what it takes.",
    ]


class OfBright(Metric):
    """The map's mean, and nothing where that is small."""

    higher_is_better = True

    def per_image(self, maps: Tensor) -> Tensor:
        return torch.where(maps.mean((1, 2)) > 0.3, maps.mean((1, 2)), math.nan).double()[:, None]


def test_methods_that_say_something_of_other_pictures_are_compared_on_those_of_both() -> None:
    judge = Classifier(tiny_net(classes=3), input_size=SIDE, name="tiny")

    def dim(images: Tensor, targets: Tensor) -> Tensor:
        return images.mean(1) * 0.6

    contenders = [Contender.of("bright", high), Contender.of("dim", dim)]
    measured = measure(contenders, judge, [SETS[0]], {"mine": OfBright()}, Settings("none"))
    rows = [measured.rows(name, "mine")[:, 0].numpy() for name in ("bright", "dim")]
    both = ~np.isnan(rows[0]) & ~np.isnan(rows[1])
    assert 0 < both.sum() < len(both)
    board = leaderboard(measured, resamples=50)
    cell = board.cell("dim", "mine")
    assert cell.pictures == int((~np.isnan(rows[1])).sum()) and cell.value == pytest.approx(np.nanmean(rows[1]))
    assert cell.difference is not None
    assert cell.difference[0] == pytest.approx(rows[1][both].mean() - rows[0][both].mean())
    assert "count for mine" in " ".join(board.protocol["in_words"])


class MeanOfAny(Metric):
    """The mean of the maps that mark anything; no number where none does."""

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__()
        self.reserve(2)

    def per_image(self, maps: Tensor) -> Tensor:
        means = maps.double().mean((1, 2))
        return torch.stack([means, (means > 0).double()], 1)

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        return total[..., 0] / total[..., 1]


class LeastMeanOfAny(MeanOfAny):
    """The same, of which less is better."""

    higher_is_better = False


@pytest.mark.parametrize("kind", [MeanOfAny, LeastMeanOfAny])
def test_a_method_without_a_number_is_never_the_best(kind: type[Metric]) -> None:
    judge = Classifier(tiny_net(classes=3), input_size=SIDE, name="tiny")

    def nothing(images: Tensor, targets: Tensor) -> Tensor:
        return torch.zeros_like(images[:, 0])

    contenders = [Contender.of("nothing", nothing), Contender.of("some", high)]
    board = leaderboard(measure(contenders, judge, [SETS[2]], {"mine": kind()}, Settings("none")), 20)
    assert board.best == {("both", "mine"): "some"}
    assert [board.is_best(line, "mine") for line in board.lines] == [False, True]
    assert math.isnan(board.cell("nothing", "mine").value)
    plain = board.plain()["rows"][0]["metrics"]["mine"]
    assert plain["value"] is None and plain["difference"]["value"] is None


def test_classes_of_one_picture_are_drawn_together() -> None:
    """Of six pictures with one to three classes each, those drawn come with all their classes."""
    owners = [0, 1, 1, 2, 2, 2, 3, 4, 4, 5]
    draws = torch.Generator().manual_seed(3)
    rows = {name: torch.rand(len(owners), 1, generator=draws, dtype=torch.float64) for name in METHODS}
    contenders = [Contender(name, high, {}) for name in METHODS]
    measured = Measured("tiny", {"mae": metric("mae")}, Settings("none", "each"), contenders)
    measured.pictures["d"] = [f"{owner}.jpg#00{owner}/{i}" for i, owner in enumerate(owners)]
    for name in METHODS:
        measured.statistics |= {("d", name, kind): torch.full((10, 1), math.nan) for kind in MEASURED}
        measured.statistics["d", name, "mae"] = rows[name]
    board = leaderboard(measured, resamples=300, seed=4)
    drawn = torch.randint(6, (300, 6), generator=torch.Generator().manual_seed(4)).tolist()
    means = {
        name: [float(torch.cat([rows[name][[i for i, o in enumerate(owners) if o == p]] for p in one]).mean())
               for one in drawn] for name in METHODS
    }  # fmt: skip
    for name in METHODS:
        cell = board.cell(name, "mae")
        assert [cell.low, cell.high] == pytest.approx(np.percentile(means[name], [2.5, 97.5]), abs=1e-9)
        if cell.difference is not None:
            best = board.best["d", "mae"]
            ends = np.percentile(np.subtract(means[name], means[best]), [2.5, 97.5])
            assert cell.difference[1:] == pytest.approx(ends, abs=1e-9)


def test_a_metric_that_says_nothing_of_one_method_names_it() -> None:
    """Pictures have all that it needs, so that "no picture has…" would send the reader to the wrong place."""
    contenders = [Contender(name, high, {}) for name in METHODS]
    measured = Measured("tiny", {"mae": metric("mae"), "area": metric("area")}, Settings(), contenders)
    measured.pictures["d"] = [f"{i}.jpg#0" for i in range(4)]
    for name in METHODS:
        measured.statistics |= {("d", name, kind): torch.full((4, 1), math.nan) for kind in MEASURED}
        measured.statistics["d", name, "mae"] = torch.full((4, 1), math.nan if name == METHODS[0] else 0.5)
        measured.statistics["d", name, "area"] = torch.rand(4, 1, dtype=torch.float64)
    board = leaderboard(measured)
    assert board.left_out["mae"].startswith(f"it says nothing of {METHODS[0]} on any picture")
    assert board.metrics == ["area"]


def test_few_pictures_are_said_to_be_few_and_one_has_no_interval(tmp_path: Path) -> None:
    judge = Classifier(tiny_net(classes=3), input_size=SIDE, name="tiny")
    contenders = [Contender.of(name, explain) for name, explain in zip(METHODS, (low, high), strict=True)]
    for count, said in ((1, "of 1 picture only"), (7, "of 7 pictures only"), (8, None)):
        board = leaderboard(measure(contenders, judge, [some("few", count)], {"area": metric("area")}))
        lines = [line for line in board.warnings if "too narrow to trust" in line]
        assert [line.partition(":")[0] for line in lines] == ([] if said is None else [said])
        cells = [line.cells["area"] for line in board.lines]
        assert all(math.isnan(cell.low) is (count == 1) for cell in cells)
        assert ("[-, -]" in str(board)) is (count == 1) and "nan" not in str(board)
        write_json(board, tmp_path / "b.json")
        write_html(board, tmp_path / "b.html")
        (first, *_) = json.loads((tmp_path / "b.json").read_text())["rows"]
        assert (first["metrics"]["area"]["low"] is None) is (count == 1)
        assert ("[-, -]" in (tmp_path / "b.html").read_text()) is (count == 1)

"""Evaluation and leaderboard: against metrics called by hand; what is on disk is not made again."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_net
from torch import Tensor

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.evaluation import Contender, Settings, leaderboard, measure
from maskwise.evaluation.batch import Batch
from maskwise.measures import metric

DATA = "shapes:n=14,size=64,seed=3,labels=own"


class Counting:
    """A map from the pixels, which counts the pictures that it saw."""

    def __init__(self, shift: float = 0.0) -> None:
        self.seen, self.shift = 0, shift

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        self.seen += len(images)
        return ((images.mean(1) + self.shift) % 1).clamp(0, 1)


@pytest.fixture
def judge() -> Classifier:
    return Classifier(tiny_net(classes=8), input_size=32, name="tiny")


def by_hand(name: str, explain: Counting, judge: Classifier) -> float:
    """The metric over all pictures in one call."""
    data = read_data(DATA)
    batch = Batch.of([data[i] for i in range(len(data))], judge, "squash", "predicted")
    measure = metric(name, judge)
    maps = explain(batch.images, batch.targets)
    measure.update(maps, **batch.truth([*measure.needs, *measure.takes], range(len(data))))
    return float(measure.compute())


def test_labels_of_another_classifier_are_named_with_a_cure() -> None:
    data = read_data(DATA)
    few = Classifier(tiny_net(classes=2), input_size=32, name="few")
    says = r"has label \d, and few knows 2 classes, which are numbered from 0; take the classifier that these labels"
    with pytest.raises(InputError, match=says):
        Batch.of([data[i] for i in range(len(data))], few, "squash", "predicted")


NAMES = ("le", "f1", "pxap", "max_box_acc_v2", "area_std", "insertion", "deletion", "insertion_deletion", "sm")


class TestEvaluate:
    @pytest.mark.parametrize("batch", [3, 20])
    def test_values_are_those_of_the_metrics(self, judge: Classifier, batch: int) -> None:
        explain = Counting()
        measures = {name: metric(name, judge) for name in NAMES}
        measured = measure([Contender.of("pixels", explain)], judge, [DATA], measures, Settings(batch=batch))
        [line] = leaderboard(measured, resamples=50).lines
        assert explain.seen == 14 and line.pictures == 14
        for name in NAMES:
            cell = line.cells[name]
            assert cell.value == pytest.approx(by_hand(name, Counting(), judge), abs=1e-6), name
            # A maximum over thresholds is larger on resamples, and its interval may lie above it.
            assert name == "max_box_acc_v2" or cell.low - 1e-9 <= cell.value <= cell.high + 1e-9
            assert cell.pictures == 14

    @pytest.mark.parametrize("lost", ["1", "0, 1", ""])
    def test_a_batch_that_a_kill_left_halved_is_made_whole_again(
        self, judge: Classifier, tmp_path: Path, lost: str
    ) -> None:
        """Maps that differ with their company; a kill after some of a batch's maps, or all, and before its rows."""

        def company(images: Tensor, targets: Tensor) -> Tensor:
            return images.new_full((len(images), *images.shape[-2:]), len(images) / 10)

        def go() -> tuple[Tensor, list[str]]:
            measures = {"area": metric("area")}
            contender, settings = Contender.of("company", company), Settings(batch=2, limit=4)
            measured = measure([contender], judge, [DATA], measures, settings, tmp_path, save_maps=True)
            assert not measured.statistics[DATA, "company", "seconds"].isnan().any()
            return measured.statistics[DATA, "company", "area"], measured.pictures[DATA][:2]

        straight, pictures = go()
        assert (straight == straight[0]).all()
        with closing(sqlite3.connect(tmp_path / "rows.db")) as rows, rows:
            rows.execute("DELETE FROM packed WHERE picture IN (?, ?)", pictures)
        files = {str(np.load(path)["picture"]): path for path in tmp_path.rglob("*.npz")}
        for k in lost.split(", ") if lost else []:
            files[pictures[int(k)]].unlink()
        assert (go()[0] == straight).all()

    @pytest.mark.parametrize("name", ["cam", "gradient"])
    def test_what_is_asked_once_is_no_part_of_a_map_s_time(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """By a clock that counts the pictures that the network has seen."""
        judge, seen = Classifier(tiny_net(classes=8), input_size=32, name="new"), [0]
        judge.module.register_forward_pre_hook(lambda _, given: seen.append(seen[-1] + len(given[0])))
        monkeypatch.setattr("maskwise.evaluation.run.time.perf_counter", lambda: float(seen[-1]))
        contender = Contender.of(name, mw.explainer(name, judge))
        measured = measure([contender], judge, [DATA], {"area": metric("area")}, Settings(limit=4))
        assert (measured.statistics[DATA, name, "seconds"] == 1).all()

    def test_rows_of_a_metric_that_was_corrected_are_measured_anew(
        self, judge: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A release that mends a metric raises its revision; what others kept stays."""

        def asked(name: str) -> int:
            explain = Counting()
            contender = Contender.of("pixels", explain)
            measure([contender], judge, [DATA], {name: metric(name, judge)}, Settings(), tmp_path)
            return explain.seen

        assert asked("area") == asked("le") == 14 and asked("area") == asked("le") == 0
        monkeypatch.setattr(type(metric("area")), "revision", 2)
        assert (asked("area"), asked("le")) == (14, 0) and asked("area") == 0

    def test_what_is_on_disk_is_not_made_again(self, judge: Classifier, tmp_path: Path) -> None:
        def go(names: tuple[str, ...], limit: int | None = None, save: bool = True) -> tuple[int, float]:
            explain = Counting()
            measures = {name: metric(name, judge) for name in names}
            measured = measure(
                [Contender.of("pixels", explain)], judge, [DATA], measures, Settings(limit=limit), tmp_path, save
            )
            return explain.seen, leaderboard(measured, 20).lines[0].cells[names[0]].value

        assert go(("le",), limit=7)[0] == 7
        seen, value = go(("le",))
        assert seen == 7 and value == pytest.approx(by_hand("le", Counting(), judge))
        assert go(("le",))[0] == 0
        assert go(("pxap", "le"))[0] == 0  # scored from the maps that were kept
        for file in (tmp_path / "maps").rglob("*.npz"):
            file.unlink()
        assert go(("f1",))[0] == 14

    def test_another_option_is_another_row(self, judge: Classifier, tmp_path: Path) -> None:
        def value(alpha: float) -> float:
            measures = {"area": metric("area"), "le": metric("le", alpha=alpha)}
            measured = measure([Contender.of("pixels", Counting())], judge, [DATA], measures, out=tmp_path)
            return leaderboard(measured, 20).lines[0].cells["le"].value

        assert value(0.1) != value(1.6)
        assert value(0.1) == value(0.1)

    def test_pictures_without_truth_are_not_counted(self, judge: Classifier, picture_folder: Path) -> None:
        lines = (picture_folder / "boxes.csv").read_text().splitlines()
        (picture_folder / "boxes.csv").write_text("\n".join(lines[:6]) + "\n")  # five pictures keep a box
        measures = {name: metric(name, judge) for name in ("le", "area", "pxap")}
        board = leaderboard(measure([Contender.of("p", Counting())], judge, [str(picture_folder)], measures), 20)
        cells = board.lines[0].cells
        assert cells["le"].pictures == 5 and cells["area"].pictures == 20
        assert "pxap" not in cells and "masks" in board.left_out["pxap"]

    def test_nothing_to_measure(self, judge: Classifier, picture_folder: Path) -> None:
        (picture_folder / "boxes.csv").unlink()
        measured = measure([Contender.of("p", Counting())], judge, [str(picture_folder)], {"le": metric("le")})
        with pytest.raises(InputError, match="boxes"):
            leaderboard(measured)

    @pytest.mark.parametrize("bad, says", [
        (lambda x, t: x, "must give maps"), (lambda x, t: x.mean(1) + 3, "in \\[0,1\\]"),
    ])  # fmt: skip
    def test_a_function_that_gives_no_maps(self, judge: Classifier, bad: object, says: str) -> None:
        with pytest.raises(InputError, match=says):
            measure([Contender("p", bad, {})], judge, [DATA], {"area": metric("area")})  # type: ignore[arg-type]

    def test_names_must_differ(self, judge: Classifier) -> None:
        with pytest.raises(InputError, match="each only once"):
            measure([Contender.of("p", Counting()), Contender.of("p", Counting())], judge, [DATA], {})

    def test_target_is_the_label_where_asked(self, picture_folder: Path) -> None:
        judge, seen = Classifier(tiny_net(), input_size=32), []

        def watch(images: Tensor, targets: Tensor) -> Tensor:
            seen.extend(targets.tolist())
            return images.mean(1)

        measure(
            [Contender.of("w", watch)], judge, [str(picture_folder)], {"area": metric("area")}, Settings(target="label")
        )
        assert seen == [i % 5 for i in range(20)]

    def test_limit_is_spread_over_the_listing(self, judge: Classifier) -> None:
        measured = measure([Contender.of("p", Counting())], judge, [DATA], {"area": metric("area")}, Settings(limit=3))
        [keys] = measured.pictures.values()
        assert [key.split("#")[0].rsplit("/", 1)[-1] for key in keys] == ["0", "4", "9"]


class TestLeaderboard:
    def test_best_difference_and_all(self, judge: Classifier) -> None:
        contenders = [Contender.of("a", Counting()), Contender.of("b", Counting(0.5))]
        measures = {name: metric(name, judge) for name in ("pxap", "mae", "area")}
        measured = measure(contenders, judge, [DATA, "shapes:n=6,size=64,seed=9"], measures)
        board = leaderboard(measured, resamples=100)
        assert [(line.data, line.method) for line in board.lines] == [
            (data, method) for data in (*measured.pictures, "all") for method in "ab"
        ]
        pooled = {line.method: line for line in board.lines if line.data == "all"}
        assert pooled["a"].pictures == 20
        for name, higher in (("pxap", True), ("mae", False)):
            values = {method: line.cells[name].value for method, line in pooled.items()}
            best = max(values, key=values.__getitem__) if higher else min(values, key=values.__getitem__)
            other = "ab".replace(best, "")
            assert board.best["all", name] == best and pooled[best].cells[name].difference is None
            difference, low, high = pooled[other].cells[name].difference  # type: ignore[misc]
            assert difference == pytest.approx(values[other] - values[best]) and low <= difference <= high
        assert ("all", "area") not in board.best and pooled["a"].cells["area"].difference is None

    def test_plain_data_is_json(self, judge: Classifier) -> None:
        measured = measure([Contender.of("a", Counting())], judge, [DATA], {"area": metric("area")})
        plain = json.loads(json.dumps(leaderboard(measured, 20).plain(), allow_nan=False))
        assert plain["protocol"]["metrics"]["area"]["options"] is not None
        assert plain["rows"][0]["metrics"]["area"]["pictures"] == 14
        assert plain["rows"][0]["milliseconds"] > 0 and not math.isnan(plain["rows"][0]["megabytes"])


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from test_run import *
judge = Classifier(tiny_net(classes=8), input_size=32, name="tiny")
measure(
    [Contender.of("p", Counting())], judge, [DATA], {{"le": metric("le")}}, Settings(batch=2), Path({out!r}),
    progress=lambda done, total: time.sleep(0.3),
)
"""


def some_rows(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(path)) as database:
            return bool(database.execute("SELECT count(*) FROM packed").fetchone()[0])
    except sqlite3.Error:  # not yet made, or being written
        return False


def test_a_killed_run_goes_on(judge: Classifier, tmp_path: Path) -> None:
    here = Path(__file__).parent
    code = KILLED.format(tests=str(here), out=str(tmp_path / "out"))
    imports = os.pathsep.join([str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": imports}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    ready = time.monotonic() + 250  # importing takes long on a machine in use
    while time.monotonic() < ready and not some_rows(tmp_path / "out" / "rows.db"):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    explain = Counting()
    measured = measure([Contender.of("p", explain)], judge, [DATA], {"le": metric("le")}, out=tmp_path / "out")
    assert explain.seen < 14
    assert leaderboard(measured, 20).lines[0].cells["le"].value == pytest.approx(by_hand("le", Counting(), judge))


def test_explainers_know_who_they_are(judge: Classifier) -> None:
    def identity(**options: object) -> dict:  # type: ignore[type-arg]
        return Contender.of("x", mw.explainer("rise", judge, **options)).identity

    assert identity() == identity() and identity(masks=10) != identity() and identity(seed=1) != identity()
    assert identity(masks=10)["method"] == "rise"
    plain = mw.explainer("grad_cam", judge)
    sharp = [mw.SESS(plain), mw.SESS(plain, scales=3), mw.SESS(mw.explainer("layer_cam", judge))]
    assert len({json.dumps(Contender.of("x", e).identity) for e in (plain, *sharp)}) == 4


def test_pictures_that_are_given_twice_are_said_and_drawn_together(judge: Classifier) -> None:
    """As evidence of all data together a set beside itself is worth no more than it is alone."""
    whole, part = read_data("shapes:n=9,size=40"), read_data("shapes:n=4,size=40")
    metrics = {"mae": metric("mae"), "le": metric("le")}
    found = {
        name: leaderboard(measure([Contender.of("b", Counting())], judge, sets, metrics, Settings()), 200)
        for name, sets in {"alone": [whole], "twice": [whole, whole], "part": [whole, part]}.items()
    }
    assert not [line for line in found["alone"].warnings if "more than once" in line]
    [line] = [line for line in found["twice"].warnings if "more than once" in line]
    assert "9 of 9 pictures (shapes/0/0, shapes/0/1, shapes/0/2 and 6 more)" in line
    [line] = [line for line in found["part"].warnings if "more than once" in line]
    assert "4 of 9 pictures" in line
    for name in ("mae", "le"):
        alone, twice = found["alone"].cell("b", name), found["twice"].cell("b", name)
        assert twice.pictures == 2 * alone.pictures
        assert (twice.value, twice.low, twice.high) == pytest.approx((alone.value, alone.low, alone.high))

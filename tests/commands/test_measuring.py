"""evaluate, compare and panel as commands: tables, files, and one clear line for bad input."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from calling import call, refused

from maskwise.classifiers import Classifier
from maskwise.data import read_data

DATA = "shapes:n=8,size=64,seed=1"


class Page(HTMLParser):
    """Text of every cell, addresses of all that is loaded, and whether tags close."""

    void = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.void:
            self.open.append(tag)
        self.loaded += [v or "" for k, v in attrs if k in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th", "button", "small"):
            self.rows[-1][-1] += data.strip() + " "


@pytest.fixture
def eight(small: Classifier) -> Classifier:
    return small


class TestCompare:
    def test_everything_at_once(self, eight: Classifier, tmp_path: Path) -> None:
        out = tmp_path / "board"
        options = (
            "--methods",
            "grad_cam,center",
            "--sess",
            "both",
            "--scales",
            3,
            "--out",
            out,
            "--set",
            "grad_cam.layer=5",
        )
        result = call("compare", "--data", DATA, *options, "--metric-set", "le.alpha=2")
        assert result.exit_code == 0, (result.output, result.exception)
        assert {p.name for p in out.iterdir()} == {
            "rows.db", "leaderboard.json", "leaderboard.csv", "leaderboard.html", "curves.png",
        }  # fmt: skip
        board = json.loads((out / "leaderboard.json").read_text())
        assert [row["method"] for row in board["rows"]] == ["grad_cam", "grad_cam + SESS", "center", "center + SESS"]
        assert board["protocol"]["methods"]["grad_cam"]["layer"] == "5"
        assert board["protocol"]["metrics"]["le"]["options"]["alpha"] == 2
        assert "labels" in board["left_out"]["om"]  # the shapes have no class of the classifier's
        page = Page((out / "leaderboard.html").read_text())
        assert page.open == [] and all(what.startswith("data:image/svg+xml;base64,") for what in page.loaded)
        header, *lines = page.rows
        assert len(lines) == 4 and all(len(line) == len(header) for line in lines)
        column = next(i for i, text in enumerate(header) if text.startswith("pxap"))
        shown = float(lines[0][column].split()[0])
        assert shown == pytest.approx(board["rows"][0]["metrics"]["pxap"]["value"], rel=0.01)
        rows = list(csv.DictReader((out / "leaderboard.csv").read_text().splitlines()))
        assert len(rows) == 4 * len(board["protocol"]["metrics"])
        again = call("compare", "--data", DATA, *options, "--json", "--metrics", "pxap")
        assert json.loads(again.stdout)["rows"][0]["metrics"]["pxap"]["value"] == pytest.approx(
            board["rows"][0]["metrics"]["pxap"]["value"]
        )

    @pytest.mark.parametrize("methods, options, words", [
        ("grad_cma", (), ("grad_cma", "grad_cam")), ("center", ("--metrics", "iou"), ("metric", "iou")),
        ("center", ("--sess", "maybe"), ("--sess",)), ("center", ("--set", "size=3"), ("--set",)),
        ("center", ("--metrics", "le", "--metric-set", "le.alpah=2"), ("alpah", "alpha")),
        ("center", ("--resize", "zoom"), ("resize",)), ("center", ("--target", "any"), ("target",)),
        ("center,center", (), ("once",)), (" , ", (), ("method",)), ("center", ("--scales", 3), ("--sess",)),
        ("center", ("--metrics", "om"), ("labels",)),
    ])  # fmt: skip
    def test_refuses(
        self, eight: Classifier, tmp_path: Path, methods: str, options: tuple[str, ...], words: tuple[str, ...]
    ) -> None:
        refused(call("compare", "--data", DATA, "--methods", methods, *options, "--out", tmp_path / "out"), *words)
        assert not (tmp_path / "out" / "leaderboard.json").exists()

    def test_refuses_data_that_is_not_there(self, eight: Classifier, tmp_path: Path) -> None:
        refused(call("compare", "--data", tmp_path / "none", "--methods", "center", "--out", tmp_path / "o"), "none")


class TestEvaluate:
    def test_a_table(self, eight: Classifier) -> None:
        result = call("evaluate", "--data", DATA, "--method", "center", "--limit", 4)
        assert result.exit_code == 0 and "center" in result.stdout and "insertion_deletion" in result.stdout

    def test_json_with_protocol(self, eight: Classifier, tmp_path: Path) -> None:
        result = call("evaluate", "--data", DATA, "--method", "center", "--metrics", "mae", "--json", "--out", tmp_path)
        told = json.loads(result.stdout)
        assert told["rows"][0]["metrics"]["mae"]["pictures"] == 8 and told["protocol"]["resize"] == "squash"
        assert (tmp_path / "leaderboard.html").is_file()

    def test_maps_need_a_folder(self, eight: Classifier) -> None:
        refused(call("evaluate", "--data", DATA, "--method", "center", "--save-maps"), "--out")


class TestOlderPages:
    def test_pages_of_an_earlier_run_are_named(self, eight: Classifier, tmp_path: Path) -> None:
        """They stayed beside a leaderboard of other pictures, with numbers of their own."""
        options = ("--methods", "center", "--metrics", "area", "--out", tmp_path)
        assert "earlier run" not in call("compare", "--data", DATA, *options, "--report").stderr
        again = call("compare", "--data", "shapes:n=2,size=64,seed=2", *options)
        assert again.exit_code == 0 and "report.html in " in again.stderr and "of an earlier run" in again.stderr
        assert "earlier run" not in call("compare", "--data", DATA, *options, "--report").stderr


class TestAgreement:
    def test_writes_which_metrics_rank_alike(self, eight: Classifier, tmp_path: Path) -> None:
        result = call("compare", "--data", DATA, "--methods", "center,edges,random", "--metrics", "le,area,pxap",
                      "--agreement", "--out", tmp_path / "o")  # fmt: skip
        assert result.exit_code == 0, (result.output, result.exception)
        assert {f"agreement.{ending}" for ending in ("md", "csv", "json", "png")} <= {
            p.name for p in (tmp_path / "o").iterdir()
        }
        assert "| pxap | 8 |" in (tmp_path / "o" / "agreement.md").read_text()

    @pytest.mark.parametrize(("options", "words"), [
        (("--methods", "center,edges"), ("--agreement", "at least 3")),
        (("--methods", "center,edges,random", "--metrics", "le"), ("agreement", "at least 2 metrics")),
    ])  # fmt: skip
    def test_refuses(self, eight: Classifier, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]) -> None:
        refused(call("compare", "--data", DATA, *options, "--agreement", "--out", tmp_path / "o"), *words)


class TestPanelCommand:
    def test_writes_its_picture(self, eight: Classifier, tmp_path: Path) -> None:
        out = tmp_path / "p"
        result = call(
            "panel",
            "--data",
            DATA,
            "--methods",
            "grad_cam",
            "--classifiers",
            "one,two",
            "--limit",
            4,
            "--out",
            out,
            "--json",
        )
        assert result.exit_code == 0, result.output
        assert {p.name for p in out.iterdir()} == {"panel.png", "panel.json"}
        assert json.loads(result.stdout) == json.loads((out / "panel.json").read_text())

    @pytest.mark.parametrize("options, words", [
        (("--rule", "size"), ("--rule",)), (("--fill", "red"), ("fill",)), (("--classifiers", ","), ("at least one",)),
    ])  # fmt: skip
    def test_refuses(self, eight: Classifier, tmp_path: Path, options: tuple, words: tuple) -> None:  # type: ignore[type-arg]
        refused(call("panel", "--data", DATA, "--methods", "grad_cam", *options, "--out", tmp_path / "p"), *words)


class TestMaps:
    @pytest.fixture
    def maps(self, tmp_path: Path) -> Path:
        for sample in read_data(DATA):
            path = tmp_path / "maps" / f"{sample.id}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, sample.image.mean(0).numpy() - 0.5)
        return tmp_path / "maps"

    def test_beside_methods_and_alone(self, eight: Classifier, maps: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        given = ("--maps", f"theirs={maps}", "--maps", f"others={maps}", "--set", "theirs.scale=abs")
        result = call("compare", "--data", DATA, "--methods", "center", *given, "--out", out, "--metrics", "le,area",
                      "--report")  # fmt: skip
        assert result.exit_code == 0, (result.output, result.exception)
        assert "others: its maps hold values from -0.4" in result.stderr and "theirs: its maps" not in result.stderr
        board = json.loads((out / "leaderboard.json").read_text())
        assert [row["method"] for row in board["rows"]] == ["center", "theirs", "others"]
        assert board["protocol"]["methods"]["theirs"]["scale"] == "abs"
        assert board["rows"][1]["metrics"]["area"]["value"] != board["rows"][2]["metrics"]["area"]["value"]
        assert "others" in (out / "report.html").read_text()
        alone = call("evaluate", "--data", DATA, "--maps", maps, "--metrics", "area", "--json", "--set", "scale=abs")
        (row,) = json.loads(alone.stdout)["rows"]
        assert row["method"] == "maps" and row["metrics"]["area"]["value"] == pytest.approx(
            board["rows"][1]["metrics"]["area"]["value"]
        )

    def test_missing_ones(self, eight: Classifier, maps: Path, tmp_path: Path) -> None:
        next(maps.rglob("*.npy")).unlink()
        given = ("compare", "--data", DATA, "--maps", f"theirs={maps}", "--metrics", "area", "--out", tmp_path / "o")
        refused(call(*given), "1 of 8 pictures have no map", "--missing skip")
        result = call(*given, "--missing", "skip", "--report")
        assert result.exit_code == 0 and "1 picture left out for all methods" in result.stderr

    @pytest.mark.parametrize(("options", "words"), [
        ((), ("--methods", "--maps")), (("--maps", "MAPS"), ("--maps takes NAME=DIR",)),
        (("--maps", "a=none"), ("none", "no such folder")), (("--maps", "a=MAPS", "--maps", "a=MAPS"), ("'a' twice",)),
        (("--maps", "a=MAPS", "--set", "a.size=3"), ("--set a.size", "they have scale")),
        (("--maps", "a=MAPS", "--set", "a.scale=log"), ("scale is auto",)),
        (("--maps", "center=MAPS", "--methods", "center"), ("once",)),
        (("--maps", "a=MAPS", "--sess", "yes"), ("--sess",)), (("--maps", "a=MAPS", "--missing", "x"), ("missing is",)),
    ])  # fmt: skip
    def test_refuses(
        self, eight: Classifier, maps: Path, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]
    ) -> None:
        given = [option.replace("MAPS", str(maps)) for option in options]
        refused(call("compare", "--data", DATA, *given, "--out", tmp_path / "o"), *words)

    def test_evaluate_takes_no_sess_with_maps(self, eight: Classifier, maps: Path) -> None:
        refused(call("evaluate", "--data", DATA, "--maps", maps, "--sess"), "leave --sess out")

    def test_the_panel_takes_maps(self, eight: Classifier, maps: Path, tmp_path: Path) -> None:
        result = call("panel", "--data", DATA, "--methods", "center", "--maps", f"theirs={maps}", "--classifiers",
                      "tiny", "--limit", 4, "--out", tmp_path / "p")  # fmt: skip
        assert result.exit_code == 0, (result.output, result.exception)
        assert "theirs" in json.loads((tmp_path / "p" / "panel.json").read_text())["protocol"]["methods"]

"""A damaged picture in an evaluation: said, or passed over and counted, with the rows of all others as they were."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from calling import call
from conftest import tiny_net
from data.making import text
from PIL import Image

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.evaluation import Contender, Settings, measure
from maskwise.measures import metric

DAMAGED = ("b.png", "d.png", "g.png")  # within, at the end of, and after the last full batch of 3 good ones


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Seven pictures with boxes."""
    draws = np.random.default_rng(0)
    (tmp_path / "set" / "images").mkdir(parents=True)
    for name in "abcdefg":
        pixels = draws.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "set" / "images" / f"{name}.png")
    text(tmp_path / "set" / "boxes.csv", "file,x0,y0,x1,y1", *(f"{name}.png,1,2,20,18" for name in "abcdefg"))
    return tmp_path / "set"


@pytest.fixture
def judge() -> Classifier:
    return Classifier(tiny_net(classes=8), input_size=32, name="tiny")


def rows(root: Path, judge: Classifier, out: Path | None, skip: bool) -> tuple[list[str], torch.Tensor, dict[str, str]]:
    """Names of the pictures that have a row, their statistics, and what was passed over."""
    contender = Contender.of("pixels", lambda images, targets: images.mean(1))
    settings = Settings(batch=3, skip_damaged=skip)
    measured = measure([contender], judge, [str(root)], {"f1": metric("f1", judge)}, settings, out)
    names = [key.partition("#")[0] for key in measured.pictures["set"]]
    return names, measured.statistics["set", "pixels", "f1"], measured.damaged.get("set", {})


def test_the_first_is_an_error_that_says_how_to_go_on(root: Path, judge: Classifier) -> None:
    (root / "images" / "b.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"b\.png: .*; `skip_damaged=True` passes over such pictures and counts them"):
        rows(root, judge, None, skip=False)


def test_the_others_keep_their_rows_and_a_mended_one_gets_its_own(
    root: Path, judge: Classifier, tmp_path: Path
) -> None:
    names, whole, damaged = rows(root, judge, None, skip=True)
    assert names == [f"{name}.png" for name in "abcdefg"] and not damaged
    kept = {name: (root / "images" / name).read_bytes() for name in DAMAGED}
    for name in DAMAGED:
        (root / "images" / name).write_bytes(kept[name][:-40])
    for _ in range(2):  # the second is resumed: all rows are on the disk
        left, found, damaged = rows(root, judge, tmp_path / "out", skip=True)
        assert left == ["a.png", "c.png", "e.png", "f.png"] and tuple(damaged) == DAMAGED
        assert torch.equal(found, whole[[0, 2, 4, 5]])
        assert "is damaged" in damaged["b.png"]
    for name, data in kept.items():
        (root / "images" / name).write_bytes(data)
    names, found, damaged = rows(root, judge, tmp_path / "out", skip=True)
    assert len(names) == 7 and torch.equal(found, whole) and not damaged


def test_truth_that_does_not_fit_is_damage_too(root: Path, judge: Classifier) -> None:
    text(root / "boxes.csv", "file,x0,y0,x1,y1", "a.png,1,2,20,18", "b.png,1,2,20,180")
    assert list(rows(root, judge, None, skip=True)[2]) == ["b.png"]


def test_nothing_left_is_an_error(root: Path, judge: Classifier) -> None:
    for path in (root / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(
        InputError, match=r"none of its pictures can be read; 7 pictures .*: a\.png, b\.png, c\.png and 4 more"
    ):
        rows(root, judge, None, skip=True)


def test_in_python_the_protocol_names_them(root: Path, judge: Classifier) -> None:
    (root / "images" / "b.png").write_bytes(b"")
    board = mw.evaluate("center", root, judge, ["f1"], skip_damaged=True)
    assert board.protocol["damaged"] == {"set": ["b.png"]} and board.lines[0].pictures == 6


@pytest.mark.parametrize("command", [("evaluate", "--method"), ("compare", "--report", "--methods")])
def test_on_the_command_line(command: tuple[str, ...], root: Path, tmp_path: Path) -> None:
    (root / "images" / "b.png").write_bytes(b"")
    given = (*command, "center", "--data", root, "--metrics", "f1", "--out", tmp_path / "out")
    refused = call(*given)
    assert refused.exit_code == 2
    assert "b.png: the picture is" in refused.stderr or "b.png: not a picture" in refused.stderr
    assert "--skip-damaged passes over such pictures" in refused.stderr
    done = call(*given, "--skip-damaged")
    assert done.exit_code == 0, done.output
    assert "warning: set: 1 picture could not be read and was passed over: b.png" in done.stderr
    board = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert board["protocol"]["damaged"] == {"set": ["b.png"]} and board["rows"][0]["pictures"] == 6


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_names_that_are_no_utf8(root: Path, tmp_path: Path) -> None:
    (root / "images" / "a.png").rename(root / "images" / os.fsdecode(b"d\xffg.png"))
    (root / "images" / "b.png").write_bytes(b"")
    done = call("compare", "--methods", "center", "--data", root, "--metrics", "area", "--report", "--save-maps",
               "--out", tmp_path / "out", "--skip-damaged")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "report.html").is_file()

"""Names of files and classes are text wherever they go: pages, terminals, tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from conftest import tiny_net
from rich.console import Console
from typer.testing import CliRunner

from maskwise import cli
from maskwise.classifiers import load_classifier
from maskwise.cli import app
from maskwise.commands.explaining import table_of
from maskwise.commands.plain import complain
from maskwise.commands.tables import print_table
from maskwise.convert.checkpoint import read_checkpoint
from maskwise.core.errors import InputError
from maskwise.core.text import cell, printable
from maskwise.core.weights import read_weights
from maskwise.evaluation.leaderboard import Cell, Leaderboard, Line
from maskwise.explain import explain_picture
from maskwise.explainers import explainer
from maskwise.images import load_image, packaged_pictures
from maskwise.maskers.store import read_header
from maskwise.report import leaderboard, page
from maskwise.report.page_cards import Answer, card

EVIL = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "\"'><svg/onload=alert(1)>",
    "<!--<script>",
    "{{7*7}}{% raw %}",
    "javascript:alert(1)",
    "\u2028alert(1)//\ud800",
)
RAW = ("\x1b[2J\x1b]0;owned\x07", "\x9b31m", "a\rb", "a\nb", "a\x08", "\u202egnp.exe", "\ud800")


class Elements(HTMLParser):
    """What a browser would make elements of, and the text within scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.within = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.within = True
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.within = self.within and tag != "script"

    def handle_data(self, data: str) -> None:
        if self.within:
            self.scripts[-1] += data

    @classmethod
    def of(cls, text: str) -> Elements:
        found = cls()
        found.feed(text)
        return found


def skeleton(text: str) -> list[tuple[str, list[str]]]:
    """Elements with the names of their attributes: what no name may change."""
    return [(tag, sorted(attributes)) for tag, attributes in Elements.of(text).tags]


def report(name: str, path: Path) -> str:
    shown, map_ = torch.rand(3, 8, 8), torch.rand(8, 8)
    answer = Answer(name, map_, map_ > 0.5, (1, 1, 5, 6), target=name)
    cards = [card(name, shown, [answer], [(name, 0.5)], name)]
    page.write(cards, path, name, board=[{"method": name, name: 1.0}], protocol={name: name})
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EVIL)
def test_a_name_adds_no_element_to_the_report(name: str, tmp_path: Path) -> None:
    plain, evil = report("dog", tmp_path / "a.html"), report(name, tmp_path / "b.html")
    assert skeleton(evil) == skeleton(plain)
    data = next(s for s in Elements.of(evil).scripts if s.lstrip().startswith("{"))
    assert json.loads(data)["cards"][0]["name"] == name.encode("utf-8", "replace").decode()
    assert not set(data) & set("<>&\u2028")
    assert Elements.of(evil).scripts[1:] == Elements.of(plain).scripts[1:]


def board(name: str) -> Leaderboard:
    protocol = {
        "classifier": name,
        "data": {name: 2},
        "target": "predicted",
        "metrics": {
            "le": {
                "higher_is_better": True,
                "title": name,
                "unit": "%",
                "paper": name,
                "says": name,
                "options": {name: name},
            }
        },
    }
    line = Line(name, name, 2, 1.0, 1.0, {"le": Cell(1.0, 0.5, 1.5, 2)})
    return Leaderboard([line], {(name, "le"): name}, protocol, {name: name})


@pytest.mark.parametrize("name", EVIL[:-1])
def test_a_name_adds_no_element_to_the_leaderboard(name: str, tmp_path: Path) -> None:
    texts = []
    for number, called in enumerate(("dog", name)):
        leaderboard.write_html(board(called), tmp_path / f"{number}.html")
        texts.append((tmp_path / f"{number}.html").read_text(encoding="utf-8"))
    assert skeleton(texts[1]) == skeleton(texts[0])
    assert Elements.of(texts[1]).scripts == Elements.of(texts[0]).scripts


def test_the_terminal_gets_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    for name in RAW:
        assert printable(name).isprintable() and cell(name).isprintable()
        complain(InputError(f"{name}: no such file"))
        said = capsys.readouterr().err
        assert said.endswith("\n") and said[:-1].isprintable()
    assert cell("[bold]x[/bold]") == "\\[bold]x\\[/bold]" and printable("Käse 猫.jpg") == "Käse 猫.jpg"


@pytest.mark.parametrize("name", ["[bold]a[", "[red", "\x1b[31mred\x1b[0m", "=1+1", "a\rb"])
def test_a_picture_of_any_name_is_explained(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    from maskwise.classifiers import Classifier

    tiny = Classifier(tiny_net(), labels=[f"{name} {i}" for i in range(5)], input_size=32)
    path = tmp_path / f"{name}.png"
    Image.new("RGB", (40, 40), "red").save(path)
    done, _ = explain_picture(path, explainer("center", tiny), tiny, "center", None)
    print_table(table_of([done]))  # in a pipe, with tabs between the columns
    piped = capsys.readouterr().out
    assert all(word.isprintable() for line in piped.split("\n") for word in line.split("\t")) and "\x1b" not in piped
    print_table(table_of([done]), Console(width=120))
    drawn = capsys.readouterr().out
    assert all(line.isprintable() for line in drawn.split("\n")) and "\x1b" not in drawn


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no UTF-8")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\x1b[31m.png"
    done = subprocess.run([sys.executable, "-m", "maskwise", "explain", path], capture_output=True, check=False)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and b"\x1b" not in done.stderr


def test_wrong_options_leave_one_line() -> None:
    for arguments in (["explain", "--nope"], ["nope\x1b[2J"], ["serve", "--port", "x"], ["explain"], ["check", "mprt"]):
        done = subprocess.run([sys.executable, "-m", "maskwise", *arguments], capture_output=True, check=False)
        assert done.returncode == 2 and done.stderr.count(b"\n") == 1, done.stderr
        assert done.stderr.startswith(b"maskwise: ") and b"\x1b" not in done.stderr
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0


def test_a_spreadsheet_runs_no_name() -> None:
    for name in ("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"):
        assert leaderboard.no_formula(name) == f"'{name}"
    assert leaderboard.no_formula("grad_cam + SESS") == "grad_cam + SESS"


LONG = "a" * 300


@pytest.mark.parametrize(
    "ask",
    [
        lambda: read_weights(LONG), lambda: read_header(LONG), lambda: load_image(LONG), lambda: read_checkpoint(LONG),
        lambda: load_classifier(f"{LONG}.pt2"), lambda: load_classifier(f"{LONG}.py:net"),
    ],
)  # fmt: skip
def test_a_name_longer_than_a_files_may_be_is_no_file(ask: Callable[[], object]) -> None:
    with pytest.raises(InputError):
        ask()


@pytest.mark.parametrize("option", ["--weights", "--texts", "--labels"])
def test_a_long_name_on_the_command_line_is_one_line(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["maskwise", "explain", str(packaged_pictures()[0]), option, LONG])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1

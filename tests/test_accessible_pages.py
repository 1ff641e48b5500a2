"""Every page that is written, in a real browser, asked by axe-core: no violation, light and dark, wide and narrow.

None is wider than a telephone, and none loses anything on paper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from audit.scenes import reader, scenes
from browser import lost_on_paper, opened, started, violations
from calling import save_picture
from conftest import tiny_net
from typer.testing import CliRunner

from maskwise.audit import audit
from maskwise.classifiers import Classifier
from maskwise.cli import app
from maskwise.commands.groups import Model
from maskwise.report.audit_page import write_audit
from maskwise.training import Recipe, train

SHAPES = "shapes:n=8,size=40,labels=own"
WRITERS: dict[str, Callable[[Path], Path]] = {}


def writes(name: str) -> Callable[[Callable[[Path], Path]], Callable[[Path], Path]]:
    def keep(writer: Callable[[Path], Path]) -> Callable[[Path], Path]:
        WRITERS[name] = writer
        return writer

    return keep


def ran(*arguments: object) -> None:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output + str(result.exception)


@writes("report of explanations")
def report(folder: Path) -> Path:
    save_picture(folder / "dog.png", 50, 70)
    ran("explain", folder / "dog.png", "--method", "grad_cam", "--out", folder / "out", "--curves")
    return folder / "out" / "report.html"


@writes("leaderboard")
def leaderboard(folder: Path) -> Path:
    ran(
        "compare",
        "--methods",
        "grad_cam,center",
        "--data",
        SHAPES,
        "--metrics",
        "le,insertion,road_morf,area",
        "--out",
        folder,
    )
    return folder / "leaderboard.html"


@writes("report of a comparison")
def compared(folder: Path) -> Path:
    ran("compare", "--methods", "grad_cam,center", "--data", SHAPES, "--metrics", "le", "--out", folder, "--report")
    return folder / "report.html"


@writes("check")
def check(folder: Path) -> Path:
    ran("check", "mprt", "--data", SHAPES, "--limit", 4, "--method", "grad_cam", "--out", folder)
    (page,) = folder.glob("*.html")
    return page


@writes("study")
def study(folder: Path) -> Path:
    ran("study", "casm-statistics", "--scale", "smoke", "--device", "cpu", "--out", folder)
    (page,) = folder.rglob("casm-statistics.html")
    return page


@writes("audit")
def audited(folder: Path) -> Path:
    return write_audit(audit(reader("ground"), scenes(folder / "scenes"), "gradient", out=folder / "audit"))


@writes("training")
def training(folder: Path) -> Path:
    recipe = Recipe(title="Small", steps=4, batch_size=4, fraction=1.0, input_size=32)
    train(recipe, SHAPES, classifier=tiny(), out=folder, device="cpu", held_out="shapes:n=8,size=40,seed=5")
    return folder / "index.html"


def tiny() -> Classifier:
    return Classifier(tiny_net(classes=8), input_size=32, name="tiny")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started() as running:
        yield running


@pytest.mark.parametrize("name", WRITERS)
def test_no_violation(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: Any) -> None:
    monkeypatch.setattr(Model, "load", lambda self: tiny().to(self.on()))
    page = WRITERS[name](tmp_path)
    for dark, width in ((False, 1280), (True, 1280), (False, 390)):
        with opened(f"file://localhost{page}", width=width, dark=dark, browser=browser) as tab:
            tab.wait_for_load_state("load")
            assert not violations(tab), f"{name}, dark={dark}, {width}: {violations(tab)}"
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"
            assert not lost_on_paper(tab)


def test_what_paper_loses_is_seen(tmp_path: Path, browser: Any) -> None:
    wide = (
        "<div style='overflow:auto'><table><tr><td style='white-space:nowrap'>"
        + "word " * 300
        + "</td></tr></table></div>"
    )
    (tmp_path / "bad.html").write_text(f"<body><i style='background:red;display:block;height:9px'></i>{wide}</body>")
    with opened(f"file://localhost{tmp_path / 'bad.html'}", browser=browser) as tab:
        found = lost_on_paper(tab)
    assert [line.partition(":")[0] for line in found] == ["cut", "not painted"], found


def test_axe_sees_what_is_wrong(tmp_path: Path, browser: Any) -> None:
    """Or a page that did not open would pass."""
    pale = "<p style='color:#ccc;background:#fff'>Words that are too pale</p>"
    (tmp_path / "bad.html").write_text(f"<html><body><img src='data:,'>{pale}</body></html>")
    with opened(f"file://localhost{tmp_path / 'bad.html'}", browser=browser) as tab:
        found = violations(tab)
    for rule in ("image-alt", "color-contrast", "document-title", "html-has-lang"):
        assert f"Rule Violated:\n{rule} " in found, found

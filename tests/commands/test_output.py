"""``--quiet`` and ``--verbose``, and where there is a bar."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import rich.progress
from typer.testing import CliRunner, Result

import maskwise
from maskwise.classifiers import Classifier
from maskwise.cli import app
from maskwise.images import packaged_pictures

PICTURE = str(packaged_pictures()[0])


def explain(out: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["explain", PICTURE, "--method", "center", "--out", str(out), *options])


def test_quiet_says_nothing_and_writes_all(tmp_path: Path) -> None:
    loud, quiet = explain(tmp_path / "loud"), explain(tmp_path / "quiet", "--quiet")
    assert loud.exit_code == quiet.exit_code == 0
    assert "figures in" in loud.stdout and quiet.stdout == "" and quiet.stderr == ""
    assert [p.name for p in sorted((tmp_path / "quiet").rglob("*"))] == [
        p.name for p in sorted((tmp_path / "loud").rglob("*"))
    ]


def test_pages_that_were_made_are_named(tmp_path: Path) -> None:
    """Who asked for a report is told where it is; who asked for JSON gets that alone."""
    assert "report.html" in explain(tmp_path / "with", "--report").stdout
    assert "report.html" not in explain(tmp_path / "without").stdout
    asked = ["compare", "--data", "shapes:n=2,size=32", "--methods", "center", "--metrics", "area", "--report", "--out"]
    told = CliRunner().invoke(app, [*asked, str(tmp_path / "a")])
    assert told.stdout.endswith(f"on one page: {tmp_path / 'a' / 'report.html'}\n"), told.output
    as_json = CliRunner().invoke(app, [*asked, str(tmp_path / "b"), "--json"])
    assert json.loads(as_json.stdout) and "report.html" not in as_json.stdout
    assert CliRunner().invoke(app, [*asked, str(tmp_path / "c"), "-q"]).stdout == ""


def test_quiet_keeps_what_was_asked_for_and_errors(tmp_path: Path) -> None:
    assert json.loads(explain(tmp_path / "a", "-q", "--json").stdout)[0]["method"] == "center"
    refused = explain(tmp_path / "b", "-q", "--target", "no such class")
    assert refused.exit_code == 2
    assert "no such class" in refused.stderr and refused.stdout == ""


def test_verbose_tells_on_stderr_what_is_done(tmp_path: Path) -> None:
    told = explain(tmp_path, "--verbose")
    assert told.exit_code == 0
    for part in ("torch", "classifier efficientnet_lite0: 224 px, 1000 classes", "center, ", "done after"):
        assert part in told.stderr
    assert "figures in" in told.stdout
    assert explain(tmp_path / "again").stderr == "", "one loud call must not make the next one loud"


def test_verbose_shows_where_an_error_came_from(tmp_path: Path) -> None:
    told = explain(tmp_path, "-v", "--target", "no such class")
    assert told.exit_code == 2
    assert "Traceback" in told.stderr and "labels.py" in told.stderr
    assert "Traceback" not in explain(tmp_path, "--target", "no such class").stderr


BARS = {
    "explain": (PICTURE, "--method", "center"),
    "evaluate": ("--data", "shapes:n=8,size=32", "--method", "center", "--metrics", "area"),
    "compare": ("--data", "shapes:n=8,size=32", "--methods", "center", "--metrics", "area", "--report"),
    "panel": ("--data", "shapes:n=2,size=32", "--methods", "center", "--truth", "clean", "--classifiers", "one"),
    "pack": ("shapes:n=2,size=32",),
    "check mprt": ("--data", "shapes:n=2,size=32", "--method", "center", "--mode", "independent", "--depth", "0"),
}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both streams are a terminal's."""
    with CliRunner().isolation():
        kind = type(sys.stderr)
    monkeypatch.setattr(kind, "isatty", lambda self: True, raising=False)


@pytest.mark.parametrize("command", BARS)
def test_bars_on_a_terminal_and_none_with_quiet_or_in_a_pipe(
    command: str, small: Classifier, terminal: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[str] = []

    class Bars(rich.progress.Progress):
        def add_task(self, description: str, *rest: object, **options: object) -> rich.progress.TaskID:
            begun.append(description)
            return super().add_task(description, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("rich.progress.Progress", Bars)

    def run(name: str, *options: str) -> Result:
        begun.clear()
        done = CliRunner().invoke(app, [*command.split(), *BARS[command], "--out", str(tmp_path / name), *options])
        assert done.exit_code == 0, (done.output, done.exception)
        return done

    run("bars")
    assert begun
    quiet = run("quiet", "--quiet")
    assert not begun and quiet.stdout == "" and quiet.stderr == ""
    assert run("tables", "--no-progress").stdout and not begun
    monkeypatch.undo()
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda name, weights=None: small)
    monkeypatch.setattr("rich.progress.Progress", Bars)
    piped = run("piped")
    assert not begun and piped.stderr == ""


def test_the_rule_of_bars_stands_once() -> None:
    root = Path(maskwise.__file__).parent
    asked = [path.relative_to(root).as_posix() for path in root.rglob("*.py") if "stderr.isatty" in path.read_text()]
    assert asked == ["commands/groups/output.py"]

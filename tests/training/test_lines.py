"""Lines on stderr: where the page is, how far the training is, and silence where it is wanted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import tiny_net
from typer.testing import CliRunner

from maskwise.classifiers import Classifier
from maskwise.cli import app
from maskwise.training import Callback, TrainingState
from maskwise.training.callbacks import Callbacks
from maskwise.training.watch.lines import Lines


def test_a_line_a_minute(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Steps of 25 seconds on a clock of our own: after 75 s, then after 75 s again."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("maskwise.training.watch.lines.time", SimpleNamespace(monotonic=lambda: clock.now))
    lines, trainer = Lines(60.0, page=False), SimpleNamespace(steps=0)
    state = TrainingState(trainer, Path("out"), 12)  # type: ignore[arg-type]
    lines.on_look(state)
    for step in range(1, 8):
        clock.now, trainer.steps = 25.0 * step, step
        state.logged = {"step": step, "loss": 0.1 * step, "seconds_per_step": 25.0}
        lines.on_step(state)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "step 3 of 12, loss 0.30, 25 s a step, about 4 min left",
        "step 6 of 12, loss 0.60, 25 s a step, about 2 min left",
    ]


@pytest.fixture
def call(picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    small = Classifier(tiny_net(), input_size=32, name="tiny")
    for place in ("maskwise.classifiers.load_classifier", "maskwise.training.run.load_classifier"):
        monkeypatch.setattr(place, lambda *_, **__: small)

    def called(command: str, *more: str) -> tuple[str, Path]:
        out = tmp_path / command
        source = (
            [str(picture_folder)]
            if command == "fit"
            else ["casm_lite0", "--data", str(picture_folder), "--set", "taps=null"]
        )
        steps = "--max-steps" if command == "fit" else "--steps"
        small = ["--set", "batch_size=4", "--set", "input_size=32", steps, "2", "--device", "cpu"]
        result = CliRunner().invoke(app, [command, *source, "--out", str(out), *small, *more])
        assert result.exit_code == 0, result.output
        return result.stderr, out

    return called


@pytest.mark.parametrize("command", ["train", "fit"])
def test_the_commands_say_where_the_page_is(command: str, call: Any) -> None:
    said, out = call(command)
    assert said == f"watch it in a browser: {out / 'index.html'}\n" and (out / "index.html").is_file()
    if command == "fit":
        assert "2 of 2 held-out pictures" in (out / "index.html").read_text(), "those that fit itself holds out"


@pytest.mark.parametrize("more", [("--quiet",), ("--no-page",)])
def test_they_say_nothing_where_that_is_wanted(more: tuple[str, ...], call: Any) -> None:
    said, out = call("train", *more)
    assert said == "" and (out / "index.html").is_file() == (more == ("--quiet",))


def test_the_command_s_options_reach_the_training(call: Any) -> None:
    _, out = call("train", "--log", "csv", "--held-out", "shapes:n=3,size=40", "--look-minutes", "0")
    assert (out / "csv" / "metrics.csv").is_file() and len(list((out / "looks").iterdir())) == 3
    assert "3 of 3 held-out pictures (shapes:n=3,size=40)" in (out / "index.html").read_text()


def test_callbacks_find_their_own_state_whoever_else_is_there() -> None:
    class A(Callback):
        value = 0

        def state_dict(self) -> dict[str, Any]:
            return {"value": self.value}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.value = state["value"]

    class B(A): ...

    first, second, b = A(), A(), B()
    first.value, second.value, b.value = 1, 2, 3
    stored = Callbacks([first, b, second]).state_dict()
    fresh = [B(), Callback(), A(), A(), A()]
    Callbacks(fresh).load_state_dict(stored)
    assert [getattr(c, "value", None) for c in fresh] == [3, None, 1, 2, 0]

"""``--import FILE.py``: the user's own entries are found by name, and an error in the file is one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from calling import call, refused

from maskwise.classifiers import Classifier
from maskwise.explainers import methods
from maskwise.infill import infillers
from maskwise.measures import metrics
from maskwise.training.objectives import objectives

OWN = '''
import torch
from maskwise.infill.base import Infiller, infillers
from maskwise.explainers import Explainer, methods
from maskwise.measures import Metric, metrics
from maskwise.training.objectives import objectives


@methods.register("corner", family="references", paper="ours", needs_gradients=False, needs_target=False,
                  random=False, cost="0 forwards")
class Corner(Explainer):
    """One pixel."""

    needs_target = False

    def map(self, images, targets):
        maps = torch.zeros(len(images), *images.shape[-2:])
        maps[:, 0, 0] = 1
        return maps


@metrics.register("peak", family="ours", title="peak", paper="ours", unit="", higher_is_better=None, needs=())
class Peak(Metric):
    """The largest value."""

    def per_image(self, maps):
        return maps.flatten(1).amax(1, keepdim=True)
'''


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    yield path
    for registry, name in ((methods, "corner"), (metrics, "peak")):
        registry._entries.pop(name, None)  # type: ignore[attr-defined]
        registry._facts.pop(name, None)  # type: ignore[attr-defined]


def test_a_method_and_a_metric_of_ones_own(own: Path, small: Classifier) -> None:
    assert not {"corner", "peak"} & {*methods.names(), *metrics.names(), *infillers.names(), *objectives.names()}
    asked = ("evaluate", "--data", "shapes:n=2,size=32", "--method", "corner", "--metrics", "peak,area", "--json")
    refused(call(*asked), "corner")
    told = call(*asked, "--import", own)
    assert told.exit_code == 0, (told.output, told.exception)
    (row,) = json.loads(told.stdout)["rows"]
    assert row["metrics"]["peak"]["value"] == 1
    assert row["metrics"]["area"]["value"] == pytest.approx(1 / 32**2, rel=1e-3)
    assert "corner" in call("methods", "--import", own).stdout, "the same file again in one process"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\nx.y\n", ("own.py: line 2: AttributeError", "'int' object has no attribute 'y'")),
        ("def f(:\n", ("own.py: SyntaxError", "line 1")),
        ("import no_such_module\n", ("line 1: ModuleNotFoundError", "no_such_module")),
        ("raise SystemExit(3)\n", ("line 1: SystemExit: 3",)),
        (OWN.replace('"corner"', '"casm"'), ("KeyError", "'casm' is registered twice")),
    ],
)
def test_an_error_in_the_file_is_one_line(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    path = tmp_path / "own.py"
    path.write_text(text)
    refused(call("methods", "--import", path), f"--import {path}", *words)
    metrics._entries.pop("peak", None)  # type: ignore[attr-defined]


def test_a_study_in_several_processes(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("x = 1\n")
    asked = ("study", "landscape", "--scale", "smoke", "--import", tmp_path / "own.py", "--out", tmp_path / "out")
    refused(call(*asked, "--devices", 2), "--import", "--devices")


@pytest.mark.parametrize("name", ["none.py", "notes.txt", "."])
def test_what_is_no_python_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("x = 1")
    refused(call("methods", "--import", tmp_path / name), "no such Python file")

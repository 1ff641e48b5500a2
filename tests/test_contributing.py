"""CONTRIBUTING.md: each file that it shows is found by its room, does what the page says, and passes lint and types."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.registry import discover
from maskwise.data import datasets, read_data
from maskwise.explainers import methods
from maskwise.infill import infiller, infillers
from maskwise.measures import metrics
from maskwise.training import recipes
from maskwise.training.objectives import Judged, objectives

ROOT = Path(__file__).parents[1]
REGISTRIES = (methods, metrics, infillers, objectives, datasets)
FILE = re.compile(r"`(src/maskwise/[\w/]+\.py)`:\n\n```python\n(.*?)^```", re.S | re.M)
SHOWN = dict(FILE.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
KINDS = {
    "src/maskwise/explainers": "a method",
    "src/maskwise/measures": "a metric",
    "src/maskwise/infill": "an infiller",
    "src/maskwise/training/objectives": "an objective",
    "src/maskwise/data": "a data set",
    "src/maskwise/checks": "a check",
    "src/maskwise/commands": "a command",
    "src/maskwise/studies/grids": "a study",
}


@pytest.fixture(autouse=True)
def as_they_were() -> Iterator[None]:
    """Registries and modules forget what a test adds."""
    from maskwise.checks import checks
    from maskwise.commands.registration import commands
    from maskwise.studies import studies

    known = [(registry, dict(registry._entries), dict(registry._facts)) for registry in (*REGISTRIES, checks, studies)]
    modules, called = set(sys.modules), dict(commands)
    yield
    commands.clear()
    commands.update(called)
    for registry, entries, facts in known:
        registry._entries, registry._facts = entries, facts
    for name in set(sys.modules) - modules:
        if name.startswith("maskwise.") and f"src/{name.replace('.', '/')}.py" in SHOWN:
            del sys.modules[name]


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a file of the page into its room, and lets the room look for what is there."""

    def added(path: str) -> None:
        package = importlib.import_module(".".join(Path(path).parts[1:-1]))
        folder = tmp_path / "room"
        folder.mkdir()
        (folder / Path(path).name).write_text(SHOWN[path], encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        discover(package.__name__, [str(folder)])

    return added


def test_each_kind_is_shown_and_none_of_the_files_is_here() -> None:
    assert {str(Path(path).parent.as_posix()) for path in SHOWN} == set(KINDS)
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(SHOWN) == text.count("```python") and not any((ROOT / path).exists() for path in SHOWN)
    assert all(f"## {kind.capitalize()}\n" in text for kind in KINDS.values())


def test_a_method(add: Callable[[str], None], tiny: Classifier) -> None:
    add("src/maskwise/explainers/contrast.py")
    images = torch.zeros(1, 3, 32, 32)
    images[:, :, 10:14, 20:24] = 1
    maps = mw.explainer("contrast", tiny, window=9)(images)
    assert maps.shape == (1, 32, 32) and maps[0, 12, 22] > 0.9 and maps[0, 0, 0] == 0
    assert mw.methods()["contrast"]["family"] == "references"


def test_a_metric(add: Callable[[str], None]) -> None:
    add("src/maskwise/measures/contrast_of_map.py")
    maps = torch.zeros(2, 8, 8)
    maps[0, :4] = 1
    metric = mw.metric("contrast_of_map")
    metric.update(maps)
    assert metric.compute().item() == pytest.approx((0.5 + 0) / 2)


def test_an_infiller(add: Callable[[str], None]) -> None:
    add("src/maskwise/infill/white.py")
    images, holes = torch.rand(2, 3, 8, 8), torch.ones(2, 8, 8)
    assert (infiller("white:level=0.75")(images, holes, torch.zeros(3)) == 0.75).all()
    with pytest.raises(mw.InputError, match=r"level must be in \[0,1\]"):
        infiller("white:level=2")


def test_an_objective(add: Callable[[str], None]) -> None:
    add("src/maskwise/training/objectives/expected_error.py")
    logits, labels = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])
    judged = Judged(logits, {"in": logits}, labels, torch.ones(2, 4, 4))
    objective = objectives.get("expected_error")()
    right = (0.5 + 1 / (1 + torch.e**2)) / 2
    assert objective.loss(judged).item() == pytest.approx(1 - right)
    assert objective.shrinks(judged).tolist() == [True, False]
    recipe = recipes.load("casm", ["objectives.expected_error.weight=1"])
    assert recipe.objectives["expected_error"].weight == 1 and "max_entropy" in recipe.objectives


def test_a_data_set(add: Callable[[str], None]) -> None:
    add("src/maskwise/data/discs.py")
    data = read_data("discs:5")
    assert len(data) == 5 and data.classes == ("disc",)
    for sample in data:
        rows, columns = sample.mask.nonzero(as_tuple=True)
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert sample.boxes.tolist() == [[float(v) for v in tight]]
        assert (sample.image[0] > 0).equal(sample.mask)
    with pytest.raises(mw.InputError, match="write how many, from 1 to 44"):
        read_data("discs:0")


def test_a_check(add: Callable[[str], None]) -> None:
    add("src/maskwise/checks/middle.py")
    from maskwise.checks import checks

    ramp = torch.linspace(-1, 1, 32)
    central = (-(ramp[:, None] ** 2) - ramp**2).exp().expand(2, -1, -1)
    images = torch.rand(2, 3, 32, 32)
    assert checks.get("middle")(lambda images, targets: central, images).tolist() == pytest.approx([1, 1], abs=1e-4)
    sideways = checks.get("middle")(lambda images, targets: ramp.expand(2, 32, 32), images)
    assert sideways.tolist() == pytest.approx([0, 0], abs=1e-6)


def test_a_command(add: Callable[[str], None]) -> None:
    add("src/maskwise/commands/count.py")
    from maskwise.commands.registration import build

    app = build("maskwise", "with one more")
    done = CliRunner().invoke(app, ["count", "shapes:n=7"])
    assert done.exit_code == 0 and done.stdout == "shapes:n=7: 7 pictures, 7 with boxes\n"
    assert json.loads(CliRunner().invoke(app, ["count", "shapes:n=7", "--json"]).stdout)["pictures"] == 7
    assert CliRunner().invoke(app, ["count", "nowhere"]).exit_code == 2


def test_a_study(add: Callable[[str], None], tmp_path: Path) -> None:
    add("src/maskwise/studies/grids/references.py")
    from studies.test_studies import config

    from maskwise.studies import run_study, studies

    found = run_study(studies.get("references"), config(), tmp_path / "study")
    assert found.failures == {} and list(found.rows) == ["center", "uniform"]
    assert 0 < found.numbers["center", "area"].interval()[0] < 1


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All files of the page, in one folder."""
    folder = tmp_path_factory.mktemp("shown")
    for path, text in SHOWN.items():
        (folder / Path(path).name).write_text(text, encoding="utf-8")
    return sorted(folder.iterdir())


@pytest.mark.skipif(shutil.which("ruff", path=str(Path(sys.executable).parent)) is None, reason="ruff is not here")
@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_lint_of_the_files(command: list[str], written: list[Path]) -> None:
    ruff = str(Path(sys.executable).parent / "ruff")
    config = ["--no-cache", "--config", str(ROOT / "pyproject.toml")]
    done = subprocess.run([ruff, *command, *config, *map(str, written)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# Whose types no file of the page sees: nine tenths of what mypy would read. Below torch it is what makes its programs.
UNSEEN = (
    *("IPython", "captum", "cv2", "fsspec", "gradio", "huggingface_hub", "jinja2", "lightning", "matplotlib", "mlflow"),
    *("onnx", "onnxruntime", "onnxscript", "open_clip", "scipy", "skimage", "timm", "torchvision", "transformers"),
    *("wandb", "torchmetrics.audio", "torchmetrics.functional", "torchmetrics.image", "torchmetrics.text"),
    *("torch._decomp", "torch._dynamo", "torch._export", "torch._functorch", "torch._higher_order_ops"),
    *("torch._inductor", "torch._prims", "torch._refs", "torch._subclasses", "torch.ao", "torch.distributed"),
    *("torch.export", "torch.fx", "torch.jit", "torch.onnx"),
)
WRONG = """
import torch
from maskwise.measures.base import Metric
from maskwise.training.objectives.base import Judged

first: int = torch.zeros(1)

def second(judged: Judged) -> str:
    return judged.labels

class Third(Metric):
    def per_image(self, maps: int) -> str:
        return 3
"""


def test_types_of_the_files(written: list[Path], tmp_path: Path) -> None:
    """Under lint's rules; a file with faults beside them says that types of torch and maskwise are known."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    modules = ", ".join(f'"{name}.*"' for name in UNSEEN)
    config, wrong = tmp_path / "pyproject.toml", tmp_path / "wrong.py"
    rules = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    config.write_text(f'{rules}\n[[tool.mypy.overrides]]\nmodule = [{modules}]\nfollow_imports = "skip"\n', "utf-8")
    wrong.write_text(WRONG, "utf-8")
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    options = ["--config-file", str(config), "--cache-dir", os.devnull, "--follow-imports", "silent"]
    command = [sys.executable, "-m", "mypy", *options, *map(str, written), str(wrong)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    *found, total = done.stdout.splitlines()
    faults = [re.search(r"wrong\.py:(\d+): error: .*\[([\w-]+)\]$", line) for line in found if ": error: " in line]
    assert all(faults), done.stdout + done.stderr
    told = {(int(fault[1]), fault[2]) for fault in faults if fault}
    assert told == {(6, "assignment"), (9, "return-value"), (12, "override"), (13, "return-value")}, done.stdout
    assert total == f"Found {len(faults)} errors in 1 file (checked {len(SHOWN) + 1} source files)"

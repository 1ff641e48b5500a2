"""A package whose modules are loaded one by one is, once more is asked of it, what it would have been."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskwise.core.lazy_package import lazy_package

INIT = """
import sys
from heaped.part import whose
runs = getattr(sys, "heaped_runs", 0) + 1
sys.heaped_runs = runs
if runs <= getattr(sys, "heaped_failures", 0):
    raise OSError("no room")
all_of_it = whose + " and the rest"
__all__ = ["all_of_it"]
"""


@pytest.fixture
def heaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package that counts how often it is loaded; its part asks the package for a name."""
    folder = tmp_path / "heaped"
    folder.mkdir()
    (folder / "__init__.py").write_text(INIT, "utf-8")
    (folder / "part.py").write_text("from heaped import owner\nwhose = owner\n", "utf-8")
    (folder / "other.py").write_text("from . import part\nimport heaped.part as same\nassert part is same\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "heaped_runs", 0, raising=False)
    yield "heaped"
    for name in [name for name in sys.modules if name.partition(".")[0] == "heaped"]:
        del sys.modules[name]


def test_a_part_comes_alone_and_the_rest_once_when_it_is_asked_for(heaped: str) -> None:
    package = lazy_package(heaped, "part", owner="ours")
    part = importlib.import_module("heaped.part")
    importlib.import_module("heaped.other")
    assert part.whose == "ours" and sys.heaped_runs == 0
    assert not hasattr(package, "__wrapped__") and sys.heaped_runs == 0  # as inspect asks of every module
    found: dict[str, object] = {}
    exec("from heaped import *\nimport heaped", found)
    assert found["all_of_it"] == "ours and the rest" and found["heaped"] is package and package.part is part
    assert package.runs == 1 and sys.heaped_runs == 1
    with pytest.raises(AttributeError, match="heaped"):
        _ = package.nothing
    assert lazy_package(heaped) is package and sys.heaped_runs == 1


def test_a_loaded_one_stays_and_a_missing_one_is_said(heaped: str) -> None:
    loaded = importlib.import_module("json")
    assert lazy_package("json", owner="ours") is loaded and not hasattr(loaded, "owner")
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
        lazy_package("nothing_of_that_name")
    assert "nothing_of_that_name" not in sys.modules


def test_what_fails_to_load_is_tried_again(heaped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "heaped_failures", 1, raising=False)
    package = lazy_package(heaped, owner="ours")
    with pytest.raises(OSError, match="no room"):
        _ = package.all_of_it
    assert package.all_of_it == "ours and the rest" and package.runs == 2


PROGRAM = """
import sys
import maskwise.measures
assert "torchmetrics.metric" in sys.modules
print(*[name for name in ("torchmetrics.functional", "torchvision", "transformers") if name in sys.modules])
import torchmetrics
assert issubclass(maskwise.measures.Metric, torchmetrics.Metric) and torchmetrics.MeanMetric()(3.0) == 3
from torchmetrics import MetricCollection
both = MetricCollection([maskwise.measures.metric("area"), maskwise.measures.metric("entropy")])
import torch
both.update(torch.full((2, 8, 8), 0.25))
print(*sorted(both.compute()))
"""


def test_metrics_come_without_those_of_torchmetrics_and_go_with_them() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0] == "", ran.stdout
    assert len(ran.stdout.splitlines()[1].split()) == 2, ran.stdout

"""The launcher examples: parts without padding whose rows are those of one process; Ray where it is installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from script_files import loaded

from maskwise.classifiers import Classifier
from maskwise.data import read_data
from maskwise.evaluation import Contender, leaderboard, measure

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "ray" / "evaluate.py"
SEVEN = "shapes:n=7,size=48"


def module() -> ModuleType:
    return loaded(EXAMPLE)


@pytest.fixture
def example(tiny: Classifier, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    loaded = module()
    monkeypatch.setattr(loaded.mw, "load_classifier", lambda name: tiny)
    return loaded


@given(ids=st.lists(st.text(max_size=20), unique=True), parts=st.integers(1, 9))
def test_every_picture_is_in_one_part(ids: list[str], parts: int) -> None:
    part_of = module().part_of
    dealt = [[name for name in ids if part_of(name, parts) == part] for part in range(parts)]
    assert Counter(name for part in dealt for name in part) == Counter(ids)


def test_one_two_and_three_parts_give_the_same_rows(example: ModuleType, tiny: Classifier) -> None:
    """Seven pictures, which two and three do not divide; also twenty parts, most of them empty."""
    work = example.Work(SEVEN, "grad_cam", metrics=("le", "f1", "pointing", "area"), batch=1)
    boards = []
    for parts in (1, 2, 3, 20):
        rows = [row for part in range(parts) for row in example.rows_of(work, part, parts)]
        assert len(rows) == len({row["picture"] for row in rows}) == 7, "none twice, none missing"
        plain = sorted(repr((row["picture"], [row[name] for name in work.metrics])) for row in rows)
        cells = {name: (c.value, c.low, c.high) for name, c in example.together(work, rows).lines[0].cells.items()}
        boards.append((plain, cells))
    assert boards == boards[:1] * 4 and boards[0][1].keys() == set(work.metrics)
    measured = measure(
        [Contender.of("grad_cam", example.mw.explainer("grad_cam", tiny))],
        tiny, [read_data(SEVEN)], work.measures(tiny), work.settings(),
    )  # fmt: skip
    direct = {name: (c.value, c.low, c.high) for name, c in leaderboard(measured).lines[0].cells.items()}
    assert direct == boards[0][1]


def test_missing_parts_are_noticed(example: ModuleType) -> None:
    work = example.Work(SEVEN, "grad_cam", metrics=("area",))
    with pytest.raises(SystemExit, match="of 7 pictures: some parts are missing"):
        example.together(work, example.rows_of(work, 0, 2))


def test_parts_on_disk_are_not_computed_again(example: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    work = example.Work(SEVEN, "grad_cam", metrics=("le", "area"))
    assert sum(example.write_part(work, tmp_path, part, 3) for part in range(3)) == 7
    next(iter(tmp_path.glob("*.parquet"))).unlink()
    assert 0 < sum(example.write_part(work, tmp_path, part, 3) for part in range(3)) < 7
    written = example.read_rows(tmp_path, 3)
    direct = [row for part in range(3) for row in example.rows_of(work, part, 3)]
    key = lambda row: row["picture"]  # noqa: E731
    for a, b in zip(sorted(written, key=key), sorted(direct, key=key), strict=True):
        assert a["le"] == b["le"] and a["area"] == pytest.approx(b["area"], abs=1e-6)


def values(text: str) -> list[tuple[str, float]]:
    return [(name, float(value)) for name, value in re.findall(r"(\w+) (-?[\d.]+) \[", text)]


@pytest.mark.slow
def test_ray_with_two_workers_says_what_the_command_says(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("pyarrow")
    source = "shapes:n=7,size=64"
    # A busy machine takes longer than the 30 seconds that Ray gives its first process.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_raylet_start_wait_time_s": "200"}
    run = [
        sys.executable,
        str(EXAMPLE),
        "--data",
        source,
        "--out",
        str(tmp_path / "rows"),
        "--parts",
        "3",
        "--workers",
        "2",
    ]
    told = subprocess.run(run, capture_output=True, text=True, env=environment, timeout=280)
    if "timed out during startup" in told.stderr:
        pytest.skip("Ray itself did not start on this machine")
    assert told.returncode == 0, told.stderr
    assert len(list((tmp_path / "rows").glob("*.parquet"))) == 3
    command = [sys.executable, "-m", "maskwise", "evaluate", "--data", source, "--device", "cpu", "--json"]
    command += ["--metrics", "le,f1,pointing,area"]  # as the example has them
    (row,) = json.loads(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)["rows"]
    found = dict(values(told.stdout))
    assert found.keys() == row["metrics"].keys()
    for name, cell in row["metrics"].items():
        assert found[name] == pytest.approx(cell["value"], abs=1e-4)


@pytest.mark.slow
def test_torchrun_says_what_the_command_says(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OUT": str(tmp_path / "out"), "METRICS": "le,area"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    script = ["sh", str(ROOT / "examples" / "torchrun" / "evaluate.sh"), "shapes:n=7,size=64", "casm", "2"]
    subprocess.run(script, capture_output=True, check=True, env=environment, timeout=280)
    (row,) = json.loads((tmp_path / "out" / "leaderboard.json").read_text())["rows"]
    assert row["pictures"] == 7 and set(row["metrics"]) == {"le", "area"}

"""``benchmarks/gpu.py``: all kinds of rows in under a minute on a CPU, and an end in time, by priority."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from script_files import loaded

from maskwise.training import TrainingState

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    return loaded(SCRIPT)


def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    return found


def test_smoke_runs_every_kind_of_row(gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--smoke", "--minutes", "4", "--out", str(tmp_path)])
    found = results(tmp_path)
    rows = found["rows"]
    assert not found["left_out"] and not [row for row in rows if "error" in row]
    assert found["seconds"] == pytest.approx(sum(row["seconds"] for row in rows), rel=0.2, abs=5)
    trained = {row["training"]: row for row in rows if row["kind"] == "training"}
    assert {(name, row["mode"]) for name, row in trained.items()} == {
        ("fit", "fp32"), ("casm", "fp32"), ("ca", "bf16"), ("fix", "compiled")
    }  # fmt: skip
    for row in trained.values():
        assert row["pictures/s"] == pytest.approx(4 * row["steps/s"]) and 0 <= row["loader"] < 1
        assert row["ms a step"] == pytest.approx(1000 / row["steps/s"])
    mapped = {row["method"]: row for row in rows if row["kind"] == "maps"}
    assert {"grad_cam", "integrated_gradients", "casm", "dabkowski_gal", "RISE-16"} <= set(mapped)
    assert [name for name in mapped if name.startswith("SESS")] == [
        f"SESS-2, r = {r} (Grad-CAM)" for r in ("0", "0.5", "0.99")
    ]
    assert all(row["maps/s"] == pytest.approx(1000 / row["ms a map"]) for row in mapped.values())
    table = (tmp_path / "table.md").read_text()
    assert all(f"| {name} |" in table for name in (*trained, *mapped))
    assert f"{len(rows)} rows of {len(rows)}" in capsys.readouterr().out


def test_all_that_was_asked_for_is_a_row(gpu: ModuleType) -> None:
    rows = gpu.rows_of(gpu.Bench(torch.device("cpu"), ["shapes:n=4"]))
    trained = {tuple(row.facts.values()) for row in rows if row.kind == "training"}
    assert trained == {
        (name, net, px, mode)
        for name in ("fit", "casm", "ca", "fix")
        for net in ("lite0", "resnet50")
        for px in (160, 224)
        for mode in ("fp32", "bf16", "compiled")
    }
    named = [row.facts["method"] for row in rows if row.kind == "maps"]
    assert {"RISE-8000", *(f"SESS-12, r = {r} (Grad-CAM)" for r in ("0", "0.5", "0.99"))} <= set(named)
    assert set(gpu.named(True)) <= set(named) and not {"score_cam", "fido", "rise"} & set(named)
    ranks = [row.rank for row in rows]
    assert ranks == sorted(ranks) and rows[0].facts == {
        "training": "fit", "classifier": "lite0", "px": 160, "mode": "fp32"
    }  # fmt: skip


def row(gpu: ModuleType, name: str, seconds: float, takes: float = 0.0, error: Exception | None = None) -> Any:
    def run() -> dict[str, Any]:
        if error is not None:
            raise error
        ends = time.perf_counter() + takes
        while time.perf_counter() < ends:
            time.sleep(0.005)
        return {"ms": 1.5}

    return gpu.Row("kind", {"name": name}, 0, seconds, run)


def test_rows_that_would_not_end_in_time_are_left_out(gpu: ModuleType, tmp_path: Path) -> None:
    bench = gpu.Bench(torch.device("cpu"), ["shapes"])
    rows = [row(gpu, "first", 1, 0.02), row(gpu, "large", 1000), row(gpu, "small", 2, 0.02)]
    gpu.run(rows, bench, 0.1, tmp_path, gpu.now())
    found = results(tmp_path)
    assert [r["name"] for r in found["rows"]] == ["first", "small"]
    # the first row took a fiftieth of what it was reckoned to take, and so is the large one reckoned
    (left,) = found["left_out"]
    assert left["name"] == "large" and left["needs seconds"] == pytest.approx(1000 * found["rows"][0]["seconds"])
    assert "- large: needs " in (tmp_path / "table.md").read_text()


def test_a_row_that_does_not_end_is_ended(gpu: ModuleType, tmp_path: Path) -> None:
    bench = gpu.Bench(torch.device("cpu"), ["shapes"])
    rows = [row(gpu, "endless", 0.1, 1000), row(gpu, "next", 0.1)]
    began = gpu.now()
    gpu.run(rows, bench, 0.01, tmp_path, began)
    assert gpu.now() - began < 5
    found = results(tmp_path)
    assert found["rows"][0]["error"] == "the time was up" and [r["name"] for r in found["left_out"]] == ["next"]


def test_what_fails_or_is_killed_loses_no_other_row(gpu: ModuleType, tmp_path: Path) -> None:
    bench = gpu.Bench(torch.device("cpu"), ["shapes"])
    rows = [
        row(gpu, "broken", 1, error=torch.OutOfMemoryError("CUDA out of memory")),
        row(gpu, "whole", 1),
        row(gpu, "killed", 1, error=KeyboardInterrupt()),  # type: ignore[arg-type]
    ]
    with pytest.raises(KeyboardInterrupt):
        gpu.run(rows, bench, 1, tmp_path, gpu.now())
    found = results(tmp_path)
    assert [r["name"] for r in found["rows"]] == ["broken", "whole"]
    assert found["rows"][0]["error"].startswith("OutOfMemoryError: CUDA") and found["rows"][1]["ms"] == 1.5
    assert "- broken: OutOfMemoryError" in (tmp_path / "table.md").read_text()


def test_the_loaders_share_is_what_the_loop_waits_for(gpu: ModuleType) -> None:
    """A loop whose pictures take three times as long as its steps."""
    bench = gpu.Bench(torch.device("cpu"), ["shapes"], seconds=0.6)
    watch = gpu.Watch(bench)
    recipe = SimpleNamespace(batch_size=5)
    trainer = SimpleNamespace(steps=0, recipe=recipe)
    state = TrainingState(trainer, Path(), 1000)  # type: ignore[arg-type]
    began, waited = time.monotonic(), 0.0
    watch.on_look(state)
    while state.ended is None:
        asked = time.monotonic()
        time.sleep(0.06)
        waited += time.monotonic() - asked
        time.sleep(0.02)
        trainer.steps += 1
        state.waited = waited / (time.monotonic() - began)
        watch.on_step(state)
    facts = watch.facts()
    assert facts["loader"] == pytest.approx(0.75, abs=0.1)
    assert facts["pictures/s"] == pytest.approx(5 * facts["steps/s"]) and facts["ms a step"] >= 80
    steps = [step for _, step, _ in watch.marks]
    assert steps[0] == gpu.WARM and steps[1] - steps[0] == pytest.approx(0.6 / 0.08, abs=2)
    watch.on_step(state)  # one that was under way when the end was asked for
    assert watch.facts() == facts


def test_bad_options(gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out")]
    for given, words in ((out, "name the pictures"), ([*out, "--data", "nowhere"], "gpu.py: nowhere: neither")):
        with pytest.raises(SystemExit) as left:
            gpu.main(given)
        assert left.value.code == 2 and words in capsys.readouterr().err

"""Loggers: each holds what log.jsonl holds, also after an interruption; a missing library is said before any work."""

from __future__ import annotations

import csv
import importlib.util
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny_net
from typer.testing import CliRunner

from maskwise.classifiers import Classifier
from maskwise.cli import app
from maskwise.core.errors import InputError
from maskwise.training import Callback, Recipe, TrainingState, train
from maskwise.training.guard import Guard
from maskwise.training.watch.loggers import loggers

RECIPE = Recipe(steps=6, batch_size=4, fraction=1.0, input_size=32, thinning="L100", seed=3)


def run(out: Path, log: str, **options: Any) -> list[dict[str, float]]:
    tiny = Classifier(tiny_net(classes=8), input_size=32, name="tiny")
    train(RECIPE, "shapes:n=12,size=40,labels=own", classifier=tiny, out=out, device="cpu", log=[log], **options)
    return lines(out)


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


class Crash(Callback):
    """An error after some steps; the last checkpoint is older."""

    def on_step(self, state: TrainingState) -> None:
        if state.step == 5:
            raise RuntimeError("crashed")


def crashed_and_resumed(out: Path, log: str, **options: Any) -> list[dict[str, float]]:
    """A checkpoint after step 3, an error after step 5, and the whole."""
    with pytest.raises(RuntimeError, match="crashed"):
        run(out, log, callbacks=[Crash()], checkpoint_every=3, checkpoint_minutes=60.0, **options)
    return run(out, log, resume=True, **options)


def test_csv(tmp_path: Path) -> None:
    logged = crashed_and_resumed(tmp_path / "r", "csv")
    with (tmp_path / "r" / "csv" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(logged) == 6
    for row, line in zip(rows, logged, strict=True):
        assert {name: float(value) for name, value in row.items()} == pytest.approx(line)


def test_steps_that_are_read_together_are_all_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As beside a GPU: here four at once, and what is left at the end."""
    begin = Guard.__init__

    def every_four(self: Guard, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        self.every = 4

    monkeypatch.setattr(Guard, "__init__", every_four)
    logged = run(tmp_path / "r", "csv")
    with (tmp_path / "r" / "csv" / "metrics.csv").open(newline="") as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == [line["loss"] for line in logged]
    assert len(logged) == 6


def test_tensorboard(tmp_path: Path) -> None:
    """Read by TensorBoard itself, which leaves out what was taken back."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged = crashed_and_resumed(tmp_path / "r", "tensorboard", look_minutes=0.0)
    events = EventAccumulator(str(tmp_path / "r" / "tensorboard"))
    events.Reload()
    assert {"loss", "area", "right", "lr_masker", "lr_classifier", "lambda_factor"} <= set(events.Tags()["scalars"])
    for name in ("loss", "area", "lr_masker"):
        found = [(e.step, e.value) for e in events.Scalars(name)]
        assert [step for step, _ in found] == [line["step"] for line in logged]
        assert [value for _, value in found] == pytest.approx([line[name] for line in logged], rel=1e-5)
    shown = events.Images("looks")
    assert shown[-1].step == 6 and shown[-1].width > 500


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run of theirs, gone on with."""
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logged = crashed_and_resumed(tmp_path / "r", "mlflow")
    client = tracking.MlflowClient(f"sqlite:///{tmp_path / 'r' / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "maskwise"]
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED" and found.data.params["thinning"] == "L100"
    history = {m.step: m.value for m in client.get_metric_history(found.info.run_id, "loss")}
    assert history == pytest.approx({line["step"]: line["loss"] for line in logged})
    assert [f.path for f in client.list_artifacts(found.info.run_id, "looks")][-1] == "looks/000006.jpg"


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, read from the file that it would send."""
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logged = run(tmp_path / "r", "wandb")
    (path,) = (tmp_path / "r" / "wandb").glob("offline-run-*/*.wandb")
    found, shown = [], 0
    for data in leveldb_records(path.read_bytes()[7:]):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        items = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
        if "loss" in items:
            found.append((items["step"], items["loss"]))
        shown += any(name.startswith("looks") for name in items)
    assert found == [(line["step"], pytest.approx(line["loss"])) for line in logged] and shown == 2


def leveldb_records(data: bytes) -> Iterator[bytes]:
    """Of LevelDB's log format: blocks of 32 KiB, in them pieces of records with 7 bytes before each."""
    whole, place = b"", 0
    while place + 7 <= len(data):
        left = 32768 - (place + 7) % 32768  # their file begins with seven bytes of its own
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # all of a record, or its end
            yield whole
            whole = b""


class _Gone:
    """A server that answers twice."""

    def __init__(self) -> None:
        self.left = 2

    def __call__(self, *_: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise ConnectionError("the server is gone")


def test_a_server_that_is_gone_does_not_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = _Gone()
    monkeypatch.setattr(loggers.get("csv"), "scalars", lambda self, *values: gone(*values))
    with pytest.warns(UserWarning, match="the CSV file can't be written any more .the server is gone") as caught:
        assert len(run(tmp_path / "r", "csv")) == 6
    assert sum("CSV" in str(w.message) for w in caught) == 1 and gone.left == -1, "asked no more"


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_library_is_said_before_any_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    hidden = loggers.get(name).needs
    monkeypatch.setattr("importlib.util.find_spec", lambda module, *a: None if module in hidden else find(module, *a))
    with pytest.raises(InputError, match=rf"`log={name}` needs {name}: pip install 'maskwise\[watch\]'"):
        run(tmp_path / "r", name)
    assert not (tmp_path / "r").exists()


def test_an_unknown_logger_is_one_line(tmp_path: Path) -> None:
    call = ["train", "casm_lite0", "--data", "shapes:n=8", "--out", str(tmp_path / "r"), "--log", "tensorbord"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert "unknown logger 'tensorbord'; did you mean tensorboard?" in result.stderr and not (tmp_path / "r").exists()

"""Work that is killed at random moments in a process of its own, again and again until it is done."""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import random
import sqlite3
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import yaml
from conftest import tiny_net
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.seal import check_seal
from maskwise.evaluation import Contender, Settings, measure
from maskwise.explainers import explainer
from maskwise.measures import metric
from maskwise.studies import SCALES, run_study, studies
from maskwise.studies.run_config import RunConfig, sources_of
from maskwise.training import Recipe, train
from maskwise.training.checkpoint import read_sealed
from maskwise.training.trainer import trainers

PICTURES = "shapes:n=12,size=40,seed=3,labels=own"
RECIPE = Recipe(
    epochs=8, fraction=1.0, batch_size=4, input_size=32, thinning="L100", seed=3, crop_area=(0.5, 1.0),
    p_history=0.7, pool_size=2,
)  # fmt: skip
METHODS = ("grad_cam", "rise")


def network() -> Classifier:
    return Classifier(tiny_net(classes=8), input_size=32, name="tiny")


def training(out: Path) -> None:
    """24 steps, a checkpoint every other one."""
    torch.set_num_threads(1)
    train(RECIPE, PICTURES, classifier=network(), out=out, resume=True, checkpoint_every=2, device="cpu")


def resumed(recipe: Recipe, data: Path, out: Path) -> None:
    """A training of five classes, from where it stands; a checkpoint every three steps."""
    torch.set_num_threads(1)
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    train(recipe, data, classifier=classifier, out=out, resume=True, checkpoint_every=3, device="cpu")


def evaluation(out: Path) -> dict[str, Any]:
    """Two methods, rows and maps kept."""
    torch.set_num_threads(1)
    classifier = network()
    options: dict[str, dict[str, Any]] = {"rise": {"masks": 64}}
    contenders = [Contender.of(name, explainer(name, classifier, **options.get(name, {}))) for name in METHODS]
    metrics = {name: metric(name, classifier) for name in ("le", "area_std", "insertion_deletion")}
    found = measure(contenders, classifier, [PICTURES], metrics, Settings(batch=2), out, save_maps=True)
    return {"/".join(key): rows for key, rows in found.statistics.items() if key[-1] in metrics}


def study(out: Path) -> dict[str, Any]:
    """Both cells of a small table: each trains, and is measured."""
    torch.set_num_threads(1)
    smoke = SCALES["smoke"]
    train_on, test_on = sources_of([], [], smoke)
    found = run_study(
        studies.get("casm-statistics"), RunConfig(smoke, train_on, test_on, {"tiny": None}, (), smoke.limit), out
    )
    assert not found.failures, found.failures
    return {"/".join(k): (n.value, n.interval()) for k, n in found.numbers.items() if k[1] != "seconds"}


@dataclass(frozen=True)
class Survived:
    """Of one trial: kills before the work was done, and files that were read after them."""

    kills: int
    files: int


def survive(work: Callable[[Path], Any], out: Path, draws: random.Random, longest: float, most: int = 8) -> Survived:
    """Does ``work(out)`` in processes that are killed after a random part of ``longest`` seconds, until one is done.

    After every kill all files that are visible must load. The last process, after ``most`` kills, is left alone.
    """
    kills = files = 0
    while True:
        process = context().Process(target=work, args=(out,))
        process.start()
        process.join(draws.uniform(0, longest) if kills < most else None)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
            files += check_files(out)
            continue
        assert process.exitcode == 0, f"{work.__name__} ended with {process.exitcode}"
        return Survived(kills, files + check_files(out))


@cache
def context() -> Any:
    """Processes that are forked from one in which everything is imported, on one thread."""
    found = mp.get_context("forkserver")
    found.set_forkserver_preload(["faults.killable", "faults.breaking", "faults.commanding", "faults.killable_files"])
    before = dict(os.environ)
    # That process is told of where to import from by its environment alone.
    imports = os.pathsep.join(path for path in sys.path if path)
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": imports, "FAULTS_FORKED": "1"}
    forkserver.ensure_running()
    os.environ.clear()
    os.environ.update(before)
    return found


def check_files(out: Path) -> int:
    """Reads everything visible below ``out`` by the reader that is its own; returns how many files there are."""
    visible = [p for p in out.rglob("*") if p.is_file() and not any(part.startswith(".") for part in p.parts)]
    for path in visible:
        if path.suffix == ".pt":
            read_sealed(path)
        elif path.suffix == ".safetensors":
            check_seal(path)
            load_file(path)
        elif path.suffix == ".yaml":
            written = yaml.safe_load(path.read_text())
            trainers.get(written["kind"]).Recipe(**written)
        elif path.suffix == ".jsonl":
            *whole, _last = path.read_text().splitlines() or [""]  # the last one is in the making
            assert [json.loads(line)["step"] for line in whole] == list(range(1, len(whole) + 1))
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".html":
            assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
        elif path.suffix == ".jpg":
            with Image.open(path) as picture:
                picture.load()
        elif path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None
            with np.load(path) as arrays:
                numbers = [array for array in arrays.values() if array.dtype.kind == "f"]
            assert numbers and all(np.isfinite(array).all() for array in numbers)
        elif path.suffix == ".db":
            with sqlite3.connect(path) as database:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        elif path.suffix == ".tar":
            with tarfile.open(path) as archive:
                assert all(archive.extractfile(member) is not None for member in archive.getmembers())
        elif path.suffix == ".onnx":
            onnx.checker.check_model(onnx.load(path))
        elif path.suffix == ".csv":
            assert path.read_text(encoding="utf-8").endswith("\n")
        else:
            assert path.name.endswith((".db-journal", ".txt")), f"nobody knows what {path} is"
    return len(visible)


def log_of(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds_per_step"} for line in lines]


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Equal to the last bit; NaN equals NaN."""
    return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return a.shape == b.shape and torch.equal(a.nan_to_num(-7), b.nan_to_num(-7))
    return bool(np.array_equal(np.hstack(a), np.hstack(b), equal_nan=True))

"""More work that is killed at random moments: fits, comparisons, and what writes files of its own."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from convert.test_convert import save_casm
from faults.commanding import released, tiny
from faults.killable import PICTURES, evaluation, log_of, same, study, training

from maskwise.convert import convert
from maskwise.data import read_data
from maskwise.data.pack import pack
from maskwise.evaluation import Contender, Settings, leaderboard, measure
from maskwise.explainers import explainer
from maskwise.exporting import export
from maskwise.maskers import Masker
from maskwise.measures import metric
from maskwise.report.leaderboard import write_all
from maskwise.training.fitting import fit

Result = dict[str, bytes]  # contents by name


def contents(out: Path, *names: str) -> Result:
    return {str(path.relative_to(out)): path.read_bytes() for name in names for path in sorted(out.glob(name))}


def fitting(out: Path) -> Result:
    """16 steps, a checkpoint at each."""
    torch.set_num_threads(1)
    fit(
        "shapes:n=24,size=40,seed=3,labels=own", tiny(), out=out, size=32, max_steps=16, resume=True, device="cpu",
        overrides=["batch_size=4"],
    )  # fmt: skip
    return contents(out, "masker.safetensors")


def comparison(out: Path) -> Result:
    """Three methods, tables and page; times are left out of what is compared."""
    torch.set_num_threads(1)
    classifier = tiny()
    contenders = [Contender.of(name, explainer(name, classifier)) for name in ("grad_cam", "gradient", "center")]
    metrics = {name: metric(name, classifier) for name in ("le", "pxap", "insertion")}
    found = measure(contenders, classifier, [PICTURES], metrics, Settings(batch=1), out)
    board = leaderboard(found, 50)
    write_all(board, found, out)
    cells = {
        line.method: {name: repr(cell) for name, cell in line.cells.items() if name in metrics} for line in board.lines
    }
    return {name: repr(sorted(line.items())).encode() for name, line in cells.items()}


def packing(out: Path) -> Result:
    """Ten shards and their indexes."""
    pack(read_data("shapes:n=40,size=96,seed=3"), out, count=4)
    return contents(out, "*")


def exporting(out: Path) -> Result:
    """One graph."""
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        masker = Masker.build(tiny(), width=4).eval()
    export(masker, out / "m.onnx", tiny())
    return contents(out, "*")


def converting(out: Path) -> Result:
    """A released checkpoint of CASM to a masker and its classifier."""
    torch.set_num_threads(1)
    old = out.parent / "old.chk"
    if not old.is_file():
        making = old.with_name(f"{os.getpid()}.chk")
        os.replace(save_casm(making, *released()), old)
    convert(old, out / "casm.safetensors")
    return contents(out, "*")


def trained(out: Path) -> Result:
    return contents(out, "masker.safetensors") | {"log": repr(log_of(out)).encode()}


def files(out: Path) -> Result:
    return contents(out, "*")


@dataclass(frozen=True)
class Killable:
    """Work, what it came to (read from where it was done), and whether two such are the same."""

    work: Callable[[Path], Any]
    outcome: Callable[[Path], Any]
    same: Callable[[Any, Any], bool] = operator.eq


KILLABLE = {
    "training": Killable(training, trained), "fitting": Killable(fitting, trained),
    "evaluation": Killable(evaluation, evaluation, same), "comparison": Killable(comparison, comparison),
    "study": Killable(study, study, same), "packing": Killable(packing, files),
    "exporting": Killable(exporting, files), "converting": Killable(converting, files),
}  # fmt: skip

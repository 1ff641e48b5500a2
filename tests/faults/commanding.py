"""Commands in forked processes, on toy networks, that are sent a signal in the middle of their work."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from calling import save_picture
from conftest import tiny_net
from faults.killable import RECIPE, context

from maskwise import cli
from maskwise.classifiers import Classifier
from maskwise.commands.groups import Model
from maskwise.maskers import Masker, save_masker

DATA = "shapes:n=6,size=40,seed=3,labels=own"
MORE = "shapes:n=48,size=40,seed=3"


@dataclass(frozen=True)
class Work:
    """A command in the middle of its work.

    Attributes:
        arguments: what is typed after ``maskwise``.
        strike: ``module:name`` of a function; at its ``call``-th call the signal comes.
        call: counted from 1.
        again: is it quick enough to be run a second time?
    """

    arguments: str
    strike: str = "torch.nn:Linear.forward"
    call: int = 5
    again: bool = True


WORKS = {
    "train": Work(f"train recipe.yaml --data {DATA} --classifier tiny --out out --checkpoint-every 2", call=20),
    "fit": Work(f"fit {DATA} --out out --max-steps 12 --size 32", call=30),
    "evaluate": Work(f"evaluate --data {DATA} --method grad_cam --metrics le,area_std --batch 1 --out out"),
    "compare": Work(
        f"compare --data {DATA} --methods grad_cam,center --metrics le,area_std --batch 1 --out out --report"
    ),
    "study": Work("study casm-statistics --scale smoke --out out", "maskwise.training.mask:MaskTrainer.train_step", 4),
    "audit": Work(f"audit --data {DATA} --method gradient --limit 24 --batch 1 --out out"),
    "panel": Work(f"panel --data {DATA} --methods grad_cam --classifiers tiny --out out"),
    "check mprt": Work(f"check mprt --data {DATA} --method grad_cam --out out"),
    "check drt": Work(f"check drt --data {MORE} --size 32 --train-set epochs=1 --no-again --out out"),
    "check roar": Work(
        f"check roar --data {MORE} --size 32 --method grad_cam --percent 50 --repeats 1 --train-set epochs=1 --out out"
    ),
    "check max-sensitivity": Work(f"check max-sensitivity --data {DATA} --method grad_cam --samples 2 --out out"),
    "check arcc": Work(f"check arcc --data {DATA} --method grad_cam --out out"),
    "check focus": Work(f"check focus --data {MORE} --method grad_cam --batch 8 --out out"),
    "check f-fidelity": Work(
        f"check f-fidelity --data {DATA} --train-data {DATA} --method grad_cam --percent 50 --draws 2 "
        "--train-set epochs=2 --out out"
    ),
    "check leak": Work(
        f"check leak --data {MORE},labels=own --method grad_cam --no-probe --judge-size 32 --train-set epochs=1 "
        "--out out"
    ),
    "pack": Work("pack shapes:n=6,size=40 --count 2 --out out", "maskwise.data.pack:write_shard", 2),
    "export": Work("export masker.safetensors --onnx out/m.onnx", "torch.onnx:export", 1, again=False),
    "convert": Work("convert old.chk out/new.safetensors", "maskwise.core.files:_sync", 1),
    "explain": Work("explain pictures --method grad_cam --out out --report", "maskwise.report.explained:fig2", 2),
    "plan": Work("plan recipe.yaml --images 9 --classifier torchvision/resnet18", "maskwise.planning:plan_training", 1),
}  # fmt: skip


def tiny() -> Classifier:
    return Classifier(tiny_net(classes=8), input_size=32, name="tiny")


def prepare(folder: Path) -> None:
    """What the commands read."""
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE.model_dump(mode="json", exclude_defaults=True)))
    (folder / "pictures").mkdir()
    for i in range(3):
        save_picture(folder / "pictures" / f"{i}.png", 40, 50, i)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_masker(folder / "masker.safetensors", Masker.build(tiny(), width=4), tiny(), {"width": 4})


@cache
def released() -> tuple[Any, Any]:
    """A ResNet-50 and a decoder as the released checkpoints hold them."""
    from convert.test_convert import Released, stirred
    from torchvision.models import resnet50

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return stirred(resnet50(weights=None, num_classes=10)), stirred(Released())


def called(
    arguments: list[str], folder: Path, said: Path, strike: tuple[str, int, int] | None = None
) -> tuple[int, str]:
    """Runs ``maskwise ARGUMENTS`` in ``folder``, in a process of its own.

    Args:
        said: file for stdout and stderr.
        strike: a function, at which of its calls, and the signal that the process then gets.

    Returns:
        The exit code, and what was said.
    """
    process = context().Process(target=_run, args=(arguments, folder, said, strike))
    process.start()
    process.join(120)
    process.kill()
    return process.exitcode, said.read_text()


def _run(arguments: list[str], folder: Path, said: Path, strike: tuple[str, int, int] | None) -> None:
    os.chdir(folder)
    torch.set_num_threads(1)
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1), os.dup2(output, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["maskwise", *arguments]
    Model.load = lambda self, name=None: tiny()  # type: ignore[assignment, method-assign]
    importlib.import_module("maskwise.training.run").load_classifier = lambda *_: tiny()  # type: ignore[attr-defined]
    if strike is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which what started the tests may have ignored
        _strike(*strike)
    try:
        cli.main()
    finally:
        sys.stdout.flush(), sys.stderr.flush()


def _strike(place: str, call: int, number: int) -> None:
    module, _, name = place.partition(":")
    home: Any = importlib.import_module(module)
    *owners, last = name.split(".")
    for owner in owners:
        home = getattr(home, owner)
    real: Callable[..., Any] = getattr(home, last)
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), number)
        return real(*args, **kwargs)

    setattr(home, last, counted)

"""Several processes at one training: who starts them, who writes, and what the others do when one is gone."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist

from maskwise.core.devices import device_of
from maskwise.core.errors import InputError
from maskwise.core.lazy_package import lazy_torchmetrics
from maskwise.core.precision import resolved_precision
from maskwise.training.log import Log

if TYPE_CHECKING:
    from lightning.fabric import Fabric

PATIENCE = timedelta(minutes=10)  # until a process that does not answer counts as gone
T = TypeVar("T")


def fabric_of(device: str, devices: int = 1, nodes: int = 1, precision: str = "fp32") -> Fabric:
    """Fabric for ``devices`` processes on each of ``nodes`` machines; under ``torchrun`` for those that it started.

    Its ``launch()`` starts the same command again for every other process of this machine; what ``torchrun``, Slurm
    or a set ``LOCAL_RANK`` started stays as it is.

    Args:
        device: cpu, cuda, mps or auto.
        precision: fp32, bf16, fp16, or auto: bf16 on a GPU that has it, else fp32.

    Raises:
        InputError: more devices than there are, numbers that contradict ``torchrun``, or a precision that this device
            does not know.
    """
    fabric = _fabric()

    kind = device_of(device).type
    devices, nodes = _torchrun(devices, nodes)
    if kind == "cuda" and devices > torch.cuda.device_count():
        raise InputError(f"`devices={devices}`: here are {torch.cuda.device_count()} GPUs; each process needs its own")
    if kind == "mps" and devices * nodes > 1:
        raise InputError("on mps there is one process: leave `devices` and `nodes` out")
    for library in ("lightning.fabric", "lightning.pytorch", "lightning_fabric"):  # which say who joined
        logging.getLogger(f"{library}.utilities.rank_zero").setLevel(logging.WARNING)
        logging.getLogger(library).setLevel(logging.WARNING)
    if kind == "cuda":  # sizes repeat, so the quickest kernels are looked for once
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    plan: Any = fabric.strategies.DDPStrategy(timeout=PATIENCE) if devices * nodes > 1 else "auto"
    mixed: Any = fabric_precision(precision, kind)
    made: Fabric = fabric.Fabric(accelerator=kind, devices=devices, num_nodes=nodes, strategy=plan, precision=mixed)
    return made


def _fabric() -> Any:
    """Lightning's Fabric under its other name, which comes without Lightning's trainer: that takes seconds to load."""
    lazy_torchmetrics()
    try:
        return import_module("lightning_fabric")
    except ModuleNotFoundError:
        return import_module("lightning.fabric")


def fabric_precision(precision: str, kind: str) -> str:
    """What Fabric calls it; weights are float32 in any case, and autocast does the rest.

    Raises:
        InputError: unknown, or not to be had on this kind of device.
    """
    precision = resolved_precision(precision, kind)
    if precision == "fp16" and kind == "cpu":
        raise InputError("precision fp16 needs a GPU: use bf16 on a CPU")
    return {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[precision]


def _torchrun(devices: int, nodes: int) -> tuple[int, int]:
    """Devices a machine and machines, as ``torchrun`` says if it started this process."""
    if not dist.is_torchelastic_launched():
        return devices, nodes
    local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    there = local, world // local
    if (devices, nodes) not in ((1, 1), there):
        raise InputError(
            f"torchrun started {there[0]} processes on each of {there[1]} machines: "
            f"leave `devices={devices}` and `nodes={nodes}` out"
        )
    return there


def launch(fabric: Fabric) -> None:
    """Starts the other processes, if there are any, and leaves their group when this one ends.

    Fabric does the latter for NCCL only; gloo's threads, still there when the interpreter goes, now and then abort it
    (``terminate called without an active exception``), and a training that is complete would count as failed.
    """
    fabric.launch()
    atexit.unregister(_leave)  # once, however many trainings this process has behind it
    atexit.register(_leave)


def _leave() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def check_shares(pictures: int, world: int, accumulate: int, name: str = "batch_size") -> None:
    """Every process needs a picture of every part of a batch.

    Raises:
        InputError: there are too few.
    """
    if accumulate < 1 or pictures < world * accumulate:
        raise InputError(
            f"{name} {pictures} is too small for {world} processes with {accumulate} parts each: "
            f"set {name} to {world * max(accumulate, 1)} or more, or take fewer"
        )


def is_main_process(fabric: Fabric) -> bool:
    """Is this the process that writes?"""
    return fabric.global_rank == 0


def reader_threads(fabric: Fabric) -> int:
    """Threads that read pictures for one process: a GPU is quicker than one of them, a CPU is not."""
    if fabric.device.type == "cpu":
        return 1
    here = max(processes_here(fabric), torch.cuda.device_count())
    return min(max((os.cpu_count() or 1) // here, 1), 8)


def processes_here(fabric: Fabric) -> int:
    """Processes of this training on this machine, as far as this one knows."""
    return max(int(os.environ.get("LOCAL_WORLD_SIZE", 0)), min(fabric.world_size, os.cpu_count() or 1), 1)


def broadcast(fabric: Fabric, value: T) -> T:
    """What the main process says, on all of them."""
    return value if fabric.world_size == 1 else fabric.broadcast(value)


def all_gather(mine: T) -> list[T]:
    """What each process has, in the order of ranks."""
    if not dist.is_available() or not dist.is_initialized():
        return [mine]
    everybody: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everybody, mine)
    return everybody


def check_alike(identity: dict[str, Any]) -> None:
    """Every process must train the same classifier on the same pictures.

    Raises:
        InputError: another machine's differ.
    """
    theirs = all_gather(identity)
    differs = [key for key in identity if any(other[key] != theirs[0][key] for other in theirs)]
    if differs:
        raise InputError(f"the processes do not agree ({', '.join(differs)} differ): give all machines the same files")


class Silence(Log):
    """The log of a process that does not write, and of a training that keeps none."""

    def __init__(self) -> None:
        self.kept = []

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_: object) -> None: ...

    def write(self, line: Mapping[str, Any]) -> None: ...

    def sync(self) -> None: ...


@contextmanager
def one_line_if_one_is_gone() -> Iterator[None]:
    """While open, a process that is gone is said in one line by the others.

    Raises:
        InputError: one did not answer.
    """
    try:
        yield
    except RuntimeError as error:  # of gloo, and DistBackendError of NCCL
        text = str(error).lower()
        lost = isinstance(error, dist.DistError) or any(
            sign in text for sign in ("connection closed by peer", "connection reset", "gloo", "timed out waiting")
        )
        if not lost or isinstance(error, torch.OutOfMemoryError):
            raise
        raise InputError("another process of this training is gone; run it again with `resume=True`") from error

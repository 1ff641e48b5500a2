"""The plan of an evaluation: one picture explained and counted, many reckoned."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from maskwise.core.errors import InputError
from maskwise.planning.counting import counted
from maskwise.planning.machines import MACHINES, Machine
from maskwise.planning.skeleton import skeleton
from maskwise.planning.timing import fabric_here, reading
from maskwise.planning.timing import seconds as time_of
from maskwise.planning.training import PICTURE_BYTES, READ

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier
    from maskwise.explainers import Explainer

SAMPLE = 2000  # rows that are written to see what one takes
METRICS = 4  # of ``evaluate``'s default


@dataclass(frozen=True)
class Hours:
    """For one machine; ``slowest`` is what holds it up: computing or reading."""

    machine: str
    devices: int
    hours: float
    device_hours: float
    slowest: str


@dataclass(frozen=True)
class EvaluationPlan:
    """What ``maskwise plan --evaluate METHOD`` prints; bytes and FLOPs as such.

    Attributes:
        forwards: the work of a picture in forwards of the classifier, by FLOPs; those of the metrics added.
        picture_flops: of one picture, the metrics' forwards among them.
        row: bytes of one metric's row of one picture in ``rows.db``, measured.
        rows: of all rows.
        names: bytes of memory in which one process remembers which pictures are done.
        maps: bytes that ``--save-maps`` would take, uncompressed.
        read: bytes of pictures.
        seconds: that explaining one picture takes here, if it was measured.
        reads: pictures a second that one thread reads: assumed, or measured here.
    """

    method: str
    classifier: str
    images: int
    forwards: float
    picture_flops: float
    row: float
    rows: float
    names: float
    maps: float
    read: float
    machines: tuple[Hours, ...]
    seconds: float | None = None
    reads: float = READ


def plan_evaluation(
    method: str,
    images: int,
    devices: Sequence[int] = (1,),
    *,
    classifier: str = "efficientnet_lite0",
    options: Mapping[str, Any] | None = None,
    metrics: int = METRICS,
    metric_forwards: int = 0,
    measure: bool = False,
) -> EvaluationPlan:
    """Explains two pictures of noise here, so that it takes as long as the method does.

    Args:
        method: as ``maskwise methods`` lists it.
        images: pictures.
        devices: that share them, one number or several to choose from.
        classifier: with random weights where they would have to be fetched.
        options: the method's.
        metrics: rows of each picture.
        metric_forwards: forwards a picture that they need, such as 225 of insertion_deletion.
        measure: time it, too.

    Raises:
        InputError: unknown method or classifier, no picture, or no device.
    """
    if images < 1 or min(devices) < 1:
        raise InputError(f"a plan is for at least one picture and one device, not {images} and {min(devices)}")
    from maskwise.explainers import explainer

    judge = skeleton(classifier)
    made = explainer(method, judge, **(options or {}))
    pictures = torch.rand(2, 3, judge.input_size, judge.input_size)
    whole = counted(lambda: made(pictures), judge.module).of_one(2)
    forward = counted(lambda: judge.logits(pictures), judge.module).of_one(2)
    flops = whole.flops + metric_forwards * forward.flops
    row = row_bytes()
    reads, seconds = READ, None
    if measure:
        reads, seconds = reading(judge.input_size), _explaining(made, judge, fabric_here().device, method, options)
    machines = [_hours(m, flops, whole.kernels, images, n, reads) for m in MACHINES.values() for n in devices]
    if seconds is not None:  # pictures are read and explained in turn
        hours = images * (seconds + 1 / reads) / 3600
        slowest = "computing" if seconds >= 1 / reads else "reading pictures"
        machines.insert(0, Hours("here", 1, hours, hours, slowest))
    return EvaluationPlan(
        method, judge.name, images, flops / forward.flops, flops, row, row * metrics * images,
        NAME * metrics * images, 4.0 * judge.input_size**2 * images, float(PICTURE_BYTES) * images, tuple(machines),
        seconds, reads,
    )  # fmt: skip


NAME = 130  # bytes of a picture's name of 40 letters as an entry of a set


def _explaining(
    made: Explainer, judge: Classifier, device: torch.device, method: str, options: Mapping[str, Any] | None
) -> float:
    """Seconds a picture on this machine's device, in batches that fill it, after one that warms up."""
    from maskwise.explainers import explainer

    if device.type == "cuda":
        judge = copy.deepcopy(judge).to(device)
        made = explainer(method, judge, **(options or {}))
    pictures = torch.rand(judge.batch if device.type == "cuda" else 2, 3, judge.input_size, judge.input_size)
    made(pictures.to(device))
    return time_of(lambda: made(pictures.to(device)), device) / len(pictures)


def _hours(
    machine: Machine, flops: float, kernels: float, images: int, devices: int, reads: float, batch: int = 64
) -> Hours:
    own = images / devices
    work = own / batch * machine.compute(flops * batch, kernels)
    read = own / (reads * machine.readers)
    hours = max(work, read) / 3600
    return Hours(machine.name, devices, hours, hours * devices, "computing" if work >= read else "reading pictures")


def row_bytes() -> float:
    """Bytes of one metric's row of one picture, of the file that many of them make."""
    from maskwise.evaluation.store import Rows

    draws = torch.Generator().manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        with Rows(Path(folder)) as rows:
            run = rows.run({"method": "a plan"})
            values = torch.rand(SAMPLE, 2, generator=draws, dtype=torch.float64)
            rows.write(run, [("f1", f"val/n01440764/ILSVRC2012_val_{k:08d}.JPEG", v) for k, v in enumerate(values)])
        return (Path(folder) / "rows.db").stat().st_size / SAMPLE

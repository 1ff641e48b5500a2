"""The plan of an evaluation: pictures explained and counted and, where that is asked for, timed here."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from maskwise.core.errors import InputError
from maskwise.planning.counting import counted
from maskwise.planning.skeleton import skeleton
from maskwise.planning.throughput import fabric_here, reading, timed_seconds
from maskwise.planning.training import PICTURE_BYTES

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier
    from maskwise.explainers import Explainer

SAMPLE = 2000  # rows that are written to see what one takes
METRICS = 4  # of ``evaluate``'s default
NAME = 130  # bytes of a picture's name of 40 letters as an entry of a set


@dataclass(frozen=True)
class EvaluationPlan:
    """What ``maskwise plan --evaluate METHOD`` prints; bytes and FLOPs as such.

    Attributes:
        forwards: the work of a picture in forwards of the classifier, by FLOPs; those of the metrics added. Of a black
            box, whose work nobody sees, it is how often it is asked.
        picture_flops: of one picture, the metrics' forwards among them; None of a black box.
        row: bytes of one metric's row of one picture in ``rows.db``, measured.
        rows: of all rows.
        names: bytes of memory in which one process remembers which pictures are done.
        maps: bytes that ``--save-maps`` would take, uncompressed.
        read: bytes of pictures.
        seconds: that explaining one picture takes here, if it was measured.
        read_per_second: pictures that one thread reads here, if it was measured.
        hours: of all pictures on this machine, which reads and explains them in turn; from the two before.
    """

    method: str
    classifier: str
    images: int
    forwards: float
    picture_flops: float | None
    row: float
    rows: float
    names: float
    maps: float
    read: float
    seconds: float | None = None
    read_per_second: float | None = None
    hours: float | None = None


def plan_evaluation(
    method: str,
    images: int,
    *,
    classifier: str = "efficientnet_lite0",
    said: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    metrics: int = METRICS,
    metric_forwards: int = 0,
    measure: bool = False,
) -> EvaluationPlan:
    """Explains two pictures of noise here, so that it takes as long as the method does.

    Args:
        method: as ``maskwise methods`` lists it.
        images: pictures.
        classifier: with random weights where they would have to be fetched.
        said: of the classifier, as of ``skeleton``.
        options: the method's.
        metrics: rows of each picture.
        metric_forwards: forwards a picture that they need, such as 225 of insertion_deletion.
        measure: time it, too.

    Raises:
        InputError: unknown method or classifier, or no picture.
    """
    if images < 1:
        raise InputError(f"a plan is for at least one picture, not {images}")
    from maskwise.explainers import explainer
    from maskwise.explainers.doubts import handed_on

    judge = skeleton(classifier, **(said or {}))
    made = explainer(method, judge, **(options or {}))
    pictures = torch.rand(2, judge.channels, *judge.size)
    with handed_on():  # what may be wrong with a map of noise is nobody's news
        made.ask_once(pictures[:1])  # once, however many pictures follow: no cost of one of them
        whole = counted(lambda: made(pictures), judge.module).of_one(2)
        forward = counted(lambda: judge.logits(pictures), judge.module).of_one(2)
        row = row_bytes()
        reads = seconds = hours = None
        if measure:
            reads, seconds = reading(judge.input_size), _explaining(made, judge, fabric_here().device, method, options)
            hours = images * (seconds + 1 / reads) / 3600
    flops = whole.flops + metric_forwards * forward.flops
    asked = whole.forwards + metric_forwards
    box = judge.is_black_box
    return EvaluationPlan(
        method, judge.name, images, asked if box else flops / forward.flops, None if box else flops, row,
        row * metrics * images,
        NAME * metrics * images, 4.0 * judge.size[0] * judge.size[1] * images, float(PICTURE_BYTES) * images, seconds,
        reads, hours,
    )  # fmt: skip


def _explaining(
    made: Explainer, judge: Classifier, device: torch.device, method: str, options: Mapping[str, Any] | None
) -> float:
    """Seconds a picture on this machine's device, in batches that fill it, after one that warms up."""
    from maskwise.explainers import explainer

    if device.type == "cuda":
        judge = copy.deepcopy(judge).to(device)
        made = explainer(method, judge, **(options or {}))
    pictures = torch.rand(judge.batch if device.type == "cuda" else 2, judge.channels, *judge.size)
    made(pictures.to(device))
    return timed_seconds(lambda: made(pictures.to(device)), device) / len(pictures)


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

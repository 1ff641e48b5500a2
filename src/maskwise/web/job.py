"""One visitor's job: several methods on one picture, in a thread of its own, with progress and an end on demand."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import Tensor

from maskwise.blending import masked_out
from maskwise.box import binarise, largest_component, tight_boxes
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.precision import Precision
from maskwise.explainers import explainer
from maskwise.explainers.doubts import handed_on
from maskwise.infill import infiller
from maskwise.measures.perturbation import CurveKind
from maskwise.report.page_cards import Answer
from maskwise.report.page_explained import picture_curve
from maskwise.sess import enhanced

BREATH = 0.15  # seconds between two looks at a running job
_one_at_a_time = threading.Lock()  # methods hook the classifier, which all visitors share


class Stopped(Exception):  # noqa: N818
    """The visitor cancelled, or left."""


@dataclass(frozen=True)
class JobProgress:
    """What the job does now, and the share in [0,1] of it that is done."""

    text: str
    share: float


@dataclass(frozen=True)
class ExplainJob:
    """What a visitor asked for.

    Attributes:
        image: (3,H,W).
        classifier: shared by all visitors, never changed.
        methods: names, as ``maskwise methods`` lists them.
        target: class index, name or WordNet id; None is the top class.
        sess: SESS's keywords; None leaves it off.
        with_curves: insertion and deletion, too.
        precision: of the methods' forwards.
    """

    image: Tensor
    classifier: Classifier
    methods: Sequence[str]
    target: str | None = None
    sess: dict[str, Any] | None = None
    with_curves: bool = False
    precision: Precision = "fp32"
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> Iterator[JobProgress | Answer]:
        """Progress as it goes, and an answer for each method.

        Raises:
            Stopped: ``stop`` was set.
            InputError: what the methods refuse.
        """
        found: queue.SimpleQueue[JobProgress | Answer | Exception | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, args=(found,), daemon=True).start()
        latest = JobProgress("waiting for the visitor before", 0.0)
        try:
            while True:
                try:
                    item = found.get(timeout=BREATH)
                    while isinstance(item, JobProgress) and not found.empty():
                        item = found.get()  # only the newest is worth showing
                except queue.Empty:
                    item = latest
                if self.stop.is_set():
                    raise Stopped
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, JobProgress):
                    latest = item
                yield item
        finally:
            self.stop.set()

    def _work(self, found: queue.SimpleQueue[JobProgress | Answer | Exception | None]) -> None:
        try:
            while not _one_at_a_time.acquire(timeout=BREATH):
                if self.stop.is_set():
                    return
            try:
                for i, method in enumerate(self.methods):
                    found.put(self._explain(method, i / len(self.methods), found))
            finally:
                _one_at_a_time.release()
            found.put(None)
        except Stopped:
            pass
        except InputError as error:
            found.put(error)
        except Exception:
            logging.getLogger(__name__).exception("a job failed")
            found.put(InputError("something went wrong in here; the server's log says what"))

    def _explain(self, method: str, before: float, found: queue.SimpleQueue[Any]) -> Answer:
        name = method if self.sess is None else f"{method} + SESS"
        whole, furthest = len(self.methods), before

        def step(done: int, total: int) -> None:
            nonlocal furthest
            if self.stop.is_set():
                raise Stopped
            # A method may find on the way that there is more to do; a bar never goes back.
            furthest = max(furthest, before + 0.9 * done / max(total, 1) / whole)
            found.put(JobProgress(name, furthest))

        step(0, 1)
        made = explainer(method, self.classifier, precision=self.precision)
        if self.sess is not None:
            made = enhanced(made, **self.sess)
        made.progress = step
        images = self.image[None]
        began = time.perf_counter()
        with handed_on():
            maps = made(images, self.target)
        seconds = time.perf_counter() - began
        keep = binarise(maps)
        fill = infiller("telea")(images, keep, self.classifier.mean.cpu())
        found_curves: dict[str, list[float]] = {}
        if self.with_curves:
            for kind in get_args(CurveKind):
                if self.stop.is_set():
                    raise Stopped
                found.put(JobProgress(f"{name}: {kind}", before + 0.9 / whole))
                found_curves[kind] = picture_curve(self.classifier, self.image, maps[0], self.explained(), kind)
        target = self.classifier.labels.name(self.explained()) if made.needs_target else None
        return Answer(
            name, maps[0], keep[0], tight_boxes(largest_component(keep))[0].tolist(),
            masked_out(images, keep, fill)[0], target,
            seconds=seconds, insertion=found_curves.get("insertion"), deletion=found_curves.get("deletion"),
            warnings=made.report["warnings"],
        )  # fmt: skip

    def explained(self) -> int:
        """The class's index."""
        if self.target is not None:
            return self.classifier.labels.resolve(self.target)
        return int(probabilities(self.image, self.classifier).argmax())


def probabilities(image: Tensor, classifier: Classifier) -> Tensor:
    """Of each class (K,), for a picture (3,H,W)."""
    with torch.inference_mode():
        return classifier.probabilities(classifier.logits(classifier.prepare(image[None])).float())[0].cpu()

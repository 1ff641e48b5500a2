"""What one visitor asked for: several methods on one picture, with progress and an end on demand."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import Tensor

from maskwise.blending import masked_out
from maskwise.box import binarise, largest_component, tight_boxes
from maskwise.classifiers import Classifier
from maskwise.classifiers.link import ranked_classes
from maskwise.core.errors import InputError
from maskwise.core.precision import Precision
from maskwise.explainers import explainer
from maskwise.explainers.doubts import handed_on
from maskwise.infill import infiller
from maskwise.measures.perturbation import CurveKind
from maskwise.report.masked_confidence import masked_confidences
from maskwise.report.page_cards import Answer
from maskwise.report.page_explained import picture_curve
from maskwise.sess import enhanced
from maskwise.web.waiting_line import Progress

Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class ExplainJob:
    """What a visitor asked for.

    Attributes:
        image: (3,H,W) in [0,1].
        classifier: never changed, but hooked while it is asked: no two jobs have the same at the same time.
        methods: names, as ``maskwise methods`` lists them.
        target: class index, name or WordNet id; None is the top class.
        sess: SESS's keywords; None leaves it off.
        with_curves: insertion and deletion, too.
        options: keywords of each method that has some.
        precision: of the methods' forwards.
    """

    image: Tensor
    classifier: Classifier
    methods: Sequence[str]
    target: str | None = None
    sess: dict[str, Any] | None = None
    with_curves: bool = False
    precision: Precision = "fp32"
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def answers(self, tell: Tell, clock: Callable[[], float] = time.perf_counter) -> Iterator[Answer]:
        """An answer for each method, one after another.

        Args:
            tell: called with the progress at every step of the work; what it raises ends the work there.
            clock: seconds, of which a method's time is told.

        Raises:
            InputError: what the methods refuse.
        """
        for i, method in enumerate(self.methods):
            yield self._explain(method, i / len(self.methods), tell, clock)

    def kind(self, method: str) -> Hashable:
        """What the time depends on, beside the machine."""
        sess = None if self.sess is None else tuple(sorted(self.sess.items()))
        options = tuple(sorted(self.options.get(method, {}).items()))
        return (self.classifier.name, method, sess, self.with_curves, options)

    def _explain(self, method: str, before: float, tell: Tell, clock: Callable[[], float]) -> Answer:
        name = method if self.sess is None else f"{method} + SESS"
        whole = len(self.methods)

        def step(done: int, total: int) -> None:
            tell(Progress(name, before + 0.9 * done / max(total, 1) / whole))

        step(0, 1)
        made = explainer(method, self.classifier, precision=self.precision, **self.options.get(method, {}))
        if self.sess is not None:
            made = enhanced(made, **self.sess)
        made.progress = step
        images = self.image[None]
        began = clock()
        with handed_on():
            maps = made(images, self.target)
        seconds = clock() - began
        keep = binarise(maps)
        # Of a classifier of grey pictures the mean is one value, for all three channels of the picture.
        fill = infiller("telea")(images, keep, self.classifier.mean.cpu().expand(len(self.image)))
        followed, painted = self.explained(), masked_out(images, keep, fill)
        (confidence,) = masked_confidences(self.classifier, images, keep, painted, [followed])
        found_curves: dict[str, list[float]] = {}
        if self.with_curves:
            for kind in get_args(CurveKind):
                tell(Progress(f"{name}: {kind}", before + 0.9 / whole))
                found_curves[kind] = picture_curve(self.classifier, self.image, maps[0], followed, kind)
        target = self.classifier.labels.name(followed) if made.needs_target else None
        return Answer(
            name, maps[0], keep[0], tight_boxes(largest_component(keep))[0].tolist(),
            painted[0], target,
            seconds=seconds, insertion=found_curves.get("insertion"), deletion=found_curves.get("deletion"),
            warnings=made.report["warnings"], confidence=confidence,
        )  # fmt: skip

    def explained(self) -> int:
        """The class's index."""
        if self.target is not None:
            return self.classifier.labels.resolve(self.target)
        return best_guesses(self.image, self.classifier)[0][0]


@dataclass(frozen=True)
class Asked:
    """What a visitor's form says, beside the picture.

    Attributes:
        methods: one or more.
        target: the class; None is the top class.
        sess: SESS's keywords; None leaves it off.
        with_curves: insertion and deletion, too.
        options: keywords of each method that has some.
    """

    methods: Sequence[str]
    target: str | None
    sess: dict[str, Any] | None
    with_curves: bool
    options: dict[str, dict[str, Any]]

    def job(self, image: Tensor, classifier: Classifier, precision: Precision) -> ExplainJob:
        """The work, on a picture (3,H,W) in [0,1]."""
        return ExplainJob(
            image, classifier, self.methods, self.target, self.sess, self.with_curves, precision, self.options
        )

    def said(self) -> str:
        """One line for whoever reads the result."""
        parts = ["the top class" if self.target is None else f"class {self.target}"]
        if self.sess is not None:
            parts.append("SESS " + ", ".join(f"{key} {value:g}" for key, value in self.sess.items()))
        parts += [
            f"{method}.{key}={value}"
            for method, given in self.options.items()
            for key, value in given.items()
        ]  # fmt: skip
        return " · ".join(parts)

    def facts(self) -> dict[str, Any]:
        """As plain data, for a file."""
        return {"class asked for": self.target or "predicted", "sess": self.sess, "options": self.options}


def best_guesses(image: Tensor, classifier: Classifier, count: int = 5) -> list[tuple[int, float]]:
    """The likeliest classes of a picture (3,H,W), by index, with their probabilities."""
    with torch.inference_mode():
        logits = classifier.logits(classifier.prepare(image[None])).float()
        probabilities = classifier.probabilities(logits)[0]
    return [(index, float(probabilities[index])) for index in ranked_classes(logits[0], count).tolist()]


def check_reads_pictures(classifier: Classifier) -> Classifier:
    """The classifier itself.

    Raises:
        InputError: it takes neither colour nor grey pictures, which is all that a visitor can send.
    """
    if classifier.channels not in (1, 3):
        raise InputError(
            f"{classifier.name} takes {classifier.channels} channels, and the page has colour pictures: explain it "
            "with `maskwise.explainer` in Python"
        )
    return classifier

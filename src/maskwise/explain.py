"""The main job: a picture file in; map, box and masked pictures out."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import maskwise
from maskwise.blending import masked_in, masked_out
from maskwise.box import binarise, largest_component, tight_boxes
from maskwise.classifiers import Classifier
from maskwise.classifiers.findings import found_classes
from maskwise.classifiers.link import ranked_classes
from maskwise.core.errors import InputError
from maskwise.core.options import one_of
from maskwise.core.portions import Portions, smaller_batch
from maskwise.drawing.heat import RAW, HeatScale, heat_scale
from maskwise.explainers import Explainer
from maskwise.explainers.doubts import handed_on
from maskwise.explainers.targets import class_alone, described
from maskwise.images import load_image
from maskwise.infill import Infiller, infiller
from maskwise.sess import SESS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Explanation:
    """What is known of one picture: plain data, so that thousands may be kept. Its pictures are ``Panels``.

    Attributes:
        top: the five likeliest classes with their probabilities.
        target: the class that was explained, or None for a method that needs none.
        probability: of that class, in the whole picture; None where several play a part, or none does.
        box: (x0,y0,x1,y1) in the picture's own pixels, half open.
        area: mean of the map.
        measured: what the method said beside the map (a standard error, a completeness error, …).
        sess: the settings of SESS, or None without it.
        infill: what painted the hole of the inpainted picture.
        colour_scale: of the map where it is drawn: ``0 to 1``, ``0 to 0.21 (99th percentile)``.
        warnings: why the map may be wrong, and what to do: one line each.
        resize: squash, or crop: all pixels, those of ``box`` too, are then of the square in the picture's middle.
        seconds: of classification and map, without reading and drawing.
    """

    picture: str
    method: str
    classifier: str
    target: str | None
    top: list[tuple[str, float]]
    box: tuple[int, int, int, int]
    area: float
    seconds: float
    measured: dict[str, float]
    sess: dict[str, Any] | None
    infill: str
    colour_scale: str = str(RAW)
    warnings: tuple[str, ...] = ()
    resize: str = "squash"
    probability: float | None = None

    @property
    def called(self) -> str:
        """What made the map, SESS with it."""
        return self.method if self.sess is None else f"{self.method} + SESS"

    def facts(self) -> dict[str, Any]:
        """All of it, with the protocol behind the numbers."""
        plain = asdict(self) | {"warnings": list(self.warnings)}
        whole = "" if self.resize == "squash" else "square in the middle, "
        plain["protocol"] = {
            "resize": whole
            + ("squashed to the classifier's input, map bilinear back" if self.sess is None else "own size"),
            "binarise": "map >= its mean",
            "connectivity": 4,
            "box": "x0,y0,x1,y1 half open",
            "area": "mean of the map",
            "hole": f"mean colour; inpainted: {self.infill}",
            "maskwise": maskwise.__version__,
            "torch": torch.__version__,
        }
        return plain


def nothing_said(classifier: str, top: tuple[str, float]) -> str:
    """That no class reaches what a finding has, with the likeliest one."""
    name, p = top
    return f"{classifier} finds nothing: no class has a probability above 0.5 (the likeliest is {name}, {p:.2g})"


@dataclass(frozen=True)
class NothingFound:
    """What is known of a picture in which a network of findings finds none: there is no map.

    Attributes:
        picture, method, classifier, top, resize: as of ``Explanation``.
        seconds: of classification.
    """

    picture: str
    method: str
    classifier: str
    top: list[tuple[str, float]]
    seconds: float
    resize: str

    @property
    def line(self) -> str:
        """What is said of it, in a line."""
        return f"{self.picture}: {nothing_said(self.classifier, self.top[0])}; no map"

    def facts(self) -> dict[str, Any]:
        """As those of an ``Explanation``, of which what a map would have is None."""
        return asdict(self) | {
            "target": None, "box": None, "area": None, "warnings": [], "protocol": {"maskwise": maskwise.__version__}
        }  # fmt: skip


@dataclass(frozen=True)
class Panels:
    """The pictures of an explanation: images (3,H,W), map (H,W), box (x0,y0,x1,y1), a caption and its warnings.

    ``scale`` says which colours the map's values get; the map itself is as the method gave it.
    """

    image: Tensor
    map: Tensor
    masked_in: Tensor
    masked_out: Tensor
    inpainted: Tensor
    box: tuple[int, int, int, int]
    caption: str
    warnings: tuple[str, ...] = ()
    scale: HeatScale = RAW


def explain_picture(
    path: Path,
    explainer: Explainer,
    classifier: Classifier,
    method: str,
    target: str | None,
    infill: Infiller | None = None,
    resize: str = "squash",
    display: str = "auto",
) -> tuple[Explanation, Panels]:
    """Explains one picture file at its own size.

    Args:
        infill: paints the inpainted picture; Telea's unless named.
        resize: ``squash`` the picture to the classifier's input; or ``crop``, of which only the square in the middle is
            read, explained and shown, as the preprocessing of CLIP and of most networks for ImageNet does.
        display: how the map's values become colours, see ``maskwise.drawing.heat_scale``; the map stays as it is.

    Returns:
        What is known of it, and its pictures: some 50 bytes a pixel, so let go of them before the next.

    Raises:
        InputError: the picture can't be read, the class is unknown, the classifier or the map gives NaN; or the
            explainer is ``strict`` and its map may be wrong.
    """
    one_of("resize", resize, ("squash", "crop"))
    infill = infill or infiller("telea")
    look = look_at(path, classifier, resize)
    # A masker's own classifier may rank classes otherwise; what is explained is what this one says.
    asked = look.best if target is None and explainer.needs_target else target
    answer = _asked(look, explainer, asked)
    if not explainer.needs_target:
        return _explanation(look, answer, explainer, method, None, None, infill, display)
    named = look.top[0][0] if target is None else described(target, classifier.labels, look.top[0][0])
    index = look.best if target is None else class_alone(target, classifier.labels)
    return _explanation(look, answer, explainer, method, named, index, infill, display)


def explain_findings(
    look: Looked, explainer: Explainer, method: str, infill: Infiller | None = None, display: str = "auto"
) -> Iterator[tuple[Explanation, Panels]]:
    """Explains each finding of a picture, the likeliest first: its own map, by one call for all of them.

    Args:
        look: the picture, and which findings there are; of none nothing is given.
        explainer, method, infill, display: as of ``explain_picture``.

    Returns:
        One after another, since each takes some 50 bytes a pixel.

    Raises:
        InputError: the explainer's maps are of no class; and as ``explain_picture``.
    """
    check_knows_classes(explainer, method)
    infill = infill or infiller("telea")
    indices = look.findings
    if not indices:
        return
    together = _asked(look, explainer, [indices])
    for k, index in enumerate(indices):
        # Which of several classes a map is doubted of, is known only where each is asked for alone.
        alone = len(indices) > 1 and together.report["warnings"]
        answer = _asked(look, explainer, index) if alone else together.one(k)
        name = look.classifier.labels.nameable(index)
        yield _explanation(look, answer, explainer, method, name, index, infill, display)


def check_knows_classes(explainer: Explainer, method: str) -> None:
    """Raises InputError where a map of each finding would be one map."""
    if not explainer.needs_target:
        raise InputError(
            f"{method} has one map of a picture, whatever class is asked for: leave `target=findings` out, or take a "
            "method that explains classes, such as grad_cam"
        )


@dataclass(frozen=True)
class Looked:
    """A picture, and what its classifier says of it.

    Attributes:
        path: of its file.
        image: (1,C,H,W) in [0,1].
        classifier: who is asked.
        logits, probabilities: (K,).
        resize: squash, or crop.
        seconds: that the question took.
    """

    path: Path
    image: Tensor
    classifier: Classifier
    logits: Tensor
    probabilities: Tensor
    resize: str
    seconds: float

    @property
    def best(self) -> int:
        """The likeliest class; of probabilities that rounding has made equal the one with the largest logit."""
        return int(self.logits.argmax())

    @property
    def top(self) -> list[tuple[str, float]]:
        """The five likeliest classes with their probabilities."""
        ranked = ranked_classes(self.logits, 5).tolist()
        return [(self.classifier.labels.name(i), float(self.probabilities[i])) for i in ranked]

    def nothing(self, method: str) -> NothingFound:
        """What is known of it where there are no findings."""
        path, name = str(self.path), self.classifier.name
        return NothingFound(path, method, name, self.top, self.seconds, self.resize)

    @property
    def findings(self) -> list[int]:
        """Classes that are likelier than not, the likeliest first.

        Raises:
            InputError: as ``found_classes``.
        """
        there = found_classes(self.classifier, self.logits[None])[0]
        return [i for i in self.logits.argsort(descending=True, stable=True).tolist() if there[i]]


def look_at(path: Path, classifier: Classifier, resize: str = "squash") -> Looked:
    """Reads a picture and asks its classifier.

    Raises:
        InputError: it can't be read, or the classifier gives NaN.
    """
    image = load_image(path)[None]
    if resize == "crop":
        image = _centre_square(image)
    began = time.perf_counter()
    with torch.inference_mode():
        logits = classifier.logits(classifier.prepare(image))
        probabilities = classifier.probabilities(logits)[0]
    if not probabilities.isfinite().all():
        raise InputError(f"{path}: {classifier.name} gives NaN as scores; its weights are broken")
    return Looked(path, image, classifier, logits[0], probabilities, resize, time.perf_counter() - began)


@dataclass(frozen=True)
class _Answer:
    """Maps (K,H,W) of one picture, what the explainer reports beside them, and the seconds of all of it."""

    maps: Tensor
    report: dict[str, Any]
    seconds: float

    def one(self, k: int) -> _Answer:
        """The k-th of K maps of one call, which has a K-th of its time."""
        report = {name: v if name == "warnings" else _kth(v, k) for name, v in self.report.items()}
        return _Answer(self.maps[k : k + 1], report, self.seconds / len(self.maps))


def _kth(value: Tensor, k: int) -> Tensor:
    flat = value.flatten()
    return flat[min(k, len(flat) - 1)]


def _asked(look: Looked, explainer: Explainer, asked: Any) -> _Answer:
    began = time.perf_counter()
    with handed_on():
        (maps,) = Portions()(lambda _: explainer(look.image, asked), 1, smaller_batch(explainer))
    height, width = maps.shape[-2:]
    return _Answer(maps.reshape(-1, height, width), dict(explainer.report), time.perf_counter() - began)


def _explanation(
    look: Looked,
    answer: _Answer,
    explainer: Explainer,
    method: str,
    target: str | None,
    index: int | None,
    infill: Infiller,
    display: str,
) -> tuple[Explanation, Panels]:
    """Of one map, of the class ``index`` where it is of one class."""
    probability = None if index is None else float(look.probabilities[index])
    seconds, maps, top = look.seconds + answer.seconds, answer.maps, look.top
    log.info("%s: %s, %s %.2f, %.2f s", look.path.name, method, *top[0], seconds)
    keep = binarise(maps)
    box = tight_boxes(largest_component(keep))[0].tolist()
    scale = heat_scale(maps[0], display)
    measured = dict(answer.report)
    warnings = tuple(measured.pop("warnings", ()))
    explanation = Explanation(
        picture=str(look.path),
        method=method,
        classifier=look.classifier.name,
        target=target,
        top=top,
        box=(box[0], box[1], box[2], box[3]),
        area=float(maps.mean()),
        seconds=seconds,
        measured={name: float(value.flatten()[0]) for name, value in measured.items()},
        sess=explainer.facts() if isinstance(explainer, SESS) else None,
        infill=repr(infill),
        colour_scale=str(scale),
        warnings=warnings,
        resize=look.resize,
        probability=probability,
    )
    caption = "{} {:.0%}".format(*top[0])
    if index not in (None, look.best):
        caption += f"; explained: {target} {probability:.0%}"
    panels = _panels(look.image, maps, keep, look.classifier, infill, box, caption)
    return explanation, replace(panels, warnings=warnings, scale=scale)


def _centre_square(image: Tensor) -> Tensor:
    """(1,3,s,s) of (1,3,H,W), s the shorter side."""
    height, width = image.shape[-2:]
    side = min(height, width)
    y, x = (height - side) // 2, (width - side) // 2
    return image[..., y : y + side, x : x + side].contiguous()


def _panels(
    image: Tensor, maps: Tensor, keep: Tensor, classifier: Classifier, infill: Infiller, box: list[int], caption: str
) -> Panels:
    """Masked pictures are made with the binary mask, as in the paper's figures."""
    colour = classifier.mean.cpu()
    fill = infiller("mean")(image, keep.float(), colour)
    painted = infill(image, keep.float(), colour)
    return Panels(
        image=image[0],
        map=maps[0],
        masked_in=masked_in(image, keep, fill)[0],
        masked_out=masked_out(image, keep, fill)[0],
        inpainted=masked_out(image, keep, painted)[0],
        box=(box[0], box[1], box[2], box[3]),
        caption=caption,
    )

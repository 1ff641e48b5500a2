"""The main job: a picture file in; map, box and masked pictures out."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import maskwise
from maskwise.blending import masked_in, masked_out
from maskwise.box import binarise, largest_component, tight_boxes
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.options import one_of
from maskwise.core.portions import Portions, smaller_batch
from maskwise.drawing.heat import RAW, HeatScale, heat_scale
from maskwise.explainers import Explainer
from maskwise.explainers.doubts import handed_on
from maskwise.explainers.targets import described
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
    image = load_image(path)[None]
    if resize == "crop":
        image = _centre_square(image)
    began = time.perf_counter()
    with torch.inference_mode():
        probabilities = classifier.probabilities(classifier.logits(classifier.prepare(image)))[0]
    if not probabilities.isfinite().all():
        raise InputError(f"{path}: {classifier.name} gives NaN as scores; its weights are broken")
    best = probabilities.topk(min(5, len(classifier.labels)))
    # A masker's own classifier may rank classes otherwise; what is explained is what this one says.
    asked = int(best.indices[0]) if target is None and explainer.needs_target else target
    with handed_on():
        (maps,) = Portions()(lambda _: explainer(image, asked), 1, smaller_batch(explainer))
    seconds = time.perf_counter() - began
    top = [(classifier.labels.name(int(i)), float(p)) for p, i in zip(best.values, best.indices, strict=True)]
    log.info("%s: %s, %s %.2f, %.2f s", path.name, method, *top[0], seconds)
    keep = binarise(maps)
    box = tight_boxes(largest_component(keep))[0].tolist()
    scale = heat_scale(maps[0], display)
    measured = dict(explainer.report)
    warnings = tuple(measured.pop("warnings", ()))
    explanation = Explanation(
        picture=str(path),
        method=method,
        classifier=classifier.name,
        target=_explained(explainer, classifier, target, top),
        top=top,
        box=(box[0], box[1], box[2], box[3]),
        area=float(maps.mean()),
        seconds=seconds,
        measured={name: float(value.flatten()[0]) for name, value in measured.items()},
        sess=explainer.facts() if isinstance(explainer, SESS) else None,
        infill=repr(infill),
        colour_scale=str(scale),
        warnings=warnings,
        resize=resize,
    )
    panels = _panels(image, maps, keep, classifier, infill, box, f"{top[0][0]} {top[0][1]:.0%}")
    return explanation, replace(panels, warnings=warnings, scale=scale)


def _centre_square(image: Tensor) -> Tensor:
    """(1,3,s,s) of (1,3,H,W), s the shorter side."""
    height, width = image.shape[-2:]
    side = min(height, width)
    y, x = (height - side) // 2, (width - side) // 2
    return image[..., y : y + side, x : x + side].contiguous()


def _explained(
    explainer: Explainer, classifier: Classifier, target: str | None, top: list[tuple[str, float]]
) -> str | None:
    if not explainer.needs_target:
        return None
    return top[0][0] if target is None else described(target, classifier.labels, top[0][0])


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

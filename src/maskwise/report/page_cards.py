"""What the report page knows of a picture, as plain data: small pictures as data URIs, boxes, curves, numbers."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from maskwise.drawing import HeatScale, heat_scale
from maskwise.images import resize, to_uint8

SIDE = 256  # pixels of a thumbnail's longer side
BoxEdges = Sequence[float]


@dataclass(frozen=True)
class Answer:
    """What one method says of one picture.

    Attributes:
        method: its name.
        map: (H,W) in [0,1].
        keep: (H,W) bool, the binary mask behind the masked pictures.
        box: (x0,y0,x1,y1) in the picture's pixels, half open.
        inpainted: (3,H,W), the masked-out picture with its hole filled; None leaves it out.
        target: the class explained.
        iou: of the box with the true one, where that is known.
        seconds: that the map took.
        warnings: why the map may be wrong, a line each.
        insertion, deletion: the class's probability at each step, where it was measured.
        scale: the colours of the map; None: ``maskwise.drawing.heat_scale`` of it.
    """

    method: str
    map: Tensor
    keep: Tensor
    box: BoxEdges
    inpainted: Tensor | None = None
    target: str | None = None
    iou: float | None = None
    seconds: float | None = None
    insertion: Sequence[float] | None = None
    deletion: Sequence[float] | None = None
    warnings: Sequence[str] = ()
    scale: HeatScale | None = None

    @property
    def colours(self) -> HeatScale:
        """The scale that was given, or the map's own."""
        return heat_scale(self.map) if self.scale is None else self.scale


def card(
    name: str,
    image: Tensor,
    answers: Sequence[Answer],
    top: Sequence[tuple[str, float]] = (),
    label: str | None = None,
    truth: Sequence[BoxEdges] = (),
    side: int = SIDE,
) -> dict[str, Any]:
    """One picture of the page.

    Args:
        name: what the page calls it.
        image: (3,H,W).
        answers: of one or more methods.
        top: the likeliest classes with their probabilities.
        label: the true class.
        truth: true boxes, in the picture's pixels.
        side: pixels of a thumbnail's longer side.
    """
    height, width = image.shape[-2:]
    return {
        "name": name,
        "size": [width, height],
        "image": uri(to_uint8(shrunk_to(image, side))),
        "top": [[cls, round(p, 4)] for cls, p in top],
        "label": label,
        "truth": [_share(box, width, height) for box in truth],
        "answers": [_answer(answer, width, height, side) for answer in answers],
    }


def _answer(answer: Answer, width: int, height: int, side: int) -> dict[str, Any]:
    scale = answer.colours
    shares = scale.shares(shrunk_to(answer.map, side))
    # Cut after shrinking the binary mask itself, so that thin parts neither vanish nor thicken.
    keep = shrunk_to(answer.keep.float(), side) >= 0.5
    return {
        "method": answer.method,
        "map": uri((shares * 255).round().astype(np.uint8)),  # on the scale, which the page says below the map
        "scale": [*scale.ends, scale.why, scale.signed],
        "keep": uri(keep.cpu().numpy().astype(np.uint8) * 255, exact=True),
        "box": _share(answer.box, width, height),
        "pixels": [round(float(v)) for v in answer.box],
        "inpainted": None if answer.inpainted is None else uri(to_uint8(shrunk_to(answer.inpainted, side))),
        "target": answer.target,
        "area": round(float(answer.map.mean()), 4),
        "iou": None if answer.iou is None else round(float(answer.iou), 4),
        "seconds": None if answer.seconds is None else round(float(answer.seconds), 4),
        "warnings": list(answer.warnings),
        "insertion": _points(answer.insertion),
        "deletion": _points(answer.deletion),
    }


def shrunk_to(picture: Tensor, side: int) -> Tensor:
    """A picture (3,H,W) or map (H,W), shrunk to the side where it is larger."""
    height, width = picture.shape[-2:]
    scale = side / max(height, width)
    if scale >= 1:
        return picture
    size = (max(round(height * scale), 1), max(round(width * scale), 1))
    return resize(picture.reshape(1, -1, height, width), size).reshape(*picture.shape[:-2], *size)


def _share(box: BoxEdges, width: int, height: int) -> list[float]:
    """A box in shares of the picture's sides, as style sheets take it."""
    x0, y0, x1, y1 = (float(v) for v in box)
    return [round(x0 / width, 5), round(y0 / height, 5), round(x1 / width, 5), round(y1 / height, 5)]


def _points(curve: Sequence[float] | None) -> list[float] | None:
    return None if curve is None else [round(float(p), 4) for p in curve]


def uri(pixels: np.ndarray, exact: bool = False) -> str:
    """A picture within the page: WebP for what is looked at, PNG of one bit for a mask."""
    buffer = io.BytesIO()
    if exact:
        Image.fromarray(pixels).convert("1").save(buffer, "PNG", optimize=True)
    else:
        Image.fromarray(pixels).save(buffer, "WEBP", quality=72, method=2)
    kind = "png" if exact else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"

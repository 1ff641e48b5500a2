"""What the report page knows of a picture, as plain data: small pictures as data URIs, boxes, curves, numbers."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from maskwise.drawing import HeatScale, heat_scale
from maskwise.images import resize, resize_maps, to_uint8
from maskwise.report.masked_confidence import MaskedConfidence

SIDE = 256  # pixels of a thumbnail's longer side
BoxEdges = Sequence[float]


@dataclass(frozen=True)
class Stored:
    """A picture as its file has it, upright, of which a resized one was explained.

    Attributes:
        width, height: in pixels.
        cut: the resized one is the largest central part of its own shape; else all of it, squashed.
    """

    width: int
    height: int
    cut: bool = False

    def box(self, edges: BoxEdges, width: int, height: int) -> list[int]:
        """A box in the stored picture's pixels.

        Args:
            edges: (x0,y0,x1,y1) in the resized picture's pixels.
            width, height: of the resized picture.

        Example:
            >>> Stored(4000, 3000).box((10, 0, 100, 50), 400, 300)
            [100, 0, 1000, 500]
            >>> Stored(400, 200, cut=True).box((0, 0, 100, 50), 100, 100)
            [100, 0, 300, 100]
        """
        whole_width, whole_height, left, top = width, height, 0, 0
        if self.cut:  # as `Sample.shorter_side_crop` rounds
            short = min(self.width, self.height)
            whole_width, whole_height = int(width * self.width / short), int(height * self.height / short)
            left, top = round((whole_width - width) / 2), round((whole_height - height) / 2)
        across, down = self.width / whole_width, self.height / whole_height
        x0, y0, x1, y1 = (float(v) for v in edges)
        if x1 <= x0:
            return [0, 0, 0, 0]
        moved = (across * (left + x0), down * (top + y0), across * (left + x1), down * (top + y1))
        return [round(edge) for edge in moved]


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
        confidence: the class's probability on the masked pictures, where it was measured.
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
    confidence: MaskedConfidence | None = None

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
    correct: bool | None = None,
    stored: Stored | None = None,
    note: str | None = None,
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
        correct: is the likeliest class the true one? None: as their names say.
        stored: the picture as its file has it, where ``image`` is a resized one; boxes are told in its pixels.
        note: a line above the answers, such as why there are none.
    """
    height, width = image.shape[-2:]
    stored = stored or Stored(width, height)
    if correct is None and label is not None and top:
        correct = label == top[0][0]
    return {
        "name": name,
        "size": [stored.width, stored.height],
        "aspect": round(width / height if stored.cut else stored.width / stored.height, 5),
        "correct": correct,
        "image": uri(to_uint8(shrunk_to(image, side))),
        "top": [[cls, round(p, 4)] for cls, p in top],
        "label": label,
        "note": note,
        "truth": [_share(box, width, height) for box in truth],
        "answers": [_answer(answer, width, height, side, stored) for answer in answers],
    }


def _answer(answer: Answer, width: int, height: int, side: int, stored: Stored) -> dict[str, Any]:
    scale = answer.colours
    shares = scale.shares(shrunk_to(answer.map, side))
    # Cut after shrinking the binary mask itself, so that thin parts neither vanish nor thicken.
    keep = shrunk_to(answer.keep.float(), side) >= 0.5
    return {
        "method": answer.method,
        "map": uri((shares * 255).round().astype(np.uint8)),  # on the scale, which the page says below the map
        "scale": [*scale.ends, scale.why, scale.signed],
        "keep": uri(keep.cpu().numpy().astype(np.uint8), exact=True),
        "rest": uri((~keep).cpu().numpy().astype(np.uint8), exact=True),
        "box": _share(answer.box, width, height),
        "pixels": stored.box(answer.box, width, height),
        "inpainted": None if answer.inpainted is None else uri(to_uint8(shrunk_to(answer.inpainted, side))),
        "target": answer.target,
        "area": round(float(answer.map.mean()), 4),
        "iou": None if answer.iou is None else round(float(answer.iou), 4),
        "seconds": None if answer.seconds is None else round(float(answer.seconds), 4),
        "warnings": list(answer.warnings),
        "confidence": None if answer.confidence is None else _rounded(asdict(answer.confidence)),
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
    return resize_maps(picture, size) if picture.ndim == 2 else resize(picture[None], size)[0]


def _share(box: BoxEdges, width: int, height: int) -> list[float]:
    """A box in shares of the picture's sides, as style sheets take it."""
    x0, y0, x1, y1 = (float(v) for v in box)
    return [round(x0 / width, 5), round(y0 / height, 5), round(x1 / width, 5), round(y1 / height, 5)]


def _rounded(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 5) if isinstance(value, float) else value for key, value in facts.items()}


def _points(curve: Sequence[float] | None) -> list[float] | None:
    return None if curve is None else [round(float(p), 4) for p in curve]


def uri(pixels: np.ndarray, exact: bool = False) -> str:
    """A picture within the page: WebP for what is looked at, PNG of one bit for a mask's shape."""
    buffer = io.BytesIO()
    if exact:  # white is opaque and black transparent, as style sheets take masks
        mask = Image.frombytes("P", pixels.shape[::-1], (pixels > 0).astype(np.uint8).tobytes())
        mask.putpalette([0, 0, 0, 255, 255, 255])
        mask.save(buffer, "PNG", bits=1, transparency=0, optimize=True)
    else:
        Image.fromarray(pixels).save(buffer, "WEBP", quality=72, method=2)
    kind = "png" if exact else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"

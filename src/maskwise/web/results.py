"""Results that visitors may download: the newest of each, in memory only, made into a zip when it is asked for."""

from __future__ import annotations

import io
import json
import secrets
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

import maskwise
from maskwise.blending import masked_in, masked_out
from maskwise.drawing import overlay
from maskwise.explain import Panels
from maskwise.images import to_bytes
from maskwise.report.figure import fig2_sheet
from maskwise.report.page_cards import Answer
from maskwise.web.pictures import Picture

KEPT = 8  # of all visitors: of four methods one takes some 35 MB
MINUTES = 10


@dataclass(frozen=True, eq=False)
class Result:
    """What a download is made of.

    Attributes:
        picture: whose.
        answers: of each method.
        colour: (3,) in [0,1], of the hole.
        asked: settings, as plain data.
    """

    picture: Picture
    answers: Sequence[Answer]
    colour: Tensor
    asked: dict[str, Any]


class Results:
    """The newest result of each visitor, by a name that can't be guessed.

    Args:
        kept: of all visitors together.
        seconds: that one is kept.
        clock: seconds; tests have their own.
    """

    def __init__(
        self, kept: int = KEPT, seconds: float = 60 * MINUTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.kept, self.seconds, self.clock = kept, seconds, clock
        self._by_visitor: OrderedDict[str, tuple[str, float, Result]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, visitor: str, result: Result) -> str:
        """Its name, to be asked for by the same visitor; the visitor's former one is forgotten."""
        token = secrets.token_hex(16)
        with self._lock:
            self._by_visitor.pop(visitor, None)
            self._by_visitor[visitor] = (token, self.clock(), result)
            while len(self._by_visitor) > self.kept:
                self._by_visitor.popitem(last=False)
        return token

    def find(self, visitor: str, token: str) -> Result | None:
        """A visitor's own result; None where it is not here any more, or was never this visitor's."""
        self.expire()
        with self._lock:
            known = self._by_visitor.get(visitor)
        return known[2] if known is not None and secrets.compare_digest(known[0], token) else None

    def expire(self) -> None:
        """Drops what is too old."""
        with self._lock:
            now = self.clock()
            for visitor in [v for v, (_, since, _) in self._by_visitor.items() if now - since > self.seconds]:
                del self._by_visitor[visitor]


def slim(answer: Answer) -> Answer:
    """An answer whose painted picture takes a quarter of the memory."""
    return answer if answer.inpainted is None else replace(answer, inpainted=to_bytes(answer.inpainted))


def zipped(result: Result) -> bytes:
    """A zip: for each method ``map.npy`` (H,W) float32 as the method gave it, ``map.png`` and ``overlay.png``; one
    ``figure.png`` of all; and ``result.json`` with boxes, probabilities and settings.
    """
    out, image = io.BytesIO(), result.picture.unit
    rows, facts = [], []
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for answer in result.answers:
            folder = answer.method.replace(" + ", "_").replace("/", "_")
            array = io.BytesIO()
            np.save(array, answer.map.cpu().numpy().astype(np.float32))
            archive.writestr(f"{folder}/map.npy", array.getvalue())
            archive.writestr(f"{folder}/map.png", _png(to_bytes(answer.map.cpu()).numpy()))
            archive.writestr(f"{folder}/overlay.png", _png(overlay(image, answer.map, scale=answer.colours)))
            rows.append(_panels(result, answer, image))
            facts.append(_facts(result.picture, answer))
        archive.writestr("figure.png", _png(np.asarray(fig2_sheet(rows).as_image())))
        height, width = image.shape[-2:]
        said = {
            "picture": result.picture.name, "size": [result.picture.stored.width, result.picture.stored.height],
            "map size": [width, height], **result.asked, "answers": facts, "maskwise": maskwise.__version__,
        }  # fmt: skip
        archive.writestr("result.json", json.dumps(said, indent=2) + "\n")
    return out.getvalue()


def _panels(result: Result, answer: Answer, image: Tensor) -> Panels:
    keep, fill = answer.keep[None], result.colour.reshape(1, -1, 1, 1)
    inside, outside = masked_in(image[None], keep, fill)[0], masked_out(image[None], keep, fill)[0]
    painted = outside if answer.inpainted is None else answer.inpainted / 255
    x0, y0, x1, y1 = (int(v) for v in answer.box)
    said = answer.method if answer.target is None else f"{answer.method}, {answer.target}"
    return Panels(
        image, answer.map, inside, outside, painted, (x0, y0, x1, y1), said, tuple(answer.warnings), answer.colours
    )


def _facts(picture: Picture, answer: Answer) -> dict[str, Any]:
    return {
        "method": answer.method,
        "class": answer.target,
        "box": picture.box([float(v) for v in answer.box]),
        "area": float(answer.map.mean()),
        "probabilities": None if answer.confidence is None else asdict(answer.confidence),
        "seconds": answer.seconds,
        "warnings": list(answer.warnings),
    }


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()

"""One picture with its truth; what is done to the picture is done to its boxes and masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.images import resize
from maskwise.picture_headers import MAX_PIXELS

# EXIF orientations as sequences of mirroring left-right (f) and swapping rows with columns (t).
ORIENTATIONS = {2: "f", 3: "ftft", 4: "tft", 5: "t", 6: "tf", 7: "tftft", 8: "ft"}


def no_boxes() -> Tensor:
    return torch.zeros(0, 4, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture and what is known about it, all in the picture's own pixels. None stands for "not known".

    Attributes:
        id: the picture's path within the data set.
        image: (3,H,W), float32 RGB in [0,1].
        label: index among the classifier's classes: ImageNet's for ImageNet-like data, what ``labels.csv`` says,
            or None where the data set's classes are others.
        boxes: (M,4) float64, (x0,y0,x1,y1) pixel edges, half open; (0,4) if there are none.
        box_classes: (M,) int64, each box's index among the data set's own classes; None where all are the picture's.
        mask: (H,W) bool, foreground.
        ignore: (H,W) bool, pixels that no metric may count.
        class_map: (H,W) int64, index among the data set's own classes; -1 is none of them.
        difficult: (M,) bool, boxes so flagged by the annotators.
        category: index among the data set's own classes.
        box_masks: (M,H,W) bool, the pixels of each box's object.

    Example:
        >>> image = torch.rand(3, 60, 100)
        >>> sample = Sample("a", image, boxes=torch.tensor([[10.0, 0, 30, 60]], dtype=torch.float64))
        >>> sample.resized(50).boxes.tolist()
        [[5.0, 0.0, 15.0, 50.0]]
        >>> sample.flipped().boxes.tolist()
        [[70.0, 0.0, 90.0, 60.0]]
    """

    id: str
    image: Tensor
    label: int | None = None
    boxes: Tensor = field(default_factory=no_boxes)
    box_classes: Tensor | None = None
    mask: Tensor | None = None
    ignore: Tensor | None = None
    class_map: Tensor | None = None
    difficult: Tensor | None = None
    category: int | None = None
    box_masks: Tensor | None = None

    @property
    def height(self) -> int:
        return int(self.image.shape[-2])

    @property
    def width(self) -> int:
        return int(self.image.shape[-1])

    def resized(self, size: int | tuple[int, int]) -> Sample:
        """Squashed to (size,size) or (h,w): the image bilinear and antialiased, masks nearest, boxes exactly."""
        h, w = (size, size) if isinstance(size, int) else size
        if min(h, w) < 1:
            raise InputError(f"a picture can't be resized to {w}x{h} pixels")
        scale = self.boxes.new_tensor([w / self.width, h / self.height] * 2)
        image = resize(self.image[None], (h, w))[0]
        return self._moved(image, self.boxes * scale, lambda pixels: nearest(pixels, h, w))

    def cropped(self, x0: int, y0: int, x1: int, y1: int, *, clip: bool = True) -> Sample:
        """The part [y0,y1) x [x0,x1).

        Args:
            x0: left edge in pixels; the others likewise.
            clip: cut boxes at the new border, so that one wholly outside disappears with all that belongs to it.
                False only moves them: their area is what it was and an object that was cut away can still be missed.
                The papers' released evaluation counts ground truth so.

        Raises:
            InputError: the part is empty or not within the picture.
        """
        if not (0 <= x0 < x1 <= self.width and 0 <= y0 < y1 <= self.height):
            raise InputError(f"crop ({x0},{y0},{x1},{y1}) is not within {self.width}x{self.height} pixels")
        boxes = self.boxes - self.boxes.new_tensor([x0, y0, x0, y0])
        moved = self._moved(self.image[:, y0:y1, x0:x1], boxes, lambda pixels: pixels[..., y0:y1, x0:x1])
        if not clip:
            return moved
        inside = clipped(boxes, x1 - x0, y1 - y0)
        return replace(moved, boxes=inside)._only((inside[:, 2:] > inside[:, :2]).all(1))

    def shorter_side_crop(self, size: int, shorter: int | None = None, *, clip: bool = True) -> Sample:
        """The shorter side resized to ``shorter`` (default ``size``), then the central (size,size) cut out.

        Rounding is torchvision's: the longer side is cut down to a whole number, the crop's corner is rounded.
        ``clip`` is that of ``cropped``.

        Raises:
            InputError: ``shorter`` is below ``size``, or the longer side would need more than ``MAX_PIXELS`` in all.
        """
        shorter = size if shorter is None else shorter
        if shorter < size:
            raise InputError(f"the shorter side, {shorter}, is smaller than the crop, {size}")
        short = min(self.width, self.height)
        w, h = int(shorter * self.width / short), int(shorter * self.height / short)
        if w * h > MAX_PIXELS:
            sides = f"{self.width}x{self.height}"
            raise InputError(f"{self.id}: {sides} pixels are too thin to cut a square out; squash it")
        x, y = round((w - size) / 2), round((h - size) / 2)
        return self.resized((h, w)).cropped(x, y, x + size, y + size, clip=clip)

    def flipped(self) -> Sample:
        """Mirrored left-right."""
        x0, y0, x1, y1 = self.boxes.unbind(1)
        boxes = torch.stack([self.width - x1, y0, self.width - x0, y1], 1)
        return self._moved(self.image.flip(-1), boxes, lambda m: m.flip(-1))

    def transposed(self) -> Sample:
        """Rows swapped with columns."""
        return self._moved(self.image.mT, self.boxes[:, [1, 0, 3, 2]], lambda m: m.mT)

    def turned(self, orientation: int, back: bool = False) -> Sample:
        """As EXIF ``orientation`` (1 to 8) says it is to be shown; ``back`` undoes that."""
        steps = ORIENTATIONS.get(orientation, "")
        sample = self
        for step in reversed(steps) if back else steps:
            sample = sample.flipped() if step == "f" else sample.transposed()
        return sample

    def boxes_of(self, category: int) -> Tensor:
        """(K,4), the boxes of one of the data set's classes; all where they carry no classes of their own."""
        return self.boxes if self.box_classes is None else self.boxes[self.box_classes == category]

    def regions(self, difficult: bool = False) -> dict[int, Tensor]:
        """Class to its pixels (H,W), bool, as the pointing game asks for.

        Where boxes carry classes, those count: each has the pixels of its objects, by their masks, else by the class
        map, else by their boxes. Otherwise it is the class map's classes, or the picture's one: label, else category.
        A class without a pixel in the picture is left out.

        Args:
            difficult: keep classes with difficult objects only, which TorchRay leaves out.
        """
        if self.box_classes is not None:
            found = {int(c): self.box_classes == c for c in self.box_classes.unique()}
            if self.difficult is not None and not difficult:
                found = {c: chosen for c, chosen in found.items() if not self.difficult[chosen].all()}
            regions = {c: self._pixels(chosen, c) for c, chosen in found.items()}
            return {c: pixels for c, pixels in regions.items() if pixels.any()}
        if self.class_map is not None:
            return {int(c): self.class_map == c for c in self.class_map.unique() if c >= 0}
        only = self.label if self.label is not None else self.category
        pixels = self.mask if self.mask is not None else filled(self.boxes, self.height, self.width)
        return {only: pixels} if only is not None and pixels.any() else {}

    def _pixels(self, chosen: Tensor, category: int) -> Tensor:
        if self.box_masks is not None:
            return self.box_masks[chosen].any(0)
        if self.class_map is not None and (mapped := self.class_map == category).any():
            return mapped
        return filled(self.boxes[chosen], self.height, self.width)

    def _moved(self, image: Tensor, boxes: Tensor, move: Callable[[Tensor], Tensor]) -> Sample:
        names = ("mask", "ignore", "class_map", "box_masks")
        moved: dict[str, Any] = {name: move(pixels) for name in names if (pixels := getattr(self, name)) is not None}
        return replace(self, image=image.contiguous(), boxes=boxes, **moved)

    def _only(self, keep: Tensor) -> Sample:
        """Those boxes, and what belongs to them."""
        names = ("boxes", "box_classes", "difficult", "box_masks")
        kept: dict[str, Any] = {name: a[keep] for name in names if (a := getattr(self, name)) is not None}
        return replace(self, **kept)


def nearest(pixels: Tensor, height: int, width: int) -> Tensor:
    """Pixels (…,H,W) of any type, each new one the old one that its centre falls on: the geometry of ``resize``."""
    rows, columns = (
        ((2 * torch.arange(new, device=pixels.device) + 1) * old).div(2 * new, rounding_mode="floor")
        for new, old in ((height, pixels.shape[-2]), (width, pixels.shape[-1]))
    )
    return pixels[..., rows[:, None], columns]


def clipped(boxes: Tensor, width: int, height: int) -> Tensor:
    """Boxes (M,4) cut at the borders of a picture."""
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def filled(boxes: Tensor, height: int, width: int) -> Tensor:
    """(H,W) bool, the pixels with their centre in any of the boxes (M,4)."""
    x0, y0, x1, y1 = (edge[:, None] for edge in boxes.unbind(1))
    x = torch.arange(width, dtype=boxes.dtype, device=boxes.device) + 0.5
    y = torch.arange(height, dtype=boxes.dtype, device=boxes.device) + 0.5
    across, down = (x >= x0) & (x < x1), (y >= y0) & (y < y1)
    return (down[:, :, None] & across[:, None, :]).any(0)

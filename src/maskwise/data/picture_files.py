"""What all data sets of picture files share: loading a picture and its truth, and checking that the two fit."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from io import BytesIO

import numpy as np
import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.data.dataset import Box, DataSet, Record
from maskwise.data.sample import Sample, clipped
from maskwise.data.store import Store
from maskwise.images import load_turned
from maskwise.picture_headers import opened

OVERSHOOT = 1.01  # pixels; CUB-200-2011 has boxes that end one pixel after the picture


@dataclass(frozen=True, eq=False)
class PictureFiles(DataSet):
    """Pictures and truth in the files of a folder or an archive.

    Boxes and masks are read in the pixels of the stored picture; where EXIF says how a picture is to be turned, its
    truth is turned with it.

    Attributes:
        store: where the files are.
        below: the folder there, with its /, that ids begin in.
    """

    _: KW_ONLY
    store: Store
    below: str = ""

    def image(self, record: Record) -> Tensor:
        return self._load(record)[0]

    def sample(self, record: Record) -> Sample:
        image, orientation = self._load(record)
        # Truth asks only for the picture's size, so it is turned without the pixels, which are upright already.
        upright = Sample(record.id, image.to("meta"), record.label, category=record.category)
        stored = upright.turned(orientation, back=True)
        truth = checked(self.truth(stored, record), self.title(record)).turned(orientation)
        return replace(truth, image=image)

    def truth(self, sample: Sample, record: Record) -> Sample:
        """The sample with its truth; here what the record holds, a data set with files of its own overrides it.

        Args:
            sample: the stored picture's size, its image without values ("meta").
        """
        classes = None if record.box_classes is None else torch.tensor(record.box_classes, dtype=torch.int64)
        mask = self.foreground(record.masks, sample)
        ignore = self.foreground((record.ignore,), sample) if record.ignore is not None else None
        if ignore is not None and mask is not None:
            ignore &= ~mask
        return replace(sample, boxes=box_tensor(record.boxes), box_classes=classes, mask=mask, ignore=ignore)

    def foreground(self, names: tuple[str, ...], sample: Sample) -> Tensor | None:
        """(H,W) bool, where any of these mask files is not 0; None without files."""
        found = None
        for name in names:  # one at a time: a listing may name any number
            here = self.pixels(name, sample) != 0
            found = here if found is None else found | here
        return found

    def pixels(self, name: str, sample: Sample) -> Tensor:
        """(H,W) int64, the values of a mask file of the picture's size."""
        values = pixel_values(self.store.read(name), self.store.title(name))
        if values.shape != sample.image.shape[1:]:
            sizes = f"{values.shape[1]}x{values.shape[0]} and {sample.width}x{sample.height}"
            raise InputError(f"{self.store.title(name)}: mask and picture differ in size ({sizes} pixels)")
        return values

    def title(self, record: Record) -> str:
        """What an error calls the picture."""
        return self.store.title(self.below + record.id)

    def _load(self, record: Record) -> tuple[Tensor, int]:
        """The picture, upright, and the EXIF orientation that it was turned by."""
        data = self.store.read(self.below + record.id)
        return load_turned(BytesIO(data), name=self.title(record))


def box_tensor(boxes: tuple[Box, ...] | list[Box]) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)


def pixel_values(data: bytes, name: str) -> Tensor:
    """(H,W) int64, the values of a mask file: palette entries or grey levels; of colours the brightest channel.

    Raises:
        InputError: not a picture, one of fractions, or one whose colours or transparency contradict its values.
    """
    with opened(BytesIO(data), name, "mask picture") as picture:
        coloured = picture.mode in ("RGBA", "LA", "PA", "CMYK", "YCbCr")
        values = np.array(picture.convert("RGB") if coloured else picture)  # no alpha
        alpha = np.array(picture.getchannel("A")) if picture.mode in ("RGBA", "LA", "PA") else None
        palette = picture.getpalette() if picture.mode == "P" else None
    if alpha is not None:
        _check_transparency(values.max(2), alpha, name)
    if palette is not None:
        _check_palette(values, palette, name)
    if values.dtype.kind == "f" and (values != np.rint(values)).any():
        raise InputError(f"{name}: a mask holds whole numbers, and 0 is background; this one holds fractions")
    return torch.from_numpy((values if values.ndim == 2 else values.max(2)).astype(np.int64))


def _check_transparency(values: np.ndarray, alpha: np.ndarray, name: str) -> None:
    """A mask may be kept in the transparency alone, beside one colour: its values would be read as all or nothing.

    Raises:
        InputError: a pixel is transparent and not 0, or all are 0 and only some transparent.
    """
    clear = alpha == 0
    if (clear & (values > 0)).any() or (clear.any() and not clear.all() and not values.any()):
        raise InputError(
            f"{name}: its transparency says another thing than its colours, which are read; save the mask in grey, 0 "
            "for the background, without transparency"
        )


def _check_palette(values: np.ndarray, palette: list[int], name: str) -> None:
    """Programs that save two greys with a palette may put white first: then entry 0, the background, is the object.

    A map of many classes has colours as its program likes, and says nothing by them.

    Raises:
        InputError: two entries are used, 0 is not black, and the other one is.
    """
    used = np.unique(values).tolist()
    black = [i for i in used if not any(palette[3 * i : 3 * i + 3] or [1])]
    if len(used) == 2 and any(palette[:3]) and black:
        raise InputError(
            f"{name}: entry 0 of its palette, which is background, is not black, and entry {black[0]} is; save the "
            "mask in grey, 0 for the background"
        )


def checked(sample: Sample, name: str) -> Sample:
    """The sample, its boxes cut at the picture's border.

    Raises:
        InputError: a box has no area or lies outside of the picture by more than rounding explains.
    """
    boxes = sample.boxes
    if not len(boxes):
        return sample
    inside = clipped(boxes, sample.width, sample.height)
    wrong = ~((boxes - inside).abs() <= OVERSHOOT).all(1) | (inside[:, 2:] <= inside[:, :2]).any(1)
    if wrong.any():
        box = ",".join(f"{edge:g}" for edge in boxes[wrong][0].tolist())
        raise InputError(f"{name}: the box {box} is not within the picture, {sample.width}x{sample.height} pixels")
    return replace(sample, boxes=inside)

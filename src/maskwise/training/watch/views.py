"""The few pictures that are looked at again and again while a masker learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.spread import evenly_spread
from maskwise.data import DataSet
from maskwise.images import load_image, packaged_pictures, resize, with_channels
from maskwise.training.crops import PixelSize, sides

COUNT = 8


@dataclass(frozen=True)
class Views:
    """Views in one shape, always the same.

    Attributes:
        images: (N,c,h,w) in [0,1], on the CPU.
        origin: which pictures they are, in words.
        labels: class of each, where it is known.
    """

    images: Tensor
    origin: str
    labels: tuple[int | None, ...]

    @classmethod
    def of(cls, held_out: Sequence[DataSet] | None, size: PixelSize, channels: int = 3) -> Views:
        """The middles of eight pictures, evenly spread over ``held_out``; without it of the packaged ones.

        Args:
            held_out: data sets that are not trained on.
            size: (h,w) in pixels, or a square's side.
            channels: 3 or 1, made of RGB.

        Raises:
            InputError: a picture can't be read, or there is none.
        """
        if held_out is None:
            images = [load_image(path) for path in packaged_pictures()]
            return cls(_middles(images, size, channels), "the package's own pictures", (None,) * len(images))
        there = [(data, record) for data in held_out for record in data.records]
        if not there:
            raise InputError("there are no held-out pictures: name a source that has some, or leave it out")
        chosen = [there[k] for k in evenly_spread(len(there), COUNT)]
        names = ", ".join(data.name for data in held_out)
        return cls(
            _middles([data.image(record) for data, record in chosen], size, channels),
            f"{len(chosen)} of {len(there)} held-out pictures ({names})",
            tuple(record.label for _, record in chosen),
        )


def _middles(images: Sequence[Tensor], size: PixelSize, channels: int) -> Tensor:
    return torch.cat([with_channels(middle(image, size), channels) for image in images])


def middle(image: Tensor, size: PixelSize) -> Tensor:
    """The largest part of that shape in the middle of a picture (3,H,W), as (1,3,h,w).

    Example:
        >>> middle(torch.rand(3, 30, 40), 16).shape
        torch.Size([1, 3, 16, 16])
    """
    height, width = image.shape[-2:]
    h, w = sides(size)
    scale = min(height / h, width / w)
    tall, wide = max(round(h * scale), 1), max(round(w * scale), 1)
    top, left = (height - tall) // 2, (width - wide) // 2
    return resize(image[None, :, top : top + tall, left : left + wide], (h, w))

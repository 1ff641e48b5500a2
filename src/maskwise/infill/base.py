"""What every infiller shares: its call, its registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.registry import Registry
from maskwise.images import with_channels


class Infiller(ABC):
    """What stands in the hole of a picture: ``(images, holes, colour) -> fill``.

    A subclass is a frozen dataclass; its fields are the infiller's options, each with a default. The
    caller blends: ``masked_out(images, maps, fill)`` with ``holes = maps``, ``masked_in(images, maps, fill)`` with
    ``holes = 1 - maps``. So kept pixels never change, whatever an infiller paints there.

    Attributes:
        rgb_only: it paints RGB alone; grey pictures are handed to it as RGB, and what it paints is made grey.
    """

    rgb_only: ClassVar[bool] = False

    def load(self) -> None:  # noqa: B027
        """Reads what the infiller needs, so that a missing file is reported before any work; most need nothing."""

    def drawn(self, draw: int) -> Infiller:
        """The infiller with other random numbers for each ``draw`` from 0; itself where it draws none.

        What it draws belongs to the picture, whatever batch that comes in.
        """
        return self

    @abstractmethod
    def fill(self, images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
        """As ``__call__``, for at least one picture, with holes (N,1,H,W) and colour (1,C,1,1) as the images are."""

    def __call__(self, images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
        """Fills without gradients, in float32 whatever autocast says, on the images' device.

        Args:
            images: (N,C,H,W) in [0,1].
            holes: (N,H,W) in [0,1] or bool, 1 = missing, also where a picture is masked in.
            colour: (C,), the classifier's mean colour.

        Returns:
            (N,C,H,W), finite; what it holds outside the holes is of no consequence.

        Raises:
            InputError: shapes that do not fit, or channels that it can't paint.
        """
        if images.ndim != 4 or holes.shape != (len(images), *images.shape[2:]):
            raise InputError(f"images (N,C,H,W) need holes (N,H,W), not {tuple(images.shape)} and {tuple(holes.shape)}")
        if not len(images):
            return images.clone()
        channels = images.shape[1]
        if self.rgb_only and channels not in (1, 3):
            raise InputError(f"{type(self).__name__} paints RGB and grey pictures, not such of {channels} channels")
        wanted = 3 if self.rgb_only else channels
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            holes = holes[:, None].to(images.device, torch.float32)
            mean = colour.to(holes).reshape(1, -1, 1, 1)
            fill = self.fill(with_channels(images.float(), wanted), holes, with_channels(mean, wanted))
            fill = with_channels(fill, channels)
        return fill.to(images.dtype)


infillers: Registry[type[Infiller]] = Registry(
    "infiller",
    reads_hole=False,  # what the hole hides shows in the fill
    surroundings=False,  # it paints from the pixels around the hole, of which a picture that is all hole has none
    random=False,  # drawn anew at each call
    network=False,
    needs_weights=False,
)

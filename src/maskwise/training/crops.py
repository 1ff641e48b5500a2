"""Random resized crops: drawn on the CPU from a key, computed for a whole batch on any device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

ASPECTS = (3 / 4, 4 / 3)  # of a random resized crop, as torchvision draws it
MOST = 9  # times the pixels of the result that a region may have to travel as it is
PixelSize = int | tuple[int, int]  # of what comes out, in pixels: a square's side, or (h,w)


def sides(size: PixelSize) -> tuple[int, int]:
    """(h,w)."""
    return (size, size) if isinstance(size, int) else size


@dataclass(frozen=True)
class Crop:
    """A part of a picture, in its pixels.

    Attributes:
        x, y: of the upper left corner.
        width, height: at least 1.
        flip: is it mirrored left to right?
    """

    x: int
    y: int
    width: int
    height: int
    flip: bool

    def region(self, picture: Tensor) -> Tensor:
        """The part itself, (...,height,width) of (...,H,W), not flipped; a view."""
        return picture[..., self.y : self.y + self.height, self.x : self.x + self.width]


def random_crop(height: int, width: int, area: tuple[float, float], draws: torch.Generator) -> Crop:
    """A crop of ``area`` (from, to) of a picture's area with an aspect ratio of 3/4 to 4/3, flipped half the time.

    After ten draws that do not fit in, it is the largest part in the middle whose ratio is within these bounds, as
    torchvision's ``RandomResizedCrop`` has it.
    """
    for _ in range(10):
        part, aspect, across, down, flip = torch.rand(5, generator=draws).tolist()
        pixels = (area[0] + part * (area[1] - area[0])) * height * width
        ratio = math.exp(math.log(ASPECTS[0]) + aspect * math.log(ASPECTS[1] / ASPECTS[0]))
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(across * (width - w + 1)), int(down * (height - h + 1))
            return Crop(x, y, w, h, flip < 0.5)
    w, h = width, height
    if width / height < ASPECTS[0]:
        h = round(w / ASPECTS[0])
    elif width / height > ASPECTS[1]:
        w = round(h * ASPECTS[1])
    return Crop((width - w) // 2, (height - h) // 2, w, h, flip < 0.5)


def resize_weights(lengths: Tensor, size: int, longest: int) -> Tensor:
    """Weights (B,size,longest) of bilinear resizing with antialiasing of B lines, rows of sum 1; where lengths are.

    Those of ``torch.nn.functional.interpolate(mode="bilinear", antialias=True)``: a triangle as wide as two pixels of
    the coarser of both grids. Beyond a line's own length they are 0.

    Args:
        lengths: (B,) whole numbers of pixels.
        size: pixels of every result.
        longest: what no line is longer than; asking the lengths would make the CPU wait for a GPU.
    """
    exact = torch.float32 if lengths.device.type == "mps" else torch.float64
    scale = (lengths.to(exact) / size)[:, None, None]
    centre = (torch.arange(size, dtype=exact, device=lengths.device) + 0.5)[:, None] * scale
    place = torch.arange(longest, dtype=exact, device=lengths.device) + 0.5
    weights = (1 - (place - centre).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = weights * (place < lengths[:, None, None])
    return (weights / weights.sum(2, keepdim=True)).float()


def resized(picture: Tensor, crop: Crop, size: PixelSize) -> Tensor:
    """The crop of a uint8 picture (3,H,W) as (3,h,w) in [0,1], computed where the picture is."""
    region = crop.region(picture)[None].float() / 255
    found = F.interpolate(region, sides(size), mode="bilinear", align_corners=False, antialias=True)[0].clamp(0, 1)
    return found.flip(-1) if crop.flip else found


def resized_map(squashed: Tensor, crop: Crop, picture: tuple[int, int], size: PixelSize) -> Tensor:
    """The crop of a map (G,G) that was made of the whole picture, squashed to any grid: (h,w), bilinear.

    Args:
        picture: height and width of the picture that the crop is of.
    """
    height, width = picture
    wide, tall = crop.width / width, crop.height / height  # where the picture is [-1,1]
    turned = -wide if crop.flip else wide
    right, down = (2 * crop.x + crop.width) / width - 1, (2 * crop.y + crop.height) / height - 1
    theta = torch.tensor([[[turned, 0.0, right], [0.0, tall, down]]])
    grid = F.affine_grid(theta, [1, 1, *sides(size)], align_corners=False)
    return F.grid_sample(squashed.float()[None, None], grid, padding_mode="border", align_corners=False)[0, 0]


@dataclass(frozen=True)
class PackedCrops:
    """Crops of pictures of any size, ready to be resized together on an accelerator: their bytes and sides.

    On a GPU that is one copy, a few kernels and two products of matrices a batch, instead of a kernel or three a
    picture. On a CPU ``resized`` is several times quicker.

    Attributes:
        pixels: (B,3,h,w) uint8, each region in the upper left corner; what is beyond it says nothing.
        sides: (B,2), height and width of each region.
        flips: (B,) bool.
        size: (H,W) of the result.
    """

    pixels: Tensor
    sides: Tensor
    flips: Tensor
    size: tuple[int, int]

    @classmethod
    def of(
        cls, pictures: Sequence[Tensor], crops: Sequence[Crop], size: PixelSize, pinned: bool = False
    ) -> PackedCrops:
        """Packs uint8 pictures, all on one device; ``pinned`` memory of the CPU can travel while a GPU computes.

        A region of more than ``MOST`` times the pixels of the result is resized, and rounded to bytes, before.
        """
        pairs = [_bounded(picture, crop, sides(size)) for picture, crop in zip(pictures, crops, strict=True)]
        regions = [crop.region(picture) for picture, crop in pairs]
        tall, wide = (max(region.shape[axis] for region in regions) for axis in (-2, -1))
        device = regions[0].device
        pinned = pinned and device.type == "cpu"
        pixels = torch.empty(len(regions), 3, tall, wide, dtype=torch.uint8, device=device, pin_memory=pinned)
        for k, region in enumerate(regions):
            pixels[k, :, : region.shape[-2], : region.shape[-1]] = region
        own = torch.tensor([(crop.height, crop.width) for _, crop in pairs])
        return cls(pixels, own, torch.tensor([crop.flip for _, crop in pairs]), sides(size))

    def on(self, device: torch.device) -> Tensor:
        """The batch (B,3,H,W) in [0,1], computed on ``device``."""
        pixels, own, flips = (x.to(device, non_blocking=True) for x in (self.pixels, self.sides, self.flips))
        down = resize_weights(own[:, 0], self.size[0], pixels.shape[-2])
        across = resize_weights(own[:, 1], self.size[1], pixels.shape[-1])
        across = torch.where(flips[:, None, None], across.flip(1), across)
        with torch.autocast(device.type, enabled=False):
            narrow = torch.matmul(pixels.float() / 255, across[:, None].mT)
            return torch.matmul(down[:, None], narrow).clamp(0, 1)


def _bounded(picture: Tensor, crop: Crop, size: tuple[int, int]) -> tuple[Tensor, Crop]:
    height, width = size
    if crop.width * crop.height <= MOST * height * width:
        return picture, crop
    small = (resized(picture, crop, size) * 255).round().to(torch.uint8)
    return small, Crop(0, 0, width, height, False)

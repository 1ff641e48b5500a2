"""COCO's segmentations as pixels: polygons and run lengths, plain or packed into text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from skimage.draw import polygon

from maskwise.core.errors import InputError


def segmentation_mask(segmentation: Any, height: int, width: int, title: str) -> np.ndarray:
    """(H,W) bool, the pixels of one annotation.

    Args:
        segmentation: a list of polygons x0,y0,x1,y1,…, whose union counts; or {"size": [h,w], "counts": …} with run
            lengths of background and object in turn, down the columns, as a list or as COCO's text.
        height: of the picture; the width likewise.
        title: what an error calls the annotation.

    Raises:
        InputError: neither, or of another size.

    Example:
        >>> segmentation_mask({"size": [2, 3], "counts": [2, 3, 1]}, 2, 3, "x").astype(int).tolist()
        [[0, 1, 1], [0, 1, 0]]
    """
    try:
        if isinstance(segmentation, list):
            return _polygons(segmentation, height, width)
        counts = segmentation["counts"]
        if list(segmentation["size"]) != [height, width]:
            raise InputError(f"{title}: the run lengths are for {segmentation['size']}, the picture {height}x{width}")
        return _runs(unpacked(counts) if isinstance(counts, str) else counts, height, width)
    except InputError:
        raise
    except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise InputError(f"{title}: the segmentation is neither polygons nor run lengths ({error})") from None


def _polygons(polygons: Sequence[Sequence[float]], height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    for points in polygons:
        x, y = np.asarray(points, dtype=np.float64).reshape(-1, 2).T
        mask[polygon(y - 0.5, x - 0.5, mask.shape)] = True  # a pixel is in where its centre is
    return mask


def _runs(counts: Sequence[int], height: int, width: int) -> np.ndarray:
    if sum(counts) != height * width:
        raise ValueError(f"the runs cover {sum(counts)} of {height * width} pixels")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def unpacked(text: str) -> list[int]:
    """Run lengths from COCO's text: 5 bits a character from "0" on, lowest first, bit 6 says that more follow; from
    the fourth on as the difference to the one before the last."""
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if shift > 60:
            raise ValueError("a run length of more than 60 bits")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    return counts

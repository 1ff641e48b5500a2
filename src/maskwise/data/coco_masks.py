"""COCO's segmentations as pixels: polygons by pycocotools, and run lengths, plain or packed into text.

Run lengths are read here and not by pycocotools: it gives whatever was in memory for pixels that the runs of a damaged
file do not cover, and reads past the end of a text that stops within a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

from maskwise.core.errors import InputError

LEAST = 6  # numbers of a polygon: one or two corners enclose nothing
LONGEST_OUTLINE = 1e7  # pixels; pycocotools counts five points a pixel of an outline, with 32 bits


def encloses_pixels(segmentation: Any) -> bool:
    """Does an annotation say which pixels it means? Tools that draw boxes leave it out, or empty.

    Example:
        >>> encloses_pixels([]), encloses_pixels([[0, 0, 9, 0, 9, 9]])
        (False, True)
    """
    if isinstance(segmentation, list):
        return any(not isinstance(points, list) or len(points) >= LEAST for points in segmentation)
    return segmentation is not None


def segmentation_mask(segmentation: Any, height: int, width: int, title: str) -> np.ndarray:
    """(H,W) bool, the pixels of one annotation.

    Args:
        segmentation: a list of polygons x0,y0,x1,y1,…, of which the union counts; or {"size": [h,w], "counts": …} with
            run lengths of background and object in turn, down the columns, as a list or as COCO's text.
        height: of the picture.
        width: of the picture.
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
    outlines = [np.asarray(points, dtype=np.float64).reshape(-1, 2) for points in polygons]
    outlines = [points for points in outlines if len(points) > 2]  # one or two corners enclose nothing
    for points in outlines:
        length = np.abs(points - np.roll(points, 1, axis=0)).sum() + np.abs(points).max()
        if not length < LONGEST_OUTLINE:  # nor is NaN
            raise ValueError(
                f"a polygon's corners must be finite and near the picture; its outline is {length:.3g} long"
            )
    if not outlines:
        return np.zeros((height, width), dtype=bool)
    runs = coco.frPyObjects([points.ravel().tolist() for points in outlines], height, width)
    found: np.ndarray = coco.decode(coco.merge(runs))
    return found.astype(bool)


def _runs(counts: Sequence[int], height: int, width: int) -> np.ndarray:
    if sum(counts) != height * width:
        raise ValueError(f"the runs cover {sum(counts)} of {height * width} pixels")
    values = np.arange(len(counts)) % 2 == 1
    mask: np.ndarray = np.repeat(values, counts).reshape(width, height).T
    return mask


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

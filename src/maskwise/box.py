"""From maps to boxes: binarise, keep the largest component, draw the tightest box (CASM Eq. 9, 5.1)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from maskwise.core.errors import InputError

Rule = Literal["value", "rank"]
STRUCTURES = {4: ndimage.generate_binary_structure(2, 1), 8: ndimage.generate_binary_structure(2, 2)}


def as_tensor(array: Tensor | np.ndarray) -> Tensor:
    """Arrays are copied, because a flipped or read-only view can't become a tensor as it is."""
    return torch.from_numpy(np.array(array)) if isinstance(array, np.ndarray) else torch.as_tensor(array)


def as_maps(maps: Tensor | np.ndarray) -> Tensor:
    """Maps (N,H,W) as a tensor.

    Raises:
        InputError: another shape, no pixel, NaN, or infinity.
    """
    maps = as_tensor(maps)
    if maps.ndim != 3 or 0 in maps.shape[1:]:
        raise InputError(f"maps must be (N,H,W) of at least one pixel, not {tuple(maps.shape)}")
    if not maps.isfinite().all():
        what = "NaN" if maps.isnan().any() else "infinity"
        raise InputError(f"a map holds {what}; what made it went wrong")
    return maps


def binarise(maps: Tensor | np.ndarray, rule: Rule = "value", alpha: float = 1.0) -> Tensor:
    """Maps (N,H,W) or (N,K,H,W) to masks of the same shape, bool.

    Args:
        maps: in [0,1]; what a map with signs has below 0 speaks against the object, and counts as 0.
        rule: ``value`` keeps m >= alpha * mean(m) (the papers' text); ``rank`` keeps the brightest mean(m) part
            of the pixels (CASM's released code, which so keeps the map's area). A map of zeros keeps nothing.
        alpha: factor of the value rule.

    Raises:
        InputError: wrong shape, NaN, or unknown rule.
    """
    maps, shape = _flattened(maps)
    flat = maps.flatten(1).double().clamp(min=0)
    mean = flat.mean(1)
    if rule == "value":
        # The slack, relative so that faint maps are cut alike, is for a constant map whose mean rounds up.
        keep = (flat >= alpha * mean[:, None] * (1 - 1e-9)) & (flat > 0)
    elif rule == "rank":
        n = flat.shape[1]
        k = (1 + ((n - 1) * (1 - mean) + 0.5).floor()).long().clamp(1, n)
        threshold = flat.sort(1).values.gather(1, k[:, None] - 1).clamp(1e-6, 1 - 1e-6)
        keep = flat > threshold
    else:
        raise InputError(f"unknown rule {rule!r}: value or rank")
    return keep.reshape(shape)


def above_otsu(maps: Tensor | np.ndarray) -> Tensor:
    """Pixels (N,H,W) bool above Otsu's threshold of their map: it splits the values into two groups least spread.

    A map of one value is above its own nowhere.
    """
    maps = as_maps(maps)
    values, order = maps.flatten(1).double().sort(1)
    count = torch.arange(1, values.shape[1], device=maps.device)
    below = values.cumsum(1)
    low = below[:, :-1] / count
    high = (below[:, -1:] - below[:, :-1]) / (values.shape[1] - count)
    between = count * (values.shape[1] - count) * (high - low) ** 2
    # A split parts different values only; of one value there is none, and the last place says so.
    between = F.pad(between.where(values[:, 1:] > values[:, :-1], -1.0), (0, 1), value=0.0)
    first = between.argmax(1, keepdim=True) + 1
    upper = torch.arange(values.shape[1], device=maps.device) >= first
    return torch.zeros_like(upper).scatter_(1, order, upper).reshape(maps.shape)


def _flattened(maps: Tensor | np.ndarray) -> tuple[Tensor, torch.Size]:
    """Maps (N,H,W) of (N,H,W) or (N,K,H,W), and the shape that they had."""
    maps = as_tensor(maps)
    return as_maps(maps.flatten(0, 1) if maps.ndim == 4 else maps), maps.shape


def largest_component(binary: Tensor | np.ndarray, connectivity: Literal[4, 8] = 4) -> Tensor:
    """The largest connected part of each mask (N,H,W); of equals the first in reading order."""
    if connectivity not in STRUCTURES:
        raise InputError(f"connectivity is 4 or 8, not {connectivity}")
    masks = as_tensor(binary)
    kept = np.zeros(tuple(masks.shape), dtype=bool)
    for i, mask in enumerate(masks.cpu().numpy()):
        parts, count = ndimage.label(mask, STRUCTURES[connectivity])
        if count:
            kept[i] = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return torch.from_numpy(kept).to(masks.device)


def tight_boxes(binary: Tensor | np.ndarray) -> Tensor:
    """Tightest boxes (N,4), int64 (x0,y0,x1,y1), half open, around masks (N,H,W); an empty mask gives zeros."""
    masks = as_tensor(binary).bool()
    edges = []
    for axis in (1, 2):  # any() over rows leaves columns, and the other way round
        used = masks.any(axis).int()
        first = used.argmax(1)
        last = used.shape[1] - used.flip(1).argmax(1)
        edges.append((first, last))
    (x0, x1), (y0, y1) = edges
    return torch.stack([x0, y0, x1, y1], 1) * masks.flatten(1).any(1)[:, None]


def boxes(
    maps: Tensor | np.ndarray, rule: Rule = "value", alpha: float = 1.0, connectivity: Literal[4, 8] = 4
) -> Tensor:
    """Boxes by the papers' rule: binarise, largest component, tightest box.

    Args:
        maps: (N,H,W) in [0,1], or (N,K,H,W) of K classes of each picture.
        rule, alpha: see ``binarise``.
        connectivity: of a component.

    Returns:
        (N,4) or (N,K,4), int64 (x0,y0,x1,y1), half open; a map of zeros gives zeros.

    Raises:
        InputError: wrong shape, NaN, or unknown rule.

    Example:
        >>> m = torch.zeros(1, 8, 8)
        >>> m[0, 2:5, 1:7] = 1
        >>> boxes(m).tolist()
        [[1, 2, 7, 5]]
    """
    flat, shape = _flattened(maps)
    found = tight_boxes(largest_component(binarise(flat, rule, alpha), connectivity))
    return found.reshape(*shape[:-2], 4)


def iou(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> Tensor:
    """Intersection over union (N,M), float64, of half-open boxes (N,4) and (M,4); two empty boxes give 0."""
    return paired_iou(as_tensor(a)[:, None], as_tensor(b)[None])


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (…), float64, of each half-open box (…,4) with its partner; two empty ones give 0."""
    a, b = a.double(), b.double()
    corner, opposite = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    both = (opposite - corner).clamp(min=0).prod(-1)
    area_a, area_b = ((x[..., 2:] - x[..., :2]).clamp(min=0).prod(-1) for x in (a, b))
    union = area_a + area_b - both
    return torch.where(union > 0, both / union.clamp(min=1e-12), 0.0)

"""A saliency map in a file of anybody's: .npy, .npz and grey .png, read without running anything that is in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.npy import opened_npz, read_npy
from maskwise.picture_headers import MAX_PIXELS, MAX_SIDE, opened

WHITE = {"uint8": 255.0, "uint16": 65535.0}  # what 1 is stored as; other kinds of numbers are taken as they are
MAP_KEY = "map"  # of an .npz with several arrays, as this package writes them


@dataclass(frozen=True)
class StoredMap:
    """A map as its file holds it.

    Attributes:
        values: (H,W) float32, not scaled.
        white: the largest value of its kind of integer; 1 for floats and truth values.
    """

    values: Tensor
    white: float


def read_map_file(path: Path) -> StoredMap:
    """The map of a file, of shape (H,W); a single channel before or after, as in (1,H,W), is left out.

    Raises:
        InputError: it can't be read, is none of ``MAP_SUFFIXES``, or holds no single map of finite numbers. The message
            says what is wrong and does not name the file, so that files with the same fault can be counted.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "dog.npy"
        >>> np.save(path, np.ones((1, 4, 6), np.uint8))
        >>> read_map_file(path).values.shape, read_map_file(path).white
        (torch.Size([4, 6]), 255.0)
    """
    suffix = path.suffix.lower()
    try:
        array = _png(path) if suffix == ".png" else _npz(path) if suffix == ".npz" else _npy(path)
    except OSError as error:
        raise InputError(f"can't be read ({error.strerror or 'damaged'})") from None
    values = _single(array)
    if not np.isfinite(values).all():
        raise InputError("hold NaN or infinity")
    return StoredMap(torch.from_numpy(values), WHITE.get(array.dtype.name, 1.0))


def _single(array: np.ndarray) -> np.ndarray:
    """(H,W) float32."""
    shape = array.shape
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    while array.ndim > 2 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 2 or not array.size:
        raise InputError(f"have the shape {shape}, and a map is (H,W), (1,H,W) or (H,W,1)")
    with np.errstate(over="ignore"):  # beyond float32 is infinity, which is said
        return np.array(array, dtype=np.float32, order="C")


def _npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return read_npy(file, MAX_PIXELS, MAX_SIDE)


def _npz(path: Path) -> np.ndarray:
    with opened_npz(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        chosen = names if len(names) == 1 else [name for name in names if name == f"{MAP_KEY}.npy"]
        if len(chosen) != 1:
            raise InputError(f"hold {len(names)} arrays, of which none is called {MAP_KEY!r}")
        with archive.open(chosen[0]) as file:
            return read_npy(file, MAX_PIXELS, MAX_SIDE)


def _png(path: Path) -> np.ndarray:
    try:
        with opened(path, path.name, "map") as picture:
            picture.load()
            if picture.mode == "1" or picture.mode in ("L", "F") or picture.mode.startswith("I"):
                # Pillow may give the 16 bits of a PNG as 32.
                return np.array(picture, dtype=np.uint16 if picture.mode.startswith("I") else None)
            colours = np.array(picture.convert("RGBA"))
    except InputError as error:
        raise InputError("are damaged, or no PNGs") from error
    if (colours[..., 3] != 255).any() or (colours[..., :3] != colours[..., :1]).any():
        raise InputError("are pictures in colour or with transparency: save the map itself, in grey")
    return colours[..., 0]

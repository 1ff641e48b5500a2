"""A teacher's maps, made once for each picture and kept in a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write, is_file
from maskwise.core.npy import TEXT, opened_npz, read_npy
from maskwise.core.text import one_line

EVERY = 512  # new maps between two writings of the file
MOST_MAPS, MOST_NUMBERS = 10_000_000, 2**33  # as many as a file says it has; no more is made than is there


def picture_key(teacher: str, image: Tensor, label: int) -> str:
    """What the map of a picture (3,H,W), uint8, is filed under: the teacher, every pixel and the class."""
    found = hashlib.sha256(f"{teacher} {label} {tuple(image.shape)} ".encode())
    found.update(image.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:32]


class LabelFile:
    """Maps (G,G) in float16 by key, in one ``.npz``.

    Maps of other pictures and other teachers may lie in the same file, and stay.

    Args:
        path: of the file; it need not exist.

    Raises:
        InputError: it can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.maps: dict[str, np.ndarray] = {}
        self.unwritten = 0
        if not is_file(path):
            return
        try:
            with opened_npz(path, compressed=False) as archive:
                with archive.open("keys.npy") as file:
                    keys = read_npy(file, MOST_MAPS, kinds=TEXT)
                with archive.open("maps.npy") as file:
                    grids = read_npy(file, MOST_NUMBERS)
        except (OSError, KeyError, InputError) as error:
            raise InputError(f"{path}: can't be read as a teacher's maps ({one_line(error, 100)}); delete it") from None
        if keys.ndim != 1 or grids.ndim != 3 or len(keys) != len(grids) or grids.dtype != np.float16:
            raise InputError(f"{path}: holds no maps of a teacher; delete it, or name another file")
        self.maps = dict(zip(keys.tolist(), grids, strict=True))

    def add(self, key: str, saliency: Tensor) -> None:
        self.maps[key] = saliency.to(torch.float16).numpy()
        self.unwritten += 1
        if self.unwritten >= EVERY:
            self.write()

    def write(self) -> None:
        """Writes what is new, atomically."""
        if not self.unwritten:
            return
        sizes = {m.shape for m in self.maps.values()}
        if len(sizes) > 1:
            raise InputError(f"{self.path}: holds maps of another grid; name another file")
        with atomic_write(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, keys=np.array(list(self.maps)), maps=np.stack(list(self.maps.values())))
        self.unwritten = 0


def label_pictures(
    file: LabelFile,
    teacher: str,
    picture: Callable[[int], tuple[Tensor, Sequence[int]]],
    teach: Callable[[Sequence[Tensor], Sequence[Sequence[int]]], Tensor],
    places: Sequence[int],
    batch: int = 8,
    done: Callable[[], None] = lambda: None,
) -> dict[int, Tensor]:
    """Maps (K,G,G) of pictures, one for each of K classes, from the file or from the teacher; new ones are filed.

    Args:
        file: where they are kept.
        teacher: its key.
        picture: from a place to picture (3,H,W), uint8, and K classes.
        teach: from pictures in [0,1] and their classes to maps (N,K,G,G).
        places: of the pictures.
        batch: pictures that are taught at once.
        done: called after each picture.
    """
    found: dict[int, tuple[str, ...]] = {}
    waiting: list[tuple[tuple[str, ...], Tensor, Sequence[int]]] = []

    def teach_waiting() -> None:
        if waiting:
            maps = teach([image.float() / 255 for _, image, _ in waiting], [classes for _, _, classes in waiting])
            for (keys, _, _), several in zip(waiting, maps, strict=True):
                for key, saliency in zip(keys, several, strict=True):
                    file.add(key, saliency)
            waiting.clear()

    for place in places:
        image, classes = picture(place)
        keys = found[place] = tuple(picture_key(teacher, image, label) for label in classes)
        if any(key not in file.maps for key in keys) and all(keys != known for known, _, _ in waiting):
            waiting.append((keys, image, classes))
            if len(waiting) >= batch:
                teach_waiting()
        done()
    teach_waiting()
    file.write()
    return {place: torch.from_numpy(np.stack([file.maps[key] for key in keys])) for place, keys in found.items()}

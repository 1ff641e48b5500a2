"""Maps of many pictures, made once and kept on disk batch by batch."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskwise.checks.pictures import Labelled
from maskwise.checks.removal import Noise, random_maps
from maskwise.checks.results import RANDOM_REMOVAL
from maskwise.checks.rows import Index, LazyRows, Values, as_float
from maskwise.checks.streamed import CACHE_GIB, SquareOrSides, as_written, sides_of
from maskwise.checks.subject import Subject, top_classes
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write
from maskwise.core.npy import mapped_npy, read_npy
from maskwise.images import resize_maps

NOISE_BYTES = 2**30  # of maps that are drawn at once: of more, each picture's has a generator of its own


def stored_maps(
    subject: Subject,
    images: Values,
    targets: Tensor,
    size: SquareOrSides,
    folder: Path | None = None,
    batch: int = 32,
) -> Tensor:
    """Maps (N,h,w) float32 of images (N,3,H,W) uint8; batches that lie in ``folder`` are not made again.

    They are filed under who explains what: explainer, network and the pictures themselves.

    Args:
        subject: makes the maps, in [0,1].
        images: at the size that is explained.
        targets: (N,) classes that are explained.
        size: (h,w) in pixels that maps are squashed to, or the side of a square.
        folder: None keeps nothing.
        batch: pictures at once, and in one file.
    """
    return torch.cat([maps for maps, _ in _made(subject, images, targets, size, folder, batch)])


class MapFiles(LazyRows):
    """Maps (N,h,w) float32 that stay on disk; arguments as ``stored_maps``, which makes the same files."""

    def __init__(
        self, subject: Subject, images: Values, targets: Tensor, size: SquareOrSides, folder: Path, batch: int = 32
    ) -> None:
        self.batch, self.shape = batch, (len(images), *sides_of(size))
        self.files = [path for _, path in _made(subject, images, targets, size, folder, batch)]

    def __getitem__(self, rows: Index) -> Tensor:
        found = torch.empty(len(rows), *self.shape[1:])
        places: dict[int, list[tuple[int, int]]] = {}
        for k, i in enumerate(rows):
            places.setdefault(int(i) // self.batch, []).append((k, int(i) % self.batch))
        for file, here in places.items():
            # Mapped, so that of a file with many maps only those are read that are wanted.
            maps = mapped_npy(self.files[file])
            for k, i in here:
                found[k] = torch.from_numpy(np.array(maps[i]))
        return found


def _made(
    subject: Subject, images: Values, targets: Tensor, size: SquareOrSides, folder: Path | None, batch: int
) -> Iterator[tuple[Tensor, Path]]:
    """Batch by batch, the maps and where they lie (nowhere without a folder)."""
    who = map_key(subject, images)
    for part, goal in zip(images.split(batch), targets.split(batch), strict=True):
        path = None if folder is None else folder / f"{_key(who, part, goal, size)}.npy"
        maps = _read(path, (len(part), *sides_of(size)))
        if maps is None:
            maps = resize_maps(subject.maps(as_float(part), goal, batch), sides_of(size))
            if path is not None:
                with atomic_write(path) as temporary, temporary.open("wb") as file:
                    np.save(file, maps.numpy())
        yield maps, path or Path()


def map_key(subject: Subject, images: Values) -> str:
    """First 16 hex digits of the SHA-256 of who explains what: explainer, options, the network's weights and code.

    Where the network does not see the images (N,3,H,W) at their own size, at which one is a part of it, too.
    """
    facts: list[Any] = [subject.identity, subject.network.digest()]
    if subject.network.size != tuple(images.shape[-2:]):
        facts.append(subject.network.size)
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _key(who: str, images: Tensor, targets: Tensor, size: SquareOrSides) -> str:
    """Likewise of everything that maps of these pictures depend on."""
    digest = hashlib.sha256(f"{who} {as_written(size)}".encode())
    digest.update(images.contiguous().numpy().tobytes())
    digest.update(targets.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path | None, shape: tuple[int, int, int]) -> Tensor | None:
    """What is stored, or None where nothing is, or nothing that fits."""
    if path is None or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            maps = read_npy(file, math.prod(shape))
    except (OSError, InputError):
        return None
    return torch.from_numpy(maps) if maps.shape == shape and maps.dtype == np.float32 else None


class MethodMaps:
    """Maps of training and test pictures by method, for the top class; one method's at a time, on disk if too many.

    Args:
        subjects: what makes them, by method.
        classifier: its top class is explained.
        sets: training and test pictures.
        size: (h,w) in pixels that maps are squashed to, or the side of a square.
        seed: of the maps that are noise.
        folder: where maps are kept; None keeps none.
        batch: pictures at once.
        cache_gib: so much memory, in GiB, the maps of one set may take.
    """

    def __init__(
        self,
        subjects: Mapping[str, Subject],
        classifier: Classifier,
        sets: tuple[Labelled, Labelled],
        size: SquareOrSides,
        seed: int,
        folder: Path | None,
        batch: int,
        cache_gib: float = CACHE_GIB,
    ) -> None:
        self.subjects, self.classifier, self.sets = subjects, classifier, sets
        self.size, self.seed, self.folder, self.batch, self.cache_gib = size, seed, folder, batch, cache_gib
        self._targets: list[Tensor] = []
        self._held: tuple[str, tuple[Values, Values]] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._keys = {name: map_key(subject, sets[0].images) for name, subject in subjects.items()}

    def key(self, method: str) -> str | None:
        """Tells methods of one name with other options apart; the references have none."""
        return self._keys.get(method)

    def of(self, method: str, repeat: int) -> tuple[Values, Values]:
        """(N,h,w) of training and of test pictures; noise that is another for each repeat, for the reference."""
        if method == RANDOM_REMOVAL:
            train, test = (self._noise(len(data), repeat, which) for which, data in enumerate(self.sets))
            return train, test
        if self._held is None or self._held[0] != method:
            self._held = None  # the other method's maps go before these come
            if not self._targets:
                self._targets = [top_classes(self.classifier, data.images, self.batch) for data in self.sets]
            train, test = (
                self._maps(self.subjects[method], data, targets)
                for data, targets in zip(self.sets, self._targets, strict=True)
            )
            self._held = (method, (train, test))
        return self._held[1]

    def _maps(self, subject: Subject, data: Labelled, targets: Tensor) -> Values:
        if self._bytes(len(data)) <= self.cache_gib * 2**30:
            return stored_maps(subject, data.images, targets, self.size, self.folder, self.batch)
        if self.folder is None and self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory()
        folder = self.folder or Path(self._scratch.name)  # type: ignore[union-attr]
        return MapFiles(subject, data.images, targets, self.size, folder, self.batch)

    def _noise(self, count: int, *key: int) -> Values:
        """The rule looks at nothing but the number of pixels: how much memory there is changes no result."""
        large = self._bytes(count) > NOISE_BYTES
        return (Noise if large else random_maps)(count, self.size, self.seed, *key)

    def _bytes(self, count: int) -> int:
        return 4 * math.prod((count, *sides_of(self.size)))

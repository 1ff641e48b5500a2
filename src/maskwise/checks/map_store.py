"""Maps of many pictures, made once and kept on disk batch by batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskwise.checks.pictures import Labelled
from maskwise.checks.removal import random_maps
from maskwise.checks.results import RANDOM_REMOVAL
from maskwise.checks.subject import Subject, top_classes
from maskwise.classifiers import Classifier
from maskwise.files import atomic_write
from maskwise.images import resize


def stored_maps(
    subject: Subject,
    images: Tensor,
    targets: Tensor,
    size: int,
    folder: Path | None = None,
    batch: int = 32,
) -> Tensor:
    """Maps (N,size,size) float32 of images (N,3,H,W) uint8; batches that lie in ``folder`` are not made again.

    They are filed under who explains what: explainer, network and the pictures themselves.

    Args:
        subject: makes the maps, in [0,1].
        images: at the size that is explained.
        targets: (N,) classes that are explained.
        size: side in pixels that maps are squashed to.
        folder: None keeps nothing.
        batch: pictures at once, and in one file.
    """
    done = []
    who = key_of(subject)
    for first in range(0, len(images), batch):
        part, goal = images[first : first + batch], targets[first : first + batch]
        path = None if folder is None else folder / f"{_key(who, part, goal, size)}.npy"
        maps = _read(path, (len(part), size, size))
        if maps is None:
            maps = resize(subject.maps(part.float() / 255, goal, batch)[:, None], size)[:, 0]
            if path is not None:
                with atomic_write(path) as temporary, temporary.open("wb") as file:
                    np.save(file, maps.numpy())
        done.append(maps)
    return torch.cat(done)


def key_of(subject: Subject) -> str:
    """First 16 hex digits of the SHA-256 of who explains what: explainer, options and the network's weights."""
    facts = json.dumps([subject.identity, subject.network.fingerprint()], sort_keys=True, default=str)
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _key(who: str, images: Tensor, targets: Tensor, size: int) -> str:
    """Likewise of everything that maps of these pictures depend on."""
    digest = hashlib.sha256(f"{who} {size}".encode())
    digest.update(images.contiguous().numpy().tobytes())
    digest.update(targets.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path | None, shape: tuple[int, int, int]) -> Tensor | None:
    """What is stored, or None where nothing is, or nothing that fits."""
    if path is None or not path.is_file():
        return None
    try:
        maps = torch.from_numpy(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None
    return maps if maps.shape == shape else None


class MethodMaps:
    """Maps of training and test pictures by method, for the top class; one method is in memory at a time.

    Args:
        subjects: what makes them, by method.
        classifier: whose top class is explained.
        sets: training and test pictures.
        size: side in pixels that maps are squashed to.
        seed: of the maps that are noise.
        folder: where maps are kept; None keeps none.
        batch: pictures at once.
    """

    def __init__(
        self,
        subjects: Mapping[str, Subject],
        classifier: Classifier,
        sets: tuple[Labelled, Labelled],
        size: int,
        seed: int,
        folder: Path | None,
        batch: int,
    ) -> None:
        self.subjects, self.classifier, self.sets = subjects, classifier, sets
        self.size, self.seed, self.folder, self.batch = size, seed, folder, batch
        self._targets: list[Tensor] = []
        self._held: tuple[str, tuple[Tensor, Tensor]] | None = None
        self._keys = {name: key_of(subject) for name, subject in subjects.items()}

    def key(self, method: str) -> str | None:
        """Tells methods of one name with other options apart; the references have none."""
        return self._keys.get(method)

    def of(self, method: str, repeat: int) -> tuple[Tensor, Tensor]:
        """(N,size,size) of training and of test pictures; noise that is another for each repeat, for the reference."""
        if method == RANDOM_REMOVAL:
            train, test = (
                random_maps(len(data), self.size, self.seed, repeat, which) for which, data in enumerate(self.sets)
            )
            return train, test
        if self._held is None or self._held[0] != method:
            if not self._targets:
                self._targets = [top_classes(self.classifier, data.images, self.batch) for data in self.sets]
            train, test = (
                stored_maps(self.subjects[method], data.images, goals, self.size, self.folder, self.batch)
                for data, goals in zip(self.sets, self._targets, strict=True)
            )
            self._held = (method, (train, test))
        return self._held[1]

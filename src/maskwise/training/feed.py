"""Which pictures a step sees, and how they are cropped: drawn from (seed, epoch, picture), never from history."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.data import DataSet, Record
from maskwise.data.order import epoch_order
from maskwise.training.processes import gathered
from maskwise.training.recipe import Schedule

ASPECTS = (3 / 4, 4 / 3)  # of a random resized crop, as torchvision draws it


def generator(*key: int) -> torch.Generator:
    """A generator that depends on all parts of its key."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator().manual_seed(seed)


def random_crop(image: Tensor, size: int, area: tuple[float, float], draws: torch.Generator) -> Tensor:
    """A random part of the picture (3,H,W), ``area`` of its area, resized to ``size`` and flipped half the time."""
    height, width = image.shape[-2:]
    for _ in range(10):
        part, aspect, across, down, flip = torch.rand(5, generator=draws).tolist()
        pixels = (area[0] + part * (area[1] - area[0])) * height * width
        ratio = math.exp(math.log(ASPECTS[0]) + aspect * math.log(ASPECTS[1] / ASPECTS[0]))
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            break
    else:
        w = h = min(width, height)
    x, y = int(across * (width - w + 1)), int(down * (height - h + 1))
    crop = image[None, :, y : y + h, x : x + w]
    crop = F.interpolate(crop, (size, size), mode="bilinear", align_corners=False, antialias=True)[0].clamp(0, 1)
    return crop.flip(-1) if flip < 0.5 else crop


@dataclass
class Feed:
    """Labelled random crops of one or more data sets.

    Attributes:
        size: pixels of a crop.
        workers: threads that read, each a batch at a time.
    """

    sets: Sequence[DataSet]
    recipe: Schedule
    size: int
    workers: int = 1

    def __post_init__(self) -> None:
        self.items = [(data, record) for data in self.sets for record in data.records]
        self.labels = [record.label for _, record in self.items]

    def label_the_rest(self, classifier: Classifier, rank: int = 0, world: int = 1) -> int:
        """Pictures without a label get the classifier's own prediction; returns how many there were.

        Each of ``world`` ranks does its share of the work, and knows all labels afterwards.
        """
        rest = [i for i, label in enumerate(self.labels) if label is None]
        chunks = [rest[k : k + 64] for k in range(0, len(rest), 64)]
        found: dict[int, int] = {}
        for chunk in chunks[rank::world]:
            images = torch.cat([classifier.prepare(self._image(*self.items[i])[None]) for i in chunk])
            with torch.inference_mode():
                guesses = classifier.scores(images.contiguous(memory_format=torch.channels_last)).argmax(1)
            found |= dict(zip(chunk, guesses.tolist(), strict=True))
        for theirs in gathered(found) if world > 1 else [found]:
            for i, guess in theirs.items():
                self.labels[i] = guess
        return len(rest)

    def keep(self, indices: Sequence[int]) -> None:
        """From now on only these pictures are fed."""
        self.items = [self.items[i] for i in indices]
        self.labels = [self.labels[i] for i in indices]

    @property
    def steps(self) -> int:
        """Batches an epoch; the last, smaller one is left out."""
        return max(int(len(self.items) * self.recipe.fraction) // self.recipe.batch_size, 1)

    def epoch(self, epoch: int, first: int = 0, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches (B,3,S,S), (B,) of one epoch from step ``first`` on; each of ``world`` ranks gets its share.

        Fewer pictures than a batch are taken several times, each time with another crop.
        """
        size = self.recipe.batch_size
        count, draws = len(self.items), generator(self.recipe.seed, epoch)
        rounds = max(math.ceil(size / count), 1)
        order = [(i, k) for k in range(rounds) for i in epoch_order(self._groups(), draws)]
        # The next batches are read while this one is computed; who reads a picture does not change its crop.
        with ThreadPoolExecutor(self.workers) as readers:
            pending: deque[Future[tuple[Tensor, Tensor]]] = deque()
            for k in range(first, self.steps):
                job = order[k * size : (k + 1) * size][rank::world]
                pending.append(readers.submit(self._batch, job, epoch))
                if len(pending) > self.workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _groups(self) -> list[int | None]:
        """Which shard each picture is in, numbered over all data sets; None where the order costs nothing."""
        numbers: dict[tuple[int, int], int] = {}
        groups = [(id(data), data.group(record)) for data, record in self.items]
        return [None if group is None else numbers.setdefault((key, group), len(numbers)) for key, group in groups]

    def _batch(self, job: list[tuple[int, int]], epoch: int) -> tuple[Tensor, Tensor]:
        area, seed = self.recipe.crop_area, self.recipe.seed
        crops = [
            random_crop(self._image(*self.items[i]), self.size, area, generator(seed, epoch, i, again))
            for i, again in job
        ]
        return torch.stack(crops), torch.tensor([self.labels[i] for i, _ in job])

    @staticmethod
    def _image(data: DataSet, record: Record) -> Tensor:
        return data.image(record)

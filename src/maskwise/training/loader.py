"""Which pictures a step sees, and how they are cropped: drawn from (seed, epoch, picture), never from history."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import DataSet, Record
from maskwise.data.content import digests_of, picture_digests, same_as
from maskwise.data.damaged import may_be_skipped, name_among
from maskwise.data.order import epoch_order
from maskwise.data.subjects import held_out_of
from maskwise.images import to_bytes, with_channels
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.crops import Crop, PackedCrops, PixelSize, random_crop, resized
from maskwise.training.distributed.processes import all_gather
from maskwise.training.draws import generator
from maskwise.training.likelihood import Bernoulli, likelihood_of
from maskwise.training.picture_cache import PictureCache

Read = tuple[Tensor | PackedCrops, Tensor | None, Tensor]  # crops or what they are made of; maps (B,m,h,w); labels
BatchPictures = list[tuple[int, int]]  # pictures, and the how-manieth time each is taken in its epoch


@dataclass
class Loader:
    """Labelled random crops of one or more data sets.

    A label is a class, or, where ``label_the_rest`` is asked for sets, all findings of the picture.

    Pictures are decoded by threads, and kept as bytes as long as they fit the cache. Beside an accelerator they travel
    as bytes, too, and it does the cropping and scaling; on a CPU the threads do.

    Attributes:
        labels: class of each picture, or None.
        findings: (P,K) bool, which classes each picture shows; None where labels are single classes.
        asked: (P,M) classes of each picture, its label first, that batches have instead of it; see ``ask_for_more``.
        size: of a crop: a square's side, or (h,w).
        workers: threads, each a batch at a time.
        device: where batches are wanted.
        cache_bytes: of decoded pictures that are kept; 0 keeps none.
        skip_damaged: in the place of a picture that can't be read the next one is taken, with its label.
        along: from a picture's place in ``items``, a crop, the picture's height and width, and ``size``, to maps
            (m,h,w) that come as further channels of the crop; None adds none.
        held_back: places in ``items`` of pictures that no step sees.
        instead: from a picture's place and the epoch to the place of the one that is taken, and to numbers (D,) of it
            that come in place of a crop, as they are; no picture is read then. None cuts crops.
        channels: of a crop, 3 or 1: that are made of RGB when a batch arrives.
    """

    sets: Sequence[DataSet]
    recipe: BaseRecipe
    size: PixelSize
    workers: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    cache_bytes: int = 0
    skip_damaged: bool = False
    along: Callable[[int, Crop, tuple[int, int], PixelSize], Tensor] | None = None
    channels: int = 3
    instead: Callable[[int, int], tuple[int, Tensor]] | None = None

    def __post_init__(self) -> None:
        self.items = [(data, record) for data in self.sets for record in data.records]
        self.labels = [record.label for _, record in self.items]
        self.findings: Tensor | None = None
        self.asked: Tensor | None = None
        self.held_back: frozenset[int] = frozenset()
        self.cache = PictureCache(self.cache_bytes, self.device)
        self.damaged: dict[int, str] = {}  # what is wrong with the pictures that were passed over, by their place
        self._order = lru_cache(maxsize=2)(self._order_of)

    def label_the_rest(self, classifier: Classifier, rank: int = 0, world: int = 1, sets: bool = False) -> int:
        """Pictures without a label get the classifier's own prediction; returns how many there were.

        Each of ``world`` ranks does its share of the work, and knows all labels afterwards.

        Args:
            sets: of a network with sigmoid outputs, let batches have each picture's findings instead: its label, if it
                has one, since a label names one finding and says nothing of the others, and all that the network gives
                more than 1/2 to in the whole picture. There may be none.

        Raises:
            InputError: a label is none of the classifier's classes.
        """
        self._check_labels(classifier)
        rest = [i for i, label in enumerate(self.labels) if label is None]
        likelihood = likelihood_of(classifier) if sets else None
        every = range(len(self.items)) if isinstance(likelihood, Bernoulli) else rest
        answers = self._answers(classifier, every, rank, world)
        if isinstance(likelihood, Bernoulli):
            self.findings = likelihood.likelier(torch.stack([answers[i] for i in every]))
            for i, label in enumerate(self.labels):
                if label is not None:
                    self.findings[i, label] = True
        for i in rest:
            self.labels[i] = int(answers[i].argmax())
        return len(rest)

    def ask_for_more(self, classifier: Classifier, others: int, rank: int = 0, world: int = 1) -> None:
        """Batches have, instead of a label, several classes (B,1+others): it, and then the likeliest other ones.

        Args:
            others: at most all of the classifier's.
            rank, world: as of ``label_the_rest``, which comes before.
        """
        others = min(others, len(classifier.labels) - 1)
        answers = self._answers(classifier, range(len(self.items)), rank, world)
        own = torch.tensor(self.labels)[:, None]
        ranked = torch.stack([answers[i] for i in range(len(self.items))]).scatter(1, own, -torch.inf)
        self.asked = torch.cat([own, ranked.topk(others, 1).indices], 1)

    def _check_labels(self, classifier: Classifier) -> None:
        classes = len(classifier.labels)
        wrong = [label for label in self.labels if label is not None and not 0 <= label < classes]
        if wrong:
            raise InputError(f"label {wrong[0]} is not one of the {classes} classes of {classifier.name}")

    def _answers(self, classifier: Classifier, places: Sequence[int], rank: int, world: int) -> dict[int, Tensor]:
        """Logits (K,), on the CPU, of whole pictures by their place; each rank reads its share of them."""
        chunks = [places[k : k + 64] for k in range(0, len(places), 64)]
        found: dict[int, Tensor] = {}
        for chunk in chunks[rank::world]:
            images = torch.cat([classifier.prepare(self._to_label(i)[None]) for i in chunk])
            with torch.inference_mode():
                logits = classifier.logits(images.contiguous(memory_format=torch.channels_last)).float().cpu()
            found |= dict(zip(chunk, logits.unbind(), strict=True))
        return {i: logits for theirs in (all_gather(found) if world > 1 else [found]) for i, logits in theirs.items()}

    @property
    def shown(self) -> list[frozenset[int]]:
        """The classes that each picture shows, by its label or its findings."""
        if self.findings is None:
            return [frozenset() if label is None else frozenset([label]) for label in self.labels]
        return [frozenset(row.nonzero()[:, 0].tolist()) for row in self.findings]

    def keep(self, indices: Sequence[int]) -> None:
        """From now on only these pictures are loaded."""
        self.items, self.damaged = [self.items[i] for i in indices], {}
        self.labels = [self.labels[i] for i in indices]
        self.findings = None if self.findings is None else self.findings[list(indices)]
        self.asked = None if self.asked is None else self.asked[list(indices)]

    def hold_back(self, part: float) -> None:
        """Steps no longer see this part of the pictures, at least one and not all, drawn by the recipe's seed; of a
        subject all or none.

        Nor do they see the same pictures under other names.

        Raises:
            InputError: there is one picture alone, or one under several names.
        """
        count = len(self.items)
        if count < 2:
            raise InputError("one picture can't be trained on and held back: give more, or held_back=0")
        most, draws = min(max(round(part * count), 1), count - 1), generator(self.recipe.seed, 6)
        drawn = held_out_of([record.subject for _, record in self.items], most, draws)
        self.held_back = same_as(digests_of(self.items, picture_digests), drawn)
        if len(self.held_back) == count:
            raise InputError("what is held back is all there is, under other names: give more, or held_back=0")

    @property
    def steps(self) -> int:
        """Batches an epoch; the last, smaller one is left out."""
        seen = len(self.items) - len(self.held_back)
        return max(int(seen * self.recipe.fraction) // self.recipe.batch_size, 1)

    def batches(
        self, first: int, end: int, rank: int = 0, world: int = 1
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Batches (B,c+m,h,w) in [0,1] on the device and labels of steps ``first`` to ``end``, over all epochs.

        Labels are classes (B,), several of a picture (B,M), or sets of findings (B,K). Each of ``world`` ranks gets its
        share. Fewer pictures than a batch are taken several times, each time with another crop.
        """
        # The next batches are read while this one is computed, over the end of an epoch, too; who reads a picture
        # does not change its crop.
        readers = ThreadPoolExecutor(self.workers)
        pending: deque[Future[Read]] = deque()
        try:
            for step in range(first, end):
                pending.append(readers.submit(self._read, step, rank, world))
                if len(pending) > self.workers:
                    yield self._there(*pending.popleft().result())
            while pending:
                yield self._there(*pending.popleft().result())
        finally:
            readers.shutdown(wait=True, cancel_futures=True)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """The batch of one step, as ``batches`` gives it."""
        return self._there(*self._read(step, rank, world))

    def _order_of(self, epoch: int) -> list[tuple[int, int]]:
        draws = generator(self.recipe.seed, epoch)
        rounds = max(math.ceil(self.recipe.batch_size / (len(self.items) - len(self.held_back))), 1)
        orders = [(again, epoch_order(self._groups(), draws)) for again in range(rounds)]
        return [(i, again) for again, order in orders for i in order if i not in self.held_back]

    def _groups(self) -> list[int | None]:
        """Which shard each picture is in, numbered over all data sets; None where the order costs nothing."""
        numbers: dict[tuple[int, int], int] = {}
        groups = [(id(data), data.group(record)) for data, record in self.items]
        return [None if group is None else numbers.setdefault((key, group), len(numbers)) for key, group in groups]

    def _read(self, step: int, rank: int, world: int) -> Read:
        """A step's crops: whole on a CPU; for an accelerator what it makes them of."""
        epoch, k = divmod(step, self.steps)
        size = self.recipe.batch_size
        job = self._order(epoch)[k * size : (k + 1) * size][rank::world]
        if self.instead is not None:
            known = [self.instead(i, epoch) for i, _ in job]
            taken = [place for place, _ in known]
            return torch.stack([row for _, row in known]), None, self._labels_of(taken)
        found = [self.readable(i) for i, _ in job]
        places, pictures = [place for place, _ in found], [picture for _, picture in found]
        crops = [
            random_crop(
                picture.shape[-2],
                picture.shape[-1],
                self.recipe.crop_area,
                generator(self.recipe.seed, epoch, i, again),
            )
            for picture, (i, again) in zip(pictures, job, strict=True)
        ]
        labels = self._labels_of(places)
        maps = None
        if self.along is not None:
            sizes = [(picture.shape[-2], picture.shape[-1]) for picture in pictures]
            cuts = zip(places, crops, sizes, strict=True)
            maps = torch.stack([self.along(place, crop, own, self.size) for place, crop, own in cuts])
        if self.device.type == "cpu":
            cut = torch.stack([resized(p, crop, self.size) for p, crop in zip(pictures, crops, strict=True)])
            return cut, maps, labels
        return PackedCrops.of(pictures, crops, self.size, pinned=self.device.type == "cuda"), maps, labels

    def _labels_of(self, places: Sequence[int]) -> Tensor:
        """(B,) classes, (B,M) several of each picture, or (B,K) findings."""
        if self.asked is not None:
            return self.asked[list(places)]
        if self.findings is not None:
            return self.findings[list(places)]
        return torch.tensor([self.labels[i] for i in places])

    def _there(self, images: Tensor | PackedCrops, maps: Tensor | None, labels: Tensor) -> tuple[Tensor, Tensor]:
        images = images.on(self.device) if isinstance(images, PackedCrops) else images
        if self.instead is not None:
            return images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
        images = with_channels(images, self.channels)
        if maps is not None:
            images = torch.cat([images, maps.to(self.device, non_blocking=True)], 1)
        return images, labels.to(self.device, non_blocking=True)

    def picture(self, index: int) -> Tensor:
        """The whole picture (3,H,W), uint8, at a place in ``items``; see ``readable``."""
        return self.readable(index)[1]

    def readable(self, index: int) -> tuple[int, Tensor]:
        """The picture at a place in ``items``, or with ``skip_damaged`` the first after it that can be read; its place.

        Which one that is depends on the files alone, so that a resumed training takes the same.

        Raises:
            InputError: it can't be read and is not to be passed over, or none can be read.
        """
        for step in range(len(self.items)):
            place = (index + step) % len(self.items)
            if place in self.damaged:
                continue
            data, record = self.items[place]
            try:
                return place, self.cache.get((id(data), record.id), partial(self._decoded, data, record))
            except InputError as error:
                if not self.skip_damaged:
                    raise may_be_skipped(error) from None
                self.damaged[place] = str(error)
        raise InputError(f"none of the {len(self.items)} pictures can be read; {self.damaged[index]}")

    def damaged_names(self) -> dict[str, str]:
        """Which pictures were passed over so far, and what is wrong with each."""
        items = [(*self.items[place], why) for place, why in sorted(self.damaged.items())]
        return {name_among(self.sets, data, record): why for data, record, why in items}

    def _to_label(self, index: int) -> Tensor:
        """(3,H,W) in [0,1], of the picture or of the one in its place."""
        try:
            return self._image(*self.items[index])
        except InputError:
            return self.readable(index)[1].float() / 255

    def _decoded(self, data: DataSet, record: Record) -> Tensor:
        return to_bytes(self._image(data, record))

    @staticmethod
    def _image(data: DataSet, record: Record) -> Tensor:
        return data.image(record)

"""Regions of frozen features: a masker of one convolution, trained on taps that were computed once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.blending import masked_in
from maskwise.classifiers import Classifier
from maskwise.core.modes import eval_mode
from maskwise.core.spread import evenly_spread
from maskwise.images import resize, with_channels
from maskwise.maskers import save_masker
from maskwise.maskers.finish import Finish
from maskwise.maskers.layout import Layout
from maskwise.maskers.masker import Masker
from maskwise.maskers.region_decoder import BG, FG, RegionDecoder
from maskwise.maskers.store import start_at
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.compiling import Tapping, compiled
from maskwise.training.crop_size import crop_size
from maskwise.training.crops import Crop, random_crop, resized
from maskwise.training.distributed.processes import all_gather
from maskwise.training.draws import generator, seeded
from maskwise.training.label_file import picture_key
from maskwise.training.likelihood import Categorical, Likelihood
from maskwise.training.loader import Loader
from maskwise.training.meter import Meter
from maskwise.training.optimizer_step import OptimizerStep
from maskwise.training.progress import progress_bar
from maskwise.training.region_losses import RegionBatch
from maskwise.training.regions_recipe import RegionsRecipe
from maskwise.training.tail import Tail
from maskwise.training.tap_file import TapFile, write_taps
from maskwise.training.trainer import Trainer, trainers

if TYPE_CHECKING:
    from lightning.fabric import Fabric

TAPS = "taps.npy"
LOOKED_AT = 512  # pictures that are held back, at most, of which the loss is asked
ASKED = 64  # pictures that say which region is the object, where the losses don't


@trainers.register("regions")
class RegionsTrainer(Trainer):
    """A region decoder on a frozen classifier; a step reads taps, or makes them of crops where none are cached."""

    Recipe: ClassVar[type[BaseRecipe]] = RegionsRecipe
    likelihoods: ClassVar[tuple[type[Likelihood], ...]] = (Categorical,)
    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format  # of rows of numbers
    recipe: RegionsRecipe

    def __init__(self, classifier: Classifier, recipe: RegionsRecipe, steps_per_epoch: int, fabric: Fabric) -> None:
        super().__init__(classifier, recipe, steps_per_epoch, fabric)
        self.losses = recipe.built_losses()
        self.size = crop_size(classifier, recipe.input_size)
        with seeded(recipe.seed):
            self.masker = Masker.build(
                classifier, reads=recipe.taps, finish=Finish.of(dict(recipe)), layout=Layout.of(dict(recipe))
            )
            start_at(self.masker, recipe.start, classifier)
            self.masker.to(fabric.device)
            self.features = self.masker.encoder.features
            example = classifier.example(size=self.size).to(fabric.device)
            self.shapes = [tuple(tap.shape[1:]) for tap in self._seen(example)]  # (C,h,w) of each
            self.head: nn.Sequential | None = None
            if any(loss.needs_head for loss in self.losses.values()):
                linear = nn.Linear(sum(shape[0] for shape in self.shapes), len(classifier.labels))
                self.head = nn.Sequential(nn.Dropout(recipe.dropout), linear).to(fabric.device).train()
        assert isinstance(self.masker.decoder, RegionDecoder)
        self.decoder = self.masker.decoder.train()
        self.tail: Tail | None = None
        if any(loss.needs_tail for loss in self.losses.values()):
            encoder = self.masker.encoder
            self.tail = Tail(encoder, encoder.tap_names[self.masker.reads[0]], self.size)
        self.weights = [*self.decoder.parameters(), *(self.head.parameters() if self.head is not None else ())]
        adam = torch.optim.AdamW(self.weights, recipe.masker_lr, weight_decay=recipe.weight_decay)
        self.update = OptimizerStep(adam, self.weights, fabric, recipe.clip)
        self.held: list[tuple[Tensor, Tensor]] = []  # batches of rows (B,D) in float16 and labels that no step sees
        self.asked: list[Tensor] = []  # pictures and labels, for ``_object_is_bg``
        self.asked_labels: list[int] = []

    # ---- taps -----------------------------------------------------------------------------------------------

    @property
    def width(self) -> int:
        """Numbers of a picture's taps."""
        return sum(c * h * w for c, h, w in self.shapes)

    @torch.no_grad()
    def _seen(self, images: Tensor) -> list[Tensor]:
        """The taps that are read, of pictures (B,c,h,w)."""
        _, taps = self.features(images.contiguous(memory_format=torch.channels_last))
        return [taps[i] for i in self.masker.reads]

    def _taps(self, images: Tensor) -> list[Tensor]:
        """The taps of pictures (B,c,h,w), or those that a batch of rows (B,D) holds."""
        if images.ndim == 4:
            return [tap.float() for tap in self._seen(images)]
        parts = images.float().split([c * h * w for c, h, w in self.shapes], 1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def tap_key(self) -> str:
        """Hex digits that tell these taps, with their classifier and size, from all others."""
        names = [self.masker.encoder.tap_names[i] for i in self.masker.reads]
        facts = [self.masker.encoder.digest(), names, self.shapes, self.size]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    def prepare(self, loader: Loader, out: Path, progress: bool = False) -> None:
        """Computes the taps of all views of all pictures, once; each process makes its share."""
        if any(not loss.tells for loss in self.losses.values()):
            count = min(ASKED, len(loader.items))
            for k in range(count):
                place, picture = loader.readable(k * len(loader.items) // count)
                self.asked.append(resize(picture[None].float() / 255, self.classifier.size))
                self.asked_labels.append(cast(int, loader.labels[place]))
        self._hold_back(loader)
        if not self.recipe.cached:
            return
        rank, world, views = self.fabric.global_rank, self.fabric.world_size, self.recipe.views
        path = Path(self.recipe.tap_file) if self.recipe.tap_file else out / TAPS
        path = path if rank == 0 else path.with_stem(f"{path.stem}-rank{rank}")
        own = [place for place in range(rank, len(loader.items), world) if place not in loader.held_back]
        jobs = [(place, view) for place in own for view in range(views)]
        known: dict[tuple[int, int], tuple[int, str, int]] = {}  # the picture that is taken, its key, whose file
        which = self.tap_key()
        with progress_bar(progress, 2 * len(jobs), 0, "taps") as advance:
            for place, view in jobs:
                taken, picture = loader.readable(place)
                crop = self._view(picture, taken, view)
                known[place, view] = (taken, picture_key(f"{which} {crop}", picture, 0), rank)
                advance("")
            written = 0

            def tell(count: int) -> None:
                nonlocal written
                for _ in range(count - written):
                    advance("")
                written = count

            def see(places: list[int]) -> Tensor:
                cuts = []
                for place, view in (jobs[k] for k in places):
                    taken, picture = loader.readable(place)
                    cuts.append((picture, self._view(picture, taken, view)))
                return self._rows(cuts)

            keys = [known[job][1] for job in jobs]
            write_taps(path, keys, self.width, see, self.classifier.batch, tell)  # type: ignore[arg-type]
        if world > 1:
            known = {job: found for theirs in all_gather(known) for job, found in theirs.items()}
        self.fabric.barrier()
        paths = [path.with_stem(path.stem.removesuffix(f"-rank{rank}")) if rank else path]
        paths += [paths[0].with_stem(f"{paths[0].stem}-rank{other}") for other in range(1, world)]
        files = [TapFile(own, self.width) for own in paths]

        def row(place: int, epoch: int) -> tuple[int, Tensor]:
            taken, key, whose = known[place, epoch % views]
            return taken, files[whose].row(key)

        loader.instead = row

    def _hold_back(self, loader: Loader) -> None:
        """Keeps taps of whole pictures that no step sees, a batch at a time, as large as one of the training."""
        places = sorted(loader.held_back)
        places = [places[k] for k in evenly_spread(len(places), LOOKED_AT)]
        if not places:
            return
        found = [loader.readable(place) for place in places]
        size = self.classifier.batch
        parts = [found[first : first + size] for first in range(0, len(found), size)]
        rows = torch.cat([self._rows([(picture, _whole(picture)) for _, picture in part]) for part in parts])
        labels = torch.tensor([cast(int, loader.labels[place]) for place, _ in found])
        batches = math.ceil(len(found) / self.recipe.batch_size)
        both = rows.half().cpu().tensor_split(batches), labels.tensor_split(batches)
        self.held = list(zip(*both, strict=True))

    def _rows(self, cuts: Sequence[tuple[Tensor, Crop]]) -> Tensor:
        """(B,D): the taps of crops of pictures (3,H,W), one after another."""
        cut = torch.stack([resized(picture, crop, self.size) for picture, crop in cuts])
        images = with_channels(cut, self.classifier.channels).to(self.fabric.device)
        return torch.cat([tap.flatten(1) for tap in self._seen(images)], 1)

    def _view(self, picture: Tensor, place: int, view: int) -> Crop:
        """The whole picture, as a masker sees it later, or the crop of another view."""
        if view == 0:
            return _whole(picture)
        return random_crop(
            picture.shape[-2], picture.shape[-1], self.recipe.crop_area, generator(self.recipe.seed, 5, place, view)
        )

    # ---- a step -----------------------------------------------------------------------------------------------

    def train_step(self, images: Tensor, labels: Tensor) -> Meter:
        meter = Meter(self.fabric)
        for mine in self.parts(images, labels):
            with self.alone_with(mine) as part:
                taps = self._taps(part.images)
                regions = self.decoder.scores(taps).float().softmax(1)
                losses = self._losses(regions, taps, part.labels)
                loss = torch.stack(list(losses.values())).sum()
                self.update.add(loss, part)
                shares = regions.detach().mean((0, 2, 3))
                named = {"area": shares[FG], "bg": shares[BG], "spread": regions[:, FG].detach().std((1, 2)).mean()}
                meter.add({"loss": loss, **named, **losses}, len(part.labels))
        self.update.update(self.recipe.masker_lr * self.learning_rate_factor())
        self.steps += 1
        return meter.reduce()

    def _losses(self, regions: Tensor, taps: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        batch = RegionBatch(regions, taps, labels, self.head, self.tail)
        return {name: loss.weight * loss(batch) for name, loss in self.losses.items()}

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """The loss on what is held back, without dropout."""
        total, count = 0.0, sum(len(labels) for _, labels in self.held)
        with ExitStack() as settled:
            for learning in self.modules().values():
                settled.enter_context(eval_mode(learning))
            for rows, labels in self.held:
                taps = self._taps(rows.to(self.fabric.device))
                regions = self.decoder.scores(taps).float().softmax(1)
                losses = self._losses(regions, taps, labels.to(self.fabric.device))
                total += float(torch.stack(list(losses.values())).sum()) * len(labels) / count
        return total

    def modules(self) -> Mapping[str, nn.Module]:
        return {"decoder": self.decoder, **({} if self.head is None else {"head": self.head})}

    def optimizers(self) -> Mapping[str, OptimizerStep]:
        return {"masker": self.update}

    def compile(self, backend: str) -> None:
        """The classifier's forward, whose taps are read."""
        self.features = compiled(Tapping(self.masker.encoder), backend)

    # ---- the end ----------------------------------------------------------------------------------------------

    def save(self, path: Path, *, half_encoder: bool = False) -> None:
        """The masker; of losses that do not say which region is the object, the one that shows the class is."""
        masker = self.masker
        if self._object_is_bg():
            masker = Masker(masker.encoder, self.decoder.swapped(), masker.reads, masker.finish)
        save_masker(path, masker, self.classifier, self.recipe.model_dump(mode="json"))

    @torch.no_grad()
    def _object_is_bg(self) -> bool:
        """Does the classifier name more pictures of which bg is kept, by cross entropy where they are as many?"""
        if any(loss.tells for loss in self.losses.values()) or not self.asked:
            return False
        encoder, labels = self.masker.encoder, torch.tensor(self.asked_labels, device=self.fabric.device)
        sides: dict[int, list[Tensor]] = {FG: [], BG: []}
        with eval_mode(self.masker):
            for pictures in torch.cat(self.asked).split(encoder.batch):
                images = with_channels(pictures, encoder.channels).to(self.fabric.device)
                regions = self.decoder.scores(self._seen(images)).float().softmax(1)
                size = (images.shape[-2], images.shape[-1])
                kept = F.interpolate(regions, size, mode="bilinear", align_corners=False)
                fill = encoder.mean.reshape(1, -1, 1, 1)
                for side, seen in sides.items():
                    seen.append(encoder.logits(masked_in(images, kept[:, side], fill)))
        fg, bg = (_right(torch.cat(seen), labels) for seen in sides.values())
        return bg > fg


def _whole(picture: Tensor) -> Crop:
    """All of a picture (3,H,W)."""
    return Crop(0, 0, picture.shape[-1], picture.shape[-2], False)


def _right(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    return float((logits.argmax(1) == labels).double().mean()), -float(F.cross_entropy(logits, labels))

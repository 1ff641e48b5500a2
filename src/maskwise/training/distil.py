"""Distilling a method into a masker: one forward then says what took the method many (Covert et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.explainers import methods
from maskwise.maskers import save_masker
from maskwise.maskers.layout import Layout
from maskwise.maskers.own_encoder import SMALL
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.compiling import Tapping, compiled
from maskwise.training.crops import Crop, PixelSize, resized_map
from maskwise.training.distributed.processes import all_gather
from maskwise.training.draws import generator
from maskwise.training.frozen_decoder import FrozenRecipe, frozen_masker
from maskwise.training.label_file import LabelFile, label_pictures
from maskwise.training.label_kinds import LABEL_KINDS
from maskwise.training.likelihood import Likelihood
from maskwise.training.loader import Loader
from maskwise.training.meter import Meter
from maskwise.training.optimizer_step import OptimizerStep
from maskwise.training.pasted import pasted
from maskwise.training.progress import progress_bar
from maskwise.training.teacher import Lesson, Teacher
from maskwise.training.trainer import Trainer, trainers

if TYPE_CHECKING:
    from lightning.fabric import Fabric

LABELS = "labels.npz"
LABEL = 1  # of the draws of a step: those of what is pasted have no number
LabelKind = Literal["above_mean", "raw", "seeds", "values"]


class DistilRecipe(FrozenRecipe):
    """All settings of a distillation."""

    kind: str = "distil"
    title: str = "distilled"
    paper: str = "Covert, Kim, Zou, Hashimoto 2024"

    # the teacher
    teacher: Lesson = Lesson.model_validate({"views": {"excitation_backprop": {}}})
    target: LabelKind = Field(
        "above_mean",
        description="where the map is at least its mean, by cross entropy; raw: the map, by squared error; seeds: one "
        "place that is surely object and one that is surely not, drawn anew in each step, by cross entropy; values: "
        "what has any sign and size, by squared error of the decoder's own output, in units of its root mean square",
    )
    pasted: float = Field(
        0.0, ge=0, le=1, description="share of pictures with a smaller one pasted in: each class is wanted on its own"
    )
    others: int = Field(
        0, ge=0, description="the next likely classes of each picture that the masker is asked for beside its label"
    )
    encoder: str | None = Field(
        None,
        description="the network that is read; None is the classifier. For a black box, which shows no layers: another "
        "classifier by its name, as it is; or small, a few convolutions that learn with the mask from nothing",
    )
    class_embedding: bool = Field(
        False, description="a mixing decoder learns what each class adds; for encoders that don't know the classes"
    )
    labels: str | None = Field(None, description="file that keeps the teacher's maps; None is labels.npz in the folder")

    @model_validator(mode="after")
    def _possible(self) -> DistilRecipe:
        unknown = [name for name in self.teacher.views if name not in methods]
        if unknown:
            raise ValueError(f"teacher {unknown[0]!r} is no method: see `maskwise methods`")
        Layout.of(dict(self))
        bent = self.teacher.stretch or self.teacher.class_gate is not None or self.pasted
        if self.target == "values" and bent:
            raise ValueError("target=values wants the teacher's word unbent: teacher.stretch=false, no gate, pasted=0")
        if self.pasted and not (self.class_tap or self.class_embedding):
            raise ValueError("pasted teaches to follow the class that is asked for: class_tap=true, or pasted=0")
        if self.others and (self.pasted or not (self.class_tap or self.class_embedding)):
            raise ValueError(
                "others asks for several classes: class_tap or class_embedding=true, pasted=0; or others=0"
            )
        if self.encoder is not None and (self.class_tap or self.class_gate is not None):
            raise ValueError(
                "an encoder of its own has no class activation: class_tap=false, class_gate=null, class_embedding=true"
            )
        return self

    @property
    def asks_only(self) -> bool:
        return self.encoder is not None


@trainers.register("distil")
class DistilTrainer(Trainer):
    """A decoder on a frozen classifier, or on another network, which sees every crop once and no masked picture."""

    Recipe: ClassVar[type[BaseRecipe]] = DistilRecipe
    likelihoods: ClassVar[tuple[type[Likelihood], ...]] = ()  # it learns from maps, and its losses read no class
    recipe: DistilRecipe

    def __init__(self, classifier: Classifier, recipe: DistilRecipe, steps_per_epoch: int, fabric: Fabric) -> None:
        super().__init__(classifier, recipe, steps_per_epoch, fabric)
        self.masker = frozen_masker(classifier, recipe, fabric, recipe.encoder)
        self.learns_encoder = recipe.encoder == SMALL
        self.weights = list(self.masker.decoder.parameters())
        if self.learns_encoder:
            self.weights += list(self.masker.encoder.module.parameters())
        adam = torch.optim.Adam(self.weights, recipe.masker_lr, weight_decay=recipe.weight_decay)
        # What comes after the last tap of an encoder of its own has no part in the mask.
        self.update = OptimizerStep(adam, self.weights, fabric, recipe.clip, self.learns_encoder)
        self.features = self.masker.encoder.features
        self.label = LABEL_KINDS[recipe.target]()

    @property
    def maps_along(self) -> int:
        return 1 + self.recipe.others

    def prepare(self, loader: Loader, out: Path, progress: bool = False) -> None:
        """Lets the teacher make its maps, once for each picture; each process makes its share."""
        teacher = Teacher(self.classifier, self.recipe.teacher)
        path = Path(self.recipe.labels) if self.recipe.labels else out / LABELS
        rank, world = self.fabric.global_rank, self.fabric.world_size
        file = LabelFile(path if rank == 0 else path.with_stem(f"{path.stem}-rank{rank}"))
        places = range(rank, len(loader.items), world)
        if self.recipe.others:
            loader.ask_for_more(self.classifier, self.recipe.others, rank, world)

        def picture(place: int) -> tuple[Tensor, Sequence[int]]:
            asked = [cast(int, loader.labels[place])] if loader.asked is None else loader.asked[place].tolist()
            return loader.picture(place), asked

        with progress_bar(progress, len(places), 0, "labels") as advance:
            batch = self.classifier.batch
            taught = teacher.of_several
            mine = label_pictures(file, teacher.key(), picture, taught, places, batch, lambda: advance(""))
        everybody = all_gather(mine) if world > 1 else [mine]
        maps = {place: saliency for theirs in everybody for place, saliency in theirs.items()}
        self.means = {place: several.float().mean((1, 2)).tolist() for place, several in maps.items()}
        self.maps = self.label.keep(maps)
        loader.along = self._wanted

    def _wanted(self, place: int, crop: Crop, picture: tuple[int, int], size: PixelSize) -> Tensor:
        """(K,h,w) of the classes that a picture is asked for."""
        pairs = zip(self.maps[place], self.means[place], strict=True)
        return torch.stack([self.label.of_crop(resized_map(kept, crop, picture, size), mean) for kept, mean in pairs])

    def train_step(self, images: Tensor, labels: Tensor) -> Meter:
        meter, channels = Meter(self.fabric), self.classifier.channels
        labels = labels if labels.ndim == 2 else labels[:, None]
        if self.recipe.pasted:  # before the batch is divided, so that its parts are those of the whole
            draws = generator(self.recipe.seed, self.steps, self.fabric.global_rank)
            images, maps, labels = pasted(
                images[:, :channels], images[:, channels], labels[:, 0], self.recipe.pasted, draws
            )
            images = torch.cat([images, maps], 1)
        draws = generator(self.recipe.seed, self.steps, self.fabric.global_rank, LABEL)
        images = torch.cat([images[:, :channels], self.label.of_step(images[:, channels:], draws)], 1)
        for mine in self.parts(images, labels):
            with self.alone_with(mine) as part:
                pictures = part.images[:, :channels].contiguous(memory_format=torch.channels_last)
                size = (pictures.shape[-2], pictures.shape[-1])
                with torch.set_grad_enabled(self.learns_encoder):
                    _, taps = self.features(pictures)
                logits = self.masker.logits_of(taps, size, part.labels).float()
                grid = (logits.shape[-2], logits.shape[-1])
                wanted = F.adaptive_avg_pool2d(part.images[:, channels:], grid).float()
                loss = self.label.loss(logits, wanted)
                self.update.add(loss, part)
                said = logits.detach()
                facts = {"area": said.sigmoid().mean(), "wanted": wanted.mean(), "off": self.label.off(said, wanted)}
                meter.add({"loss": loss, **facts}, len(part.labels))
        self.update.update(self.recipe.masker_lr * self.learning_rate_factor())
        self.steps += 1
        return meter.reduce()

    def modules(self) -> Mapping[str, nn.Module]:
        own = {"encoder": self.masker.encoder.module} if self.learns_encoder else {}
        return {"decoder": self.masker.decoder, **own}

    def optimizers(self) -> Mapping[str, OptimizerStep]:
        return {"masker": self.update}

    def compile(self, backend: str) -> None:
        """The encoder's forward, whose taps are read."""
        self.features = compiled(Tapping(self.masker.encoder), backend)

    def save(self, path: Path, *, half_encoder: bool = False) -> None:
        recipe = self.recipe.model_dump(mode="json")
        save_masker(path, self.masker, self.classifier, recipe, half_encoder=half_encoder)

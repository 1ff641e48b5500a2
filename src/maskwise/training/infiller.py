"""Training the partial-convolution infiller: pictures with random holes, and what was there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write
from maskwise.core.seal import save_sealed
from maskwise.infill.holes import random_holes
from maskwise.infill.partial_conv import PartialConvNet
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.draws import generator, seeded
from maskwise.training.likelihood import Likelihood
from maskwise.training.meter import Meter
from maskwise.training.optimizer_step import OptimizerStep
from maskwise.training.trainer import Trainer, trainers

if TYPE_CHECKING:
    from lightning.fabric import Fabric

FORMAT = "maskwise-infiller-2"


class InfillerRecipe(BaseRecipe):
    """All settings of an infiller's training; the loss's weights are Liu et al.'s, without their style term."""

    kind: str = "infiller"
    title: str = "Partial convolutions"
    paper: str = "Liu et al. 2018"
    epochs: int = Field(10, ge=1)
    fraction: float = Field(1.0, gt=0, le=1)
    batch_size: int = Field(16, ge=2)
    input_size: int | None = Field(112, ge=32)
    crop_area: tuple[float, float] = (0.3, 1.0)
    weight_decay: float = Field(0.0, ge=0)

    lr: float = Field(2e-3, gt=0, description="Adam")
    hole_area: tuple[float, float] = Field((0.1, 0.8), description="of a blob, part of the picture")
    soft_holes: float = Field(0.25, ge=0, le=1, description="share of the blobs with soft edges")
    hole_weight: float = Field(6.0, ge=0, description="of the L1 distance in the hole")
    valid_weight: float = Field(1.0, ge=0, description="of the L1 distance outside it")
    tv_weight: float = Field(0.1, ge=0, description="of the total variation in and at the hole")
    perceptual_weight: float = Field(0.0, ge=0, description="of the L1 distance of the classifier's taps; 0.05 in Liu")

    @property
    def asks_only(self) -> bool:
        return self.perceptual_weight == 0


@trainers.register("infiller")
class InfillerTrainer(Trainer):
    """The network and its optimiser; the classifier is asked for the perceptual term and the mean colour only."""

    Recipe: ClassVar[type[BaseRecipe]] = InfillerRecipe
    output: ClassVar[str] = "infiller.safetensors"
    needs_labels: ClassVar[bool] = False
    likelihoods: ClassVar[tuple[type[Likelihood], ...]] = ()
    recipe: InfillerRecipe

    def __init__(self, classifier: Classifier, recipe: InfillerRecipe, steps_per_epoch: int, fabric: Fabric) -> None:
        super().__init__(classifier, recipe, steps_per_epoch, fabric)
        if classifier.channels != 3:
            raise InputError(f"infillers are trained on RGB, and {classifier.name} takes grey: name another classifier")
        with seeded(recipe.seed):
            self.network = PartialConvNet()
        self.network.to(fabric.device).to(memory_format=torch.channels_last)
        self.network.train()
        self.weights = list(self.network.parameters())
        adam = torch.optim.Adam(self.weights, recipe.lr, weight_decay=recipe.weight_decay)
        self.update = OptimizerStep(adam, self.weights, fabric, recipe.clip)
        self.paint: Callable[..., Tensor] = self.network

    def train_step(self, images: Tensor, labels: Tensor) -> Meter:
        recipe, meter = self.recipe, Meter(self.fabric)
        parts = self.parts(images, labels)
        draws = generator(recipe.seed, 3, self.steps)
        height, width = images.shape[-2:]
        all_holes = random_holes(parts[0].whole, max(height, width), draws, recipe.hole_area, recipe.soft_holes)
        all_holes = all_holes[:, :height, :width]
        for mine in parts:
            with self.alone_with(mine) as part:
                holes = all_holes[list(part.places), None].to(part.images)
                painted = self.paint(part.images, 1 - holes, self.classifier.mean.reshape(1, -1, 1, 1))
                terms = self.losses(painted, part.images, holes)
            loss = torch.stack([getattr(recipe, f"{name}_weight") * term for name, term in terms.items()]).sum()
            self.update.add(loss, part)
            meter.add({"loss": loss, **terms, "missing": holes.mean()}, len(part.labels))
        self.update.update(recipe.lr * self.learning_rate_factor())
        self.steps += 1
        meter.reduce()
        # per missing pixel, whatever the holes' area
        meter.note(in_hole=meter.mean("hole") / meter.mean("missing").clamp(min=1e-6))
        return meter

    def losses(self, painted: Tensor, images: Tensor, holes: Tensor) -> dict[str, Tensor]:
        """The terms of Liu et al.'s Eq. 7 by name, before their weights; those of weight 0 are left out."""
        distance = (painted - images).abs()
        whole = torch.lerp(images, painted, holes)
        terms = {"hole": (distance * holes).mean(), "valid": (distance * (1 - holes)).mean()}
        if self.recipe.tv_weight:
            terms["tv"] = variation(whole, holes)
        if self.recipe.perceptual_weight:
            terms["perceptual"] = self.perceptual(torch.cat([painted, whole]).clamp(0, 1), images)
        return terms

    def perceptual(self, pictures: Tensor, images: Tensor) -> Tensor:
        """Mean L1 distance of the taps' features of pictures (2N,3,H,W), painted and blended, from the images'."""
        with torch.no_grad():
            _, wanted = self.classifier.features(images)
        _, taps = self.classifier.features(pictures)
        distances = [(tap - want.repeat(2, 1, 1, 1)).abs().mean() for tap, want in zip(taps, wanted, strict=True)]
        return torch.stack(distances).sum()

    def modules(self) -> dict[str, nn.Module]:
        return {"network": self.network}

    def optimizers(self) -> dict[str, OptimizerStep]:
        return {"infiller": self.update}

    def save(self, path: Path, *, half_encoder: bool = False) -> None:
        """Writes the network in float16: half the size, and no difference that 8-bit pictures could show."""
        tensors = {
            name: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous()
            for name, value in self.network.state_dict().items()
        }
        header = {"format": FORMAT, "recipe": json.dumps(self.recipe.model_dump(mode="json"))}
        with atomic_write(path) as temporary:
            save_sealed(temporary, tensors, header)


def variation(whole: Tensor, holes: Tensor) -> Tensor:
    """Mean absolute difference of neighbours of which at least one is missing, per pixel of the picture."""
    total = whole.new_zeros(())
    for axis in (2, 3):
        length = whole.shape[axis] - 1
        first, second = whole.narrow(axis, 0, length), whole.narrow(axis, 1, length)
        touched = torch.maximum(holes.narrow(axis, 0, length), holes.narrow(axis, 1, length))
        total = total + ((first - second).abs() * touched).mean()
    return total

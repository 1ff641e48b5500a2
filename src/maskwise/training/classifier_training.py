"""Training a classifier on labelled pictures, such as the f(0) of CASM's Table 3, which has seen some classes only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier, learning_copy
from maskwise.core.files import atomic_write
from maskwise.core.seal import save_sealed
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.classifier_recipe import ClassifierRecipe
from maskwise.training.compiling import compiled
from maskwise.training.draws import seeded
from maskwise.training.fresh import begin_anew, layers_after, own_weights, parameters_of, tensors_of
from maskwise.training.likelihood import likelihood_of
from maskwise.training.meter import Meter
from maskwise.training.optimizer_step import OptimizerStep
from maskwise.training.trainer import Trainer, trainers

if TYPE_CHECKING:
    from lightning.fabric import Fabric

FORMAT = "maskwise-classifier-1"


@trainers.register("classifier")
class ClassifierTrainer(Trainer):
    """A classifier of the given one's architecture, with as many outputs: classes that it never sees have one too.

    With ``start: reinitialised`` all before the tap stays as it is, its batch norm in eval mode.
    """

    Recipe: ClassVar[type[BaseRecipe]] = ClassifierRecipe
    output: ClassVar[str] = "classifier.safetensors"
    recipe: ClassifierRecipe

    def __init__(self, classifier: Classifier, recipe: ClassifierRecipe, steps_per_epoch: int, fabric: Fabric) -> None:
        super().__init__(classifier, recipe, steps_per_epoch, fabric)
        self.likelihood = likelihood_of(classifier)
        self.live = learning_copy(classifier)
        self.network = self.live.module
        every = [name for name, module in self.network.named_modules() if own_weights(module)]
        learning = layers_after(classifier, recipe.fresh_after) if recipe.start == "reinitialised" else every
        if recipe.start != "pretrained":
            with seeded(recipe.seed):
                self.network.cpu()
                begin_anew(self.network, learning)
        self.live.to(fabric.device)
        self.network.to(memory_format=self.memory_format)
        self._set_learning(learning)
        self.weights = parameters_of(self.network, learning)
        for weight in self.weights:
            weight.requires_grad_(True)
        self.update = OptimizerStep(self.optimizer(self.weights), self.weights, fabric, recipe.clip)
        self.logits: Callable[[Tensor], Tensor] = self.live.logits

    def optimizer(self, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Of the weights that learn."""
        recipe = self.recipe
        return torch.optim.SGD(weights, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)

    def _set_learning(self, learning: list[str]) -> None:
        """Train mode where something learns, and in parts without weights, such as dropout, beside it."""
        frozen = {name for name, module in self.network.named_modules() if own_weights(module)} - set(learning)
        self.live.train()
        for name in frozen:
            self.network.get_submodule(name).eval()

    def train_step(self, images: Tensor, labels: Tensor) -> Meter:
        meter = Meter(self.fabric)
        for mine in self.parts(images, labels):
            with self.alone_with(mine) as part:
                logits = self.logits(part.images)
                loss = self.likelihood.cross_entropy(logits, part.labels)
                self.update.add(loss, part)
                meter.add({"loss": loss, "right": self.likelihood.right(logits, part.labels)}, len(part.labels))
        self.update.update(self.recipe.lr * self.learning_rate_factor())
        self.steps += 1
        return meter.reduce()

    def compile(self, backend: str) -> None:
        self.logits = compiled(self.live.logits, backend)

    def modules(self) -> dict[str, nn.Module]:
        return {"network": self.network}

    def optimizers(self) -> dict[str, OptimizerStep]:
        return {"classifier": self.update}

    def save(self, path: Path, *, half_encoder: bool = False) -> None:
        """Writes the state dict, which ``load_classifier(name, weights=path)`` takes; the header has the recipe."""
        header = {
            "format": FORMAT,
            "recipe": json.dumps(self.recipe.model_dump(mode="json")),
            "classifier": self.classifier.name,
        }
        tensors = tensors_of(self.network)
        if half_encoder:
            tensors = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
        with atomic_write(path) as temporary:
            save_sealed(temporary, tensors, header)

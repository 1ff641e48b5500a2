"""What a training is to the run around it: steps that log, a state that can be saved, and a file at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.fabric import Fabric
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.registry import Registry
from maskwise.training.feed import generator
from maskwise.training.recipe import Schedule


class Trainer(ABC):
    """All that changes during one training. A new kind is one subclass and one registration.

    Args:
        classifier: pretrained; copied where it is to change, never changed itself.
        recipe: every setting.
        steps_per_epoch: for the learning rate.
        fabric: device, precision and processes.
    """

    Recipe: ClassVar[type[Schedule]]
    output: ClassVar[str] = "masker.safetensors"
    needs_labels: ClassVar[bool] = True

    def __init__(self, classifier: Classifier, recipe: Any, steps_per_epoch: int, fabric: Fabric) -> None:
        self.classifier, self.recipe, self.steps_per_epoch, self.fabric = classifier, recipe, steps_per_epoch, fabric
        self.steps = 0
        self.rate = 1.0  # on top of the recipe's schedule; whoever watches the training may lower it

    @abstractmethod
    def step(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """One minibatch: images (B,3,S,S) in [0,1], labels (B,); returns what the log holds, among it ``loss``."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data; loading it goes on as if nothing had happened."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    @abstractmethod
    def save(self, path: Path, *, half_encoder: bool = False) -> None:
        """Writes what was trained, atomically."""

    def learning_rate_factor(self) -> float:
        factor: float = self.recipe.learning_rate_factor(self.steps, self.steps_per_epoch)
        return self.rate * factor

    @contextmanager
    def own_randomness(self) -> Iterator[None]:
        """The global generator's draws come from (seed, step): a resumed run draws what the first would have drawn."""
        devices = [self.fabric.device] if self.fabric.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(generator(self.recipe.seed, 2, self.steps).initial_seed())
            yield


trainers: Registry[type[Trainer]] = Registry("kind of training")

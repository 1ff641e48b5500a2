"""What a training is to the run around it: steps that are metered, a state that can be saved, and a file at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.registry import Registry
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.distributed.share import AsTheWhole, MicroBatch, portions
from maskwise.training.draws import generator
from maskwise.training.likelihood import Categorical, Likelihood
from maskwise.training.loader import Loader
from maskwise.training.meter import Meter, read_meters
from maskwise.training.optimizer_step import OptimizerStep

if TYPE_CHECKING:
    from lightning.fabric import Fabric


class Trainer(ABC):
    """All that changes during one training. A new kind is one subclass and one registration.

    Args:
        classifier: pretrained; copied where it is to change, never changed itself.
        recipe: every setting.
        steps_per_epoch: for the learning rate.
        fabric: device, precision and processes.
    """

    Recipe: ClassVar[type[BaseRecipe]]
    output: ClassVar[str] = "masker.safetensors"
    needs_labels: ClassVar[bool] = True
    likelihoods: ClassVar[tuple[type[Likelihood], ...]] = (Categorical,)  # its losses are right for; () reads no class
    memory_format: ClassVar[torch.memory_format] = torch.channels_last  # of pictures; the quickest for convolutions

    def __init__(self, classifier: Classifier, recipe: Any, steps_per_epoch: int, fabric: Fabric) -> None:
        self.classifier, self.recipe, self.steps_per_epoch, self.fabric = classifier, recipe, steps_per_epoch, fabric
        self.steps = 0
        self.rate = 1.0  # on top of the recipe's schedule; whoever watches the training may lower it
        self.accumulate = 1  # parts that a process's share of a batch goes through the networks in

    # ---- what each kind says ------------------------------------------------------------------------------------

    @abstractmethod
    def train_step(self, images: Tensor, labels: Tensor) -> Meter:
        """One minibatch: images (B,3,S,S) in [0,1], labels (B,); meters ``loss`` among others, and counts ``steps``.

        Labels are sets of findings, (B,K) bool, where ``likelihoods`` has Bernoulli and the classifier's is that. With
        several processes images and labels are this one's share, and what is metered is of all.
        """

    @abstractmethod
    def modules(self) -> Mapping[str, nn.Module]:
        """The networks that change, by name: what a checkpoint holds."""

    @abstractmethod
    def optimizers(self) -> Mapping[str, OptimizerStep]:
        """What changes them, by the name that the log has for its learning rate."""

    @abstractmethod
    def save(self, path: Path, *, half_encoder: bool = False) -> None:
        """Writes what was trained, atomically."""

    @property
    def maps_along(self) -> int:
        """How many maps ``prepare`` has a picture bring along, one a class that it is asked for.

        They are further channels of the images of a step; where they are several, its labels are (B,K).
        """
        return 0

    def generators(self) -> Mapping[str, torch.Generator]:
        """Generators with a state that goes on from draw to draw, by name."""
        return {}

    def snapshots(self) -> Mapping[str, Mapping[str, Tensor]]:
        """States that never change once they are there, by a name that is never used again."""
        return {}

    def extra_state(self) -> dict[str, Any]:
        """What else a checkpoint must hold, as tensors and plain data, without the snapshots."""
        return {}

    def load_extra_state(self, state: dict[str, Any], snapshots: Mapping[str, dict[str, Tensor]]) -> None:  # noqa: B027
        """Goes on from ``extra_state`` and ``snapshots``."""

    def prepare(self, loader: Loader, out: Path, progress: bool = False) -> None:  # noqa: B027, most do nothing
        """What must be known of the pictures before the first step; most kinds need nothing.

        Args:
            loader: gives the pictures; may be told of maps to cut ``along`` with them, which are further channels
                of the images then.
            out: the run's folder.
            progress: show a progress bar.
        """

    def held_out_loss(self) -> float:
        """The loss on what the loader holds back, asked of kinds whose recipes hold something back."""
        raise NotImplementedError

    def compile(self, backend: str) -> None:
        """From now on the networks' forwards and backwards run through ``torch.compile``."""
        raise InputError(f"{self.recipe.kind}: this kind of training can't be compiled; leave `compiler` out")

    # ---- what all kinds share -----------------------------------------------------------------------------------

    def metered_step(self, images: Tensor, labels: Tensor) -> Meter:
        """``train_step``, with the learning rate of each optimizer noted; 0 where it took no step."""
        optimizers = self.optimizers()
        for optimizer in optimizers.values():
            optimizer.rate = 0.0
        meter = self.train_step(images, labels)
        meter.note(**{f"lr_{name}": optimizer.rate for name, optimizer in optimizers.items()})
        return meter

    def step(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """``metered_step`` as numbers, which waits for the device."""
        return read_meters([self.metered_step(images, labels)])[0]

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data, all but ``snapshots``; loading both goes on as if nothing had happened."""
        return {
            "steps": self.steps,
            "rate": self.rate,
            "modules": {name: module.state_dict() for name, module in self.modules().items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers().items()},
            "extra": self.extra_state(),
        }

    def load_state_dict(self, state: dict[str, Any], snapshots: Mapping[str, dict[str, Tensor]] | None = None) -> None:
        """Goes on from ``state_dict``; without ``snapshots`` those that are there stay."""
        self.steps, self.rate = state["steps"], state["rate"]
        for name, module in self.modules().items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in self.optimizers().items():
            optimizer.load_state_dict(state["optimizers"][name])
        there = {name: dict(snapshot) for name, snapshot in self.snapshots().items()}
        self.load_extra_state(state["extra"], there if snapshots is None else snapshots)

    def learning_rate_factor(self) -> float:
        factor: float = self.recipe.learning_rate_factor(self.steps, self.steps_per_epoch)
        return self.rate * factor

    def parts(self, images: Tensor, labels: Tensor, whole: int | None = None) -> list[MicroBatch]:
        """This process's share of a batch in micro-batches; they go to the device one by one, in ``alone_with``.

        Args:
            whole: pictures of the whole batch; None is the recipe's batch size, or all there are with one process.
        """
        world = self.fabric.world_size
        whole = len(images) if world == 1 else whole or self.recipe.batch_size
        own = range(self.fabric.global_rank, whole, world)
        found, first = [], 0
        for places in portions(own, self.accumulate):
            rows = slice(first, first := first + len(places))
            found.append(MicroBatch(images[rows], labels[rows], places, whole))
        return found

    @contextmanager
    def alone_with(self, part: MicroBatch, *more: int) -> Iterator[MicroBatch]:
        """The part on the device, under autocast, with draws of (seed, step, more) as inside its whole batch."""
        device, world = self.fabric.device, self.fabric.world_size
        images = part.images.to(device, memory_format=self.memory_format, non_blocking=True)
        with self.own_randomness(*more), self.fabric.autocast(), ExitStack() as inside:
            if part.whole > len(part.places):
                inside.enter_context(AsTheWhole(part, world))
            yield MicroBatch(images, part.labels.to(device, non_blocking=True), part.places, part.whole)

    @contextmanager
    def own_randomness(self, *more: int) -> Iterator[None]:
        """The global generator's draws come from (seed, step): a resumed run draws what the first would have drawn."""
        devices = [self.fabric.device] if self.fabric.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(generator(self.recipe.seed, 2, self.steps, *more).initial_seed())
            yield


trainers: Registry[type[Trainer]] = Registry("kind of training")

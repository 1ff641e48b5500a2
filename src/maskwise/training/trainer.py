"""What a training is to the run around it: steps that log, a state that can be saved, and a file at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.errors import InputError
from maskwise.registry import Registry
from maskwise.training.descent import Descent
from maskwise.training.feed import generator
from maskwise.training.recipe import Schedule
from maskwise.training.sharding import LEAST, Sharding
from maskwise.training.share import AsTheWhole, Part, portions

Change = Callable[[Any, dict[str, Any]], dict[str, Any]]


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
        self.sharding: Sharding | None = None
        self.accumulate = 1  # parts that a process's share of a batch goes through the networks in

    @abstractmethod
    def step(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """One minibatch: images (B,3,S,S) in [0,1], labels (B,); returns what the log holds, among it ``loss``.

        With several processes they are this one's share, and what is returned is of all.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data; loading it goes on as if nothing had happened."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    @abstractmethod
    def save(self, path: Path, *, half_encoder: bool = False) -> None:
        """Writes what was trained, atomically."""

    def large(self) -> list[nn.Module]:
        """The networks that are worth holding in pieces: classifiers, live, frozen or copied."""
        return [self.classifier.module]

    def shard(self, least: int = LEAST) -> None:
        """From now on each process holds a piece of every weight of ``large`` (see ``sharding``), and of all that is
        made of it: gradients, momenta, snapshots.

        Args:
            least: numbers of the smallest weight that is cut.
        """
        self.sharding = Sharding(least)
        for network in self.large():
            self.sharding.cut(network)
        if self.classifier.module not in self.large():  # whose copy is trained; it is asked for its name alone
            self.classifier.to("cpu")
        for part in vars(self).values():
            if isinstance(part, Descent):
                part.pieces = self.sharding.layouts

    def whole_state(self) -> dict[str, Any]:
        """``state_dict`` as of a process that has all weights; where they are in pieces, all processes must ask."""
        sharding, state = self.sharding, self.state_dict()
        return self.changed(state, sharding.joined_state, sharding.joined_optimiser) if sharding else state

    def load_whole_state(self, state: dict[str, Any]) -> None:
        """Goes on from ``whole_state``, whoever saved it."""
        sharding = self.sharding
        self.load_state_dict(self.changed(state, sharding.cut_state, sharding.cut_optimiser) if sharding else state)

    def changed(self, state: dict[str, Any], network: Change, optimiser: Change) -> dict[str, Any]:
        """A state whose networks' and optimisers' parts went through a function of (network, its state)."""
        found = dict(state)
        for key, value in state.items():
            part = getattr(self, key, None)
            if isinstance(part, nn.Module):
                found[key] = network(part, value)
            elif isinstance(part, torch.optim.Optimizer):
                found[key] = optimiser(part, value)
        return found

    def compile(self, backend: str) -> None:
        """From now on the networks' forwards and backwards run through ``torch.compile``."""
        raise InputError(f"{self.recipe.kind}: this kind of training can't be compiled; leave --compile out")

    def learning_rate_factor(self) -> float:
        factor: float = self.recipe.learning_rate_factor(self.steps, self.steps_per_epoch)
        return self.rate * factor

    def parts(self, images: Tensor, labels: Tensor, whole: int | None = None) -> list[Part]:
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
            found.append(Part(images[rows], labels[rows], places, whole))
        return found

    @contextmanager
    def alone_with(self, part: Part, *more: int) -> Iterator[Part]:
        """The part on the device, under autocast, with draws of (seed, step, more) as inside its whole batch."""
        device, world = self.fabric.device, self.fabric.world_size
        images = part.images.to(device, memory_format=torch.channels_last)
        with self.own_randomness(*more), self.fabric.autocast(), ExitStack() as inside:
            if part.whole > len(part.places):
                inside.enter_context(AsTheWhole(part, world))
            if self.sharding is not None:
                inside.enter_context(self.sharding.forgetting())
            yield Part(images, part.labels.to(device), part.places, part.whole)

    @contextmanager
    def own_randomness(self, *more: int) -> Iterator[None]:
        """The global generator's draws come from (seed, step): a resumed run draws what the first would have drawn."""
        devices = [self.fabric.device] if self.fabric.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(generator(self.recipe.seed, 2, self.steps, *more).initial_seed())
            yield


trainers: Registry[type[Trainer]] = Registry("kind of training")

"""Maps of fixed pictures while a plain loop, Lightning's Trainer or transformers' Trainer trains the network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.text import one_line
from maskwise.drawing import heat_scale, overlay

PictureSink = Callable[[int, Sequence[np.ndarray]], None]


class MapsDuringTraining:
    """Every so many steps, what the network in training looks at, in pictures that stay the same.

    The network goes on as if nothing had been: its modes, gradients and the global random state are what they were. A
    sink that fails warns once and is not asked again; it never ends the training.

    Args:
        explainer: of the network that is trained, ``mw.explainer("grad_cam", mw.Classifier(network))``.
        images: (N,C,H,W) in [0,1], the pictures; a handful.
        sink: takes the step and N pictures (H,W,3) uint8: see ``to_tensorboard``, ``to_wandb`` and ``to_mlflow``.
        targets: (N,) classes; None is the class that is predicted at the time.
        every: steps from one look to the next; the first one is at step 0, before Lightning's or transformers' first.

    Raises:
        InputError: no picture, or ``every`` below 1.

    Example:
        >>> watch = MapsDuringTraining(explainer, images, to_tensorboard(writer))  # doctest: +SKIP
        >>> for step, batch in enumerate(loader):                                  # doctest: +SKIP
        ...     train_on(batch)
        ...     watch(step)
    """

    def __init__(
        self,
        explainer: Callable[..., Tensor],
        images: Tensor,
        sink: PictureSink,
        *,
        targets: Tensor | None = None,
        every: int = 500,
    ) -> None:
        if len(images) == 0 or every < 1:
            raise InputError("maps during a training need at least one picture, and `every` from 1 on")
        self.explainer, self.images, self.sink = explainer, images, sink
        self.targets, self.every, self.lost = targets, every, False

    def __call__(self, step: int) -> None:
        """To be called after each step, with its number."""
        if step % self.every or self.lost:
            return
        classifier, images = getattr(self.explainer, "classifier", None), self.images
        try:
            if isinstance(classifier, Classifier):
                images = images.to(with_its_network(classifier))
            maps = torch.as_tensor(self.explainer(images, self.targets)).detach().float().cpu()
            drawn = [overlay(x.cpu(), m, scale=heat_scale(m)) for x, m in zip(images, maps, strict=True)]
            self.sink(step, drawn)
        except Exception as error:  # a picture is not worth a training
            self.lost = True
            said = f"{type(error).__name__}: {one_line(error, 120)}"
            warnings.warn(f"maps are no longer shown during this training ({said})", stacklevel=2)

    def for_lightning(self) -> Any:
        """As a callback of Lightning's ``Trainer(callbacks=[…])``; the first process alone looks.

        Steps are the optimizer's, of which one may take several batches.
        """
        from lightning.pytorch.callbacks import Callback

        watch = self

        class MapsCallback(Callback):
            at: int | None = None

            def on_train_start(self, trainer: Any, *_: Any, **__: Any) -> None:
                self._look(trainer)

            def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
                if trainer.global_step != self.at:
                    self._look(trainer)

            def _look(self, trainer: Any) -> None:
                self.at = trainer.global_step
                if trainer.is_global_zero:
                    watch(trainer.global_step)

        return MapsCallback()

    def for_transformers(self) -> Any:
        """As a callback of transformers' ``Trainer(callbacks=[…])``; the first process alone looks."""
        from transformers import TrainerCallback

        watch = self

        class MapsCallback(TrainerCallback):
            def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.is_world_process_zero:
                    watch(state.global_step)

            on_step_end = on_train_begin

        return MapsCallback()


def with_its_network(classifier: Classifier) -> torch.device:
    """Where a classifier is, after it has followed its network, which a trainer moves without it."""
    weight = next(classifier.module.parameters(), None)
    if weight is not None and weight.device != classifier.device:
        classifier.to(weight.device)
    return classifier.device


def to_tensorboard(writer: Any, tag: str = "maps") -> PictureSink:
    """Into a ``SummaryWriter``, side by side."""

    def send(step: int, drawn: Sequence[np.ndarray]) -> None:
        writer.add_images(tag, np.stack(drawn), step, dataformats="NHWC")

    return send


def to_wandb(run: Any, tag: str = "maps") -> PictureSink:
    """Into a run of Weights & Biases, which advises fewer than 50 pictures a step."""

    def send(step: int, drawn: Sequence[np.ndarray]) -> None:
        import wandb

        run.log({tag: [wandb.Image(picture, caption=str(i)) for i, picture in enumerate(drawn)]}, step=step)

    return send


def to_mlflow(tag: str = "maps") -> PictureSink:
    """Into the active run of MLflow, a file for each picture and step."""

    def send(step: int, drawn: Sequence[np.ndarray]) -> None:
        import mlflow

        for i, picture in enumerate(drawn):
            mlflow.log_image(picture, f"{tag}/{i}-step{step:08}.png")

    return send

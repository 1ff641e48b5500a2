"""The plan of a training, counted on its own networks and, where that is asked for, timed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from maskwise.core.errors import InputError
from maskwise.planning.counting import Count, counted, size_of
from maskwise.planning.labels import label_flops
from maskwise.planning.phases import counted_phase, phases_of, trainer_of
from maskwise.planning.skeleton import skeleton
from maskwise.planning.throughput import Throughput, step_throughput
from maskwise.training import recipes
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.crop_size import crop_size, own_size
from maskwise.training.distributed.alone import alone
from maskwise.training.mask_recipe import Recipe
from maskwise.training.trainer import Trainer

PICTURE_BYTES = 110_000  # a stored ImageNet picture, mean


@dataclass(frozen=True)
class TrainingPlan:
    """What ``maskwise plan RECIPE`` prints; bytes, seconds and FLOPs as such.

    Attributes:
        input_size: longer side of the pictures, in pixels.
        forwards: pictures through the classifier, of each picture of a batch, mean over the steps.
        backward_share: FLOPs of a step that are not the classifier's forwards, in units of such a forward of a picture.
        step_flops, total_flops: of a mean step and of all.
        label_flops: of a teacher's maps of all pictures, made once before the first step; 0 without a teacher.
        pool: bytes of the snapshots, when there are most.
        state: weights, gradients and optimisers, the pool not counted.
        saved: activations for backwards of one process's share, float32, all graphs at once: an upper bound.
        checkpoint, masker: bytes of files.
        gradients: bytes that a step reduces over devices.
        batch_norms: of the classifier, with statistics taken over all devices in each step.
        read_epoch: bytes read in one epoch.
        measured: what was timed here, if it was.
        hours: of the whole training on this machine's device, labels among it, from ``measured``.
    """

    recipe: str
    classifier: str
    images: int
    input_size: int
    batch: int
    steps: int
    steps_per_epoch: int
    forward_flops: float
    forwards: float
    backward_share: float
    step_flops: float
    total_flops: float
    pool: int
    state: int
    saved: int
    checkpoint: int
    masker: int
    gradients: int
    batch_norms: int
    read_epoch: int
    label_flops: float = 0.0
    measured: Throughput | None = None
    hours: float | None = None


def plan_training(
    recipe: str,
    images: int,
    devices: int = 1,
    *,
    epochs: int | None = None,
    classifier: str | None = None,
    said: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    accumulate: int = 1,
    measure: int = 0,
) -> TrainingPlan:
    """Counts steps of a recipe on a few random pictures, with random weights where they would have to be fetched.

    Args:
        recipe: a packaged name or a YAML file.
        images: pictures of the training set.
        devices: that share each batch.
        epochs: instead of the recipe's.
        classifier: instead of the recipe's; pictures are no larger than it takes, as in a training.
        said: of the classifier, as of ``skeleton``.
        overrides: ``key=value`` settings.
        accumulate: micro-batches of each device.
        measure: so many steps are timed here.

    Raises:
        InputError: unknown recipe or classifier, a black box, or fewer pictures in a batch than devices.
    """
    given = [*overrides, *([] if epochs is None else [f"epochs={epochs}"])]
    settings: BaseRecipe = recipes.load(recipe, given)
    if images < 1 or devices < 1 or accumulate < 1 or settings.batch_size < devices * accumulate:
        raise InputError(f"{images} pictures in batches of {settings.batch_size} can't be shared by {devices} devices")
    network = skeleton(classifier or settings.classifier, **(said or {}))
    if network.is_black_box:
        raise InputError(
            f"a plan counts the work of a network's layers, and {network.name} is a black box, which shows none: plan "
            "the questions of its teacher with `evaluate=banzhaf`, or time a few steps of `maskwise fit`"
        )
    if classifier is not None:
        settings = own_size(settings, network, given)
    size = crop_size(network, settings.input_size)
    per_epoch = max(int(images * settings.fraction) // settings.batch_size, 1)
    steps = settings.total_steps(per_epoch)
    pictures = torch.rand(1, network.channels, *size)
    forward = counted(lambda: network.logits(pictures), network.module).flops
    fabric = alone(torch.device("cpu"))
    phases = [counted_phase(p, network, fabric, size) for p in phases_of(settings, steps)]
    trainer = trainer_of(phases[-1].settings, network, fabric)
    totals = [p.steps * p.batch for p in phases]
    counts = [cast(Count, p.count) for p in phases]
    total_flops = sum(t * c.flops for t, c in zip(totals, counts, strict=True))
    forwards = sum(t * c.forwards for t, c in zip(totals, counts, strict=True)) / sum(totals)
    norms, gradients, snapshots = _norms(trainer, settings), _gradients(trainer), _snapshots(settings, steps)
    stored = size_of(trainer.state_dict())
    one = size_of(network.module.state_dict())
    weights = stored + (0 if getattr(trainer, "classifier_parameters", []) else one)  # a frozen one is only read
    share = -(-settings.batch_size // (devices * accumulate))
    found = step_throughput(phases[-1], network, measure, size, share) if measure else None
    labels, hours = images * label_flops(trainer), None
    if found is not None:
        hours = sum(found.hours(p.steps, p.batch, c.flops) for p, c in zip(phases, counts, strict=True))
        hours += labels / found.flops_per_second / 3600
    return TrainingPlan(
        recipe, network.name, images, max(size), settings.batch_size, steps, per_epoch, forward, forwards,
        total_flops / sum(totals) / forward - forwards, total_flops / steps, total_flops, snapshots * one,
        2 * weights, int(max(c.saved for c in counts) * share), stored + snapshots * one,
        _file(trainer, one), gradients, norms, int(per_epoch * settings.batch_size * PICTURE_BYTES), labels,
        found, hours,
    )  # fmt: skip


def _norms(trainer: Trainer, settings: BaseRecipe) -> int:
    """Batch norms of the classifier that take statistics in training."""
    live = getattr(trainer, "live", None)
    modules = live.module.modules() if live is not None else []
    return sum(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in modules)


def _gradients(trainer: Trainer) -> int:
    """Bytes that one step reduces over processes."""
    return sum(size_of(list(step.parameters)) for step in trainer.optimizers().values())


def _snapshots(settings: BaseRecipe, steps: int) -> int:
    if not isinstance(settings, Recipe):
        return 0
    every = {"FL": steps, "L100": 100, "L1000": 1000}.get(settings.thinning)
    return 0 if every is None else min(settings.pool_size, -(-steps // every))


def _file(trainer: Trainer, classifier: int) -> int:
    masker = getattr(trainer, "masker", None) or getattr(trainer, "network", None)
    own = size_of(getattr(masker, "decoder", masker).state_dict()) if masker is not None else 0
    return own + (classifier if getattr(trainer, "classifier_parameters", []) else 0)

"""A whole training run: feed, loop, log, checkpoints, and the masker's file at the end."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from lightning.fabric import Fabric

from maskwise.classifiers import Classifier, load_classifier
from maskwise.data import DataSet, read_data
from maskwise.errors import InputError
from maskwise.files import atomic_write
from maskwise.training import recipe as recipes
from maskwise.training.feed import Feed
from maskwise.training.recipe import Schedule
from maskwise.training.subset import subset
from maskwise.training.trainer import Trainer, trainers

CHECKPOINT = "checkpoint.pt"
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def train(
    recipe: str | Path | Schedule,
    data: str | Path | DataSet | Sequence[str | Path | DataSet],
    *,
    classifier: str | Classifier | None = None,
    out: str | Path = "runs/masker",
    overrides: Sequence[str] = (),
    resume: bool = False,
    device: str = "auto",
    checkpoint_every: int = 100,
    half_encoder: bool = False,
    precision: Precision = "32-true",
    progress: bool = False,
    stop: Callable[[Trainer], bool] | None = None,
) -> Path:
    """Trains what the recipe says; writes it, ``recipe.yaml``, ``log.jsonl`` and checkpoints into ``out``.

    Args:
        recipe: a packaged name, a YAML file, or a recipe.
        data: one or more sources (see ``read_data``) or data sets. Pictures without a label get the
            classifier's own prediction.
        classifier: overrides the recipe's.
        overrides: ``key=value`` settings.
        resume: go on from the last checkpoint in ``out``; the result equals that of a run never stopped.
        device: cpu, cuda, mps or auto.
        checkpoint_every: steps between two checkpoints.
        half_encoder: store the adapted classifier in float16.
        precision: Fabric's: ``32-true``, or ``bf16-mixed`` and ``16-mixed`` for autocast.
        progress: show a progress bar.
        stop: asked after every step; True ends the training early, and what there is then is written.

    Returns:
        The file that was trained, such as ``masker.safetensors``.

    Raises:
        InputError: bad recipe, data or classifier; ``out`` holds another run; the loss became NaN.
    """
    if precision not in get_args(Precision):
        raise InputError(f"precision {precision!r} is unknown: use {', '.join(get_args(Precision))}")
    settings = recipe if isinstance(recipe, Schedule) else recipes.load(recipe, overrides)
    out = Path(out)
    checkpoint = out / CHECKPOINT
    if out.exists() and any(out.iterdir()) and not resume:
        raise InputError(f"{out} is not empty: add --resume to go on with the run in it, or name another --out")
    if not isinstance(classifier, Classifier):
        classifier = load_classifier(classifier or settings.classifier)
    sources = [data] if isinstance(data, (str, Path, DataSet)) else data
    sets = [source if isinstance(source, DataSet) else read_data(source) for source in sources]
    fabric = Fabric(accelerator=device, devices=1, precision=precision)
    classifier.to(fabric.device)
    feed = Feed(sets, settings, settings.input_size or classifier.input_size)
    kind = trainers.get(settings.kind)
    if kind.needs_labels:
        feed.label_the_rest(classifier)
        _check_labels(feed, classifier)
    else:
        feed.labels = [0] * len(feed.items)
    if settings.classes is not None or settings.per_class is not None:
        kept, classes = subset(cast("list[int]", feed.labels), settings.classes, settings.per_class, settings.seed)
        feed.keep(kept)
        if settings.classes is not None:  # the file says which ones they were, not only how many
            settings = feed.recipe = settings.model_copy(update={"classes": tuple(classes)})
    identity = {
        "fingerprint": classifier.fingerprint(),
        "pictures": len(feed.items),
        "recipe": settings.model_dump(mode="json"),
    }
    trainer = kind(classifier, settings, feed.steps, fabric)
    out.mkdir(parents=True, exist_ok=True)
    if resume and checkpoint.is_file():
        _restore(trainer, checkpoint, identity, fabric)
    _keep_log_until(out / "log.jsonl", trainer.steps)
    with atomic_write(out / "recipe.yaml") as temporary:
        Path(temporary).write_text(recipes.dump(settings), encoding="utf-8")

    total, ended = settings.total_steps(feed.steps), False
    began, since = time.monotonic(), trainer.steps
    with _bar(progress, total, trainer.steps) as advance, open(out / "log.jsonl", "a", 1, "utf-8") as log:
        while trainer.steps < total and not ended:
            epoch, first = divmod(trainer.steps, feed.steps)
            for images, labels in feed.epoch(epoch, first):
                logged = trainer.step(images, labels)
                if not math.isfinite(logged["loss"]):
                    raise InputError(f"the loss became NaN at step {trainer.steps}; lower the learning rates")
                seconds = (time.monotonic() - began) / (trainer.steps - since)
                line = {"step": trainer.steps, "epoch": epoch, **{k: round(v, 5) for k, v in logged.items()}}
                log.write(json.dumps(line | {"seconds_per_step": round(seconds, 3)}) + "\n")
                advance(next(f"{k} {v:.2f}" for k, v in logged.items() if k != "loss") if len(logged) > 1 else "")
                ended = trainer.steps >= total or (stop is not None and stop(trainer))
                if trainer.steps % checkpoint_every == 0 or ended:
                    log.flush()
                    os.fsync(log.fileno())
                    with atomic_write(checkpoint) as temporary:
                        torch.save({"identity": json.dumps(identity), "trainer": trainer.state_dict()}, temporary)
                if ended:
                    break
    path = out / trainer.output
    trainer.save(path, half_encoder=half_encoder)
    return path


def _check_labels(feed: Feed, classifier: Classifier) -> None:
    classes = len(classifier.labels)
    wrong = [label for label in feed.labels if label is None or not 0 <= label < classes]
    if wrong:
        raise InputError(f"label {wrong[0]} is not one of the {classes} classes of {classifier.name}")


def _restore(trainer: Trainer, checkpoint: Path, identity: dict[str, Any], fabric: Fabric) -> None:
    try:
        stored = torch.load(checkpoint, map_location=fabric.device, weights_only=True)
        theirs = json.loads(stored["identity"])
        if theirs != identity:
            differs = [k for k in identity if theirs.get(k) != identity[k]]
            raise InputError(f"{checkpoint}: belongs to another run ({', '.join(differs)} differ); name another --out")
        trainer.load_state_dict(stored["trainer"])
    except InputError:
        raise
    except Exception as error:  # whatever a truncated or foreign file makes the reader raise
        raise InputError(f"{checkpoint}: can't be read ({type(error).__name__}); delete it to begin anew") from None


def _keep_log_until(log: Path, step: int) -> None:
    """Lines past the checkpoint are run again, so they go; a half-written last line goes with them."""
    if not log.is_file():
        return
    lines = log.read_text(encoding="utf-8").splitlines()[:step]
    with atomic_write(log) as temporary:
        Path(temporary).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _bar(show: bool, total: int, done: int) -> Any:
    if not show:
        return nullcontext(lambda text: None)
    from maskwise.training.progress import bar

    return bar(total, done)

"""A whole training run: feed, loop, log, checkpoints, and the masker's file at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, cast, get_args

from maskwise.classifiers import Classifier, load_classifier
from maskwise.data import DataSet, read_data
from maskwise.errors import InputError
from maskwise.files import atomic_write
from maskwise.lock import check_free, holds_nothing, locked
from maskwise.training import recipe as recipes
from maskwise.training.checkpoint import CHECKPOINT, restore, save_checkpoint
from maskwise.training.extent import Extent
from maskwise.training.feed import Feed
from maskwise.training.guard import Guard, OnNan
from maskwise.training.log import Log
from maskwise.training.processes import (
    Silence,
    check_alike,
    check_shares,
    fabric_of,
    first,
    readers,
    together,
    told,
)
from maskwise.training.recipe import Schedule
from maskwise.training.subset import subset
from maskwise.training.trainer import Trainer, trainers

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@together()
def train(
    recipe: str | Path | Schedule,
    data: str | Path | DataSet | Sequence[str | Path | DataSet],
    *,
    classifier: str | Classifier | None = None,
    weights: str | Path | None = None,
    out: str | Path = "runs/masker",
    overrides: Sequence[str] = (),
    resume: bool = False,
    device: str = "auto",
    checkpoint_every: int = 100,
    half_encoder: bool = False,
    precision: Precision = "32-true",
    on_nan: OnNan = "stop",
    nan_limit: int = 10,
    devices: int = 1,
    nodes: int = 1,
    strategy: str = "ddp",
    accumulate: int = 1,
    compiler: str | None = None,
    workers: int | None = None,
    progress: bool = False,
    stop: Callable[[Trainer], bool] | None = None,
) -> Path:
    """Trains what the recipe says; writes it, ``recipe.yaml``, ``log.jsonl`` and checkpoints into ``out``.

    Args:
        recipe: a packaged name, a YAML file, or a recipe.
        data: one or more sources (see ``read_data``) or data sets. Pictures without a label get the
            classifier's own prediction.
        classifier: overrides the recipe's.
        weights: a file with the classifier's weights, in place of the pretrained ones.
        overrides: ``key=value`` settings.
        resume: go on from the last checkpoint in ``out``; the result equals that of a run never stopped.
        device: cpu, cuda, mps or auto.
        checkpoint_every: steps between two checkpoints.
        half_encoder: store the adapted classifier in float16.
        precision: Fabric's: ``32-true``, or ``bf16-mixed`` and ``16-mixed`` for autocast.
        on_nan: where the loss becomes NaN, ``stop`` with the step's pictures saved, or ``skip`` it (see ``Guard``).
        nan_limit: so many skipped steps in a row stop the training, too.
        devices: processes on this machine, each with its share of every batch; under ``torchrun`` leave it at 1. This
            command is started again for each of them, so a script of yours must do nothing else that may not be
            done twice.
        nodes: machines; each starts this command with ``NODE_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT`` set, or under
            ``torchrun`` or Slurm, which set them. ``out`` lies where all of them can read it.
        strategy: ``ddp``, every process with a whole copy of the networks; ``fsdp``, each with a piece of the
            classifier's weights, gradients, momenta and snapshots, for classifiers too large for that.
        accumulate: parts that a process's share goes through the networks in, one after another.
        compiler: backend of ``torch.compile`` for classifier and masker, such as ``inductor``; None compiles nothing.
        workers: threads that read pictures, in each process; None is 1 on a CPU and up to 8 beside a GPU.
        progress: show a progress bar.
        stop: asked after every step; True ends the training early, and what there is then is written.

    Returns:
        The file that was trained, such as ``masker.safetensors``.

    Raises:
        InputError: bad recipe, data or classifier; ``out`` holds another run or has a writer; NaN (see ``on_nan``).
    """
    if precision not in get_args(Precision):
        raise InputError(f"precision {precision!r} is unknown: use {', '.join(get_args(Precision))}")
    if on_nan not in get_args(OnNan) or nan_limit < 1:
        raise InputError(f"on-nan is stop or skip, and the limit at least 1, not {on_nan!r} and {nan_limit}")
    if strategy == "fsdp" and (compiler is not None or precision == "16-mixed"):
        raise InputError("--strategy fsdp goes with neither --compile nor 16-mixed: use bf16-mixed, or ddp")
    settings = recipe if isinstance(recipe, Schedule) else recipes.load(recipe, overrides)
    out = Path(out)
    checkpoint = out / CHECKPOINT
    fabric = fabric_of(device, devices, nodes, strategy, precision)
    check_shares(settings.batch_size, fabric.world_size, accumulate)
    masked: int | None = getattr(settings, "masker_batch_size", None)
    check_shares(masked or settings.batch_size, fabric.world_size, accumulate, "masker_batch_size")
    if first(fabric):
        check_free(out, "training")
    if first(fabric) and not resume and not holds_nothing(out):
        raise InputError(f"{out} is not empty: add --resume to go on with the run in it, or name another --out")
    sources = [data] if isinstance(data, (str, Path, DataSet)) else data
    sets = [source if isinstance(source, DataSet) else read_data(source) for source in sources]
    if not isinstance(classifier, Classifier):
        classifier = load_classifier(classifier or settings.classifier, weights)
    elif weights is not None:
        raise InputError("weights are for a classifier that is named; this one is loaded already")
    settings = settings.model_copy(update={"classifier": classifier.name})  # what is written down is what was taken
    fabric.launch()
    rank, world = fabric.global_rank, fabric.world_size
    classifier.to(fabric.device)
    feed = Feed(sets, settings, settings.input_size or classifier.input_size, workers or readers(fabric))
    kind = trainers.get(settings.kind)
    if kind.needs_labels:
        feed.label_the_rest(classifier, rank, world)
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
    check_alike(identity)
    trainer = kind(classifier, settings, feed.steps, fabric)
    trainer.accumulate = accumulate
    if strategy == "fsdp" and fabric.world_size > 1:
        trainer.shard()
    if compiler is not None:
        trainer.compile(compiler)
    with locked(out, "training") if first(fabric) else nullcontext():
        if first(fabric) and not resume and not holds_nothing(out):
            raise InputError(f"{out} is not empty: another run has begun there; name another --out")
        if resume and checkpoint.is_file():
            restore(trainer, checkpoint, identity)
        check_alike({"steps behind them": trainer.steps})
        log = Log(out / "log.jsonl", trainer.steps) if first(fabric) else Silence()
        guard = Guard(trainer, out, on_nan, nan_limit, told(fabric, log.kept))
        if first(fabric):
            with atomic_write(out / "recipe.yaml") as temporary:
                Path(temporary).write_text(recipes.dump(settings), encoding="utf-8")
        _run(guard, feed, log, identity, checkpoint_every, progress and first(fabric), stop)
        if trainer.sharding is not None:
            trainer.sharding.join()
        if first(fabric):
            trainer.save(out / trainer.output, half_encoder=half_encoder)
        fabric.barrier()
    return out / trainer.output


def _run(
    guard: Guard,
    feed: Feed,
    log: Log,
    identity: dict[str, Any],
    checkpoint_every: int,
    progress: bool,
    stop: Callable[[Trainer], bool] | None,
) -> None:
    """Steps from where the trainer is to the end, each with a line in the log; checkpoints in between."""
    trainer, checkpoint, fabric = guard.trainer, guard.out / CHECKPOINT, guard.trainer.fabric
    total, ended = trainer.recipe.total_steps(feed.steps), False
    began, since = time.monotonic(), trainer.steps
    extent = Extent(getattr(trainer.recipe, "target_area", None))
    with _bar(progress, total, trainer.steps) as advance, log:
        while trainer.steps < total and not ended:
            epoch, begin = divmod(trainer.steps, feed.steps)
            for images, labels in feed.epoch(epoch, begin, fabric.global_rank, fabric.world_size):
                logged = guard.step(images, labels)
                seconds = (time.monotonic() - began) / (trainer.steps - since)
                line = {"step": trainer.steps, "epoch": epoch, **{k: round(v, 5) for k, v in logged.items()}}
                log.write(line | {"seconds_per_step": round(seconds, 3)})
                if first(fabric):
                    extent.see(trainer.steps, logged)
                advance(next(f"{k} {v:.2f}" for k, v in logged.items() if k != "loss") if len(logged) > 1 else "")
                ended = trainer.steps >= total or (stop is not None and told(fabric, stop(trainer)))
                if trainer.steps % checkpoint_every == 0 or ended:
                    log.sync()
                    state = trainer.whole_state() if first(fabric) or trainer.sharding else {}
                    if first(fabric):
                        save_checkpoint(checkpoint, identity, state)
                if ended:
                    break
    guard.say()


def _check_labels(feed: Feed, classifier: Classifier) -> None:
    classes = len(classifier.labels)
    wrong = [label for label in feed.labels if label is None or not 0 <= label < classes]
    if wrong:
        raise InputError(f"label {wrong[0]} is not one of the {classes} classes of {classifier.name}")


def _bar(show: bool, total: int, done: int) -> Any:
    if not show:
        return nullcontext(lambda text: None)
    from maskwise.training.progress import bar

    return bar(total, done)

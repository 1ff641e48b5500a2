"""A run: everything between the words ``train this recipe on these pictures`` and a trained file in a folder.

From here down: ``loop.py`` takes the steps, ``mask.py`` says what a step is (Algorithm 1), and objectives, pool and
recipe say with what.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import get_args

from maskwise.classifiers import Classifier, load_classifier
from maskwise.classifiers.black_box import PictureFunction
from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write
from maskwise.core.lock import check_free, holds_nothing, locked
from maskwise.core.precision import Precision
from maskwise.core.signals import Interrupted
from maskwise.data import DataSet, read_data
from maskwise.data.class_order import say_other_order
from maskwise.data.content import digests_of
from maskwise.data.damaged import damaged_line
from maskwise.data.subjects import say_shared
from maskwise.training import recipes
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.callbacks import Callback, Callbacks, TrainingState
from maskwise.training.checkpoint import Checkpoints
from maskwise.training.crop_size import LEAST_KNOWN, check_takes, crop_size, own_size, share_known
from maskwise.training.distributed.processes import (
    Silence,
    all_gather,
    broadcast,
    check_alike,
    check_shares,
    fabric_of,
    is_main_process,
    launch,
    one_line_if_one_is_gone,
    processes_here,
    reader_threads,
)
from maskwise.training.guard import Guard, OnNan
from maskwise.training.likelihood import Bernoulli, likelihood_of
from maskwise.training.loader import Loader
from maskwise.training.log import Log
from maskwise.training.loop import Rhythm, run_steps
from maskwise.training.plateau import EVERY, Plateau
from maskwise.training.progress import progress_bar
from maskwise.training.subset import subset
from maskwise.training.trainer import Trainer, trainers
from maskwise.training.watch import loggers, watchers

GIB = 1 << 30


@one_line_if_one_is_gone()
def train(
    recipe: str | Path | BaseRecipe,
    data: str | Path | DataSet | Sequence[str | Path | DataSet],
    *,
    classifier: str | Classifier | PictureFunction | None = None,
    weights: str | Path | None = None,
    out: str | Path = "runs/masker",
    overrides: Sequence[str] = (),
    resume: bool = False,
    device: str = "auto",
    checkpoint_every: int | None = None,
    checkpoint_minutes: float = 5.0,
    half_encoder: bool = False,
    precision: Precision = "auto",
    on_nan: OnNan = "stop",
    nan_limit: int = 10,
    devices: int = 1,
    nodes: int = 1,
    accumulate: int = 1,
    compiler: str | None = None,
    workers: int | None = None,
    cache_gib: float = 4.0,
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
    look_minutes: float = 5.0,
    page: bool = True,
    log: Sequence[str] = (),
    held_out: str | Path | DataSet | Sequence[str | Path | DataSet] | None = None,
    skip_damaged: bool = False,
    verdict: bool = True,
) -> Path:
    """Trains what the recipe says; writes it, ``recipe.yaml``, ``log.jsonl`` and checkpoints into ``out``.

    Args:
        recipe: a packaged name, a YAML file, or a recipe.
        data: one or more sources (see ``read_data``) or data sets. Pictures without a label get the
            classifier's own prediction; of a network with sigmoid outputs each picture's label is a set: its own
            label, if it has one, and the findings that the network gives more than 1/2 to.
        classifier: overrides the recipe's.
        weights: a file with the classifier's weights, in place of the pretrained ones.
        overrides: ``key=value`` settings.
        resume: go on from the last checkpoint in ``out``; the result equals that of a run never stopped.
        device: cpu, cuda, mps or auto.
        checkpoint_every: steps between two checkpoints, beside those by time.
        checkpoint_minutes: between two checkpoints; there is one at the end, and where the run is interrupted, too.
        half_encoder: store the adapted classifier in float16.
        precision: fp32, bf16, fp16 (autocast), or auto: bf16 on a GPU that has it, else fp32.
        on_nan: where the loss becomes NaN, ``stop`` with the step's pictures saved, or ``skip`` it (see ``Guard``).
        nan_limit: so many skipped steps in a row stop the training, too.
        devices: processes on this machine, each with its share of every batch; under ``torchrun`` leave it at 1. This
            command is started again for each of them, so a script of yours must do nothing else that may not be
            done twice.
        nodes: machines; each starts this command with ``NODE_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT`` set, or under
            ``torchrun`` or Slurm, which set them. ``out`` lies where all of them can read it.
        accumulate: parts that a process's share goes through the networks in, one after another.
        compiler: backend of ``torch.compile`` for classifier and masker, such as ``inductor``; None compiles nothing.
        workers: threads that read pictures, in each process; None is 1 on a CPU and up to 8 beside a GPU.
        cache_gib: of decoded pictures that this machine keeps in memory, as bytes; 0 reads them anew in every epoch.
        progress: show a progress bar.
        callbacks: what watches the training, or ends it (see ``Callback``).
        look_minutes: between two ``on_look`` of the callbacks, and so between two contact sheets.
        page: write ``index.html``, which shows the training in a browser, and contact sheets into ``looks/``.
        log: other loggers that get what ``log.jsonl`` holds: csv, tensorboard, wandb, mlflow.
        held_out: source of the pictures on the contact sheets; None is the package's own.
        skip_damaged: pass over pictures that can't be read, and say at the end which; else the first ends the run.
        verdict: warn at the end where a masker's masks tell less of 32 pictures than a square in the middle does; of
            those held out, or else of the trained ones.

    Returns:
        The file that was trained, such as ``masker.safetensors``.

    Raises:
        InputError: bad recipe, data or classifier; ``out`` holds another run or has a writer; NaN (see ``on_nan``); a
            logger is not installed.
        Interrupted: SIGINT or SIGTERM came (a KeyboardInterrupt). The step at hand was finished and a checkpoint
            written, so that ``resume`` goes on from there.
    """
    if on_nan not in get_args(OnNan) or nan_limit < 1:
        raise InputError(f"`on_nan` is stop or skip, and `nan_limit` at least 1, not {on_nan!r} and {nan_limit}")
    loggers.check(log)
    settings = recipe if isinstance(recipe, BaseRecipe) else recipes.load(recipe, overrides)
    out = Path(out)
    fabric = fabric_of(device, devices, nodes, precision)
    check_shares(settings.batch_size, fabric.world_size, accumulate)
    masked: int | None = getattr(settings, "masker_batch_size", None)
    check_shares(masked or settings.batch_size, fabric.world_size, accumulate, "masker_batch_size")
    main = is_main_process(fabric)
    if main:
        check_free(out, "training")
    if main and not resume:
        check_new(out)
    sets = _data_sets(data)
    looked_at = None if held_out is None else _data_sets(held_out)
    say_shared(*([record.subject for one in part for record in one.records] for part in (sets, looked_at or ())))
    is_another = classifier is not None
    if not isinstance(classifier, Classifier):
        classifier = load_classifier(classifier or settings.classifier, weights)
    elif weights is not None:
        raise InputError("weights are for a classifier that is named; this one is loaded already")
    if is_another and not isinstance(recipe, BaseRecipe):
        settings = own_size(settings, classifier, overrides)
    settings = settings.model_copy(update={"classifier": classifier.name})  # what is written down is what was taken
    launch(fabric)
    main = is_main_process(fabric)
    rank, world = fabric.global_rank, fabric.world_size
    classifier.to(fabric.device)
    size = crop_size(classifier, settings.input_size)
    cache = int(cache_gib * GIB / processes_here(fabric))
    loader = Loader(
        sets, settings, size, workers or reader_threads(fabric), fabric.device, cache, skip_damaged,
        channels=classifier.channels,
    )  # fmt: skip
    kind = trainers.get(settings.kind)
    _check_classifier(classifier, kind, settings)
    if kind.needs_labels and size != classifier.size and not settings.asks_only:
        check_takes(classifier.name, classifier.logits, classifier.example(size=size))
        if is_another and main:
            _doubt_size(classifier, loader, size)
    if kind.needs_labels:
        if main:
            say_other_order(sets, classifier.labels, classifier.name)
        loader.label_the_rest(classifier, rank, world, sets=Bernoulli in kind.likelihoods)
    else:
        loader.labels = [0] * len(loader.items)
    if settings.classes is not None or settings.per_class is not None:
        kept, classes = subset(loader.shown, settings.classes, settings.per_class, settings.seed)
        loader.keep(kept)
        if settings.classes is not None:  # the file says which ones they were, not only how many
            settings = loader.recipe = settings.model_copy(update={"classes": tuple(classes)})
    if settings.part_held_back:
        loader.hold_back(settings.part_held_back)
    precision_name = fabric.strategy.precision.precision
    identity = {
        "fingerprint": classifier.fingerprint(),
        "pictures": len(loader.items),
        "names and labels": _digest(loader),
        "content of the pictures": broadcast(fabric, _content(loader) if main else ""),
        "precision": precision_name,
        "pixels": list(size),
        "the network's own pixels": list(classifier.size),  # at which it labels, and a teacher looks
        "taps": _taps(classifier),
        "recipe": settings.model_dump(mode="json"),
    }
    if (code := classifier.code()) is not None:
        identity["code of the network"] = code
    check_alike(identity)
    trainer = kind(classifier, settings, loader.steps, fabric)
    trainer.accumulate = accumulate
    if compiler is not None:
        trainer.compile(compiler)
    state = TrainingState(trainer, out, settings.total_steps(loader.steps))
    with locked(out, "training") if main else nullcontext():
        if main and not resume and not holds_nothing(out):
            raise InputError(f"{out} is not empty: another run has begun there; name another `out`")
        pixels = size[0] if size[0] == size[1] else f"{size[0]}x{size[1]}"
        said = {
            "classifier": classifier.name, "data": [data.name for data in sets], "pictures": len(loader.items),
            "pixels": pixels, "device": fabric.device, "precision": precision_name, "processes": world,
            "accumulate": accumulate, "compiler": compiler or "none", "cache": f"{cache_gib:g} GiB", "on NaN": on_nan,
        }  # fmt: skip
        judged = loader.items if verdict else ()
        own = watchers(trainer, size, said, page=page, log=log, held_out=looked_at, pictures=judged) if main else []
        # No oftener than EVERY: within a few steps of a short epoch nothing is learned yet, running statistics neither.
        end = Plateau(lambda _: trainer.held_out_loss(), max(loader.steps, EVERY))
        ending = [end] if settings.part_held_back else []
        watching = Callbacks([*callbacks, *ending, *own])
        checkpoints = Checkpoints(out, identity, watching)
        if resume and checkpoints.path.is_file():
            checkpoints.restore(trainer)
        trainer.prepare(loader, out, progress and main)
        check_alike({"steps behind them": trainer.steps})
        lines = Log(out / "log.jsonl", trainer.steps) if main else Silence()
        guard = Guard(
            trainer, out, lambda step: loader.batch(step, rank, world), on_nan, nan_limit, broadcast(fabric, lines.kept)
        )
        if main:
            with atomic_write(out / "recipe.yaml") as temporary:
                Path(temporary).write_text(recipes.dump(settings), encoding="utf-8")
        rhythm = Rhythm(checkpoint_every, checkpoint_minutes, look_minutes)
        with progress_bar(progress and main, state.total, trainer.steps) as advance:
            try:
                run_steps(guard, loader, state, lines, checkpoints, watching, rhythm, advance)
            except BaseException as error:
                if main:
                    watching.on_error(state, error)
                raise
        if state.interrupted:
            saved = f"interrupted after step {trainer.steps}, which is saved: go on with `resume=True`"
            raise Interrupted(saved, state.interrupted)
        if main:
            trainer.save(out / trainer.output, half_encoder=half_encoder)
        fabric.barrier()
        mine = loader.damaged_names()
        damaged = {name: why for theirs in (all_gather(mine) if world > 1 else [mine]) for name, why in theirs.items()}
        if main and damaged:
            warnings.warn(damaged_line(damaged), stacklevel=3)  # above the decorator of ``train``
    return out / trainer.output


def check_new(out: Path) -> None:
    """A run that begins wants a folder of its own.

    Raises:
        InputError: something is there.
    """
    if not holds_nothing(out):
        raise InputError(f"{out} is not empty: `resume=True` goes on with the run in it, or name another `out`")


def _data_sets(data: str | Path | DataSet | Sequence[str | Path | DataSet]) -> list[DataSet]:
    sources = [data] if isinstance(data, (str, Path, DataSet)) else data
    return [source if isinstance(source, DataSet) else read_data(source) for source in sources]


def _taps(classifier: Classifier) -> list[str]:
    """The layers that maskers read; a network without any can still be trained, and a black box shows none."""
    try:
        return list(classifier.tap_names)
    except InputError:
        return []


def _check_classifier(classifier: Classifier, kind: type[Trainer], settings: BaseRecipe) -> None:
    """What a training would get silently wrong, or end with a traceback at."""
    name = settings.kind
    if classifier.is_black_box and not settings.asks_only:
        raise InputError(
            f"this recipe of kind {name!r} reads layers or gradients of the classifier, and {classifier.name} is a "
            "black box, which shows none: take recipe black_box, or `maskwise fit`"
        )
    if kind.likelihoods and not isinstance(likelihood_of(classifier), kind.likelihoods):
        raise InputError(
            f"a training of kind {name!r} takes one class of each picture, and {classifier.name} (sigmoid) finds "
            "several or none in it: recipes of kind mask, such as casm, take those, and so does distilled"
        )
    if classifier.channels not in (1, 3):
        raise InputError(
            f"trainings read RGB or grey pictures, and {classifier.name} takes {classifier.channels} channels: put it "
            "behind a module that makes those of RGB"
        )


def _doubt_size(classifier: Classifier, loader: Loader, size: tuple[int, int]) -> None:
    """Warns where a network that is not the recipe's own does not know pictures of the training's size."""
    if max(size) >= classifier.input_size:
        return
    with suppress(InputError):  # a damaged picture is said where it is trained on
        share = share_known(classifier, loader.items, size)
        if share < LEAST_KNOWN:
            warnings.warn(
                f"of pictures of {max(size)} pixels {classifier.name} says the same as at its own size in {share:.0%} "
                "only, so that a masker learns little of use from them: input_size=null trains at its own",
                stacklevel=2,
            )


def _content(loader: Loader) -> str:
    """Of the pictures themselves and their truth: files may change under their names."""
    return hashlib.sha256("\n".join(digests_of(loader.items)).encode()).hexdigest()[:16]


def _digest(loader: Loader) -> str:
    """Of which pictures there are, in which order, and what they are labelled."""
    digest = hashlib.sha256()
    labels = loader.labels if loader.findings is None else [sorted(own) for own in loader.shown]
    for (_, record), label in zip(loader.items, labels, strict=True):
        digest.update(f"{record.id}\0{label}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]

"""A masker for your classifier in a coffee break: settings that work on few pictures, and a stop when it learned."""

from __future__ import annotations

import dataclasses
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskwise.classifiers import Classifier, load_classifier
from maskwise.core.errors import InputError
from maskwise.core.precision import Precision
from maskwise.core.signals import Interrupted
from maskwise.data import DataSet
from maskwise.data.damaged import damaged_line, name_among, without_damaged
from maskwise.data.picture_list import read_sources
from maskwise.maskers import Masker
from maskwise.training import recipes
from maskwise.training.callbacks import Callback, TrainingState
from maskwise.training.crop_size import crop_size
from maskwise.training.draws import generator
from maskwise.training.guard import copied
from maskwise.training.loader import Loader
from maskwise.training.mask import MaskTrainer
from maskwise.training.run import train
from maskwise.training.validation import Quality, Validation

HELD_OUT = 0.1  # of the pictures, and at most as many as are judged in a few seconds
AT_MOST = 128
EVERY = 25  # steps between two looks at the held-out pictures
PATIENCE = 4  # looks without progress until the rates are cut, then half as many until the end
SETTINGS = (
    "title=fitted", "row=null", "batch_size=32", "fraction=1", "crop_area=[0.3, 1.0]", "head_std=0.02",
    "target_area=0.4", "lr_decay=none",
)  # fmt: skip
PROGRESS = 0.01  # of the way come so far, that counts as progress


@dataclass(frozen=True)
class Fitted:
    """What came out.

    Attributes:
        path: the masker's file.
        steps: of training.
        seconds: all in all.
        flattened: did the objective flatten before the last allowed step?
        masker: its quality on the held-out pictures.
        centre: that of squares in the middle, each as large as the masker's mask of that picture.
        pictures: how many were trained on and how many were held out.
    """

    path: Path
    steps: int
    seconds: float
    flattened: bool
    masker: Quality
    centre: Quality
    pictures: tuple[int, int]


class Plateau(Callback):
    """Looks at held-out pictures: cuts the rates when their objective flattens, then ends; what was best is kept.

    Args:
        objective: of the masker as it is; lower is better.
        every: steps between two looks.
        patience: looks without progress until the rates are cut, and half as many until the end.

    Attributes:
        flattened: did the objective flatten before the last allowed step?
        best: weights of the decoder at the best look.
        best_step: which look that was.
    """

    def __init__(self, objective: Callable[[Masker], float], every: int = EVERY, patience: int = PATIENCE) -> None:
        self.objective, self.every, self.patience = objective, every, patience
        self.seen: list[float] = []
        self.since, self.cut, self.flattened = 0, False, False
        self.best: dict[str, Tensor] = {}
        self.best_step = 0

    def on_step(self, state: TrainingState) -> None:
        if state.step % self.every == 0:
            self.look(state)

    def look(self, state: TrainingState) -> None:
        trainer = _mask_trainer(state)
        best = min(self.seen, default=float("inf"))
        self.seen.append(self.objective(trainer.masker))
        if self.seen[-1] < best:
            self.best, self.best_step = copied(trainer.masker.decoder.state_dict()), state.step
        way = self.seen[0] - best if len(self.seen) > 1 else 0.0
        self.since = 0 if self.seen[-1] < best - PROGRESS * max(way, 0.0) else self.since + 1
        if not self.cut and self.since >= self.patience:
            self.cut, self.since, trainer.rate = True, 0, 0.1
        elif self.cut and self.since >= max(self.patience // 2, 1):
            self.flattened = True
            state.end("the objective has flattened")

    def on_end(self, state: TrainingState) -> None:
        """The best masker so far takes the last one's place."""
        if state.step % self.every and not state.interrupted:
            self.look(state)
        if self.best:
            _mask_trainer(state).masker.decoder.load_state_dict(self.best)

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("seen", "since", "cut", "flattened", "best", "best_step")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def _mask_trainer(state: TrainingState) -> MaskTrainer:
    assert isinstance(state.trainer, MaskTrainer)
    return state.trainer


class _Keep(Callback):
    """Holds on to the training, for who asks after its end."""

    def __init__(self) -> None:
        self.state: TrainingState | None = None

    def on_look(self, state: TrainingState) -> None:
        self.state = state


def fit(
    pictures: str | Path | Sequence[str | Path],
    classifier: str | Classifier = "efficientnet_lite0",
    *,
    out: str | Path = "runs/fit",
    size: int | None = None,
    max_steps: int = 600,
    seed: int = 0,
    overrides: Sequence[str] = (),
    resume: bool = False,
    device: str = "auto",
    precision: Precision = "auto",
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
    look_minutes: float = 5.0,
    page: bool = True,
    log: Sequence[str] = (),
    skip_damaged: bool = False,
) -> Fitted:
    """Trains a masker for one fixed classifier with masked-in and masked-out objectives on its last two taps.

    These are the settings that Phang et al. (2021) found to need the fewest pictures (recipe ``phang/fix``), with a
    decoder that starts grey and lambda_r steered to a mask of two fifths of the picture. The learning rate falls to a
    tenth when the objective on held-out pictures has flattened, and the training ends when it has flattened again;
    the masker is that of the best look at them.

    Args:
        pictures: one or more sources (see ``read_data``), or picture files. Without labels the classifier's own
            predictions are used; of a network with sigmoid outputs a picture's label is a set of findings (``train``).
        size: pixels of the training pictures' longer side, in the shape that the classifier takes; None is 160, or the
            classifier's own where it takes no other.
        max_steps: of 32 pictures.
        overrides: ``key=value`` settings of the recipe.
        resume: go on with an interrupted fit in ``out``.
        precision: fp32, bf16, fp16 or auto (see ``train``).
        callbacks: more that watch it (see ``Callback``).
        look_minutes, page, log, skip_damaged: as ``train``; the contact sheets show pictures that are held out here.

    Raises:
        InputError: bad data or classifier, too few pictures, or ``out`` is not empty.
        Interrupted: SIGINT or SIGTERM came (a KeyboardInterrupt); the best masker so far, if there is one, and a
            checkpoint are there.
    """
    began = time.monotonic()
    if not isinstance(classifier, Classifier):
        classifier = load_classifier(classifier)
    size = _size(classifier, size)
    own = [*SETTINGS, f"steps={max_steps}", f"seed={seed}", f"input_size={size}", *overrides]
    settings = recipes.load("phang/fix", own)
    kept, held_out = _split(read_sources(pictures), seed)
    if skip_damaged:
        held_out = _readable(held_out)
    pixels = crop_size(classifier, size)
    loader = Loader(held_out, settings, pixels)
    loader.label_the_rest(classifier, sets=True)
    labels = [label or 0 for label in loader.labels]
    validation = Validation(loader.items, labels, classifier, pixels, loader.findings)
    plateau, keep = Plateau(lambda masker: validation.quality(validation.masks(masker)).objective), _Keep()
    try:
        path = train(
            settings, kept, classifier=classifier, out=out, resume=resume, device=device, precision=precision,
            progress=progress, callbacks=[plateau, keep, *callbacks], look_minutes=look_minutes, page=page, log=log,
            held_out=held_out, skip_damaged=skip_damaged,
        )  # fmt: skip
    except KeyboardInterrupt as error:
        if not plateau.best or keep.state is None:
            raise
        path = Path(out) / MaskTrainer.output
        keep.state.trainer.save(path)
        raise Interrupted(
            f"interrupted after step {keep.state.step}: {path} is the best so far (step {plateau.best_step}); "
            "go on with `resume=True`",
            getattr(error, "number", signal.SIGINT),
        ) from None
    assert keep.state is not None
    trainer = _mask_trainer(keep.state)
    masks = validation.masks(trainer.masker)
    return Fitted(
        path,
        trainer.steps,
        time.monotonic() - began,
        plateau.flattened,
        validation.quality(masks),
        validation.quality(validation.centre(masks)),
        (sum(map(len, kept)), sum(map(len, held_out))),
    )


def _size(classifier: Classifier, wanted: int | None) -> int:
    """The longer side."""
    size = wanted or min(160, classifier.input_size)
    try:
        with torch.inference_mode():
            classifier.features(classifier.example(size=crop_size(classifier, size)))
    except Exception as error:  # a transformer's patches, say; each library has its own way to refuse
        if wanted is not None:
            raise InputError(f"{classifier.name} takes no pictures of {size} pixels: leave `size` out") from error
        return classifier.input_size
    return size


def _split(sets: Sequence[DataSet], seed: int) -> tuple[list[DataSet], list[DataSet]]:
    """The sets without and with only the held-out pictures, which are drawn from all of them together."""
    total = sum(map(len, sets))
    count = min(max(round(HELD_OUT * total), 1), AT_MOST)
    if total < 2:
        raise InputError(f"{total} picture is too few to train on; give at least some dozens")
    drawn = set(torch.randperm(total, generator=generator(seed, 5)).tolist()[:count])
    kept, held_out, start = [], [], 0
    for data in sets:
        own = range(len(data))
        kept.append(data.subset(i for i in own if start + i not in drawn))
        held_out.append(data.subset(i for i in own if start + i in drawn))
        start += len(data)
    return [d for d in kept if len(d)], [d for d in held_out if len(d)]


def _readable(sets: Sequence[DataSet]) -> list[DataSet]:
    """What can be read of the held-out pictures.

    Raises:
        InputError: nothing.
    """
    found = [without_damaged(data) for data in sets]
    wrong = {
        name_among(sets, data, record): theirs[record.id]
        for data, (_, theirs) in zip(sets, found, strict=True)
        for record in data.records
        if record.id in theirs
    }
    if wrong:
        warnings.warn(f"of the held-out pictures {damaged_line(wrong)}", stacklevel=3)
    left = [data for data, _ in found if len(data)]
    if not left:
        raise InputError("none of the held-out pictures can be read")
    return left


def as_row(fitted: Fitted) -> dict[str, object]:
    """Plain data, for JSON."""
    return {**dataclasses.asdict(fitted), "path": str(fitted.path)}

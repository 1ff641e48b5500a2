"""A masker for your classifier in a coffee break: settings that work on few pictures, and a stop when it learned."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from maskwise.classifiers import Classifier, load_classifier
from maskwise.data import DataSet, read_data
from maskwise.errors import InputError
from maskwise.training import recipe as recipes
from maskwise.training.feed import Feed, generator
from maskwise.training.loop import MaskTrainer
from maskwise.training.run import Precision, train
from maskwise.training.trainer import Trainer
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


class Plateau:
    """Asked after every step: cuts the rates when the held-out objective flattens, then ends the training.

    Args:
        objective: of the masker as it is; lower is better.
    """

    def __init__(self, objective: Callable[[], float], every: int = EVERY, patience: int = PATIENCE) -> None:
        self.objective, self.every, self.patience = objective, every, patience
        self.seen: list[float] = []
        self.since, self.cut, self.flattened = 0, False, False

    def __call__(self, trainer: Trainer) -> bool:
        if trainer.steps % self.every:
            return False
        best = min(self.seen, default=float("inf"))
        self.seen.append(self.objective())
        way = self.seen[0] - best if len(self.seen) > 1 else 0.0
        self.since = 0 if self.seen[-1] < best - PROGRESS * max(way, 0.0) else self.since + 1
        if not self.cut and self.since >= self.patience:
            self.cut, self.since, trainer.rate = True, 0, 0.1
        elif self.cut and self.since >= max(self.patience // 2, 1):
            self.flattened = True
        return self.flattened


def fit(
    pictures: str | Path | Sequence[str | Path],
    classifier: str | Classifier = "efficientnet_lite0",
    *,
    out: str | Path = "runs/fit",
    size: int | None = None,
    max_steps: int = 600,
    seed: int = 0,
    overrides: Sequence[str] = (),
    device: str = "auto",
    precision: Precision = "32-true",
    progress: bool = False,
) -> Fitted:
    """Trains a masker for one fixed classifier with masked-in and masked-out objectives on its last two taps.

    These are the settings that Phang et al. (2021) found to need the fewest pictures (recipe ``phang/fix``), with a
    decoder that starts grey and lambda_r steered to a mask of two fifths of the picture. The learning rate falls to a
    tenth when the objective on held-out pictures has flattened, and the training ends when it has flattened again.

    Args:
        pictures: one or more sources (see ``read_data``). Without labels the classifier's own predictions are used.
        size: pixels of the training pictures; None is 160, or the classifier's own where it takes no other.
        max_steps: of 32 pictures.
        overrides: ``key=value`` settings of the recipe.

    Raises:
        InputError: bad data or classifier, too few pictures, or ``out`` is not empty.
    """
    began = time.monotonic()
    if not isinstance(classifier, Classifier):
        classifier = load_classifier(classifier)
    size = _size(classifier, size)
    own = [*SETTINGS, f"steps={max_steps}", f"seed={seed}", f"input_size={size}", *overrides]
    settings = recipes.load("phang/fix", own)
    sets = [read_data(p) for p in ([pictures] if isinstance(pictures, (str, Path)) else pictures)]
    kept, held_out = _split(sets, seed)
    feed = Feed(held_out, settings, size)
    feed.label_the_rest(classifier)
    validation = Validation(feed.items, [label or 0 for label in feed.labels], classifier, size)
    made: list[MaskTrainer] = []

    def objective() -> float:
        return validation.quality(validation.masks(made[0].masker)).objective

    plateau = Plateau(objective)

    def stop(trainer: Trainer) -> bool:
        assert isinstance(trainer, MaskTrainer)
        made[:] = [trainer]
        return plateau(trainer)

    path = train(
        settings, kept, classifier=classifier, out=out, device=device, precision=precision, progress=progress, stop=stop
    )
    masks = validation.masks(made[0].masker)
    return Fitted(
        path,
        made[0].steps,
        time.monotonic() - began,
        plateau.flattened,
        validation.quality(masks),
        validation.quality(validation.centre(masks)),
        (sum(map(len, kept)), sum(map(len, held_out))),
    )


def _size(classifier: Classifier, wanted: int | None) -> int:
    size = wanted or min(160, classifier.input_size)
    try:
        with torch.inference_mode():
            classifier.features(torch.zeros(1, 3, size, size, device=classifier.device))
    except Exception as error:  # a transformer's patches, say; each library has its own way to refuse
        if wanted is not None:
            raise InputError(f"{classifier.name} takes no pictures of {size} pixels: leave --size out") from error
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


def as_row(fitted: Fitted) -> dict[str, object]:
    """Plain data, for ``--json``."""
    return {**dataclasses.asdict(fitted), "path": str(fitted.path)}

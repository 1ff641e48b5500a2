"""The sanity checks of a trained masker: MPRT, DRT and ROAR."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from maskwise.checks import Labelled, SmallTraining, drt, labelled, mprt, roar, trained_masker
from maskwise.checks.pictures import pictures
from maskwise.checks.results import RANDOM_LABELS, RANDOM_REMOVAL, TRUE_AGAIN, DrtRow, MprtRow, RoarResult
from maskwise.core.errors import InputError
from maskwise.core.lock import locked
from maskwise.evaluation.store import key_of
from maskwise.studies.estimate import Estimate, Number
from maskwise.studies.jobs.base import JobCost, Numbers
from maskwise.studies.jobs.beside import BesideJob
from maskwise.studies.jobs.masker import Train
from maskwise.studies.protocol import EvaluationProtocol
from maskwise.studies.run_config import RunConfig
from maskwise.studies.scale import Scale

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier
    from maskwise.sess.sweep import AnyExplainer

COLUMNS = {"spearman_abs": "rank abs", "spearman": "rank no abs", "hog": "HOG", "ssim": "SSIM"}

PICTURES = 50_000  # of a test set that no limit shortens: ImageNet's validation
STAGES = 20  # of MPRT: a ResNet-50's layers, and the network as it was trained


@dataclass(frozen=True)
class CheckSettings:
    """What a scale sets for the checks, above all for the networks that DRT and ROAR train.

    Attributes:
        network: as ``network_maker`` takes it.
        size: side in pixels of the pictures that it is trained on.
        train, test: pictures of each set; None is all of them.
        epochs: of each training.
        removed: percent of pixels that ROAR takes away.
        repeats: trainings of each in ROAR.
        training: settings beside the epochs.
        augment: flips and crops in ROAR's trainings; DRT's must learn random labels by heart.
        mprt_pictures: of MPRT, where nothing else limits them.
    """

    network: str
    size: int
    train: int | None
    test: int | None
    epochs: int
    removed: tuple[float, ...] = (10, 30, 50, 70, 90)
    repeats: int = 3
    training: Mapping[str, Any] = field(default_factory=dict)
    augment: bool = False
    mprt_pictures: int | None = None


CHECK_SETTINGS = {
    "smoke": CheckSettings("small_cnn", 32, None, None, 1, (50.0,), 2),
    "small": CheckSettings("small_cnn", 64, 600, 100, 30),
    # ResNet-50's usual schedule (He et al. 2016, as Hooker et al. train). The seeds of the study are its repeats: with
    # three more inside each, 165 networks would be trained for the references alone. MPRT: a batch, as released.
    "full": CheckSettings(
        "torchvision/resnet50", 224, None, None, 90, repeats=1, augment=True, mprt_pictures=128,
        training={"batch_size": 256, "optimiser": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class CheckJob(BesideJob):
    """One check of one masker; rows ``NAME MPRT``, ``NAME DRT``, ``NAME DRT, again`` or ``NAME ROAR``."""

    of: Train
    check: Literal["mprt", "drt", "roar"]

    def facts(self, config: RunConfig) -> dict[str, Any]:
        told = {"check": self.check, "masker": self.of.facts(config), "train": config.identity(config.train)}
        return told | ({"interval": "Student's over repeats"} if self.check == "roar" else {})  # was their range

    def cost(self, scale: Scale) -> JobCost:
        own, small = self.of.cost(scale), CHECK_SETTINGS[scale.like]
        train, test = min(small.train or scale.pictures, scale.pictures), small.test or scale.limit or PICTURES
        if self.check == "mprt":
            return JobCost(own.steps, STAGES * (scale.limit or small.mprt_pictures or PICTURES))
        network = small.epochs * max(math.ceil(train / self._training(small).batch_size), 1)
        if self.check == "drt":
            return JobCost(3 * (network + own.steps), 3 * test)
        return JobCost(small.repeats * (1 + 2 * len(small.removed)) * network + own.steps, train + test)

    def shared(self, scale: Scale) -> dict[str, int]:
        own, small, cost = self.of.cost(scale), CHECK_SETTINGS[scale.like], self.cost(scale)
        if self.check == "drt":
            return {"drt": cost.steps - 3 * own.steps}
        networks = 1 + 2 * len(small.removed)
        references = (cost.steps - own.steps) // networks * (1 + len(small.removed)) if self.check == "roar" else 0
        return {self.check: references, self.of.recipe: own.steps}

    def run(self, config: RunConfig, protocol: EvaluationProtocol, row: str, folder: Path) -> Numbers:
        return {"mprt": self._mprt, "drt": self._drt, "roar": self._roar}[self.check](config, row)

    def _mprt(self, config: RunConfig, row: str) -> Numbers:
        """Similarity once all layers are random."""
        explainer = self.of.explainer(config)
        size = config.classifier().input_size
        limit = config.limit or CHECK_SETTINGS[config.scale.like].mprt_pictures
        images = pictures(config.sets(config.test), size, limit)
        found = mprt(explainer, config.classifier(), images, modes=["cascading"], seed=self.seed)
        last = [r for r in found.rows if r.layer == found.layers[-1]]
        return {row: _similarities(last)}

    def _drt(self, config: RunConfig, row: str) -> Numbers:
        """Similarity to the masker of random labels; and, again, to that of another training on the true ones."""
        small = CHECK_SETTINGS[config.scale.like]
        train, test = self._pair(config, small)
        recipe = self.of.settings(config.scale, config.overrides)
        overrides = [f"{key}={value}" for key, value in _plain(recipe).items()]
        make = trained_masker("casm", self.of.recipe, overrides, config.device)
        key = key_of(self.of.facts(config))

        def own(classifier: Classifier, data: Labelled, home: Path) -> AnyExplainer:
            """In a folder of this recipe's: the classifiers beside it are of all."""
            return make(classifier, data, home.with_name(f"{home.name}-{key}"))

        with self._shared(config) as shared:
            found = drt(
                {row: own}, train, test, network=small.network, settings=self._training(small), out=shared,
                device=config.device,
            )  # fmt: skip
        sides = {row: RANDOM_LABELS, f"{row}, again": TRUE_AGAIN}
        return {name: _similarities([r for r in found.rows if r.against == side]) for name, side in sides.items()}

    def _roar(self, config: RunConfig, row: str) -> Numbers:
        """How far top-1 lies below that after random removal, mean over shares; the repeats are seeds."""
        small = CHECK_SETTINGS[config.scale.like]
        train, test = self._pair(config, small, config.classifier().input_size)
        masker = self.of.explainer(config)
        with self._shared(config) as shared:
            found = roar(
                {row: masker}, config.classifier(), train, test, network=small.network,
                settings=self._training(small), fractions=small.removed, repeats=small.repeats, size=small.size,
                out=shared, device=config.device,
            )  # fmt: skip
        return {row: {"below random": _below_random(found, row)}}

    @contextmanager
    def _shared(self, config: RunConfig) -> Iterator[Path]:
        """A folder for all maskers: DRT's classifiers and ROAR's references do not depend on who is checked."""
        facts = {
            **asdict(CHECK_SETTINGS[config.scale.like]),
            "train": config.identity(config.train), "test": config.identity(config.test),
            "fingerprint": config.classifier().fingerprint(), "seed": self.seed,
        }  # fmt: skip
        folder = config.trainings / f"{self.check}-{key_of(facts)}"
        with locked(folder, f"{self.check} of this study", wait=True):
            yield folder

    def _training(self, small: CheckSettings) -> SmallTraining:
        augment = small.augment and self.check == "roar"
        return SmallTraining(**{"epochs": small.epochs, "seed": self.seed, "augment": augment, **small.training})

    def _pair(self, config: RunConfig, small: CheckSettings, size: int | None = None) -> tuple[Labelled, Labelled]:
        if len(config.train) != 1 or len(config.test) != 1:
            raise InputError(f"{self.check} trains classifiers: give one source of `data`, whose pictures have classes")
        side = max(size or 0, small.size)
        train = labelled(config.sets(config.train)[0], side, small.train)
        return train, labelled(config.sets(config.test)[0], side, small.test, train.classes)


def _below_random(found: RoarResult, method: str) -> Number:
    """How far its top-1 lies below that after random removal, mean over shares; with Student's interval over repeats.

    Of one repeat nobody knows the error.
    """
    of = {(r.method, r.removed): np.array(r.top1) for r in found.rows}
    shares = [share for name, share in of if name == method]
    gaps = Estimate.of(np.mean([of[RANDOM_REMOVAL, share] - of[method, share] for share in shares], 0).tolist())
    return Number(gaps.value, bounds=gaps.interval(), over="seeds")


def _similarities(rows: Sequence[MprtRow] | Sequence[DrtRow]) -> dict[str, Number]:
    return {
        COLUMNS[r.similarity]: Number(r.value.mean, bounds=(r.value.low, r.value.high))
        for r in rows
        if r.similarity in COLUMNS
    }


def _plain(recipe: Any) -> dict[str, str]:
    """Settings of a recipe as text that YAML reads back."""
    import json

    skip = {"kind", "title", "paper", "row", "classifier", "input_size"}
    return {k: json.dumps(v) for k, v in recipe.model_dump(mode="json").items() if k not in skip}

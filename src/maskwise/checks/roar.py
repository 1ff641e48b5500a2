"""Remove and retrain (Hooker et al. 2019): is what a map calls salient what a new network would have needed?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskwise.checks.base import register_check
from maskwise.checks.cells import Cells
from maskwise.checks.feeding import colours
from maskwise.checks.map_store import MethodMaps
from maskwise.checks.networks import PRETRAINED, Maker, filed_as, name_of, network_maker
from maskwise.checks.pictures import Labelled
from maskwise.checks.protocol import versions
from maskwise.checks.removal import Removed, removed
from maskwise.checks.results import RANDOM_REMOVAL, WHOLE, RoarResult, RoarRow
from maskwise.checks.rows import Values
from maskwise.checks.small_training import SmallTraining, accuracies, train_classifier
from maskwise.checks.streamed import CACHE_GIB, SquareOrSides, as_written
from maskwise.checks.subject import ProgressCallback, Subject
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.sess.sweep import AnyExplainer

FRACTIONS = (10.0, 30.0, 50.0, 70.0, 90.0)


@register_check(
    "roar",
    title="is a network trained without the most salient pixels worse than without random ones?",
    paper="Hooker et al. 2019",
    trains=True,
)
def roar(
    methods: Mapping[str, AnyExplainer],
    classifier: Classifier,
    train: Labelled,
    test: Labelled,
    *,
    network: str | Maker = "small_cnn",
    settings: SmallTraining | None = None,
    fractions: Sequence[float] = FRACTIONS,
    repeats: int = 3,
    size: SquareOrSides | None = None,
    out: str | Path | None = None,
    device: torch.device | str = "cpu",
    batch: int = 32,
    cache_gib: float = CACHE_GIB,
    progress: ProgressCallback | None = None,
) -> RoarResult:
    """Trains fresh networks on pictures without their most salient pixels, against as many removed at random.

    Maps are made once, of training and test pictures alike, for the classifier's top class. The pixels they rank
    highest become the mean colour of the training pictures. Each repeat has its own first weights, order and noise.

    Args:
        methods: explainers by name.
        classifier: what they explain.
        train: pictures at the size that is explained.
        test: likewise, with the same classes.
        network: that is trained: see ``network_maker``; ``pretrained`` is ``classifier`` with a new last layer.
        settings: of its training; repeat r has seed ``settings.seed + r``.
        fractions: percent of pixels that are removed, each in (0,100].
        repeats: trainings of each.
        size: (h,w) in pixels of the pictures trained on, to which maps are squashed, or the side of a square; None is
            the pictures' own.
        out: folder for maps and finished trainings, from which a killed run goes on.
        device: of the trainings.
        batch: pictures explained at once.
        cache_gib: so much memory, in GiB, the maps of one set may take; more are read from ``out`` when needed.
        progress: called with (done, total), in trainings.

    Returns:
        Accuracies in percent.

    Raises:
        InputError: no method, a name that is taken, a share that makes no sense, classes that differ, or maps that are
            NaN.
    """
    settings = settings or SmallTraining(augment=True)
    shares = sorted(set(fractions))
    if not methods or not shares or not all(0 < share <= 100 for share in shares) or repeats < 1:
        raise InputError("roar needs a method, shares of pixels above 0 and up to 100 percent, and a repeat")
    if {WHOLE, RANDOM_REMOVAL} & set(methods):
        raise InputError(f"a method can't be called {WHOLE!r} or {RANDOM_REMOVAL!r}: these are the references")
    if train.classes != test.classes:
        raise InputError("training and test pictures must have the same classes")
    folder = None if out is None else Path(out)
    subjects = {name: _named(name, explainer, classifier) for name, explainer in methods.items()}
    own = (int(train.images.shape[-2]), int(train.images.shape[-1]))
    size = own if size is None else size
    small = (train.shrunk(size), test.shrunk(size))
    run = {
        "check": "roar",
        "classifier": classifier.digest(),
        "train": train.checksum(),
        "test": test.checksum(),
        "size": as_written(size),
        "network": filed_as(network),
        "training": settings.model_dump(),
    }
    cells = Cells(folder, run)
    maps = MethodMaps(
        subjects, classifier, (train, test), size, settings.seed, folder and folder / "maps", batch, cache_gib
    )
    training = _Training(network_maker(network, classifier), name_of(network), settings, device)
    if network == PRETRAINED:
        training = replace(training, normalisation=(classifier.mean.cpu(), classifier.std.cpu()))
    paint, _ = colours(small[0].images)
    plan = list(_plan(subjects, shares, repeats))
    found: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for done, (method, share, repeat) in enumerate(plan, 1):
        key = {"method": method, "removed": share, "repeat": repeat, "maps": maps.key(method)}
        row = cells.find(**key)
        if row is None:
            chosen = maps.of(method, repeat) if share else None
            row = cells.add({**key, **training.run(_without(small, chosen, share, paint), repeat)})
        found.setdefault((method, share), []).append(row)
        if progress is not None:
            progress(done, len(plan))
    rows = [
        RoarRow(method, share, *(tuple(row[name] for row in cell) for name in ("top1", "top5", "train_top1")))
        for (method, share), cell in found.items()
    ]
    protocol = {
        **run,
        "classifier": classifier.name,
        "fingerprint": run["classifier"],
        "explainers": {name: subject.identity for name, subject in subjects.items()},
        "target": "the classifier's top class",
        "explained_at": as_written(own),
        "pictures": {"train": len(train), "test": len(test)},
        "removed_pixels": "highest values first, equal ones by pixel index; replaced by the mean training colour",
        "colour": paint.tolist(),
        "repeats": repeats,
        "spread": "standard deviation over repeats",
        "versions": versions(),
    }
    return RoarResult(rows, len(train.classes), protocol)


def _plan(methods: Iterable[str], shares: Sequence[float], repeats: int) -> Iterator[tuple[str, float, int]]:
    """All trainings: the references first."""
    yield from ((WHOLE, 0.0, repeat) for repeat in range(repeats))
    for method in (RANDOM_REMOVAL, *methods):
        yield from ((method, share, repeat) for share in shares for repeat in range(repeats))


def _named(name: str, explainer: AnyExplainer, classifier: Classifier) -> Subject:
    """Masks rather than their logits, which rank the pixels alike; the given name is part of the identity."""
    subject = Subject.of(explainer, classifier, before_sigmoid=False)
    return replace(subject, identity={"name": name, **subject.identity})


def _without(
    sets: tuple[Labelled, Labelled], maps: tuple[Values, Values] | None, percent: float, paint: Tensor
) -> tuple[Labelled, Labelled]:
    """Training and test pictures after the removal, which is done once where both pictures and maps are in memory."""
    if maps is None:
        return sets
    train, test = (
        replace(
            data,
            images=removed(data.images, m, percent, paint)
            if isinstance(data.images, Tensor) and isinstance(m, Tensor)
            else Removed(data.images, m, percent, paint),
        )
        for data, m in zip(sets, maps, strict=True)
    )
    return train, test


@dataclass(frozen=True)
class _Training:
    """One training after another with the same settings, each with its own seed."""

    make: Maker
    name: str
    settings: SmallTraining
    device: torch.device | str
    normalisation: tuple[Tensor, Tensor] | None = None

    def run(self, sets: tuple[Labelled, Labelled], repeat: int) -> dict[str, float]:
        """Accuracies in percent of a network trained on the first set, on the second and on the first."""
        own = self.settings.model_copy(update={"seed": self.settings.seed + repeat})
        trained = train_classifier(
            self.make, sets[0], own, name=self.name, normalisation=self.normalisation, device=self.device
        )
        top1, top5 = accuracies(trained.classifier, sets[1], (1, 5))
        return {"top1": 100 * top1, "top5": 100 * top5, "train_top1": 100 * trained.accuracy}

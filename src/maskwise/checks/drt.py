"""The data randomisation test (Adebayo et al. 2018): are maps of a network that learned random labels different?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskwise.checks.base import register_check
from maskwise.checks.cells import Cells
from maskwise.checks.intervals import UndefinedRule, mean_of
from maskwise.checks.networks import PRETRAINED, Maker, filed_as
from maskwise.checks.pictures import Labelled, RandomLabels, random_labels
from maskwise.checks.protocol import comparison_protocol, versions
from maskwise.checks.results import RANDOM_LABELS, TRUE_AGAIN, TRUE_LABELS, DrtResult, DrtRow
from maskwise.checks.rows import Values, as_float, parts_of
from maskwise.checks.similarity import Comparison, Measures, Similarity, chosen_similarities, chunks
from maskwise.checks.small_training import SmallTraining, accuracies
from maskwise.checks.stored_trainings import StoredTrainings
from maskwise.checks.streamed import as_written
from maskwise.checks.subject import ProgressCallback, Subject, top_classes
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.spread import evenly_spread
from maskwise.sess.sweep import AnyExplainer

MakeExplainer = Callable[[Classifier, Labelled, Path], AnyExplainer]


@register_check(
    "drt",
    title="do maps of a network that learned random labels differ?",
    paper="Adebayo et al. 2018",
    trains=True,
)
def drt(
    methods: Mapping[str, MakeExplainer],
    train: Labelled,
    test: Labelled,
    *,
    network: str | Maker = "small_cnn",
    pretrained: Classifier | None = None,
    labels: RandomLabels = "shuffled",
    settings: SmallTraining | None = None,
    again: bool = True,
    before_sigmoid: bool | None = None,
    measures: Measures = None,
    undefined: UndefinedRule = "zero",
    examples: int = 3,
    out: str | Path | None = None,
    device: torch.device | str = "cpu",
    batch: int = 32,
    progress: ProgressCallback | None = None,
) -> DrtResult:
    """Compares maps, on test pictures, of a classifier trained on the labels and of one trained on random ones.

    Both have the same settings, first weights and order of pictures. Each explains its own top class.

    Args:
        methods: by name, a function (classifier, the pictures it was trained on, a folder) -> explainer: a base
            method's ignores the last two, a masker's trains one (see ``trained_masker``).
        train: pictures and true labels, of any shape, which the networks are trained on.
        test: pictures that are explained, with the same classes.
        network: see ``network_maker``.
        pretrained: what the network ``pretrained`` begins from.
        labels: ``shuffled`` among the pictures, or drawn ``uniform`` from all classes (released code of Phang et al.).
        settings: of the trainings.
        again: a third training, on the true labels with another seed: how alike maps are that should be.
        before_sigmoid: compare maskers' logits, as the released code does; None does so wherever the
            mask is made of them place by place (see ``Subject.of``).
        measures: names of similarities, or similarities by name; None is all that are registered.
        undefined: a flat map that is compared with another one counts ``zero``, or is ``left_out`` (released code).
        examples: how many pictures, evenly spread, are kept with their maps, to be looked at.
        out: folder for finished trainings, from which a killed run goes on.
        device: of the trainings.
        batch: pictures explained at once.
        progress: called with (done, total), in steps of the trainings.

    Raises:
        InputError: no method, a rule that there is not, classes that differ, or a training that fails.
    """
    settings = settings or SmallTraining()
    if not methods:
        raise InputError("drt needs a method")
    if train.classes != test.classes:
        raise InputError("training and test pictures must have the same classes")
    sets = {TRUE_LABELS: train, RANDOM_LABELS: random_labels(train, labels, settings.seed)}
    own = {TRUE_LABELS: settings, RANDOM_LABELS: settings}
    if again:
        sets[TRUE_AGAIN] = train
        own[TRUE_AGAIN] = settings.model_copy(update={"seed": settings.seed + 1})
    run = {
        "check": "drt",
        "train": train.checksum(),
        "labels": labels,
        "network": filed_as(network),
        "pretrained": pretrained.digest() if network == PRETRAINED and pretrained is not None else None,
        "training": settings.model_dump(),
    }
    shown = evenly_spread(len(test), examples)
    rows: list[DrtRow] = []
    kept: dict[str, dict[str, Tensor]] = {}
    protocols: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() if out is None else nullcontext(str(out)) as place:
        folder = Path(place)
        trainings = StoredTrainings(Cells(folder, run), folder, network, pretrained, device)
        trained = {
            which: trainings.trained(which, data, own[which], _part(progress, i, len(sets)))
            for i, (which, data) in enumerate(sets.items())
        }
        for method, make in methods.items():
            subjects: dict[str, Subject] = {}
            for which, known in trained.items():
                home = folder / "maskers" / f"{method} {which}".replace(" ", "_")
                explainer = make(known.classifier, sets[which], home)
                subject = subjects[which] = Subject.of(explainer, known.classifier, before_sigmoid)
            compared = chosen_similarities(measures, subject.logits)
            networks = {which: known.classifier for which, known in trained.items()}
            found, kept[method] = _compared(subjects, networks, test.images, compared, batch, shown)
            for (which, name), values in found.items():
                rows.append(DrtRow(method, which, name, mean_of(values, undefined, settings.seed, test.groups)))
            how = comparison_protocol(subject, compared, undefined, test.groups)
            protocols[method] = {"explainer": subject.identity, **how}
    reached = {
        which: {
            "train": 100 * known.accuracy,
            "test": 100 * accuracies(known.classifier, test)[0],
            "epochs": known.epochs,
        }
        for which, known in trained.items()
    }
    protocol = {
        **run,
        "pretrained": None if run["pretrained"] is None or pretrained is None else pretrained.name,
        "classes": len(train.classes),
        "pictures": {"train": len(train), "test": len(test)},
        "size": as_written((train.images.shape[-2], train.images.shape[-1])),
        "target": "each classifier's own top class",
        "methods": protocols,
        "versions": versions(),
    }
    return DrtResult(rows, reached, as_float(test.images[shown]), kept, protocol)


def _compared(
    subjects: Mapping[str, Subject],
    networks: Mapping[str, Classifier],
    images: Values,
    measures: Mapping[str, Similarity],
    batch: int,
    shown: Sequence[int],
) -> tuple[dict[tuple[str, str], Tensor], dict[str, Tensor]]:
    """Similarities (N,) to the maps by true labels, by other labels and measure; and the maps of the pictures shown."""
    found: dict[tuple[str, str], list[Tensor]] = {}
    kept: dict[str, list[Tensor]] = {which: [] for which in subjects}
    parts = chunks(images, batch)
    for index, part in zip(parts, parts_of(images, parts), strict=True):
        here = [i - int(index[0]) for i in shown if index[0] <= i <= index[-1]]
        maps = {
            which: subject.maps(part, top_classes(networks[which], part, batch), batch)
            for which, subject in subjects.items()
        }
        for which, own in maps.items():
            kept[which].append(own[here])
        comparison = Comparison(maps.pop(TRUE_LABELS), measures)
        for which, own in maps.items():
            for name, values in comparison(own).items():
                found.setdefault((which, name), []).append(values)
    return (
        {key: torch.cat(pieces) for key, pieces in found.items()},
        {which: torch.cat(pieces) for which, pieces in kept.items()},
    )


def _part(progress: ProgressCallback | None, index: int, parts: int) -> ProgressCallback | None:
    """Progress of one of several pieces of work of about the same size."""
    return None if progress is None else lambda done, total: progress(index * total + done, parts * total)

"""A panel of classifiers on masked pictures (Zolna, Geras, Cho 2020, section 6.2 and Fig. 3).

A map that shows the evidence which any classifier could use keeps the accuracy of all of them on masked-in pictures,
and takes it from all of them on masked-out ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.blending import masked_in, masked_out
from maskwise.box import Rule, binarise
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.portions import Portions
from maskwise.core.spread import evenly_spread
from maskwise.data import DataSet, read_data
from maskwise.data.class_order import say_other_order
from maskwise.data.damaged import readable, says_how_to_skip
from maskwise.evaluation.batch import Batch, Resize
from maskwise.evaluation.contender import Contender
from maskwise.evaluation.given_data import given_data
from maskwise.evaluation.loader import Settings
from maskwise.infill import infiller
from maskwise.labels import Labels

CONDITIONS = ("masked-in", "masked-out", "inpainted masked-out")
COARSE = 56  # the side of CASM's mask, which random masks share
Fill = Literal["black", "mean"]


@dataclass(frozen=True)
class PanelSettings:
    """How masked pictures are made; the defaults are those behind the paper's figure.

    Attributes:
        rule: cuts maps to masks; the largest component is not taken.
        fill: of the masked-out part: ``black``, as the released code multiplies pictures in [0,1], or the ``mean``.
        resize: of the pictures, see ``Settings``.
        truth: a picture counts as right where a classifier finds its ``label``, or what it found on the ``clean``
            picture; pictures without a label always take the latter.
        limit: only so many pictures of each data set, evenly spread.
        batch: pictures at once.
        seed: of the random masks.
        skip_damaged: try all pictures first, and leave out those that can't be read; else the first ends it.
    """

    rule: Rule = "rank"
    fill: Fill = "black"
    resize: Resize = "squash"
    truth: Literal["label", "clean"] = "label"
    limit: int | None = None
    batch: int = 8
    seed: int = 0
    skip_damaged: bool = False

    def __post_init__(self) -> None:
        if self.fill not in ("black", "mean") or self.truth not in ("label", "clean"):
            raise InputError("fill is black or mean, and truth is label or clean")


@dataclass(frozen=True)
class Panel:
    """Accuracies in percent.

    Attributes:
        masks: names, references first.
        classifiers: names.
        right: (masks, classifiers, conditions, N) of 0 and 1.
        clean: (classifiers, N), on whole pictures.
        protocol: plain data.
    """

    masks: list[str]
    classifiers: list[str]
    right: Tensor
    clean: Tensor
    protocol: dict[str, Any]

    @property
    def accuracy(self) -> Tensor:
        """(masks, classifiers, conditions)."""
        return 100 * self.right.double().mean(-1)

    def plain(self) -> dict[str, Any]:
        rows = []
        for m, mask in enumerate(self.masks):
            for c, classifier in enumerate(self.classifiers):
                values = dict(zip(CONDITIONS, self.accuracy[m, c].tolist(), strict=True))
                rows.append({"mask": mask, "classifier": classifier, **values})
        clean = dict(zip(self.classifiers, (100 * self.clean.double().mean(-1)).tolist(), strict=True))
        return {"protocol": self.protocol, "clean": clean, "rows": rows}


def nothing(images: Tensor, keys: Sequence[str], seed: int) -> Tensor:
    return torch.zeros(images[:, 0].shape)


def everything(images: Tensor, keys: Sequence[str], seed: int) -> Tensor:
    return torch.ones(images[:, 0].shape)


def random_coarse(images: Tensor, keys: Sequence[str], seed: int) -> Tensor:
    """Half of the cells of a 56x56 grid, a draw of its own for each picture."""
    return F.interpolate(_coins(keys, seed, (COARSE, COARSE))[:, None], images.shape[-2:], mode="nearest")[:, 0]


def random_fine(images: Tensor, keys: Sequence[str], seed: int) -> Tensor:
    """Half of the pixels, a draw of its own for each picture."""
    return _coins(keys, seed, (images.shape[-2], images.shape[-1]))


REFERENCES: Mapping[str, Callable[[Tensor, Sequence[str], int], Tensor]] = {
    "nothing": nothing, "everything": everything, "random 56x56": random_coarse, "random pixels": random_fine,
}  # fmt: skip


def _coins(keys: Sequence[str], seed: int, size: tuple[int, int]) -> Tensor:
    draws = (torch.Generator().manual_seed(zlib.crc32(f"{seed} {key}".encode())) for key in keys)
    return torch.stack([(torch.rand(size, generator=d) < 0.5).float() for d in draws])


def classifier_panel(
    contenders: Sequence[Contender],
    classifier: Classifier,
    judges: Mapping[str, Classifier],
    data: Sequence[str | DataSet],
    settings: PanelSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Panel:
    """Accuracy of every judge on what the contenders' and the reference masks keep and leave.

    Args:
        contenders: explainers of ``classifier``.
        classifier: what the maps are made for.
        judges: classifiers by name; each sees the pictures at its own input size. Labels must mean the same to all.
        data: sources as ``read_data`` takes them.
        settings: how masked pictures are made.
        progress: called with (done, total) pictures.

    Raises:
        InputError: no judge, judges with other numbers of classes or with a class at another place, or a picture that
            can't be read.
    """
    settings = settings or PanelSettings()
    if not judges:
        raise InputError("a panel needs at least one classifier")
    if len({len(judge.labels) for judge in judges.values()} | {len(classifier.labels)}) > 1:
        raise InputError("the classifiers of a panel must know the same classes, and their numbers differ")
    for name, judge in judges.items():
        if (line := _other_place(judge.labels, classifier.labels)) is not None:
            raise InputError(f"the classifiers of a panel must know the same classes in one order: {name} has {line}")
    sets = [source if isinstance(source, DataSet) else read_data(source) for source in data]
    say_other_order(sets, classifier.labels, classifier.name)
    contenders = given_data(contenders, sets, Settings(settings.resize, limit=settings.limit)).contenders
    chosen = [s.subset(evenly_spread(len(s), settings.limit)) for s in sets]
    damaged: dict[str, list[str]] = {}
    if settings.skip_damaged:
        screened = [readable(s) for s in chosen]
        chosen = [left for left, _ in screened]
        damaged = {left.name: list(wrong) for left, wrong in screened if wrong}
    samples = [(s, i) for s in chosen for i in range(len(s))]
    parts, clean = [], []
    for first in range(0, len(samples), settings.batch):
        with says_how_to_skip():
            group = [s[i] for s, i in samples[first : first + settings.batch]]
        batch = Batch.of(group, classifier, settings.resize, "predicted")
        hard = _masks(contenders, classifier, batch, settings)
        found = {name: _answers(judge, batch.images) for name, judge in judges.items()}
        known = (batch.labels >= 0) & (settings.truth == "label")
        truth = {name: torch.where(known, batch.labels, answer) for name, answer in found.items()}
        clean.append(torch.stack([answer == truth[name] for name, answer in found.items()]))
        parts.append(torch.stack([_judged(mask, batch.images, judges, truth, classifier, settings) for mask in hard]))
        if progress is not None:
            progress(first + len(group), len(samples))
    names = [*REFERENCES, *(c.name for c in contenders)]
    protocol = {
        "classifier": classifier.name, "data": {s.name: len(s) for s in sets}, "pictures": len(samples),
        "methods": {c.name: c.identity for c in contenders},
        "binarise": settings.rule, "component": "all", "fill": settings.fill, "inpaint": "Telea, radius 3",
        "resize": settings.resize, "truth": settings.truth, "seed": settings.seed,
        "damaged": damaged,
    }  # fmt: skip
    return Panel(names, list(judges), torch.cat(parts, -1), torch.cat(clean, -1), protocol)


def _other_place(labels: Labels, own: Labels) -> str | None:
    """A class of ``labels`` that ``own`` has at another place, by a name that each has once; None: there is none."""
    if labels.are_places or own.are_places:
        return None
    names = labels.first_names
    for place, (here, there) in enumerate(zip(labels.of_names(names), own.of_names(names), strict=True)):
        if here == place and there not in (None, place):
            return f"{names[place]!r} as class {place}, which is class {there} of the classifier that is explained"
    return None


def _masks(
    contenders: Sequence[Contender], classifier: Classifier, batch: Batch, settings: PanelSettings
) -> list[Tensor]:
    """Binary masks (N,S,S): the references', then the contenders'."""
    hard = [make(batch.images, batch.keys, settings.seed) > 0.5 for make in REFERENCES.values()]
    for contender in contenders:
        ids = [item.sample.id for item in batch.items]
        maps = contender.explain(batch.images.to(classifier.device), batch.targets.to(classifier.device), ids)
        hard.append(binarise(torch.as_tensor(maps).float().cpu(), settings.rule))
    return hard


def _judged(
    mask: Tensor,
    images: Tensor,
    judges: Mapping[str, Classifier],
    truth: Mapping[str, Tensor],
    classifier: Classifier,
    settings: PanelSettings,
) -> Tensor:
    """(judges, conditions, N) of right answers."""
    colour = classifier.mean.cpu() if settings.fill == "mean" else torch.zeros(3)
    fill = infiller("mean")(images, mask.float(), colour)
    painted = infiller("telea")(images, mask.float(), colour)
    pictures = (masked_in(images, mask, fill), masked_out(images, mask, fill), masked_out(images, mask, painted))
    return torch.stack(
        [torch.stack([_answers(judge, p) == truth[name] for p in pictures]) for name, judge in judges.items()]
    )


@torch.inference_mode()
def _answers(judge: Classifier, images: Tensor) -> Tensor:
    return torch.cat(Portions()(lambda part: judge.logits(judge.prepare(images[part])).argmax(1).cpu(), len(images)))

"""A masker trained on a classifier of the data randomisation test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from maskwise.checks.drt import MakeExplainer
from maskwise.checks.pictures import Labelled
from maskwise.checks.rows import Values, as_float
from maskwise.classifiers import Classifier
from maskwise.core.files import atomic_folder
from maskwise.data import DataSet, Record
from maskwise.data.sample import Sample
from maskwise.explainers import Explainer, explainer


def trained_masker(
    method: str, recipe: str | None = None, overrides: Sequence[str] = (), device: str = "cpu", progress: bool = False
) -> MakeExplainer:
    """What ``drt`` takes as a method: trains a masker on each classifier, with the labels that one has learned.

    Args:
        method: a masker's name, which reads the trained weights.
        recipe: by which it is trained; None is the one of the method's name.
        overrides: ``key=value`` settings of the recipe; its pictures are of the classifier's size unless these say so.
        device: cpu, cuda, mps or auto.
        progress: show a progress bar.
    """

    def make(classifier: Classifier, data: Labelled, folder: Path) -> Explainer:
        from maskwise.training import train  # training is heavy, and base methods need none

        pictures: Path | DataSet = LabelledSet.of(data)
        if isinstance(data.images, Tensor):  # they take less room as files than they do in memory
            pictures = folder / "pictures"
            write_folder(data, pictures)
        masker = train(
            recipe or method,
            pictures,
            classifier=classifier,
            out=folder / "masker",
            overrides=[f"input_size={classifier.input_size}", *overrides],
            resume=True,
            device=device,
            progress=progress,
            page=False,
        )
        return explainer(method, classifier, masker=masker)

    return make


@dataclass(frozen=True, eq=False)
class LabelledSet(DataSet):
    """The pictures as a data set: they are read where they lie, and squashed.

    Attributes:
        images: see ``Labelled``.
    """

    _: KW_ONLY
    images: Values

    @classmethod
    def of(cls, data: Labelled) -> LabelledSet:
        records = [Record(f"{i:05}", label) for i, label in enumerate(data.labels.tolist())]
        return cls("pictures of the check", records, data.classes, images=data.images)

    def image(self, record: Record) -> Tensor:
        return as_float(self.images[[int(record.id)]])[0]

    def sample(self, record: Record) -> Sample:
        return Sample(record.id, self.image(record), record.label)


def write_folder(data: Labelled, folder: Path) -> None:
    """The pictures as a data folder: ``images/00000.png`` and ``labels.csv``."""
    with atomic_folder(folder) as temporary:
        (temporary / "images").mkdir()
        lines = ["file,label"]
        images = (image for part in data.images.split(64) for image in part)
        for i, (image, label) in enumerate(zip(images, data.labels.tolist(), strict=True)):
            _picture(image).save(temporary / "images" / f"{i:05}.png", compress_level=1)
            lines.append(f"{i:05}.png,{label}")
        (temporary / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _picture(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())

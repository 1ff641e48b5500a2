"""A masker for any classifier by distillation: the teacher is chosen among those that the network allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from maskwise.box import binarise
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.precision import Precision
from maskwise.data import DataSet
from maskwise.images import resize
from maskwise.maskers import load_agnostic_masker
from maskwise.maskers.class_gate import check_class_activation
from maskwise.training import recipes
from maskwise.training.callbacks import Callback
from maskwise.training.crop_size import crop_size
from maskwise.training.loader import Loader
from maskwise.training.run import train
from maskwise.training.teacher import Lesson, Teacher, TeacherView
from maskwise.training.validation import Quality, Validation

NO_CLASS = ("class_tap=false", "class_gate=null")
SMOOTH = 8 / 224  # of the classifier's own size
TEACHERS: Mapping[str, tuple[str, ...]] = {
    "excitation_and_cam": ("excitation_backprop", "cam"),
    "excitation": ("excitation_backprop",),
    "cam": ("cam",),
    "grad_cam": ("grad_cam",),
}


@dataclass(frozen=True)
class DistilledMasker:
    """What came out.

    Attributes:
        path: the masker's file.
        teacher: the chosen one's name.
        teachers: what the classifier sees of held-out pictures through the masks of each teacher that it allows.
        masker: through those of the masker.
        centre: through squares in the middle, each as large as the masker's mask of that picture.
    """

    path: Path
    teacher: str
    teachers: Mapping[str, Quality]
    masker: Quality
    centre: Quality


def distilled(
    kept: Sequence[DataSet],
    held_out: Sequence[DataSet],
    classifier: Classifier,
    *,
    out: str | Path,
    size: int,
    teacher: str | None = None,
    steps: int = 600,
    seed: int = 0,
    overrides: Sequence[str] = (),
    resume: bool = False,
    device: str = "auto",
    precision: Precision = "auto",
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
) -> DistilledMasker:
    """Distils the teacher whose masks keep and hide best what the classifier looks for.

    The teachers' maps are cut at their mean. The best has the least (cross entropy of masked-in - entropy of
    masked-out) / 2 on held-out pictures; no box is looked at.

    Args:
        kept, held_out: to train on and to choose on; without labels the classifier's own predictions are used.
        size: pixels of the training pictures' longer side; their shape is the classifier's.
        teacher: one of ``TEACHERS``; None chooses.
        steps: of 32 pictures.
        overrides: ``key=value`` settings of recipe ``distilled``.

    Raises:
        InputError: an unknown teacher or one that the network does not allow; or as ``train``.
    """
    if teacher is not None and teacher not in TEACHERS:
        raise InputError(f"teacher {teacher!r} is unknown: choose among {', '.join(TEACHERS)}")
    loader = Loader(held_out, recipes.load("distilled"), size)
    loader.label_the_rest(classifier, sets=True)
    labels = [cast(int, label) for label in loader.labels]
    validation = Validation(loader.items, labels, classifier, crop_size(classifier, size), loader.findings)
    judged = judge_teachers(classifier, validation, [teacher] if teacher is not None else list(TEACHERS))
    chosen = min(judged, key=lambda name: judged[name].objective)
    views = {name: view.model_dump(exclude_none=True) for name, view in lesson(chosen, classifier).views.items()}
    settings = recipes.load(
        "distilled",
        [
            f"teacher.views={views}", f"teacher.smooth={SMOOTH * classifier.input_size:.4g}", f"steps={steps}",
            f"seed={seed}", f"input_size={size}", *([] if _has_class_activation(classifier) else NO_CLASS),
            *overrides,
        ],
    )  # fmt: skip
    path = train(
        settings, list(kept), classifier=classifier, out=out, resume=resume, device=device, precision=precision,
        progress=progress, callbacks=callbacks,
    )  # fmt: skip
    masks = validation.masks(load_agnostic_masker(path, classifier))
    return DistilledMasker(
        path, chosen, judged, validation.quality(masks), validation.quality(validation.centre(masks))
    )


def lesson(name: str, classifier: Classifier) -> Lesson:
    """What a teacher of ``TEACHERS`` says of this classifier's pictures."""
    views = {method: TeacherView.model_validate({}) for method in TEACHERS[name]}
    return Lesson(
        views=views, smooth=SMOOTH * classifier.input_size, mirrored=False, stretch=True, class_gate=None, grid=56
    )


def judge_teachers(classifier: Classifier, validation: Validation, names: Sequence[str]) -> dict[str, Quality]:
    """Quality of the masks of each teacher that the network allows.

    Raises:
        InputError: it allows none of them; the message is the last one's.
    """
    found: dict[str, Quality] = {}
    refused = None
    for name in names:
        try:
            found[name] = validation.quality(_masks(Teacher(classifier, lesson(name, classifier)), validation))
        except InputError as error:
            refused = error
    if not found:
        assert refused is not None
        raise refused
    return found


def _masks(teacher: Teacher, validation: Validation) -> Tensor:
    """(N,H,W): where each map is at least its mean."""
    size, maps = (validation.images.shape[-2], validation.images.shape[-1]), []
    for images, labels in zip(validation.images.split(8), validation.labels.split(8), strict=True):
        maps.append(teacher(list(images), labels.tolist()))
    enlarged = resize(torch.cat(maps)[:, None], size)[:, 0]
    return binarise(enlarged).float()


def _has_class_activation(classifier: Classifier) -> bool:
    try:
        check_class_activation(classifier, "class_tap")
    except InputError:
        return False
    return True

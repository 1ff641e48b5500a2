"""Who teaches a masker for any classifier: the best on held-out pictures, among those that the network allows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.most_salient import most_salient
from maskwise.explainers import methods
from maskwise.explainers.cell_game import CellGame
from maskwise.explainers.doubts import flat_map
from maskwise.images import resize
from maskwise.maskers.class_gate import check_class_activation
from maskwise.maskers.own_encoder import SMALL
from maskwise.training import recipes
from maskwise.training.distil import DistilRecipe
from maskwise.training.likelihood import Bernoulli, likelihood_of
from maskwise.training.teacher import Lesson, Teacher, TeacherView
from maskwise.training.validation import Validation

SMOOTH = 8 / 224  # of the classifier's own size
GATE = 0.3  # excitation backpropagation finds one object whatever class it is asked for
PASTED = 0.5
PERCENT = (20, 100 / 3, 50)  # of a picture, that masks of a teacher who is judged keep
COLOURS = 3
BLACK_BOX = "banzhaf"  # its labels are unbiased, and less noisy than those of Shapley values
CELLS, SMOOTH_CELLS = 7, 14  # rows of a black box's map that are kept: as many as its teacher tells apart
FINDINGS = 3  # of a picture that a masker of a black box is asked for, where they don't exclude each other
MASKS = 32  # coalitions of cells a picture
TEACHERS: Mapping[str, tuple[str, ...]] = {
    "excitation_backprop": ("excitation_backprop",),
    "grad_cam": ("grad_cam",),
    "both": ("excitation_backprop", "grad_cam"),
}


def lesson(name: str, classifier: Classifier) -> Lesson:
    """What a teacher says of this classifier's pictures: one of ``TEACHERS``, or any method by its name.

    Raises:
        InputError: it is neither.
    """
    if name not in TEACHERS and name not in methods:
        raise InputError(
            f"`teacher` {name!r} is unknown: auto, none, {', '.join(TEACHERS)}, or a method (see `maskwise methods`)"
        )
    if classifier.is_black_box:
        return _unbent(name)
    gated = name == "excitation_backprop" and knows_classes(classifier)
    return Lesson(
        views={method: TeacherView.model_validate({}) for method in TEACHERS.get(name, (name,))},
        smooth=round(SMOOTH * classifier.input_size, 2), mirrored=False, stretch=True,
        class_gate=GATE if gated else None, grid=56,
    )  # fmt: skip


def _unbent(name: str) -> Lesson:
    """Of a method that only asks: its values as they are, since the noise of few masks averages out, and a bend stays.

    Raises:
        InputError: a method that asks for layers or gradients.
    """
    if name in TEACHERS and name not in methods:
        raise InputError(f"teacher {name!r} reads layers, and a black box shows none: {BLACK_BOX} needs none")
    in_cells = issubclass(methods.get(name), CellGame)
    view = TeacherView.model_validate({"options": {"masks": MASKS, "grid": CELLS} if in_cells else {}})
    grid = CELLS if in_cells else SMOOTH_CELLS
    return Lesson.model_validate({"views": {name: view}, "stretch": False, "grid": grid})


def taught_by(name: str, classifier: Classifier, overrides: Sequence[str] = ()) -> DistilRecipe:
    """The recipe that distils a teacher; the masker knows of the class as much as the network lets it.

    Args:
        name: as of ``lesson``.
        overrides: ``key=value`` settings.

    Raises:
        InputError: an unknown teacher or setting.
    """
    taught = f"teacher={json.dumps(lesson(name, classifier).model_dump(mode='json'))}"
    if classifier.is_black_box:
        several = isinstance(likelihood_of(classifier), Bernoulli)  # a picture may show more than its likeliest finding
        own = [taught, f"others={min(FINDINGS, len(classifier.labels)) - 1}"] if several else [taught]
        if classifier.channels != COLOURS:  # the encoders that come with weights take colour pictures
            own.append(f"encoder={SMALL}")
        return _distilled("black_box", [*own, *overrides])
    if knows_classes(classifier):
        own = [taught, f"pasted={PASTED}"]
    else:
        own = [taught, "class_tap=false", "class_gate=null"]
    return _distilled("distilled", [*own, *overrides])


def _distilled(name: str, overrides: Sequence[str]) -> DistilRecipe:
    recipe = recipes.load(name, overrides)
    assert isinstance(recipe, DistilRecipe)
    return recipe


def teacher_of(folder: str | Path, classifier: Classifier) -> str | None:
    """The teacher of ``TEACHERS`` that a training in that folder began with, if there is one."""
    written = Path(folder) / "recipe.yaml"
    if not written.is_file():
        return None
    recipe = recipes.load(written)
    return next((name for name in TEACHERS if getattr(recipe, "teacher", None) == lesson(name, classifier)), None)


def judge_teachers(classifier: Classifier, validation: Validation, names: Sequence[str]) -> dict[str, float]:
    """How well the maps of each teacher that the network allows order pixels: the lower, the better.

    The highest fifth, third and half of a map are kept, and hidden; it is the mean of (cross entropy of masked-in -
    entropy of masked-out) / 2 over these, in nats. So no teacher is better for larger masks, and no box is looked at.
    One whose maps are all flat is none, whatever the first pixels of the pictures show.

    Raises:
        InputError: an unknown name, or it allows none of them; the message is the last one's.
    """
    found: dict[str, float] = {}
    refused = None
    for name in names:
        wanted = lesson(name, classifier)
        try:
            maps = _maps(Teacher(classifier, wanted), validation)
            if flat_map(maps[:, None]).all():
                raise InputError(f"the maps of the teacher {name} are flat, and teach nothing: name another `teacher`")
        except InputError as error:
            refused = error
            continue
        found[name] = fmean(validation.quality(most_salient(maps, part).float()).objective for part in PERCENT)
    if not found:
        assert refused is not None
        raise refused
    return found


def _maps(teacher: Teacher, validation: Validation) -> Tensor:
    """(N,H,W) in [0,1]."""
    size, maps = (validation.images.shape[-2], validation.images.shape[-1]), []
    for images, labels in zip(validation.images.split(8), validation.labels.split(8), strict=True):
        maps.append(teacher(list(images), labels.tolist()))
    return resize(torch.cat(maps)[:, None], size)[:, 0]


def knows_classes(classifier: Classifier) -> bool:
    """Has it a class activation behind its last tap, as a masker's class tap and gate must have it?"""
    try:
        check_class_activation(classifier, "class_tap")
    except InputError:
        return False
    return True

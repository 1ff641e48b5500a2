"""A masker for your classifier in a coffee break: settings that work on few pictures, and how good it has become."""

from __future__ import annotations

import dataclasses
import signal
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from maskwise.classifiers import Classifier, load_classifier
from maskwise.classifiers.black_box import PictureFunction
from maskwise.core.errors import InputError
from maskwise.core.precision import Precision
from maskwise.core.signals import Interrupted
from maskwise.data import DataSet
from maskwise.data.content import picture_digests, same_as
from maskwise.data.damaged import damaged_line, name_among, without_damaged
from maskwise.data.picture_list import read_sources
from maskwise.data.subjects import held_out_of
from maskwise.maskers import load_agnostic_masker
from maskwise.training import recipes
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.callbacks import Callback, TrainingState
from maskwise.training.crop_size import LEAST_KNOWN, crop_size, share_known
from maskwise.training.draws import generator
from maskwise.training.likelihood import Bernoulli, likelihood_of
from maskwise.training.loader import Loader
from maskwise.training.mask import MaskTrainer
from maskwise.training.plateau import Plateau
from maskwise.training.run import check_new, train
from maskwise.training.teachers import BLACK_BOX, TEACHERS, judge_teachers, taught_by, teacher_of
from maskwise.training.validation import Quality, Validation

HELD_OUT = 0.1  # of the pictures, and at most as many as are judged in a few seconds
AT_MOST = 128
COMMON = ("title=fitted", "batch_size=32", "crop_area=[0.3, 1.0]", "head_std=0.02")
SETTINGS = (
    *COMMON, "row=null", "fraction=1", "target_area=0.4", "lr_decay=none",
)  # fmt: skip
AUTO, NONE = "auto", "none"
STEPS, MASKED_STEPS = 300, 600


@dataclass(frozen=True)
class Fitted:
    """What came out.

    Attributes:
        path: the masker's file.
        steps: of training.
        seconds: all in all.
        flattened: did the objective flatten before the last allowed step? None where a teacher was distilled, whose
            schedule has its fixed length.
        masker: its quality on the held-out pictures.
        centre: that of squares in the middle, each as large as the masker's mask of that picture.
        pictures: how many were trained on and how many were held out.
        teacher: who taught it; None where masked pictures did.
        teachers: those who could have, and how well their maps order pixels (see ``judge_teachers``).
    """

    path: Path
    steps: int
    seconds: float
    flattened: bool | None
    masker: Quality
    centre: Quality
    pictures: tuple[int, int]
    teacher: str | None = None
    teachers: Mapping[str, float] = field(default_factory=dict)


class _Keep(Callback):
    """Holds on to the training, for who asks after its end."""

    state: TrainingState | None = None

    def on_look(self, state: TrainingState) -> None:
        self.state = state


def fit(
    pictures: str | Path | Sequence[str | Path],
    classifier: str | Classifier | PictureFunction = "efficientnet_lite0",
    *,
    out: str | Path = "runs/fit",
    teacher: str = AUTO,
    size: int | None = None,
    max_steps: int | None = None,
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
    """Trains a masker for one classifier, which stays as it is.

    A teacher's maps, made once for each picture, are distilled into one forward (recipe ``distilled``). It is the one
    of ``TEACHERS`` whose maps order the pixels of held-out pictures best, among those that the network allows.

    With ``teacher="none"`` masked pictures teach instead: masked-in and masked-out objectives on the last two taps,
    with the settings that Phang et al. (2021) found to need the fewest pictures (recipe ``phang/fix``), a decoder that
    starts grey and lambda_r steered to a mask of two fifths of the picture. The learning rate falls to a tenth when the
    objective on held-out pictures has flattened, and the training ends when it has flattened again; the masker is that
    of the best look at them. That takes many times as long.

    A black box (a function of pictures, an ONNX file) is only asked: ``banzhaf`` teaches, 32 questions a picture, and
    the masker reads another network (recipe ``black_box``; ``overrides=["encoder=small"]`` learns one from nothing).

    Args:
        pictures: one or more sources (see ``read_data``), or picture files. Without labels the classifier's own
            predictions are used; of a network with sigmoid outputs a picture's label is a set of findings (``train``).
        classifier: a name, a file (``load_classifier``), a classifier, or a function of pictures.
        teacher: auto, none, one of ``TEACHERS``, or a method by its name. Auto is none for a network with sigmoid
            outputs: a method has a map also of a picture in which nothing is found, and the masker would learn it.
        size: pixels of the training pictures' longer side, in the shape that the classifier takes; None is 160, or the
            classifier's own where it takes no other, or says something else of more than half of the held-out pictures.
        max_steps: of 32 pictures. None is 300, all of which are taken, or 600 without a teacher.
        overrides: ``key=value`` settings of the recipe.
        resume: go on with an interrupted fit in ``out``.
        precision: fp32, bf16, fp16 or auto (see ``train``).
        callbacks: more that watch it (see ``Callback``).
        look_minutes, page, log, skip_damaged: as ``train``; the contact sheets show pictures that are held out here.

    Raises:
        InputError: bad data or classifier, too few pictures, an unknown teacher or one that the network does not allow,
            as a black box allows none that reads layers or gradients; or ``out`` is not empty.
        Interrupted: SIGINT or SIGTERM came (a KeyboardInterrupt). A checkpoint is there, and without a teacher the best
            masker so far, if there is one.
    """
    began = time.monotonic()
    if not isinstance(classifier, Classifier):
        classifier = load_classifier(classifier)
    if not resume:  # before pictures are judged for a minute
        check_new(Path(out))
    asked, size = size, _size(classifier, size)
    if classifier.is_black_box:
        teacher = _of_black_box(teacher, classifier)
    if teacher == AUTO and isinstance(likelihood_of(classifier), Bernoulli):
        teacher = NONE  # a teacher has a map of the strongest finding, also where nothing is found
    if max_steps is None:
        max_steps = STEPS if teacher != NONE else MASKED_STEPS
    common = () if classifier.is_black_box else COMMON
    own = [*common, f"steps={max_steps}", f"seed={seed}"]

    def recipe(taught: str) -> BaseRecipe:
        said = [*own, f"input_size={size}", *overrides]
        return recipes.load("phang/fix", [*SETTINGS, *said]) if taught == NONE else taught_by(taught, classifier, said)

    recipe(next(iter(TEACHERS)) if teacher == AUTO else teacher)  # what it refuses is said before anything is read
    kept, held_out = _split(read_sources(pictures), seed)
    if skip_damaged:
        held_out = _readable(held_out)
    if asked is None and not classifier.is_black_box:
        size = _size_that_it_reads(classifier, held_out, size)
    settings = recipe(next(iter(TEACHERS)) if teacher == AUTO else teacher)  # whose maps they are is said below
    # a teacher's maps, and the masks that it taught, are judged at the size at which they are asked for later
    validation = _validation(held_out, classifier, settings, size if teacher == NONE else classifier.input_size)
    plateau, keep = Plateau(lambda masker: validation.quality(validation.masks(masker)).objective), _Keep()
    watching, judged, chosen = [keep, *callbacks], {}, None
    if teacher == NONE:
        watching.insert(0, plateau)
    else:  # a fit that goes on keeps its teacher
        begun = teacher_of(out, classifier) if resume and teacher == AUTO else None
        candidates = list(TEACHERS) if teacher == AUTO and begun is None else [begun or teacher]
        judged = judge_teachers(classifier, validation, candidates)
        chosen = min(judged, key=judged.__getitem__)
        settings = recipe(chosen)
    try:
        path = train(
            settings, kept, classifier=classifier, out=out, resume=resume, device=device, precision=precision,
            progress=progress, callbacks=watching, look_minutes=look_minutes, page=page, log=log,
            held_out=held_out, skip_damaged=skip_damaged, verdict=False,  # it has its own
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
    masks = validation.masks(load_agnostic_masker(path, classifier).to(classifier.device))
    return Fitted(
        path,
        keep.state.step,
        time.monotonic() - began,
        plateau.flattened if teacher == NONE else None,
        validation.quality(masks),
        validation.quality(validation.centre(masks)),
        (sum(map(len, kept)), sum(map(len, held_out))),
        chosen,
        judged,
    )


def _of_black_box(teacher: str, classifier: Classifier) -> str:
    """Who teaches a masker of a classifier that is only asked.

    Raises:
        InputError: masked pictures, whose objectives need gradients.
    """
    if teacher == NONE:
        raise InputError(
            f"masked pictures teach by gradients, and {classifier.name} is a black box, which gives none: leave "
            f"`teacher` out, or name a method that only asks, such as {BLACK_BOX}, kernel_shap or occlusion"
        )
    return BLACK_BOX if teacher == AUTO else teacher


def _validation(held_out: Sequence[DataSet], classifier: Classifier, settings: BaseRecipe, size: int) -> Validation:
    """The held-out pictures, with the labels that a training would give them."""
    pixels = crop_size(classifier, size)
    loader = Loader(held_out, settings, pixels)
    loader.label_the_rest(classifier, sets=True)
    labels = [label or 0 for label in loader.labels]
    return Validation(loader.items, labels, classifier, pixels, loader.findings)


def _size(classifier: Classifier, wanted: int | None) -> int:
    """The longer side."""
    size = wanted or min(160, classifier.input_size)
    if classifier.is_black_box:  # it never sees the crops
        return size
    try:
        with torch.inference_mode():
            classifier.features(classifier.example(size=crop_size(classifier, size)))
    except Exception as error:  # a transformer's patches, say; each library has its own way to refuse
        if wanted is not None:
            raise InputError(f"{classifier.name} takes no pictures of {size} pixels: leave `size` out") from error
        return classifier.input_size
    return size


def _size_that_it_reads(classifier: Classifier, held_out: Sequence[DataSet], size: int) -> int:
    """The longer side: ``size``, if pictures that small tell the classifier what they do at its own size.

    Some networks know things by their size in pixels. A masker that learns from what such a one says of smaller
    pictures learns nothing of use.

    Warns:
        UserWarning: where it is the classifier's own instead.
    """
    if size >= classifier.input_size:
        return size
    pictures = [(data, record) for data in held_out for record in data.records]
    share = share_known(classifier, pictures, crop_size(classifier, size))
    if share >= LEAST_KNOWN:
        return size
    warnings.warn(
        f"of pictures of {size} pixels {classifier.name} says the same as at its own size in {share:.0%} only: it "
        f"trains at {classifier.input_size}, which takes longer (`size`)",
        stacklevel=3,
    )
    return classifier.input_size


def _split(sets: Sequence[DataSet], seed: int) -> tuple[list[DataSet], list[DataSet]]:
    """The sets without and with only the held-out pictures, which are drawn from all of them together.

    Of a subject all are held out or none, where it is known whose they are. A picture that is held out under one name
    is not trained on under another.

    Warns:
        UserWarning: where there are such; where there are no others, they are trained on all the same; where all are of
            one subject.

    Raises:
        InputError: fewer than two pictures, or a file can't be read.
    """
    total = sum(map(len, sets))
    count = min(max(round(HELD_OUT * total), 1), AT_MOST)
    if total < 2:
        raise InputError(f"{total} picture is too few to train on; give at least some dozens")
    whose = [record.subject for data in sets for record in data.records]
    drawn = set(held_out_of(whose, count, generator(seed, 5)))
    again = same_as([digest for data in sets for digest in picture_digests(data)], drawn) - drawn
    if len(drawn) + len(again) == total:  # nothing else is there to train on
        again = frozenset()
        warnings.warn(
            f"all {total} pictures are the same as those that are held out, under other names: what is said of these "
            "is said of trained ones; give different ones",
            stacklevel=3,
        )
    if again:
        warnings.warn(
            f"{len(again)} of {total} pictures are the same as some that are held out, under other names: they are not "
            "trained on",
            stacklevel=3,
        )
    kept, held_out, start, left_out = [], [], 0, drawn | again
    for data in sets:
        own = range(len(data))
        kept.append(data.subset(i for i in own if start + i not in left_out))
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

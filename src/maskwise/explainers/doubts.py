"""When a map may be wrong though it looks right: small checks of what a method has computed, each with its line.

A check is a function to bools, mostly one a picture, registered with its cause and its cure. Explainers run them on the
way and note what they find (``Explainer.doubt``); whoever asked for the map is told once.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.link import beyond_probability
from maskwise.classifiers.placement import is_misplaced
from maskwise.classifiers.steadiness import Steadiness
from maskwise.core.min_max import min_max
from maskwise.core.registry import Registry
from maskwise.core.written import Written

ROUNDING = 1e-6  # of a value: float32's, summed over a network's layers
ALIKE = 1e-4  # of the largest gradient: two backwards differ by more than their rounding only where classes do
FEW_PLACES = 4
FAINT_PROBABILITY = 1e-4
Hearing = Literal["nobody", "front door", "patches"]
# none: its answer has no graph; zero: none but zeros; alike: the same for two classes; unknown: an error came.
PixelGradient = Literal["none", "zero", "alike", "apart", "unknown"]

doubts: Registry[Any] = Registry("warning")
_hearing: ContextVar[Hearing] = ContextVar("hearing", default="nobody")
_absence_is_meant: ContextVar[bool] = ContextVar("absence_is_meant", default=False)
_pixel_gradients: WeakKeyDictionary[Classifier, tuple[Written, PixelGradient]] = WeakKeyDictionary()
_misplaced: WeakKeyDictionary[Classifier, tuple[Written, dict[str, bool]]] = WeakKeyDictionary()
_told: WeakKeyDictionary[Classifier, set[str]] = WeakKeyDictionary()


@doubts.register(
    "flat_map",
    cause="the map is flat: no place counts more than another",
    cure="ask for another class, or take another method",
)
def flat_map(maps: Tensor) -> Tensor:
    """(N,K) of maps (N,K,h,w) before they are stretched: is the range no more than rounding, or too small for it?"""
    same: Tensor = within_rounding(maps.amin((-2, -1)), maps.amax((-2, -1)))
    return same | (min_max(maps).amax((-2, -1)) == 0)


@doubts.register(
    "zero_gradient",
    cause="no gradient of the class reaches the layer that is read",
    cure="name another `layer`",
)
def zero_gradient(gradient: Tensor) -> Tensor:
    """(N,) of d score / d layer (N,…): is all of it zero?"""
    return (gradient == 0).flatten(1).all(1)


@doubts.register(
    "same_gradient",
    cause="all classes have the same gradient, so that the map is of no class",
    cure="see that the classifier gives the scores of its classes (`output`), or take rise",
)
def same_gradient(first: Tensor, second: Tensor) -> Tensor:
    """(N,) of the gradients (N,…) of two classes: are they one, within rounding, and not zero?"""
    largest = torch.maximum(first.abs(), second.abs()).flatten(1).amax(1)
    return ((first - second).abs().flatten(1).amax(1) <= ALIKE * largest) & (largest > 0)


@doubts.register(
    "dead_pixels",
    cause="the answer's gradient by the pixels is zero, so that nothing leads the mask",
    cure="see whether the network rounds its pictures or its scores, or take a method without gradients, such as rise",
)
def dead_pixels(known: PixelGradient) -> bool:
    """Of ``pixel_gradient``: does a mask on the pixels learn nothing from the answer?"""
    return known == "zero"


@doubts.register(
    "coarse_grid",
    cause="the map is enlarged from at most 2x2 places",
    cure="name an earlier `layer` or more cells (`grid`), or give the classifier larger pictures (`size`)",
)
def coarse_grid(grid: Tensor) -> bool:
    """Of activations or maps (…,h,w): are there too few places to tell where something is?"""
    return grid.shape[-2] * grid.shape[-1] <= FEW_PLACES


@doubts.register(
    "misplaced_grid",
    cause="the places of the layer that is read lie elsewhere in the picture than in its grid: the network mirrors, "
    "crops or pads its pictures, or keeps places in another order",
    cure="name another `layer`, give the network without that step, or take a method that reads no layer, such as rise",
)
def misplaced_grid(classifier: Classifier, layer: str) -> bool:
    """Does the layer's grid lie over the picture otherwise than it is drawn?

    Asked once a classifier and layer; again where a weight was written since, or a part replaced, such as one that
    mirrors pictures.
    """
    before = _misplaced.get(classifier)
    if before is None or before[0].since():
        before = _misplaced[classifier] = Written(classifier.module), {}
    known = before[1]
    if layer not in known:
        known[layer] = is_misplaced(classifier, layer)
    return known[layer]


@doubts.register(
    "dead_perturbation",
    cause="the score is the same under every mask, so that no place counts",
    cure="take another class or `scoring=logit`, or a method by gradients such as grad_cam",
)
def within_rounding(low: Tensor, high: Tensor) -> Tensor:
    """Where the largest and the smallest value of something differ by rounding only; not where one is NaN."""
    same: Tensor = high - low <= ROUNDING * torch.maximum(high.abs(), low.abs())
    return same


@doubts.register(
    "faint_perturbation",
    cause=f"no mask moves the class's probability by more than {FAINT_PROBABILITY:.4f}, and the map is stretched "
    "from that",
    cure="take another class, or `scoring=logit` where the method has it, or a method by gradients such as grad_cam",
)
def hardly_moves(low: Tensor, high: Tensor) -> Tensor:
    """Of probabilities: is there a difference beyond rounding, and is it next to none?"""
    faint: Tensor = (high - low <= FAINT_PROBABILITY) & ~within_rounding(low, high)
    return faint


@doubts.register(
    "no_class",
    cause="the class plays no part: the first stage, which knows none, takes all steps",
    cure="give more `iterations` than `inversion`",
)
def no_class(iterations: int, inversion: int) -> bool:
    """Of a method in two stages, the second of which alone asks for the class: does that one never come?"""
    return iterations <= inversion


@doubts.register(
    "nothing_found",
    cause="no class has a probability above 0.5: nothing is found in the picture",
    cure="take the map for what comes nearest to a finding, not for one",
)
def nothing_found(found: Tensor) -> Tensor:
    """(N,) of the findings (N,C) bool of networks whose classes don't exclude each other: is there none?"""
    return ~found.any(1)


@doubts.register(
    "not_found",
    cause="the class has no probability above 0.5, and others have: it is not found in the picture",
    cure="take the map for what speaks most for the class, not for a finding",
)
def not_found(found: Tensor, classes: Tensor) -> Tensor:
    """(N,K) of the findings (N,C) bool and the classes (N,K) that are explained: are there others, and is it none?"""
    return ~found.gather(1, classes) & found.any(1, keepdim=True)


@doubts.register(
    "nothing_counts",
    cause="no window's map, times the target's score there, exceeds `theta`",
    cure="lower `theta`; where it is 0, the score is nowhere above 0: ask for another target, or weights=softmax in "
    "place of logits",
)
def nothing_counts(best: Tensor, theta: float, fused: Tensor) -> Tensor:
    """(N,K) of SESS: is the fused map (N,K,H,W) empty, though windows have maps?

    With a theta above 0 it is that; without one, no score is above 0, of which ``best`` (N,K) is the largest.
    """
    empty = (fused == 0).flatten(2).all(2)
    return empty if theta > 0 else empty & (best <= 0)


@doubts.register(
    "no_probability",
    cause="the scores that weigh the windows are no probabilities: their offset weighs, too, and windows below 0 count "
    "nothing",
    cure="give a network whose scores lie in [0,1], as one that ends in a sigmoid does",
)
def no_probability(scores: Tensor, least: float = 0) -> Tensor:
    """(N,K) of SESS: is a score of a window (N,K,P) above 1, or below ``least``? Of -inf none was asked for."""
    return (beyond_probability(scores, least) & ~scores.isinf()).any(-1)


@doubts.register(
    "other_classifier",
    cause="the explainer was made for other weights than those of the classifier that is asked",
    cure="make it anew, with a masker that was trained on this classifier",
)
def other_classifier(made_for: str, asked: Classifier) -> bool:
    """Has the classifier another fingerprint than the one that the explainer, or its masker, was made for?"""
    return asked.fingerprint() != made_for


@doubts.register(
    "random_answers",
    cause="the classifier gives the same picture another answer each time, and the map another value",
    cure="switch off what is random in it: `F.dropout` needs `training=self.training`, a network within a function "
    "`eval()`",
)
def random_answers(steadiness: Steadiness) -> bool:
    """Of a classifier's: is there chance in its answers?"""
    return steadiness == "random"


@doubts.register(
    "answers_by_batch",
    cause="the classifier's answer to a picture depends on the pictures that it is asked about at once",
    cure="give its batch norm running statistics (`track_running_stats`), and a network within a function `eval()`",
)
def answers_by_batch(steadiness: Steadiness) -> bool:
    """Likewise: is it another one in other company?"""
    return steadiness == "batch"


class KnownWeights:
    """Whether a classifier still has the weights that it had: a fingerprint only where a weight was written since.

    Args:
        classifier: with those weights now.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier, self.fingerprint = classifier, classifier.fingerprint()
        self.written = Written(classifier.module)

    def have_changed(self) -> bool:
        if not self.written.since():
            return False
        if other_classifier(self.fingerprint, self.classifier):
            return True
        self.written = Written(self.classifier.module)  # the same values
        return False


# ---- who is told --------------------------------------------------------------------------------------------


@contextmanager
def handed_on() -> Iterator[None]:
    """While open, explainers give no Python warnings: the caller shows what their reports hold."""
    token = _hearing.set("front door")
    try:
        yield
    finally:
        _hearing.reset(token)


@contextmanager
def absence_is_meant() -> Iterator[None]:
    """While open, classes that are not found are asked for on purpose, as of randomised weights."""
    token = _absence_is_meant.set(True)
    try:
        yield
    finally:
        _absence_is_meant.reset(token)


def asks_for_absence() -> bool:
    """Is ``absence_is_meant`` open?"""
    return _absence_is_meant.get()


@contextmanager
def of_patches() -> Iterator[None]:
    """While open, the pictures are parts of others, in which there may well be nothing: no warnings, no errors."""
    token = _hearing.set("patches")
    try:
        yield
    finally:
        _hearing.reset(token)


def hearing() -> Hearing:
    """Who is told: ``nobody`` in particular, by a Python warning; a ``front door``; or who sums up ``patches``."""
    return _hearing.get()


def line_of(kind: str, title: str, classifier: str, where: Tensor | None = None) -> str:
    """One line: who, what is wrong, what to do, and of several pictures how many.

    Args:
        kind: as registered.
        title: of the explainer.
        classifier: its name.
        where: (N,) bool; None leaves the number out.

    Raises:
        InputError: unknown kind.
    """
    facts = doubts.facts(kind)
    count = "" if where is None or where.numel() < 2 else f" ({int(where.sum())} of {where.numel()} pictures)"
    return f"{title} on {classifier}: {facts['cause']}; {facts['cure']}{count}"


def warn_once(line: str, classifier: Classifier) -> None:
    """A Python warning, once for each classifier."""
    told = _told.setdefault(classifier, set())
    if line not in told:
        told.add(line)
        warnings.warn(line, stacklevel=2)


# ---- asked once of a classifier -----------------------------------------------------------------------------


def pixel_gradient(classifier: Classifier, images: Tensor) -> PixelGradient:
    """What gradients by the pixels its most and its least likely class have.

    Found once a classifier, by one forward and two backwards of the first picture that it explains; again for each
    call, where those of the last one were zero, or a weight was written since: a head learns to tell classes apart.

    Args:
        images: (1,C,H,W) in [0,1], of any size.
    """
    before = _pixel_gradients.get(classifier)
    if before is not None and before[1] != "zero" and not before[0].since():
        return before[1]
    written, found = Written(classifier.module), _pixel_gradient(classifier, images)
    _pixel_gradients[classifier] = written, found
    return found


def _pixel_gradient(classifier: Classifier, images: Tensor) -> PixelGradient:
    try:
        with torch.inference_mode(False), torch.enable_grad():
            pixels = classifier.prepare(images).detach().clone().float().requires_grad_(True)
            logits = classifier.logits(pixels)
            if not logits.requires_grad:
                return "none"
            ends = (logits[0].amax(), logits[0].amin())
            first, second = (torch.autograd.grad(end, pixels, retain_graph=True)[0].detach() for end in ends)
    except RuntimeError:  # the method itself will meet it
        return "unknown"
    if not first.any() and not second.any():
        return "zero"
    return "alike" if bool(same_gradient(first, second).all()) else "apart"

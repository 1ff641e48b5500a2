"""What every explainer shares: checks, targets, sizes, precision, and a defined answer for a flat map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.findings import found_classes
from maskwise.classifiers.link import beyond_probability
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.core.modes import eval_mode, frozen
from maskwise.core.precision import Precision, autocast
from maskwise.core.registry import Registry
from maskwise.explainers.doubts import (
    ROUNDING,
    answers_by_batch,
    asks_for_absence,
    coarse_grid,
    doubts,
    flat_map,
    hardly_moves,
    hearing,
    line_of,
    misplaced_grid,
    not_found,
    nothing_found,
    pixel_gradient,
    random_answers,
    warn_once,
    within_rounding,
)
from maskwise.explainers.gradient_errors import differentiation_error
from maskwise.explainers.targets import Targets, TargetsLike, many, parse_targets

methods: Registry[type[Explainer]] = Registry("method", caution="")
_turns: WeakKeyDictionary[Explainer, RLock] = WeakKeyDictionary()  # no attributes, since an explainer can be pickled


class Explainer:
    """Base of all methods: a callable ``(images, targets=None) -> maps``.

    A method is one class and one registration. It defines ``map`` (one target a picture); or ``saliency``, where
    several targets can share a forward; or ``saliency_and_logits``, where that forward is of the picture itself. Its
    constructor takes the classifier and, as keywords, its options.

    Attributes:
        normalise: stretch each map to [0,1] (min-max); a method whose values already mean something turns it off.
        signed: values lie in [-1,1] and not in [0,1], since their signs mean something; such maps are not stretched.
        needs_target: does the map depend on a class?
        upsampling: how a map is brought to the picture's size.
        precision: of the forwards: fp32, bf16, fp16, or auto (bf16 on a GPU that has it, else fp32). With bf16 and fp16
            they run under autocast; sums stay in float32.
        progress: called with (done, total) during long work.
        strict: an InputError in place of a warning.
        flat_is_meant: a map without contrast is what the method promises, and nothing to warn of.
        report: what the last call measured beside the maps, by name, as tensors (N,K); and ``warnings``, lines that
            say why its maps may be wrong (see ``doubts.py``), each with its cure.
        doubted: behind those lines, the pictures of the last call by kind: (N,) bool, or () for all of them.
        identity: plain data that tells this explainer from another: method, options, a masker's weights.
        asks_classifier: is the map made of the classifier's answers or features? References know no classifier.
        trained_on: metrics that its masker was trained to be good at, by name: they judge nothing new in it.
    """

    normalise: bool = True
    signed: bool = False
    needs_target: bool = True
    upsampling: ClassVar[str] = "bilinear"
    precision: Precision = "fp32"
    progress: Callable[[int, int], None] | None = None
    strict: bool = False
    flat_is_meant: ClassVar[bool] = False
    asks_classifier: ClassVar[bool] = True
    trained_on: tuple[str, ...] = ()

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.report: dict[str, Any] = {}
        self.doubted: dict[str, Tensor] = {}
        # Of the scores of masked pictures: the least, the largest, how many; and are they probabilities?
        self._spread: tuple[Tensor, Tensor, int, bool] | None = None
        self.identity: dict[str, Any] = {"method": type(self).__name__}

    def map(self, images: Tensor, targets: Targets) -> Tensor:
        """Maps (N,h,w) of images (N,3,S,S), at the classifier's input size, for one target a picture."""
        raise NotImplementedError  # a method defines this function or one of the next two

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        """Maps (N,K,h,w) of all targets."""
        if self.gives_logits:
            return self.saliency_and_logits(images, targets)[0]
        maps, reports = [], []
        for k in range(targets.count):
            self.report = {}
            maps.append(self.settled(self.map(images, targets.one(k))[:, None])[:, 0])
            reports.append(self.report)
        self.report = {name: torch.cat([r[name].reshape(-1, 1) for r in reports], 1) for name in reports[0]}
        return torch.stack(maps, 1)

    def saliency_and_logits(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """Maps (N,K,h,w) and the pictures' logits (N,C), for a method whose first forward is of the picture itself."""
        raise NotImplementedError

    @property
    def gives_logits(self) -> bool:
        """Do logits come with the maps, so that nobody who needs both computes a forward twice?"""
        return type(self).saliency_and_logits is not Explainer.saliency_and_logits

    @property
    def gives_own_logits(self) -> bool:
        """Are those the classifier's own, and not those of a copy that has learnt on?"""
        return self.gives_logits

    @property
    def shows_findings(self) -> bool:
        """Is a map taken for a place of what the network finds, which there may be none of?"""
        return self.needs_target

    @property
    def map_is_free(self) -> bool:
        """Where logits come with the maps: is the map hardly any work beyond that forward?"""
        return False

    def __call__(self, images: Tensor, targets: TargetsLike = None) -> Tensor:
        """Saliency maps.

        Args:
            images: (N,3,H,W), float RGB in [0,1], any size.
            targets: class of each picture (index, name or WordNet id), one for all, or None for the top class;
                (N,K) or nested lists for several classes of each picture; a contrast of classes in place of one
                (``"cat - dog"``, ``"finer"`` or ``Contrast``); or a function from logits (n,C) to the
                scores (n,) to be explained.

        Returns:
            (N,H,W) float32 in [0,1], or in [-1,1] where a method was asked for signs, at the images' size; 1 = salient;
            with (N,K) targets (N,K,H,W). A map without any contrast is zeros.

        Raises:
            InputError: wrong shape, type or range; unknown class; a map that holds NaN; or with ``strict`` what would
                else be a warning.
        """
        check_images(images, self.classifier.channels)
        device = images.device
        images = images.float()  # of half precision; a CPU does not resize such, and sums are in float32 anyway
        with self.calling():
            parsed = parse_targets(targets, len(images), self.classifier)
            # Tensors of a caller's inference mode could not be differentiated.
            given = images.clone() if images.is_inference() else images
            if parsed.score is None:
                self._doubt_gradient(given[:1])
            maps = self.explain(given, parsed)
        maps = maps.to(device).clamp(-1 if self.signed else 0, 1)
        return maps if many(targets) else maps[:, 0]

    @contextmanager
    def calling(self) -> Iterator[None]:
        """What a call sets and puts back: a fresh report, eval mode, precision, no gradients unless asked for.

        At its end the report has its warnings, and somebody is told. Calls of several threads wait for each other: what
        one has noted would else decide about another's map.

        Raises:
            InputError: the network can't be differentiated.
        """
        with _turns.setdefault(self, RLock()), self._noting():
            yield

    @contextmanager
    def _noting(self) -> Iterator[None]:
        self.report, self.doubted, self._spread = {}, {}, None
        if self.asks_classifier:
            self.doubt("random_answers", random_answers(self.classifier.steadiness))
            self.doubt("answers_by_batch", answers_by_batch(self.classifier.steadiness))
        self.doubt("misplaced_grid", any(misplaced_grid(self.classifier, layer) for layer in self.grids_read))
        precise = autocast(self.precision, self.classifier.device.type)
        held = self.classifier
        try:
            with torch.inference_mode(False), torch.no_grad(), eval_mode(held), frozen(held), precise:
                yield
        except RuntimeError as error:
            said = differentiation_error(error, held.name)
            if said is None:
                raise
            raise said from error
        self._tell()

    def ask_once(self, image: Tensor) -> None:
        """Finds out what is known of the classifier for good, so that no later call pays for it.

        Args:
            image: (1,C,H,W) in [0,1].
        """
        with self.calling():
            self._doubt_gradient(image)

    def explain(self, images: Tensor, targets: Targets) -> Tensor:
        """Maps (N,K,H,W) at the images' size, for targets that are parsed."""
        maps, logits = self.low_resolution(images, targets)
        self.doubt_findings(images, targets, logits if self.gives_own_logits else None)
        return self.upsample(maps, (images.shape[-2], images.shape[-1]))

    def low_resolution(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor | None]:
        """Maps (N,K,h,w) in the method's own resolution, and logits (N,C) where they come with them."""
        prepared = self.classifier.prepare(images).float().contiguous(memory_format=torch.channels_last)
        if self.gives_logits:
            maps, logits = self.saliency_and_logits(prepared, targets)
        else:
            maps, logits = self.saliency(prepared, targets), None
        maps = self.settled(maps.detach().float())
        if not maps.isfinite().all():
            raise InputError("the map holds NaN or infinity: the classifier or the masker gives such values")
        self.doubt("coarse_grid", coarse_grid(maps))
        if not self.flat_is_meant:
            self.doubt_flat(maps)
        return min_max(maps) if self.normalise else maps, None if logits is None else logits.detach()

    def upsample(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Maps (N,K,h,w) brought to ``size`` (H,W)."""
        if maps.shape[-2:] == size:
            return maps
        corners = None if self.upsampling == "nearest" else False
        return F.interpolate(maps, size, mode=self.upsampling, align_corners=corners)

    # ---- what may be wrong ----------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What lines call it: its method, and the layer that it reads."""
        layer = getattr(self, "layer", None)
        return str(self.identity.get("method", type(self).__name__)) + ("" if layer is None else f" at {layer}")

    @property
    def differentiates(self) -> bool:
        """Is the map made of gradients?"""
        return any(facts.get("needs_gradients") for name, facts in methods.items() if methods.get(name) is type(self))

    @property
    def grids_read(self) -> tuple[str, ...]:
        """Names of the layers whose places the map is made of."""
        return ()

    def doubt(self, kind: str, where: Tensor | bool) -> None:
        """Notes pictures of this call whose map may be wrong.

        Args:
            kind: a name in ``doubts``.
            where: (N,) or (N,K) bool; or one value for all pictures.
        """
        if where is False:  # a GPU need not be asked
            return
        noted = torch.as_tensor(where, device=self.classifier.device)
        noted = noted.flatten(1).any(1) if noted.ndim > 1 else noted
        if noted.any():
            doubts.get(kind)
            self.doubted[kind] = noted | self.doubted[kind] if kind in self.doubted else noted

    def _doubt_gradient(self, image: Tensor) -> None:
        if self.differentiates and self.needs_target and len(self.classifier.labels) > 1:
            self.doubt("same_gradient", pixel_gradient(self.classifier, image) == "alike")

    def doubt_flat(self, maps: Tensor) -> None:
        """Notes flat maps (N,K,h,w); one whose reason is known needs no second line."""
        flat = flat_map(maps).any(1)
        if not (self.normalise or self.signed):  # shown as they are: of values up to 1 such a range is none
            flat |= (maps.amax((-2, -1)) - maps.amin((-2, -1)) <= ROUNDING).any(1)
        for known in self.doubted.values():
            flat = flat & ~known.to(flat.device)
        self.doubt("flat_map", flat)

    def doubt_findings(self, images: Tensor, targets: Targets, logits: Tensor | None) -> None:
        """Notes pictures (N,C,H,W) in which the network does not find what the map is of.

        Costs a forward, of networks of findings alone, where no ``logits`` (N,C) of the classifier are there already.
        """
        asked = self.classifier
        if not (asked.gives_findings and self.shows_findings) or targets.score is not None or asks_for_absence():
            return
        if logits is None:
            logits = asked.logits(asked.prepare(images))
        try:
            there = found_classes(asked, logits)
        except InputError:  # numbers that are no probabilities
            return
        self.doubt("nothing_found", nothing_found(there))
        if self.needs_target:
            self.doubt("not_found", not_found(there, targets.classes_of(logits).to(there.device)))

    def adopt(self, *parts: Explainer) -> None:
        """Notes what explainers have noted that this one is made of."""
        for part in parts:
            for kind, where in part.doubted.items():
                self.doubt(kind, where)
            part.doubted = {}

    def scored(self, values: Tensor, probabilities: bool = False) -> None:
        """Notes scores (N,n,K) of n masked copies of each picture: a map of scores that never differ says nothing.

        Args:
            probabilities: are they, and not logits? Of those a difference can be called small.
        """
        low, high, count = values.detach().amin(1), values.detach().amax(1), values.shape[1]
        if self._spread is not None:
            low, high, count = low.minimum(self._spread[0]), high.maximum(self._spread[1]), count + self._spread[2]
            probabilities &= self._spread[3]
        self._spread = (low, high, count, probabilities)

    def settled(self, maps: Tensor) -> Tensor:
        """Maps (N,K,h,w), with zeros where the scores of all masked copies were the same.

        What differs there is the masks' own noise, which stretching would make a picture of.
        """
        if self._spread is None:
            return maps
        (low, high, count, probabilities), self._spread = self._spread, None
        if count < 2:
            return maps
        dead = within_rounding(low, high)
        self.doubt("dead_perturbation", dead)
        if probabilities:
            faint = hardly_moves(low, high)
            if self.classifier.activation == "none":  # of an age nobody knows what is small
                faint &= ~(beyond_probability(low) | beyond_probability(high))
            # A map of zeros is stretched from nothing.
            self.doubt("faint_perturbation", faint & (maps != 0).any(-1).any(-1).to(low.device))
        if "dead_pixels" in self.doubted:  # the same fault: one line is enough
            self.doubt("dead_pixels", self.doubted.pop("dead_pixels") & ~dead.any(1))
        return torch.where(dead[..., None, None], 0.0, maps) if self.normalise else maps

    def _tell(self) -> None:
        """Files this call's warnings, and raises or warns where nobody else sees to it."""
        name, heard = self.classifier.name, hearing()
        self.report["warnings"] = [line_of(kind, self.title, name, where) for kind, where in self.doubted.items()]
        if heard == "patches":
            return
        if self.strict and self.doubted:
            raise InputError(self.report["warnings"][0])
        if heard == "nobody":
            for kind in self.doubted:
                warn_once(line_of(kind, self.title, name), self.classifier)

    def resolve(self, images: Tensor, targets: Targets) -> Targets:
        """Targets with the top class made definite; costs a forward only where it must be found."""
        if targets.settled:
            return targets
        with torch.no_grad():
            return targets.resolved(self.classifier.logits(images))


def check_images(images: Tensor, channels: int = 3) -> None:
    """Raises InputError unless they are pictures (N,C,H,W) in [0,1] of so many channels; RGB may stand for grey."""
    taken = (1, 3) if channels == 1 else (channels,)  # data sets are RGB
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] not in taken or not images.numel():
        shape = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"images must be a tensor (N,{channels},H,W), not {shape}")
    if not images.is_floating_point():
        raise InputError(f"images must be float in [0,1], not {images.dtype}")
    low, high = images.aminmax()
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise InputError(
            f"images must lie in [0,1], not [{low:.3g}, {high:.3g}]; do not normalise them yourself, the classifier "
            "does: images * std + mean undoes it"
        )


@contextmanager
def recording(images: Tensor) -> Iterator[Tensor]:
    """Gradients on; gives the pictures as a tensor that asks for them."""
    with torch.enable_grad():
        yield images.detach().requires_grad_(True)


def gradients(wanted: Tensor, of: Tensor) -> Iterator[Tensor]:
    """d sum_n wanted[n,k] / d ``of``, one k after another, through one shared forward."""
    last = wanted.shape[1] - 1
    for k in range(wanted.shape[1]):
        yield torch.autograd.grad(wanted[:, k].sum(), of, retain_graph=k < last)[0]

"""What every explainer shares: checks, targets, sizes, precision, and a defined answer for a flat map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.core.modes import eval_mode, frozen
from maskwise.core.precision import Precision, autocast
from maskwise.core.registry import Registry
from maskwise.explainers.targets import Targets, TargetsLike, many, parse_targets

methods: Registry[type[Explainer]] = Registry("method")


class Explainer:
    """Base of all methods: a callable ``(images, targets=None) -> maps``.

    A method is one class and one registration. It defines ``map`` (one target a picture); or ``saliency``, where
    several targets can share a forward; or ``saliency_and_logits``, where that forward is of the picture itself. Its
    constructor takes the classifier and, as keywords, its options.

    Attributes:
        normalise: stretch each map to [0,1] (min-max); a method whose values already mean something turns it off.
        needs_target: does the map depend on a class?
        upsampling: how a map is brought to the picture's size.
        precision: of the forwards: fp32, bf16, fp16, or auto (bf16 on a GPU that has it, else fp32). With bf16 and fp16
            they run under autocast; sums stay in float32.
        progress: called with (done, total) during long work.
        report: what the last call measured beside the maps, by name; tensors are (N,K).
        identity: plain data that tells this explainer from another: method, options, a masker's weights.
    """

    normalise: ClassVar[bool] = True
    needs_target: bool = True
    upsampling: ClassVar[str] = "bilinear"
    precision: Precision = "fp32"
    progress: Callable[[int, int], None] | None = None

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.report: dict[str, Tensor] = {}
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
            maps.append(self.map(images, targets.one(k)))
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
    def map_is_free(self) -> bool:
        """Where logits come with the maps: is the map hardly any work beyond that forward?"""
        return False

    def __call__(self, images: Tensor, targets: TargetsLike = None) -> Tensor:
        """Saliency maps.

        Args:
            images: (N,3,H,W), float RGB in [0,1], any size.
            targets: class of each picture (index, name or WordNet id), one for all, or None for the top class;
                (N,K) or nested lists for several classes of each picture; or a function from logits (n,C) to the
                scores (n,) to be explained.

        Returns:
            (N,H,W) float32 in [0,1], at the images' size; 1 = salient; with (N,K) targets (N,K,H,W). A map without
            any contrast is zeros.

        Raises:
            InputError: wrong shape, type or range; unknown class; or a map that holds NaN.
        """
        check_images(images, self.classifier.channels)
        device = images.device
        images = images.float()  # of half precision; a CPU does not resize such, and sums are in float32 anyway
        with self.calling():
            parsed = parse_targets(targets, len(images), self.classifier)
            # Tensors of a caller's inference mode could not be differentiated.
            maps = self.explain(images.clone() if images.is_inference() else images, parsed)
        maps = maps.to(device).clamp(0, 1)
        return maps if many(targets) else maps[:, 0]

    @contextmanager
    def calling(self) -> Iterator[None]:
        """What a call sets and puts back: a fresh report, eval mode, precision, no gradients unless asked for."""
        self.report = {}
        precise = autocast(self.precision, self.classifier.device.type)
        held = self.classifier
        with torch.inference_mode(False), torch.no_grad(), eval_mode(held), frozen(held), precise:
            yield

    def explain(self, images: Tensor, targets: Targets) -> Tensor:
        """Maps (N,K,H,W) at the images' size, for targets that are parsed."""
        maps, _ = self.low_resolution(images, targets)
        return self.upsample(maps, (images.shape[-2], images.shape[-1]))

    def low_resolution(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor | None]:
        """Maps (N,K,h,w) in the method's own resolution, and logits (N,C) where they come with them."""
        prepared = self.classifier.prepare(images).float().contiguous(memory_format=torch.channels_last)
        if self.gives_logits:
            maps, logits = self.saliency_and_logits(prepared, targets)
        else:
            maps, logits = self.saliency(prepared, targets), None
        maps = maps.detach().float()
        if not maps.isfinite().all():
            raise InputError("the map holds NaN or infinity: the classifier or the masker gives such values")
        return min_max(maps) if self.normalise else maps, None if logits is None else logits.detach()

    def upsample(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Maps (N,K,h,w) brought to ``size`` (H,W)."""
        if maps.shape[-2:] == size:
            return maps
        corners = None if self.upsampling == "nearest" else False
        return F.interpolate(maps, size, mode=self.upsampling, align_corners=corners)

    def resolve(self, images: Tensor, targets: Targets) -> Targets:
        """Targets with the top class made definite; costs a forward only where it must be found."""
        if targets.classes is not None or targets.score is not None:
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
        raise InputError(f"images must lie in [0,1], not [{low:.3g}, {high:.3g}]; do not normalise them yourself")


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

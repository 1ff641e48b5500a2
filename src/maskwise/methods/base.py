"""What every explainer shares: checks, targets, sizes, and a defined answer for a flat map."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.errors import InputError
from maskwise.registry import Registry

Targets = int | str | Sequence[int | str] | Tensor | None
methods: Registry[type[Explainer]] = Registry("method")


class Explainer:
    """Base of all methods: a callable ``(images, targets=None) -> maps``.

    A method is one class with ``saliency`` and one registration. Its constructor takes the classifier and, as
    keywords, its options.

    Attributes:
        normalise: stretch each map to [0,1] (min-max); a method whose values already mean something turns it off.
        needs_target: does the map depend on a class?
        upsampling: how a map is brought to the picture's size.
    """

    normalise: ClassVar[bool] = True
    needs_target: ClassVar[bool] = True
    upsampling: ClassVar[str] = "bilinear"

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def saliency(self, images: Tensor, targets: Tensor | None) -> Tensor:
        """Maps (N,h,w) of images (N,3,S,S) at the classifier's input size and targets (N,)."""
        raise NotImplementedError  # each method is this function

    def __call__(self, images: Tensor, targets: Targets = None) -> Tensor:
        """Saliency maps.

        Args:
            images: (N,3,H,W), float RGB in [0,1], any size.
            targets: class of each picture (index, name or WordNet id), one for all, or None for the top class.

        Returns:
            (N,H,W) float32 in [0,1], at the images' size; 1 = salient. A map without any contrast is zeros.

        Raises:
            InputError: wrong shape, type or range; unknown class; or a map that holds NaN.
        """
        _check(images)
        wanted = self.resolve(targets, len(images))
        with untouched(self.classifier):
            prepared = self.classifier.prepare(images)
            maps = self.saliency(prepared, wanted).detach().float()
        if not maps.isfinite().all():
            raise InputError("the map holds NaN or infinity: the classifier or the masker gives such values")
        if self.normalise:
            maps = min_max(maps)
        maps = maps.to(images.device)
        if maps.shape[-2:] != images.shape[-2:]:
            corners = None if self.upsampling == "nearest" else False
            size = (images.shape[-2], images.shape[-1])
            maps = F.interpolate(maps[:, None], size, mode=self.upsampling, align_corners=corners)[:, 0]
        return maps.clamp(0, 1)

    def resolve(self, targets: Targets, count: int) -> Tensor | None:
        """Targets as int64 (N,) on the classifier's device; None stays None."""
        if targets is None:
            return None
        labels = self.classifier.labels
        if isinstance(targets, (int, str)):
            targets = [targets] * count
        given = targets.reshape(-1).tolist() if isinstance(targets, Tensor) else list(targets)
        if len(given) != count:
            raise InputError(f"{len(given)} targets for {count} images")
        return torch.tensor([labels.resolve(t) for t in given], device=self.classifier.device)


def _check(images: Tensor) -> None:
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3 or not images.numel():
        shape = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"images must be a tensor (N,3,H,W), not {shape}")
    if not images.is_floating_point():
        raise InputError(f"images must be float RGB in [0,1], not {images.dtype}")
    low, high = images.aminmax()
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise InputError(f"images must lie in [0,1], not [{low:.3g}, {high:.3g}]; do not normalise them yourself")


@contextmanager
def untouched(classifier: Classifier) -> Iterator[None]:
    """The classifier's training flags are what they were afterwards; in between it is in eval mode."""
    flags = [(m, m.training) for m in classifier.modules()]
    classifier.eval()
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag


def min_max(maps: Tensor) -> Tensor:
    """Each map (N,h,w) stretched to [0,1]; one without contrast becomes zeros."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    span = high - low
    flat = span <= 1e-12 * high.abs().clamp(min=1e-12)
    return torch.where(flat, 0.0, (maps - low) / torch.where(flat, 1.0, span))


def pick(logits: Tensor, targets: Tensor | None) -> Tensor:
    """The target's logit of each picture (N,); without targets the largest."""
    chosen = logits.argmax(1) if targets is None else targets
    return logits.gather(1, chosen[:, None])[:, 0]


def explainer(name: str, classifier: Classifier, **options: Any) -> Explainer:
    """An explainer by name.

    Args:
        name: as ``maskwise methods`` lists it.
        classifier: what is explained.
        options: the method's own keywords.

    Raises:
        InputError: unknown method, or an option that it does not have.
    """
    method = methods.get(name)
    known = [p for p in inspect.signature(method).parameters if p != "classifier"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InputError(f"{name} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    return method(classifier, **options)

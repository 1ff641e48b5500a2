"""Explainers from elsewhere as ours, ours as functions that Quantus calls, and maps as labels of FiftyOne."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers.base import Explainer
from maskwise.explainers.targets import Targets
from maskwise.images import resize_maps

Inputs = Literal["auto", "images", "normalised"]
Channels = Literal["abs_max", "abs_sum", "sum"]


class AdaptedExplainer(Explainer):
    """A captum attribution object, or any function, as an explainer.

    Its attributions, (N,C,h,w) or (N,h,w), are brought to one channel and stretched to [0,1].

    Args:
        source: an object with captum's ``attribute(inputs, target=…)``; or a function ``(images, targets)``, or of the
            images alone, that returns a tensor or an array.
        classifier: what is explained, and whose top class is the target where none is named.
        inputs: what the source takes: ``images`` in [0,1], or ``normalised`` ones. ``auto``: a captum object built
            around a network takes normalised images, as the network does; built around ``classifier`` or
            ``classifier.logits``, and every plain function, takes images in [0,1].
        channels: ``abs_max`` or ``abs_sum`` of the channels, or their ``sum`` without what is negative.
        options: keywords for the source, such as ``n_steps=50``.

    Raises:
        InputError: no function and no captum object, or attributions of another shape.

    Example:
        >>> from captum.attr import Saliency                                  # doctest: +SKIP
        >>> explain = mw.explainer(Saliency(classifier.module), classifier)   # doctest: +SKIP
    """

    def __init__(
        self,
        source: Any,
        classifier: Classifier,
        inputs: Inputs = "auto",
        channels: Channels = "abs_max",
        **options: Any,
    ) -> None:
        super().__init__(classifier)
        self.captum = callable(getattr(source, "attribute", None))
        if not self.captum and not callable(source):
            raise InputError(f"an explainer is a method's name, a captum object or a function, not {type(source)}")
        if inputs not in ("auto", "images", "normalised") or channels not in ("abs_max", "abs_sum", "sum"):
            raise InputError("inputs is auto, images or normalised, and channels is abs_max, abs_sum or sum")
        self.source, self.channels, self.options = source, channels, options
        self.normalised = _takes_normalised(source, classifier) if inputs == "auto" else inputs == "normalised"
        self.identity = {"method": _name(source), "channels": channels, "normalised": self.normalised, **options}

    def map(self, images: Tensor, targets: Targets) -> Tensor:
        targets = self.resolve(images, targets)
        if targets.classes is None:
            raise InputError("this explainer takes a class, not a function of the scores")
        given = self.classifier.normalise(images) if self.normalised else images
        classes = targets.classes[:, 0].to(images.device)
        with torch.enable_grad():
            if self.captum:
                found = self.source.attribute(given.detach().requires_grad_(True), target=classes, **self.options)
            elif _takes_targets(self.source):
                found = self.source(given, classes, **self.options)
            else:
                found = self.source(given, **self.options)
        return self._one_channel(found, len(images))

    def _one_channel(self, found: Any, count: int) -> Tensor:
        maps = torch.from_numpy(np.array(found)) if isinstance(found, np.ndarray) else found
        if not isinstance(maps, Tensor) or maps.ndim not in (3, 4) or len(maps) != count:
            raise InputError(f"attributions must be ({count},C,h,w) or ({count},h,w), not {_shape(found)}")
        maps = maps.detach().float().to(self.classifier.device)
        if maps.ndim == 3:
            return maps
        if self.channels == "sum":
            return maps.sum(1).relu()
        return maps.abs().amax(1) if self.channels == "abs_max" else maps.abs().sum(1)


def _takes_normalised(source: Any, classifier: Classifier) -> bool:
    """Does a captum object differentiate a network of normalised images?"""
    network = getattr(source, "forward_func", getattr(source, "model", None))
    owner = getattr(network, "__self__", network)
    return isinstance(owner, nn.Module) and owner is not classifier


def _takes_targets(function: Callable[..., Any]) -> bool:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return True
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    return len(places) > 1 or any(p.kind is p.VAR_POSITIONAL for p in places)


def _name(source: Any) -> str:
    return getattr(source, "__name__", type(source).__name__)


def _shape(found: Any) -> str:
    return str(tuple(found.shape)) if hasattr(found, "shape") else type(found).__name__


def as_quantus(explainer: Callable[..., Tensor], classifier: Classifier | None = None) -> Callable[..., np.ndarray]:
    """An explainer as the ``explain_func`` of Quantus's metrics.

    Quantus hands over what its model takes: give it ``classifier.module`` and normalised images, as usual there. The
    images are brought back to [0,1] for the explainer, whose own classifier is what is explained: metrics that
    change the model's weights need an explainer made anew, and are refused.

    Args:
        explainer: any explainer ``(images, targets) -> maps``.
        classifier: its classifier, where it does not bring one.

    Returns:
        A function ``(model, inputs (N,3,H,W), targets (N,)) -> attributions (N,1,H,W)`` of arrays.

    Raises:
        InputError: no classifier, or Quantus asks for another model than the explainer's.
    """
    found = classifier if classifier is not None else getattr(explainer, "classifier", None)
    if not isinstance(found, Classifier):
        raise InputError("this explainer brings no classifier: name it, as_quantus(explainer, classifier)")

    def explain(model: Any, inputs: Any, targets: Any, **options: Any) -> np.ndarray:
        if isinstance(model, nn.Module) and model is not found.module and model is not found:
            raise InputError(f"Quantus asks for another model than {found.name}: make an explainer for that one")
        given = torch.as_tensor(np.asarray(inputs), dtype=torch.float32, device=found.device)
        images = given if model is found else given * found.std[:, None, None] + found.mean[:, None, None]
        classes = torch.as_tensor(np.asarray(targets), dtype=torch.int64, device=found.device)
        maps = explainer(images.clamp(0, 1), classes)
        if maps.shape[-2:] != images.shape[-2:]:
            maps = resize_maps(maps, (images.shape[-2], images.shape[-1]))
        return maps[:, None].cpu().numpy()

    return explain


def as_heatmaps(maps: Tensor) -> list[Any]:
    """Maps (N,H,W) in [0,1] as FiftyOne's labels: ``sample["grad_cam"] = as_heatmaps(maps)[0]``."""
    import fiftyone

    return [fiftyone.Heatmap(map=one.numpy(), range=[0, 1]) for one in maps.detach().float().cpu()]

"""What is checked: something that makes maps, and the network behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.checks.rows import Values, as_float
from maskwise.classifiers import Classifier
from maskwise.classifiers.findings import found_classes
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode
from maskwise.evaluation import Contender
from maskwise.evaluation.contender import innermost, made_for
from maskwise.evaluation.given_maps import GivenMaps
from maskwise.explainers.base import Explainer
from maskwise.explainers.doubts import absence_is_meant
from maskwise.explainers.masker import MaskerExplainer
from maskwise.sess.sweep import AnyExplainer

ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True)
class Subject:
    """Maps of any explainer, as the checks compare them.

    Attributes:
        explain: (images, targets) -> maps (N,H,W).
        network: the classifier whose weights the maps come from: the one explained, or a masker's own encoder.
        logits: the maps are mask logits, and not values in [0,1].
        identity: plain data that tells this explainer from another.
        beside: networks of the same layers that the maps come from, too: the encoder of a masker within the explainer.
    """

    explain: AnyExplainer
    network: Classifier
    logits: bool
    identity: dict[str, Any]
    beside: tuple[Classifier, ...] = ()

    @classmethod
    def of(cls, explainer: AnyExplainer, classifier: Classifier, before_sigmoid: bool | None = None) -> Subject:
        """Of any explainer of ``classifier``.

        Args:
            explainer: a built-in one, SESS, or a function (images, targets) -> maps.
            classifier: what it explains.
            before_sigmoid: take a masker's logits, as the released code does. None does so wherever there is a masker
                whose mask is made of them place by place: a gate, superpixels or colours leave no logits of the mask.

        Raises:
            InputError: logits of something that has none, or maps from files.
        """
        if isinstance(explainer, GivenMaps):
            raise InputError("a check asks for maps of other weights, which files can't give: name the method itself")
        inner = innermost(explainer)
        encoder = getattr(getattr(inner, "masker", None), "encoder", None)
        network = encoder if isinstance(encoder, Classifier) else classifier
        name = getattr(explainer, "__name__", type(explainer).__name__)
        known = Contender.of(name, explainer)
        # What can't be told from another one of its name is nobody whom a kept map could belong to.
        unclear = known.unread is not None or known.takes_ids
        identity = known.identity | ({"unread": uuid4().hex} if unclear else {})
        if others := made_for(explainer, classifier):
            identity["made for"] = others
        if (
            before_sigmoid is not False
            and isinstance(explainer, MaskerExplainer)
            and explainer.masker.finish.is_pointwise
        ):
            return cls(_MaskLogits(explainer), network, True, identity)
        if before_sigmoid:
            raise InputError(
                "only a masker without a class gate, superpixels and pamr has values before the sigmoid: leave "
                "before_sigmoid out"
            )
        return cls(explainer, network, False, identity, _beside(inner, network))

    def maps(self, images: Tensor, targets: Tensor | None, batch: int = 32) -> Tensor:
        """Maps (N,H,W) float32, on the CPU, of images (N,3,H,W), float in [0,1] or uint8, ``batch`` at once.

        Raises:
            InputError: maps of another shape, or NaN in them.
        """
        made = []
        for first in range(0, len(images), batch):
            part = as_float(images[first : first + batch]).to(self.network.device)
            target = None if targets is None else targets[first : first + batch].to(self.network.device)
            with absence_is_meant():  # of randomised weights, say, which find what they may
                maps = torch.as_tensor(self.explain(part, target)).detach().float().cpu()
            if maps.shape != (len(part), *part.shape[-2:]):
                raise InputError(f"an explainer gives maps {(len(part), *part.shape[-2:])}, not {tuple(maps.shape)}")
            if not maps.isfinite().all():
                raise InputError("the map holds NaN or infinity: the classifier or the masker gives such values")
            made.append(maps)
        return torch.cat(made)


def _beside(explainer: Any, network: Classifier) -> tuple[Classifier, ...]:
    """Encoders of the maskers that an explainer is made of, where they are ``network`` by their layers."""
    parts = vars(explainer).values() if isinstance(explainer, Explainer) else ()
    encoders = [part.masker.encoder for part in parts if isinstance(part, MaskerExplainer)]
    layers = {name for name, _ in network.module.named_modules()}
    return tuple(
        one for one in encoders if one is not network and layers == {name for name, _ in one.module.named_modules()}
    )


@dataclass(frozen=True)
class _MaskLogits:
    """A masker's mask before the sigmoid, each value repeated up to the picture's size as the mask's is."""

    explainer: MaskerExplainer

    @torch.no_grad()
    def __call__(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        masker, judge = self.explainer.masker, self.explainer.judge
        prepared = masker.encoder.prepare(images).contiguous(memory_format=torch.channels_last)
        with eval_mode(masker.encoder):
            scores, taps = masker.encoder.features(prepared)
        if targets is None:
            scores = scores if judge is masker.encoder else judge.logits(prepared)
            targets = scores.argmax(1)
        logits = masker.logits_of(taps, (prepared.shape[-2], prepared.shape[-1]), targets[:, None])
        return F.interpolate(logits, (images.shape[-2], images.shape[-1]), mode="nearest")[:, 0]


def own_answers(classifier: Classifier, images: Values, batch: int = 32) -> Tensor:
    """What it says of pictures (N,3,H,W), as trainings take labels; on the CPU.

    The top class (N,); or of a network of findings, of which a picture may have several or none, what it finds: (N,K)
    bool, each with a probability above 1/2.

    Raises:
        InputError: its outputs are taken as they are, and are no probabilities.
    """
    if not classifier.gives_findings:
        return top_classes(classifier, images, batch)
    return torch.cat([found_classes(classifier, logits) for logits in _logits(classifier, images, batch)])


def top_classes(classifier: Classifier, images: Values, batch: int = 32) -> Tensor:
    """Top class (N,) of each picture (N,3,H,W), float in [0,1] or uint8; on the CPU."""
    return torch.cat([logits.argmax(1) for logits in _logits(classifier, images, batch)])


@torch.no_grad()
def _logits(classifier: Classifier, images: Values, batch: int) -> Iterator[Tensor]:
    """Of the pictures, ``batch`` at once; on the CPU."""
    with eval_mode(classifier):
        for part in images.split(batch):
            yield classifier.logits(classifier.prepare(as_float(part))).cpu()

"""A teacher: what methods say of whole pictures, at one or several scales, as targets for a masker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.blur import gaussian_blur
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.core.modes import eval_mode
from maskwise.explainers import Explainer, explainer
from maskwise.explainers.targets import Targets
from maskwise.images import resize, with_channels
from maskwise.maskers.class_gate import ClassGate, check_class_activation
from maskwise.training.crop_size import crop_size


class TeacherView(BaseModel):
    """How one method looks at a picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    options: dict[str, Any] = Field(default_factory=dict, description="of the method")
    scales: tuple[Annotated[int, Field(ge=8)], ...] | None = Field(
        None,
        min_length=1,
        description="pixels of the longer side that the picture is squashed to; None is the classifier's own size",
    )


class Lesson(BaseModel):
    """What is taught: the mean of what methods say at their scales.

    ``stretch`` is off for random teachers: their errors average out over pictures, and stretching would bend that mean,
    as would cutting off at 0 and 1. What they say is then kept as it is, with its sign.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    views: dict[str, TeacherView] = Field(description="by the method's name", min_length=1)
    smooth: float = Field(0.0, ge=0, description="sigma of a blur of the mean, in pixels of the classifier's own size")
    mirrored: bool = Field(False, description="see the mirrored picture, too")
    stretch: bool = Field(True, description="bring every map to [0,1] before they are averaged, and their mean")
    class_gate: float | None = Field(
        None, gt=0, le=1, description="share of its peak from which the class activation leaves the map as it is"
    )
    grid: int = Field(56, ge=1, description="rows and columns of the map that is kept")


class Teacher:
    """Maps of whole pictures, squashed to the shape that the classifier takes, and their maps to squares.

    Args:
        classifier: that is explained, and never changed.
        lesson: what is taught.

    Raises:
        InputError: no such method or option, a scale that the classifier does not take, or a gate without a class
            activation.
    """

    def __init__(self, classifier: Classifier, lesson: Lesson) -> None:
        self.classifier, self.lesson = classifier, lesson
        self.explainers = {name: explainer(name, classifier, **view.options) for name, view in lesson.views.items()}
        if lesson.class_gate is not None:
            check_class_activation(classifier, "teacher.class_gate")
        self.by_scale: dict[int, list[Explainer]] = {}
        for name, view in lesson.views.items():
            for scale in view.scales or (classifier.input_size,):
                self.by_scale.setdefault(scale, []).append(self.explainers[name])
        for scale in self.by_scale:
            try:
                with torch.no_grad():
                    classifier.logits(classifier.example(size=crop_size(classifier, scale)))
            except Exception as error:  # a transformer's patches, say; each library has its own way to refuse
                raise InputError(f"{classifier.name} takes no pictures of {scale} pixels: name other scales") from error

    def __call__(self, images: Sequence[Tensor], classes: Sequence[int]) -> Tensor:
        """Maps (N,G,G), in [0,1] where stretched, on the CPU, of pictures [(3,H,W), …] and their classes."""
        return self.of_several(images, [(one,) for one in classes])[:, 0]

    def of_several(self, images: Sequence[Tensor], classes: Sequence[Sequence[int]]) -> Tensor:
        """Maps (N,K,G,G) of pictures and of K classes of each; a method that asks many times asks for all at once."""
        asked = torch.tensor([list(several) for several in classes], device=self.classifier.device)
        targets = Targets(asked)
        seen = []
        for scale, explainers in self.by_scale.items():
            squashed = torch.cat([self._squashed(image, crop_size(self.classifier, scale)) for image in images])
            for method in explainers:
                seen.append(self._seen(method, squashed, targets))
                if self.lesson.mirrored:
                    seen.append(self._seen(method, squashed.flip(-1), targets).flip(-1))
        maps = torch.stack(seen).mean(0)
        maps = gaussian_blur(maps, self.lesson.smooth * self.lesson.grid / self.classifier.input_size)
        maps = min_max(maps) if self.lesson.stretch else maps
        if self.lesson.class_gate is not None:
            maps = maps * self._gates(images, asked, self.lesson.class_gate)
        return (maps.clamp(0, 1) if self.lesson.stretch else maps).cpu()

    def _squashed(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """(1,c,h,w) on the classifier's device."""
        return resize(with_channels(image[None].to(self.classifier.device), self.classifier.channels), size)

    @torch.no_grad()
    def _gates(self, images: Sequence[Tensor], classes: Tensor, full: float) -> Tensor:
        """(N,K,G,G) in [0,1], open where the class activation of whole pictures speaks for their classes (N,K).

        A method may find one object whatever class it is asked for, and this one says which object is meant.
        """
        squashed = torch.cat([self.classifier.prepare(image[None].to(self.classifier.device)) for image in images])
        with eval_mode(self.classifier.module):
            _, taps = self.classifier.features(squashed.contiguous(memory_format=torch.channels_last))
        gates = ClassGate(self.classifier, full)(squashed, taps[-1], classes)
        return resize(gates, self.lesson.grid).clamp(0, 1)

    def _seen(self, method: Explainer, images: Tensor, targets: Targets) -> Tensor:
        """Maps (N,K,G,G) of squashed pictures (N,c,h,w)."""
        with method.calling():
            given = images.contiguous(memory_format=torch.channels_last)
            maps = method.settled(method.saliency(given, targets))
        maps = maps.detach().float()
        if not maps.isfinite().all():
            raise InputError(f"the teacher {method.identity['method']} gives NaN or infinity")
        maps = min_max(maps) if self.lesson.stretch else maps
        side = (self.lesson.grid, self.lesson.grid)
        if max(maps.shape[-2:]) > self.lesson.grid:
            return F.interpolate(maps, side, mode="bilinear", align_corners=False, antialias=True)
        return F.interpolate(maps, side, mode="bilinear", align_corners=False)

    def key(self) -> str:
        """Hex digits that tell this teacher, with its classifier and a masker's weights, from every other."""
        who = {name: method.identity for name, method in self.explainers.items()}
        # The shape, since a scale is the longer side alone.
        facts = [self.lesson.model_dump(mode="json"), list(self.by_scale), self.classifier.digest(), who]
        facts.append(self.classifier.size)
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]

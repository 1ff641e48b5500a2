"""RefineCAM: coarse and fine class activation maps multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.answering import ANSWERS, MeasuredLayer, measured_layers
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.core.option_types import OnlyWith
from maskwise.explainers.base import Explainer, methods, recording
from maskwise.explainers.doubts import coarse_grid, zero_gradient
from maskwise.explainers.grad_cam import pp_weights
from maskwise.explainers.layers import LayerChoice, named_layer, weighted
from maskwise.explainers.targets import Targets

TOP = 2  # layers


@methods.register(
    "refine_cam",
    family="class activation",
    paper="RefineCAM, 2025",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="1 forward, 1 backward to the finest layer",
)
class RefineCam(Explainer):
    """prod_l minmax(ReLU(CAM_l)) over layers l of several scales, CAM_l that of Grad-CAM++, resized to the finest grid.

    A place counts where every layer says so: the deep ones which thing it is, the early ones where it ends. One layer
    without any contrast makes the map flat.

    Args:
        classifier: what is explained.
        layers: names, or names with commas between; None is one a scale, those taps that the answer depends on.
        top: of these, where none are named, only so many, the deepest; None is all. 2 was chosen on ilsvrc1275 val.

    Raises:
        InputError: no such layer, or one without a spatial grid; top below 1.
    """

    only_with: ClassVar[OnlyWith] = {"top": {"layers": (None,)}}

    def __init__(
        self, classifier: Classifier, layers: str | Sequence[str] | None = None, top: int | None = TOP
    ) -> None:
        super().__init__(classifier)
        if top is not None and top < 1:
            raise InputError(f"top must be at least 1, not {top}")
        named = layers.split(",") if isinstance(layers, str) else layers
        if named is None:
            self.layers = answering_taps(classifier)[-(top or 0) :]
        else:
            self.layers = tuple(str(name).strip() for name in named)
        if not self.layers:
            raise InputError("layers is empty: name one, or leave it out")
        self.layers = tuple(named_layer(classifier, name) for name in self.layers)

    @classmethod
    def chosen(cls, classifier: Classifier, layers: Sequence[MeasuredLayer]) -> LayerChoice:
        why = f"the {TOP} deepest of one a scale, of those that the answer depends on"
        return LayerChoice(answering_taps(classifier, layers)[-TOP:], why)

    @property
    def grids_read(self) -> tuple[str, ...]:
        return self.layers

    def saliency_and_logits(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        with recording(images) as given:
            with self.classifier.tapped(self.layers, raw=True) as seen:
                logits = self.classifier.logits(given)
            scores, outputs = targets.scores(logits), [seen[name] for name in self.layers]
            slopes = [
                torch.autograd.grad(scores[:, k].sum(), outputs, retain_graph=True, allow_unused=True)
                for k in range(targets.count)
            ]
        grids = [self._grid(name, output.detach()) for name, output in zip(self.layers, outputs, strict=True)]
        size = max(((grid.shape[-2], grid.shape[-1]) for grid in grids), key=lambda sides: sides[0] * sides[1])
        return torch.stack([self._product(grids, found, size) for found in slopes], 1), logits.detach()

    def _product(self, grids: list[Tensor], slopes: Sequence[Tensor | None], size: tuple[int, int]) -> Tensor:
        """(N,h,w) of the activations (N,c,h,w) of all layers, and of their gradients."""
        product = torch.ones(len(grids[0]), *size, device=grids[0].device)
        for name, grid, slope in zip(self.layers, grids, slopes, strict=True):
            gradient = torch.zeros_like(grid) if slope is None else self._grid(name, slope.detach())
            self.doubt("zero_gradient", zero_gradient(gradient))
            one = weighted(pp_weights(grid.float(), gradient.float()), grid.float())
            product = product * F.interpolate(min_max(one)[:, None], size, mode="bilinear", align_corners=False)[:, 0]
        return product

    def _grid(self, name: str, output: Tensor) -> Tensor:
        layout = self.classifier.layout(name)
        seen = None if layout is None else layout.grid(output)
        if seen is None:
            raise InputError(f"the output of layer {name!r} has no spatial grid; choose another layer")
        self.doubt("coarse_grid", coarse_grid(seen))
        return seen


def answering_taps(classifier: Classifier, layers: Sequence[MeasuredLayer] | None = None) -> tuple[str, ...]:
    """The taps, fine to coarse; for one that the answer does not depend on, the deepest step of its size that it does.

    A class token leaves the last layers' places unread, and without those before them their whole scale would be
    missing. All of the taps where the answer depends on no layer.

    Args:
        layers: ``measured_layers`` of the classifier, where they are at hand.

    Raises:
        InputError: no layer with a grid.
    """
    measured = measured_layers(classifier) if layers is None else layers
    largest = max(layer.share for layer in measured)
    seen = {layer.name: layer for layer in measured}
    answers = {name for name, layer in seen.items() if layer.share > ANSWERS * largest}
    found = []
    for tap in classifier.tap_names:
        if tap in answers or tap not in seen:
            found.append(tap)
        else:
            found += [name for name, layer in seen.items() if name in answers and layer.grid == seen[tap].grid][-1:]
    return tuple(dict.fromkeys(found)) or classifier.tap_names

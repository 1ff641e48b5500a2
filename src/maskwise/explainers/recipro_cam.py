"""Recipro-CAM: what the head says of each place of a layer alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.classifiers.taps import layer_of
from maskwise.core.errors import InputError
from maskwise.core.options import one_of
from maskwise.explainers.base import methods
from maskwise.explainers.layers import LayerExplainer
from maskwise.explainers.targets import Targets

ROWS = 512  # that go through the head at once


@methods.register(
    "recipro_cam",
    family="class activation",
    paper="Byun, Lee 2022",
    needs_gradients=False,
    needs_target=True,
    random=False,
    cost="2 forwards, and the layers behind the one read for each of its places",
)
class ReciproCam(LayerExplainer):
    """map[i,j] = score of the picture whose layer is zero everywhere but at (i,j) (Byun, Lee 2022).

    Needs no gradient, and gives the maps of all classes at once. In a transformer the tokens before the grid (class,
    registers) are kept; there the place's neighbours are kept in part (a 3x3 kernel), and scores are logits, as the
    authors' code has it for ViTs.

    Args:
        classifier: what is explained.
        layer: name of the layer; None is the deepest one that the answer depends on.
        scoring: ``probability`` or ``logit``; None is probability for maps with channels, and logit for tokens.
        kernel: ``cell``, the place alone; ``gaussian``, also 1/2 of its neighbours and 1/4 of its corners; None is cell
            for maps with channels, and gaussian for tokens.

    Raises:
        InputError: no such layer, one without a spatial grid, or one around which something leads to the answer.
    """

    def __init__(
        self,
        classifier: Classifier,
        layer: str | None = None,
        scoring: Literal["probability", "logit"] | None = None,
        kernel: Literal["cell", "gaussian"] | None = None,
    ) -> None:
        super().__init__(classifier, layer)
        one_of("scoring", scoring, ("probability", "logit", None))
        one_of("kernel", kernel, ("cell", "gaussian", None))
        self.scoring, self.kernel = scoring, kernel

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        with torch.no_grad():
            logits, output = self.activation(images)
            height, width = self.grid(output).shape[-2:]
            layout = self.classifier.layout(self.layer)
            tokens = layout is not None and layout.kind == "tokens"
            places, step = height * width, max(ROWS // (height * width), 1)
            shapes = kept_places(height, width, self.kernel or ("gaussian" if tokens else "cell")).to(output)
            targets = targets.resolved(logits)
            if (self.scoring or ("logit" if tokens else "probability")) == "logit":
                values = targets.scores
            else:
                values = targets.probabilities
            found = []
            for first in range(0, len(images), step):
                part = images[first : first + step]
                with one_place_each(self.classifier.module, self.layer, self.grid, shapes) as told:
                    try:
                        scored = self.classifier.logits(part)
                    except RuntimeError as error:  # sizes that do not meet behind the layer
                        raise self._bypassed() from error
                if not told or len(scored) != len(part) * places:
                    raise self._bypassed()
                rows = torch.arange(first, first + len(part), device=scored.device).repeat_interleave(places)
                found.append(values(scored, rows).unflatten(0, (len(part), places)))
            maps = torch.cat(found).transpose(1, 2)
        return maps.unflatten(2, (height, width))

    def _bypassed(self) -> InputError:
        return InputError(
            f"recipro_cam runs what lies behind {self.layer!r} once for each place, and something leads around it to "
            "the answer: name a later `layer`, or take grad_cam"
        )


def kept_places(height: int, width: int, kernel: str) -> Tensor:
    """(h*w,1,h,w): for each place how much of every place is kept; 1 at itself.

    Example:
        >>> kept_places(2, 2, "gaussian")[0, 0]
        tensor([[1.0000, 0.5000],
                [0.5000, 0.2500]])
    """
    rows, columns = torch.arange(height), torch.arange(width)
    fall = torch.tensor([1.0, 0.5, 0.0] if kernel == "gaussian" else [1.0, 0.0, 0.0])
    down = fall[(rows[:, None] - rows[None]).abs().clamp(max=2)]
    across = fall[(columns[:, None] - columns[None]).abs().clamp(max=2)]
    return torch.einsum("iy,jx->ijyx", down, across).reshape(height * width, 1, height, width)


@contextmanager
def one_place_each(module: nn.Module, layer: str, grid: Any, shapes: Tensor) -> Iterator[list[bool]]:
    """While open, a forward of pictures (N,…) goes on behind the layer with (N*P,…): each with one place kept.

    Args:
        grid: from the layer's output (N,…) to a view (N,c,h,w) of its places; what lies outside of that is kept.
        shapes: (P,1,h,w), how much of each place is kept.

    Yields:
        A list that is no longer empty once the layer was called.
    """
    told: list[bool] = []

    def spread(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        told.append(True)
        spread_out = output.repeat_interleave(len(shapes), 0)
        view = grid(spread_out)
        view.copy_(view * shapes.repeat(len(output), 1, 1, 1))
        return spread_out

    part, call = layer_of(module, layer)
    if call is not None:
        raise InputError(f"recipro_cam reads the last call of a layer, not {layer!r}: name another `layer`")
    handle = part.register_forward_hook(spread)
    try:
        yield told
    finally:
        handle.remove()

"""Recipro-CAM: what the head says of each place of a layer alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.classifiers.taps import layer_of
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode
from maskwise.core.options import one_of
from maskwise.core.own_thread import in_this_thread
from maskwise.core.portions import out_of_memory
from maskwise.explainers.base import methods
from maskwise.explainers.layers import LayerExplainer
from maskwise.explainers.perturb import are_probabilities
from maskwise.explainers.targets import Targets


@methods.register(
    "recipro_cam",
    family="class activation",
    paper="Byun, Lee 2022",
    needs_gradients=False,
    needs_target=True,
    random=False,
    cost="1 forward, and the layers behind the one read for each of its places",
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
        self._check_nothing_leads_around()

    def _check_nothing_leads_around(self) -> None:
        """By two pictures: one alone would meet its many copies without a word, as numbers of one row do."""
        call, kept = self._call(), self.classifier
        spread = one_place_each(kept.module, self.layer, call, self.grid, "cell")
        with torch.inference_mode(False), torch.no_grad(), eval_mode(kept), spread as grids:
            try:
                logits = kept.logits(kept.example(2))
            except RuntimeError as error:  # sizes that do not meet behind the layer
                if out_of_memory(error) or not grids:
                    raise
                raise self._bypassed() from error
        self.doubted = {}
        if not grids or len(logits) != 2 * grids[0][0] * grids[0][1]:
            raise self._bypassed()

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        layout = self.classifier.layout(self.layer)
        tokens = layout is not None and layout.kind == "tokens"
        kernel = self.kernel or ("gaussian" if tokens else "cell")
        by_logit = (self.scoring or ("logit" if tokens else "probability")) == "logit"
        with torch.no_grad():
            targets = self.resolve(images, targets)
            values = targets.scores if by_logit else targets.probabilities
            # One picture after another: scores of places hardly differ, and the last digits change with the batch.
            found = torch.stack([self._of_one(images[n : n + 1], n, kernel, values) for n in range(len(images))])
            self.scored(found.flatten(2).mT, are_probabilities(values))
            return found

    def _of_one(self, image: Tensor, n: int, kernel: str, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """(K,h,w) of picture n (1,3,S,S)."""
        with one_place_each(self.classifier.module, self.layer, self._call(), self.grid, kernel) as grids:
            logits = self.classifier.logits(image)
        rows = torch.full((len(logits),), n, device=logits.device)
        scores = values(logits, rows).float()
        return scores.T.reshape(-1, *grids[0])

    def _call(self) -> int:
        """Which call of the layer's module is read: the one that is named, or the last."""
        path, _, number = self.layer.partition("#")
        others = [name for name in self.classifier.taps.layouts if name.startswith(f"{path}#")]
        return int(number) if number else 1 + len(others)

    def _bypassed(self) -> InputError:
        return InputError(
            f"recipro_cam runs what lies behind {self.layer!r} once for each place, and in {self.classifier.name} "
            "something leads around it to the answer: name a later `layer`, or take grad_cam"
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
def one_place_each(
    module: nn.Module, layer: str, call: int, grid: Callable[[Tensor], Tensor], kernel: str
) -> Iterator[list[tuple[int, int]]]:
    """While open, a forward of pictures (N,…) goes on behind the layer with N for each place, which alone is kept.

    What follows runs in float32 also under autocast, whose digits are too few to tell places apart.

    Args:
        call: of the layer's module, from 1 on.
        grid: from the layer's output (N,…) to a view (N,c,h,w) of its places; what lies outside of that is kept.
        kernel: as ``kept_places`` takes it.

    Yields:
        A list that holds (h,w) once the layer was called.
    """
    found: list[tuple[int, int]] = []
    calls = 0

    def spread(_: nn.Module, __: Any, output: Tensor) -> Tensor | None:
        nonlocal calls
        calls += 1
        if calls != call:
            return None
        kind = output.device.type
        if torch.is_autocast_enabled(kind):
            torch.set_autocast_enabled(kind, False)
            output = output.float()
        height, width = grid(output).shape[-2:]
        found.append((int(height), int(width)))
        many = output.repeat_interleave(int(height * width), 0)
        view = grid(many)
        view.copy_(view * kept_places(height, width, kernel).to(view).repeat(len(output), 1, 1, 1))
        return many

    part, _ = layer_of(module, layer)
    kinds = {kind: torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")}
    handle = part.register_forward_hook(in_this_thread(spread))
    try:
        yield found
    finally:
        handle.remove()
        for kind, enabled in kinds.items():
            if torch.is_autocast_enabled(kind) != enabled:
                torch.set_autocast_enabled(kind, enabled)

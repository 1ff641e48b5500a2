"""Guided feature inversion: channels weighted so that what the mask keeps gives back the layer's features."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from maskwise.blending import masked_in, masked_out
from maskwise.classifiers import Classifier
from maskwise.core.blur import gaussian_blur
from maskwise.core.min_max import min_max
from maskwise.core.options import ranges
from maskwise.explainers.base import methods
from maskwise.explainers.doubts import no_class
from maskwise.explainers.layers import LayerExplainer, named_layer
from maskwise.explainers.optimised import (
    LEAST_BLUR,
    PAPERS_SIDE,
    check_descent,
    descend,
    hidden_somewhere,
    learning,
    scaled,
    steps,
    upsampled,
)
from maskwise.explainers.perturb import are_probabilities
from maskwise.explainers.targets import Targets

FIRST_WEIGHT = 0.1


@methods.register(
    "guided_feature_inversion",
    family="perturbation",
    paper="Du et al. 2018",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="80 forwards and backwards, of 2 copies after the first 10",
)
class GuidedFeatureInversion(LayerExplainer):
    """A mask m = sum_k w_k A_k, w >= 0, of a high layer's channels A, upsampled (Du et al. 2018, section 3).

    In two stages, with f the features at a layer, xi = x m + b (1 - m), xo = x (1 - m) + b m, b the blurred picture
    and m stretched to [0,1]:

        inversion:       |f(xi) - f(x)|^2 / |f(x)|^2           + 5 |w|^2
        discrimination:  -p_c(xi) + p_c(xo)                    + 2 |w|^2

    The reading taken is that of the authors' code: softmax probabilities, both layers the same one, Adam whose rate
    is halved every 10 iterations, w starting at 0.1 and clamped at 0 after each step. Where that code divides by the
    mask's maximum after taking its minimum away, the range is used here, which keeps m in [0,1].
    The map is the mask. ``report["area"]`` is its mean after the stretch.

    Each picture is optimised by itself. The second stage's steps are large beside the weights, so that they swing, and
    what is rounding after the first stage is another map 10 iterations later: a picture in other company, whose sums
    are rounded otherwise, would get one that differs by up to 0.25 (efficientnet_lite0).

    Args:
        classifier: what is explained.
        layer: whose channels make the mask; None is the deepest one that the answer depends on.
        inversion_layer: whose features are to come back; None is ``layer``.
        iterations: of both stages together.
        inversion: of the first stage alone, which knows no class.
        learning_rate: of Adam.
        halving: iterations after which it is halved, again and again.
        decay, fine_decay: weight of |w|^2 in the first and in the second stage.
        blur: standard deviation of b, in pixels of a 224-pixel picture.

    Raises:
        InputError: an option outside its range, no such layer, or one without a spatial grid.
    """

    def __init__(
        self,
        classifier: Classifier,
        layer: str | None = None,
        inversion_layer: str | None = None,
        iterations: int = 80,
        inversion: int = 10,
        learning_rate: float = 0.01,
        halving: int = 10,
        decay: float = 5.0,
        fine_decay: float = 2.0,
        blur: float = 11.0,
    ) -> None:
        super().__init__(classifier, layer)
        check_descent(iterations, learning_rate)
        ranges(inversion=(inversion, 0, inf), halving=(halving, 1, inf), blur=(blur, LEAST_BLUR, PAPERS_SIDE))
        ranges(decay=(decay, 0, inf), fine_decay=(fine_decay, 0, inf))
        self.inverted = self.layer if inversion_layer is None else named_layer(classifier, inversion_layer)
        self.iterations, self.inversion, self.learning_rate, self.halving = (
            iterations,
            inversion,
            learning_rate,
            halving,
        )
        self.decay, self.fine_decay, self.blur = decay, fine_decay, blur

    def map(self, images: Tensor, targets: Targets) -> Tensor:
        with learning(self, images, self.resolve(images, targets)) as (pixels, wanted):
            found = [self.optimised(pixels, wanted, turn) for turn in range(len(pixels))]
        maps, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
        maps = hidden_somewhere(self, maps, images, self.background(images))
        self.doubt("no_class", no_class(self.iterations, self.inversion))
        if self.iterations > self.inversion:  # else no copy was scored
            self.scored(scores, are_probabilities(targets.probabilities))
        self.report = {"area": min_max(maps).mean((1, 2))}
        return maps

    def optimised(self, images: Tensor, targets: Targets, turn: int) -> tuple[Tensor, Tensor]:
        """The mask (1,h,w) of one picture, and the probabilities (1,n,1) that its masked copies had on the way."""
        pixels, wanted = images[turn : turn + 1], targets.of(torch.tensor([turn]))
        with torch.no_grad():
            channels, features = (f.float() for f in self.features(pixels, self.layer, self.inverted))
            background = self.background(pixels)
        energy = features.square().sum().clamp(min=1e-12)
        weights = torch.full(channels.shape[:2], FIRST_WEIGHT, device=pixels.device, requires_grad=True)
        optimiser = torch.optim.Adam([weights], lr=self.learning_rate)
        halved = torch.optim.lr_scheduler.StepLR(optimiser, self.halving, 0.5)
        scores = [pixels.new_zeros(0, 1)]
        for step in steps(self, self.iterations, turn, len(images)):
            mask = upsampled(min_max(combined(weights, channels)), pixels)
            inside = masked_in(pixels, mask, background)
            size = weights.square().sum()
            if step < self.inversion:
                (got,) = self.features(inside, self.inverted)
                loss = (got - features).square().sum() / energy + self.decay * size
            else:
                both = torch.cat([inside, masked_out(pixels, mask, background)])
                rows = torch.zeros(2, dtype=torch.int64, device=pixels.device)
                kept, left = seen = wanted.probabilities(self.classifier.logits(both), rows)
                scores.append(seen.detach())
                loss = (left - kept).sum() + self.fine_decay * size
            descend(optimiser, loss)
            halved.step()
            with torch.no_grad():
                weights.clamp_(min=0)
        return combined(weights.detach(), channels), torch.cat(scores)[None]

    def background(self, images: Tensor) -> Tensor:
        """What stands in for hidden pixels."""
        return gaussian_blur(images, scaled(self.blur, images))

    def features(self, images: Tensor, *layers: str) -> list[Tensor]:
        """Activations (N,c,h,w) of the layers."""
        with self.classifier.tapped(layers) as seen:
            self.classifier.logits(images)
        return [seen[layer] for layer in layers]


def combined(weights: Tensor, channels: Tensor) -> Tensor:
    """sum_k w_k A_k (N,h,w) of weights (N,c) and channels (N,c,h,w)."""
    return (weights[:, :, None, None] * channels).sum(1)

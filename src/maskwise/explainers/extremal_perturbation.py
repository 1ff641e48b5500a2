"""Extremal perturbations: of all smooth masks of a given area, the one that keeps (or takes) most of the score."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.blur import gaussian_blur
from maskwise.core.errors import InputError
from maskwise.core.options import one_of, ranges
from maskwise.explainers.base import Explainer, methods
from maskwise.explainers.blur_pyramid import between_levels, pyramid
from maskwise.explainers.optimised import (
    LEAST_BLUR,
    PAPERS_SIDE,
    check_descent,
    descend,
    hidden_somewhere,
    learning,
    scaled,
    steps,
)
from maskwise.explainers.targets import Targets

COLDNESS = 20  # 1 / temperature of the smooth maximum


@methods.register(
    "extremal_perturbation",
    family="perturbation",
    paper="Fong, Patrick, Vedaldi 2019",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="800 forwards and backwards for each of 4 areas",
)
class ExtremalPerturbation(Explainer):
    """For each area a the mask that maximises (Fong et al. 2019, Eq. 4-5)

        +- logit_c(picture seen through the mask) - weight * mean (vecsort(m) - r_a)^2

    where r_a is (1-a) of zeros, then ones, and the weight grows, so that the mask becomes nearly binary and of area
    a. The picture behind the mask is a blur whose strength is 1 - m. The map is the sum of the masks, smoothed.
    ``report["area"]`` is the mean area reached, ``report["area_0.05"]`` that of the mask asked to have 0.05.

    As in TorchRay the mask goes on in a margin around the picture, which counts: else cells at the border would shape
    fewer pixels, and the mask would cling there. Our reading: an area is a part of the picture (there: of picture and
    margin), so it is reached by a mask that lies inside, and what spills over the border is missing from the report.

    Args:
        classifier: what is explained.
        areas: of the masks, each in (0,1); all are optimised together.
        iterations: of stochastic gradient descent.
        learning_rate, momentum: of it; dampening equals momentum.
        variant: ``preserve`` looks for the region that is enough, ``delete`` for the one that is needed.
        step: cell of the parameter grid. Like the next and ``max_blur`` in pixels of a 224-pixel picture.
        sigma: reach of the smooth maximum.
        levels: of the blur pyramid.
        max_blur: standard deviation of its strongest blur.
        flip: show the mirrored picture in every second iteration.
        area_weight, growth: the weight at first, and by how much it is multiplied after each iteration.
        smooth: standard deviation of the final smoothing, as a part of the picture's side.

    Raises:
        InputError: an option outside its range.
    """

    def __init__(
        self,
        classifier: Classifier,
        areas: Sequence[float] = (0.025, 0.05, 0.1, 0.2),
        iterations: int = 800,
        learning_rate: float = 0.01,
        momentum: float = 0.9,
        variant: str = "preserve",
        step: float = 7.0,
        sigma: float = 21.0,
        levels: int = 8,
        max_blur: float = 20.0,
        flip: bool = True,
        area_weight: float = 300.0,
        growth: float = 1.0035,
        smooth: float = 0.09,
    ) -> None:
        super().__init__(classifier)
        if isinstance(areas, (str, float, int)) or not areas:
            raise InputError(f"areas must be a list of numbers, such as [0.05, 0.2], not {areas!r}")
        if not all(0 < a < 1 for a in areas):
            raise InputError(f"areas must be numbers between 0 and 1, not {list(areas)}")
        check_descent(iterations, learning_rate)
        ranges(momentum=(momentum, 0, 0.999), levels=(levels, 2, 256), max_blur=(max_blur, LEAST_BLUR, PAPERS_SIDE))
        ranges(step=(step, 0.01, PAPERS_SIDE), sigma=(sigma, 0.01, PAPERS_SIDE), smooth=(smooth, 0, 1))
        ranges(area_weight=(area_weight, 0, inf), growth=(growth, 0, inf))
        one_of("variant", variant, ("preserve", "delete"))
        self.areas, self.iterations, self.learning_rate, self.momentum = areas, iterations, learning_rate, momentum
        self.variant, self.step, self.sigma, self.levels, self.max_blur = variant, step, sigma, levels, max_blur
        self.flip, self.area_weight, self.growth, self.smooth = flip, area_weight, growth, smooth

    def map(self, images: Tensor, targets: Targets) -> Tensor:
        with learning(self, images, self.resolve(images, targets)) as (pixels, wanted):
            masks = self.optimise(pixels, wanted)
        reached = masks.mean((2, 3))
        self.report = {"area": reached.mean(1)} | {
            f"area_{a:g}": area for a, area in zip(self.areas, reached.unbind(1), strict=True)
        }
        maps = gaussian_blur(masks.sum(1), self.smooth * min(images.shape[2:]), border="zero")
        return hidden_somewhere(self, maps, images, gaussian_blur(images, scaled(self.max_blur, images)))

    def optimise(self, images: Tensor, targets: Targets) -> Tensor:
        """Masks (N,A,H,W) of the areas; 1 is the region looked for, in both variants."""
        n, size, count = len(images), (images.shape[-2], images.shape[-1]), len(self.areas)
        seen = pyramid(images, self.levels, scaled(self.max_blur, images))
        operator = SmoothMask(size, max(round(scaled(self.step, images)), 1), scaled(self.sigma, images), images.device)
        cells = torch.ones(n * count, *operator.cells, device=images.device, requires_grad=True)
        ranks = torch.arange(operator.canvas[0] * operator.canvas[1], 0, -1, device=images.device)
        ideal = torch.stack([ranks <= a * size[0] * size[1] for a in self.areas]).float()
        rows = torch.arange(n, device=images.device).repeat_interleave(count)
        sign = 1 if self.variant == "preserve" else -1
        weight = self.area_weight
        optimiser = torch.optim.SGD([cells], self.learning_rate, self.momentum, dampening=self.momentum)
        for step in steps(self, self.iterations):
            canvas = operator(cells).unflatten(0, (n, count))
            masks = operator.picture(canvas)
            shown = between_levels(seen, masks if sign > 0 else 1 - masks).flatten(0, 1)
            logits = self.classifier.logits(shown.flip(3) if self.flip and step % 2 == 0 else shown)
            scores = targets.scores(logits, rows)
            self.scored(scores.unflatten(0, (n, count)))
            unlike = (canvas.flatten(2).sort(2).values - ideal).square().mean(2).sum()
            descend(optimiser, weight * unlike - sign * scores.sum())
            with torch.no_grad():
                cells.clamp_(0, 1)
            weight *= self.growth
        with torch.no_grad():
            found: Tensor = operator.picture(operator(cells)).unflatten(0, (n, count))
            return found


class SmoothMask:
    """m(u) = smax over v of k(|u - v| / sigma) p(v): a smooth maximum in place of a sum (Fong et al. 2019, Eq. 6-7).

    smax f = sum f exp(f/T) / sum exp(f/T) with T = 1/20, and k(z) = exp(-2 max(0, z - 1/2)^2), as in the authors'
    code; v runs over the cells within 1 + ceil(sigma / step) of u's own. Cells cover the picture; the mask also covers
    a margin of at least sigma around it.

    Args:
        size: (h,w) of the picture, in pixels.
        step: side of a cell, in pixels.
        sigma: of k, in pixels.
        device: where it runs.
    """

    def __init__(self, size: tuple[int, int], step: int, sigma: float, device: torch.device) -> None:
        self.size, self.step = size, step
        self.cells = (-(-size[0] // step), -(-size[1] // step))
        self.reach = 1 + int(-(-sigma // step))
        self.margin = self.reach - 1  # in cells
        self.across = (self.cells[0] + 2 * self.margin, self.cells[1] + 2 * self.margin)  # cells with their margin
        self.canvas = (self.across[0] * step, self.across[1] * step)
        # Seen from its cell's middle a pixel lies at `inside`, and a neighbour at a multiple of the step, so the
        # weights repeat from cell to cell: one table (window, step, step) serves the whole mask.
        inside = torch.arange(step, device=device, dtype=torch.float32) - (step - 1) / 2
        away = step * torch.arange(-self.reach, self.reach + 1, device=device, dtype=torch.float32)
        squared = (inside - away[:, None]) ** 2
        distance = (squared[:, None, :, None] + squared[None, :, None, :]).sqrt().flatten(0, 1)
        self.weights = torch.exp(-2 * (distance / sigma - 0.5).clamp(min=0) ** 2)

    def __call__(self, cells: Tensor) -> Tensor:
        """Masks with their margin (n,*canvas) in [0,1] of parameters (n,*cells) in [0,1]."""
        with torch.autocast(cells.device.type, enabled=False):
            window, (rows, columns) = 2 * self.reach + 1, self.across
            near = F.unfold(cells[:, None], window, padding=self.reach + self.margin)
            values = near.reshape(len(cells), window**2, rows, 1, columns, 1) * self.weights[:, None, :, None, :]
            heat = torch.softmax(COLDNESS * values, 1)
            return (values * heat).sum(1).reshape(len(cells), *self.canvas)

    def picture(self, masks: Tensor) -> Tensor:
        """The part (...,h,w) of masks (...,*canvas) that lies on the picture."""
        first = self.margin * self.step
        return masks[..., first : first + self.size[0], first : first + self.size[1]]

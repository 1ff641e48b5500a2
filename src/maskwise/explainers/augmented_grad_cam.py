"""Augmented Grad-CAM: one sharp map that explains the coarse maps of many turned and shifted copies."""

from __future__ import annotations

from math import inf, pi

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.min_max import min_max
from maskwise.core.options import ranges
from maskwise.core.total_variation import total_variation
from maskwise.explainers.base import gradients, methods
from maskwise.explainers.doubts import zero_gradient
from maskwise.explainers.layers import LayerExplainer, weighted
from maskwise.explainers.perturb import Perturbation, generators, uniform
from maskwise.explainers.targets import Targets

SHARPENING = 0.001  # Adam's learning rate in the authors' code


@methods.register(
    "augmented_grad_cam",
    family="class activation",
    paper="Morbidelli et al. 2020",
    needs_gradients=True,
    needs_target=True,
    random=True,
    cost="copies forwards and backwards to the layer",
)
class AugmentedGradCam(Perturbation, LayerExplainer):
    """argmin_h sum_l |D A_l h - g_l|^2 + copies (tv |grad h|_1 + energy |h|^2) (Morbidelli et al. 2020, Eq. 5).

    A_l turns and shifts the picture, g_l is Grad-CAM of the l-th copy, D brings h to Grad-CAM's grid. The first
    copy is the picture itself, and h starts as the mean of the maps turned back.

    Args:
        classifier: what is explained.
        layer: name of the layer; None is the deepest one that the answer depends on.
        copies: augmented pictures (100 in the authors' code).
        angle: largest rotation, in radians, up to pi.
        shift: largest shift, as a share of the picture's side (30 of 224 pixels in the authors' code).
        tv, energy: weights of total variation and of the square.
        iterations: of Adam.
        seed: of the copies; each picture draws its own.
        batch: copies in one forward.

    Raises:
        InputError: no such layer, or an option outside its range.
    """

    def __init__(
        self,
        classifier: Classifier,
        layer: str | None = None,
        copies: int = 100,
        angle: float = 0.5,
        shift: float = 30 / 224,
        tv: float = 0.002,
        energy: float = 0.0001,
        iterations: int = 200,
        seed: int = 0,
        batch: int | None = None,
    ) -> None:
        Perturbation.__init__(self, classifier, batch)
        LayerExplainer.__init__(self, classifier, layer)
        ranges(copies=(copies, 1, inf), iterations=(iterations, 0, inf), angle=(angle, 0, pi), shift=(shift, 0, 1))
        ranges(tv=(tv, 0, inf), energy=(energy, 0, inf))
        self.copies, self.angle, self.shift = copies, angle, shift
        self.tv, self.energy, self.iterations, self.seed = tv, energy, iterations, seed

    def map(self, images: Tensor, targets: Targets) -> Tensor:
        targets = self.resolve(images, targets)
        there, back = self._turns(images)
        coarse, slopes = [], []
        for first, last in self.chunks(len(images), self.copies):
            copies = _turn(images[:, None].expand(-1, last - first, -1, -1, -1), there[:, first:last])
            rows = torch.arange(len(images), device=images.device).repeat_interleave(last - first)
            with torch.enable_grad():
                logits, activation = self.activation(copies.flatten(0, 1))
                (gradient,) = gradients(targets.scores(logits, rows), activation)
            slope = self.grid(gradient.detach()).float()
            slopes.append(zero_gradient(slope).unflatten(0, (len(images), -1)))
            maps = weighted(slope.mean((2, 3)), self.grid(activation.detach()).float())
            coarse.append(maps.unflatten(0, (len(images), -1)))
        self.doubt("zero_gradient", torch.cat(slopes, 1).all(1))
        return self._sharpen(min_max(torch.cat(coarse, 1)), there, back, images)

    def _turns(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N,L,2,3): affine maps, for grid_sample, of each copy and back; the first copy is the picture."""
        drawn = uniform(generators(images, self.seed), self.copies, 3).to(images.device) * 2 - 1
        drawn[:, 0] = 0
        angle = drawn[..., 0] * self.angle
        cos, sin = angle.cos(), angle.sin()
        turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
        shift = drawn[..., 1:, None] * 2 * self.shift  # grid_sample's picture is 2 wide
        return torch.cat([turn, shift], -1), torch.cat([turn.mT, -turn.mT @ shift], -1)

    def _sharpen(self, coarse: Tensor, there: Tensor, back: Tensor, images: Tensor) -> Tensor:
        size, cells = (images.shape[-2], images.shape[-1]), (coarse.shape[-2], coarse.shape[-1])
        large = F.interpolate(coarse, size, mode="bilinear", align_corners=False)
        start = _turn(large[:, :, None], back).mean(1)
        with torch.enable_grad():
            sharp, coarse, there = start.clone().requires_grad_(True), coarse.clone(), there.clone()
            adam = torch.optim.Adam([sharp], SHARPENING)
            for _ in range(self.iterations):
                turned = _turn(sharp[:, None].expand(-1, self.copies, -1, -1, -1), there)[:, :, 0]
                misfit = ((F.adaptive_avg_pool2d(turned, cells) - coarse) ** 2).sum()
                edges = total_variation(sharp, beta=1).sum()
                loss = misfit + self.copies * (self.tv * edges + self.energy * (sharp**2).sum())
                sharp.grad = torch.autograd.grad(loss, sharp)[0]
                adam.step()
        return sharp.detach()[:, 0].relu()


def _turn(pictures: Tensor, affine: Tensor) -> Tensor:
    """Pictures (N,L,C,H,W) seen through (N,L,2,3); what lies outside is the border's colour."""
    flat = pictures.flatten(0, 1)
    places = F.affine_grid(affine.flatten(0, 1), list(flat.shape), align_corners=False)
    turned = F.grid_sample(flat, places, padding_mode="border", align_corners=False)
    by_picture: Tensor = turned.unflatten(0, pictures.shape[:2])
    return by_picture

"""Ranking: a masker whose loss is insertion and deletion of its own map, with an order that has gradients.

A curve of ``measures/insertion.py`` follows a class's probability while cells are taken away, or brought back, in the
map's order. Here the order is soft, so that the area under the curve can be descended. What comes out is trained on the
very metric that it may be measured by; its file says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.blur import gaussian_blur
from maskwise.infill import infiller
from maskwise.maskers import save_masker
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.compiling import Tapping, compiled
from maskwise.training.draws import generator
from maskwise.training.frozen_decoder import frozen_masker
from maskwise.training.likelihood import Likelihood
from maskwise.training.meter import Meter
from maskwise.training.objectives.base import Side
from maskwise.training.optimizer_step import OptimizerStep
from maskwise.training.ranking_recipe import RankingRecipe
from maskwise.training.soft_order import first_of, gumbel_noise, quantile_gate, sinkhorn_order
from maskwise.training.trainer import Trainer, trainers
from maskwise.training.views import Infill, MaskView, seen_through

if TYPE_CHECKING:
    from lightning.fabric import Fabric

TRAINED_ON = ("insertion", "deletion")
SIDES: tuple[tuple[Side, str, int], ...] = (("out", "deletion", 1), ("in", "insertion", -1))
LOUDER = 1024.0  # in float16 the slopes of a small probability would be zero on their way back


@dataclass(frozen=True)
class _Draw:
    """What one step draws, the same for all parts of its batch and all processes."""

    shares: list[float]
    cells: int
    infill: Infill
    tau: float


@trainers.register("ranking")
class RankingTrainer(Trainer):
    """A decoder on a frozen classifier, which judges every picture at several shares of it, inserted and deleted."""

    Recipe: ClassVar[type[BaseRecipe]] = RankingRecipe
    likelihoods: ClassVar[tuple[type[Likelihood], ...]] = ()  # it follows the probability of one class, of any link
    recipe: RankingRecipe

    def __init__(self, classifier: Classifier, recipe: RankingRecipe, steps_per_epoch: int, fabric: Fabric) -> None:
        super().__init__(classifier, recipe, steps_per_epoch, fabric)
        self.masker = frozen_masker(classifier, recipe, fabric)
        self.judge = self.masker.encoder
        self.weights = list(self.masker.decoder.parameters())
        adam = torch.optim.AdamW(self.weights, recipe.masker_lr, weight_decay=recipe.weight_decay)
        self.update = OptimizerStep(adam, self.weights, fabric, recipe.clip)
        self.infills = [infiller(fill) for fill in recipe.fills]
        self.features: Callable[[Tensor], tuple[Tensor, list[Tensor]]] = self.judge.features
        self.logits: Callable[[Tensor], Tensor] = self.judge.logits

    # ---- one step -------------------------------------------------------------------------------------------

    def train_step(self, images: Tensor, labels: Tensor) -> Meter:
        meter, draw = Meter(self.fabric), self._drawn()
        for mine in self.parts(images, labels):
            with self.alone_with(mine) as part:
                size = (part.images.shape[-2], part.images.shape[-1])
                with torch.no_grad():
                    clean, taps = self.features(part.images)
                classes = followed(self.recipe.follows, clean, part.labels)
                logits = self.masker.logits_of(taps, size, classes).float()
                # All pictures for the first class, then for the next: random rows are drawn in that order, too.
                several, asked = classes.shape[1], classes.T.flatten()
                scores = logits.expand(-1, several, -1, -1).transpose(0, 1).flatten(0, 1)
                pictures, whole = part.images.repeat(several, 1, 1, 1), clean.repeat(several, 1)
                gates = self.gates(scores, draw, size)
                areas, slopes = self.areas(pictures, gates, asked, self._probability(whole, asked), draw.infill)
                value = areas["deletion"].mean() + 1 - areas["insertion"].mean()
                # The judge's graphs are gone: what is left of them is the slope of the value by each gate.
                linear = (torch.stack(gates) * torch.stack(slopes)).sum() / len(scores)
                rough = roughness(logits.flatten(0, 1), size, self.recipe.smooth_window)
                loss = value + linear - linear.detach() + self.recipe.smoothness * rough
                self.update.add(loss, part)
                masks = scores.detach()
                facts = {"area": masks.sigmoid().mean(), "spread": masks.std((1, 2)).mean()}
                means = {name: area.mean() for name, area in areas.items()}
                meter.add({"loss": loss, **means, **facts}, len(part.labels))
        self.update.update(self.recipe.masker_lr * self.learning_rate_factor())
        self.steps += 1
        return meter.reduce()

    def gates(self, scores: Tensor, draw: _Draw, size: tuple[int, int]) -> list[Tensor]:
        """For each share of the picture a soft mask (N,H,W) of ``size`` over its highest cells, of scores (N,h,w)."""
        longest = max(size)
        rows, columns = (
            max(min(round(draw.cells * s / longest), n), 1) for s, n in zip(size, scores.shape[-2:], strict=True)
        )
        grid = (rows, columns)
        cells = F.adaptive_avg_pool2d(scores[:, None], grid)[:, 0].flatten(1)
        if self.recipe.sorter == "sinkhorn":
            n, d = cells.shape
            noise = gumbel_noise((n, d, d), cells) if self.recipe.noise else None
            order = sinkhorn_order(cells, draw.tau, self.recipe.sweeps, noise, self.recipe.spread)
            soft = [first_of(order, share) for share in draw.shares]
        else:
            soft = [quantile_gate(cells, share, draw.tau) for share in draw.shares]
        masks = [F.interpolate(one.unflatten(1, grid)[:, None], size, mode="nearest")[:, 0] for one in soft]
        return [gaussian_blur(mask, self.recipe.mask_blur) for mask in masks]

    def areas(
        self, images: Tensor, gates: Sequence[Tensor], classes: Tensor, whole: Tensor, infill: Infill
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Areas (N,) under both curves, and by each gate (N,H,W) the slope of deletion - insertion.

        A picture's copies are judged a few at a time and their graphs forgotten, so that memory does not depend on how
        many shares there are. With drawn shares the area is their mean; with even ones it is the trapezoid rule's,
        whose ends, the whole picture and the fill alone, know no gate.

        Args:
            images: (N,3,H,W).
            gates: a share each, 1 = among the first.
            classes: (N,) whose probability is followed.
            whole: (N,) that of the whole pictures.
            infill: what stands in the holes.
        """
        count = len(gates)
        step = 1 / count if self.recipe.drawn else 1 / (count + 1)
        areas = {name: torch.zeros_like(whole) for name in TRAINED_ON}
        if not self.recipe.drawn:
            ends = step * (whole + self._hidden(images, classes, infill)) / 2
            areas = {name: ends.clone() for name in TRAINED_ON}
        slopes = []
        for gate in gates:
            slope = torch.zeros_like(gate)
            for rows in torch.arange(len(images), device=images.device).split(self.judge.batch):
                for side, name, sign in SIDES:
                    mask = gate[rows].detach().requires_grad_(True)
                    with torch.enable_grad():
                        found = self._seen(images[rows], MaskView(mask, side), classes[rows], infill)
                        (by_mask,) = torch.autograd.grad(LOUDER * found.sum(), mask)
                    areas[name][rows] += step * found.detach()
                    slope[rows] += sign * step / LOUDER * by_mask
            slopes.append(slope)
        return areas, slopes

    @torch.no_grad()
    def _hidden(self, images: Tensor, classes: Tensor, infill: Infill) -> Tensor:
        """(N,) probabilities of pictures of which nothing is left."""
        batch, all_of_it = self.judge.batch, torch.ones_like(images[:, 0])
        views = [MaskView(mask, "out") for mask in all_of_it.split(batch)]
        parts = zip(images.split(batch), views, classes.split(batch), strict=True)
        return torch.cat([self._seen(part, view, asked, infill) for part, view, asked in parts])

    def _seen(self, images: Tensor, view: MaskView, classes: Tensor, infill: Infill) -> Tensor:
        """(N,) probabilities of classes (N,) in pictures behind a mask."""
        (seen,) = seen_through(images, [view], infill, self.judge.mean)
        return self._probability(self.logits(seen.contiguous(memory_format=torch.channels_last)), classes)

    def _probability(self, logits: Tensor, classes: Tensor) -> Tensor:
        """(N,) of one class of each row of logits (N,C), in float32 at least."""
        return self.judge.probabilities(logits).gather(1, classes[:, None])[:, 0]

    def _drawn(self) -> _Draw:
        draws = generator(self.recipe.seed, 6, self.steps)
        shares = self.recipe.shares(float(torch.rand((), generator=draws)))
        low, high = self.recipe.cells
        cells = int(torch.randint(low, high + 1, (), generator=draws))
        fill = self.infills[int(torch.randint(len(self.infills), (), generator=draws))]
        done = self.steps / self.recipe.total_steps(self.steps_per_epoch)
        return _Draw(shares, cells, fill, self.recipe.tau_at(done))

    # ---- all of it ------------------------------------------------------------------------------------------

    def modules(self) -> Mapping[str, nn.Module]:
        return {"decoder": self.masker.decoder}

    def optimizers(self) -> Mapping[str, OptimizerStep]:
        return {"masker": self.update}

    def compile(self, backend: str) -> None:
        """The classifier's two forwards."""
        self.features = compiled(Tapping(self.judge), backend)
        self.logits = compiled(self.judge.logits, backend)

    def save(self, path: Path, *, half_encoder: bool = False) -> None:
        recipe = self.recipe.model_dump(mode="json")
        save_masker(path, self.masker, self.classifier, recipe, trained_on=TRAINED_ON)


def followed(follows: str, clean: Tensor, labels: Tensor) -> Tensor:
    """Classes (B,M) whose probabilities a ranking follows, of clean logits (B,C) and labels (B,)."""
    if follows == "label":
        return labels[:, None]
    if follows == "predicted":
        return clean.argmax(1, keepdim=True)
    best = clean.topk(2, 1).indices
    return torch.stack([best[:, 0], torch.where(labels == best[:, 0], best[:, 1], labels)], 1)


def roughness(scores: Tensor, size: tuple[int, int], window: int) -> Tensor:
    """mean relu(s - b)^2, with b the mean of scores (N,h,w) over a window about each place.

    Args:
        size: (H,W) of the input that the scores are a grid of.
        window: side in pixels of the input; at least three places.
    """
    places = [max(round(window * n / s), 3) // 2 * 2 + 1 for n, s in zip(scores.shape[-2:], size, strict=True)]
    reach = (places[0] // 2, places[1] // 2)
    around = F.avg_pool2d(scores[:, None], places, 1, reach, count_include_pad=False)[:, 0]
    return (scores - around).relu().square().mean()

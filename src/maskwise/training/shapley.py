"""Training Shapley values in one forward (FastSHAP, Jethani et al. 2022; ViT-Shapley, Covert et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from maskwise.blending import masked_in
from maskwise.classifiers import Classifier, learning_copy
from maskwise.classifiers.token_mask import patch_grid
from maskwise.core.errors import InputError
from maskwise.explainers.cell_game import cell_masks
from maskwise.explainers.coalitions import any_size_coalitions, kernel_coalitions, with_complements
from maskwise.maskers import ShapleyMasker, save_masker
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.distributed.share import MicroBatch
from maskwise.training.draws import generator, seeded
from maskwise.training.likelihood import Likelihood
from maskwise.training.meter import Meter
from maskwise.training.optimizer_step import OptimizerStep
from maskwise.training.shapley_recipe import ShapleyRecipe
from maskwise.training.trainer import Trainer, trainers

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@trainers.register("shapley")
class ShapleyTrainer(Trainer):
    """Phase 1 trains a surrogate on masked pictures, phase 2 the network on the surrogate's answers.

    A coalition's value is the surrogate's probability of a class where all other cells have the mean colour, or where a
    transformer doesn't see their patches. The classifier itself stays as it is; the surrogate's batch norm stays in
    eval mode, and it is not kept.

    Raises:
        InputError: ``holes=tokens`` for a network without tokens, or with fewer of them than cells on a side.
    """

    Recipe: ClassVar[type[BaseRecipe]] = ShapleyRecipe
    likelihoods: ClassVar[tuple[type[Likelihood], ...]] = ()  # it learns from answers, and its losses read no label
    recipe: ShapleyRecipe

    def __init__(self, classifier: Classifier, recipe: ShapleyRecipe, steps_per_epoch: int, fabric: Fabric) -> None:
        super().__init__(classifier, recipe, steps_per_epoch, fabric)
        with seeded(recipe.seed):
            self.masker = ShapleyMasker.build(classifier, recipe.grid, recipe.width, recipe.class_tap)
        self.masker.decoder.to(fabric.device).train()
        self.surrogate = learning_copy(classifier).to(fabric.device)
        self.surrogate.module.to(memory_format=self.memory_format)
        self.patches: tuple[int, int] | None = None  # rows and columns of tokens, where these are dropped
        if recipe.holes == "tokens":
            self.patches = patch_grid(self.surrogate.module, classifier.name)
            if min(self.patches) < recipe.grid:
                rows, columns = self.patches
                raise InputError(f"{classifier.name} has {rows}x{columns} patches, too few for grid={recipe.grid}")
        self.judge_weights = list(self.surrogate.module.parameters()) if recipe.surrogate_steps else []
        for weight in self.judge_weights:
            weight.requires_grad_(True)
        self.head_weights = list(self.masker.decoder.parameters())
        adam = torch.optim.Adam(self.head_weights, recipe.masker_lr, weight_decay=recipe.weight_decay)
        self.update = OptimizerStep(adam, self.head_weights, fabric, recipe.clip)
        if self.judge_weights:
            adam = torch.optim.Adam(self.judge_weights, recipe.surrogate_lr)
            self.judge_update = OptimizerStep(adam, self.judge_weights, fabric, recipe.clip)

    # ---- one step -------------------------------------------------------------------------------------------

    def train_step(self, images: Tensor, labels: Tensor) -> Meter:
        recipe, meter = self.recipe, Meter(self.fabric)
        total, first = recipe.total_steps(self.steps_per_epoch), recipe.surrogate_steps
        if self.steps < first:
            phase, update, rate, done = self._imitate, self.judge_update, recipe.surrogate_lr, self.steps / first
        else:
            phase, update, rate = self._explain, self.update, recipe.masker_lr
            done = (self.steps - first) / max(total - first, 1)
            if self.steps == first:
                self.masker.decoder.nobody.copy_(self.of_nobody((images.shape[-2], images.shape[-1])))
        for mine in self.parts(images, labels):
            with self.alone_with(mine) as part:
                loss, facts = phase(part)
                update.add(loss, part)
                meter.add({"loss": loss, **facts}, len(part.labels))
        update.update(rate * self.rate * self._decayed(done))
        self.steps += 1
        return meter.reduce()

    def _decayed(self, done: float) -> float:
        """Of a phase of which this part is done."""
        if self.recipe.lr_decay == "none":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def _imitate(self, part: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Phase 1: KL divergence of the surrogate on the picture with holes from the classifier on the whole one."""
        shown = any_size_coalitions(self._uniform(part, 1)).to(part.images.device)[:, 0]
        with torch.no_grad():
            whole = self.classifier.logits(part.images)
        seen = self._seen(part.images, shown)
        return divergence(self.classifier, whole, seen).mean(), {"kept": shown.mean()}

    def _explain(self, part: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Phase 2: n times the squared error of v(none) + S phi against v(S), over coalitions and classes."""
        images, n = part.images, self.recipe.grid**2
        coalitions = with_complements(kernel_coalitions(self._uniform(part, self.recipe.masks // 2))).to(images.device)
        with torch.no_grad():
            logits, taps = self.classifier.features(images)
            classes = self._asked(logits, part)
            values, everybody = self.values(images, coalitions, classes)
        nobody = self.masker.decoder.nobody[classes]
        total = everybody - nobody
        phi = self.masker.values_of(taps, logits, classes, total)
        loss = shapley_loss(phi, coalitions, values, nobody)
        even = shapley_loss((total / n)[..., None].expand(-1, -1, n), coalitions, values, nobody)
        return loss, {"even_split": even, "size": phi.detach().abs().mean()}

    # ---- its parts ------------------------------------------------------------------------------------------

    def _uniform(self, part: MicroBatch, rows: int) -> Tensor:
        """(B,rows,n+1) of numbers in [0,1), of each picture by its place in the whole batch."""
        shape = (rows, self.recipe.grid**2 + 1)
        draws = [generator(self.recipe.seed, 3, self.steps, place) for place in part.places]
        return torch.stack([torch.rand(shape, generator=draw) for draw in draws])

    def _asked(self, logits: Tensor, part: MicroBatch) -> Tensor:
        """Classes (B,1+others): the predicted one, and some of the next likely ones."""
        recipe = self.recipe
        among = min(recipe.others_among, logits.shape[1] - 1)
        order = logits.topk(1 + among, 1).indices
        draws = [generator(recipe.seed, 4, self.steps, place) for place in part.places]
        drawn = torch.stack([torch.randperm(among, generator=draw)[: recipe.others] for draw in draws])
        return torch.cat([order[:, :1], order[:, 1:].gather(1, drawn.to(order.device))], 1)

    def _seen(self, images: Tensor, shown: Tensor) -> Tensor:
        """The surrogate's logits of pictures of which cells (B,n) that are 0 are missing."""
        if self.patches is None:
            return self.surrogate.logits(self._holed(images, shown))
        return self.surrogate.logits(images, token_mask=cell_masks(shown, self.patches) > 0)

    def _holed(self, images: Tensor, shown: Tensor) -> Tensor:
        """Pictures with the mean colour where cells (B,n) are 0."""
        masks = cell_masks(shown, (images.shape[-2], images.shape[-1]))
        holed = masked_in(images, masks, self.classifier.mean.reshape(1, -1, 1, 1))
        return holed.contiguous(memory_format=self.memory_format)

    def values(self, images: Tensor, coalitions: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Values (B,k,K) of coalitions (B,k,n) and (B,K) of the whole pictures, for classes (B,K), by the surrogate."""
        pictures, count = coalitions.shape[:2]
        found = []
        for places in torch.arange(pictures * count, device=images.device).split(self.classifier.batch):
            rows = places // count
            seen = self._seen(images[rows], coalitions.flatten(0, 1)[places])
            found.append(self.surrogate.probabilities(seen).gather(1, classes[rows]))
        whole = self.surrogate.probabilities(self.surrogate.logits(images)).gather(1, classes)
        return torch.cat(found).unflatten(0, (pictures, count)).float(), whole.float()

    @torch.no_grad()
    def of_nobody(self, size: tuple[int, int]) -> Tensor:
        """Probabilities (C,) of a picture without any cell: of the mean colour, or of a class token alone."""
        empty = self.classifier.mean.reshape(1, -1, 1, 1).expand(-1, -1, *size)
        nobody = self._seen(empty, torch.zeros(1, self.recipe.grid**2, device=empty.device))
        return self.surrogate.probabilities(nobody)[0].float()

    # ---- all of it, for a checkpoint and for good -----------------------------------------------------------

    def modules(self) -> Mapping[str, nn.Module]:
        found: dict[str, nn.Module] = {"decoder": self.masker.decoder}
        return found | ({"surrogate": self.surrogate.module} if self.judge_weights else {})

    def optimizers(self) -> Mapping[str, OptimizerStep]:
        found = {"masker": self.update}
        return found | ({"surrogate": self.judge_update} if self.judge_weights else {})

    def save(self, path: Path, *, half_encoder: bool = False) -> None:
        save_masker(path, self.masker, self.classifier, self.recipe.model_dump(mode="json"))


def shapley_loss(phi: Tensor, coalitions: Tensor, values: Tensor, nobody: Tensor) -> Tensor:
    """n E (v(none) + S phi - v(S))^2, a mean over pictures, coalitions and classes.

    Under KernelSHAP's law its minimiser, among all phi that add up to v(all) - v(none), are the Shapley values.

    Args:
        phi: (B,K,n).
        coalitions: (B,k,n).
        values: (B,k,K).
        nobody: (B,K).
    """
    said = nobody[:, None] + coalitions @ phi.mT
    return phi.shape[2] * (said - values).square().mean()


def divergence(classifier: Classifier, whole: Tensor, seen: Tensor) -> Tensor:
    """(B,): KL divergence of what logits ``seen`` (B,C) say from what ``whole`` say; of findings, their sum."""
    p = classifier.probabilities(whole)
    gap = p * (classifier.log_probabilities(whole) - classifier.log_probabilities(seen))
    if classifier.activation == "sigmoid" and not classifier.is_paired:
        absent = classifier.log_probabilities(-whole) - classifier.log_probabilities(-seen)
        gap = gap + (1 - p) * absent
    return torch.where(p > 0, gap, 0.0).sum(1) if classifier.activation == "none" else gap.sum(1)

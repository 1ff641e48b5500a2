"""Algorithm 1 of CASM: a masker and a classifier trained against each other, on one page."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.func import functional_call

from maskwise.blending import masked_in, masked_out
from maskwise.classifiers import Classifier
from maskwise.infill import infiller
from maskwise.maskers import save_masker
from maskwise.maskers.finish import Finish
from maskwise.maskers.masker import Masker
from maskwise.training import mask_recipe
from maskwise.training.feed import generator
from maskwise.training.objectives import Judged, Total
from maskwise.training.objectives.base import Side
from maskwise.training.pool import Pool, Snapshot
from maskwise.training.recipe import Schedule
from maskwise.training.trainer import Trainer, trainers


@trainers.register("mask")
class MaskTrainer(Trainer):
    """A masker and, unless it is fixed, a classifier; ``step`` is one line of Algorithm 1 after another."""

    Recipe: ClassVar[type[Schedule]] = mask_recipe.Recipe
    recipe: mask_recipe.Recipe

    def __init__(
        self, classifier: Classifier, recipe: mask_recipe.Recipe, steps_per_epoch: int, fabric: Fabric
    ) -> None:
        super().__init__(classifier, recipe, steps_per_epoch, fabric)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.masker = Masker.build(
                classifier, recipe.first_tap, recipe.width, recipe.taps, recipe.head_std, Finish.of(dict(recipe))
            )
        self.masker.to(fabric.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.masker.decoder.train()
        # The shared encoder is the live classifier itself; a separate one starts as its copy.
        self.live = self.masker.encoder if recipe.shared else copy.deepcopy(self.masker.encoder)
        self.adapts = recipe.thinning != "F"
        self.live.module.requires_grad_(self.adapts)
        if self.adapts and recipe.batch_norm == "train":
            self.live.module.train()
        if not recipe.shared:
            self.masker.encoder.module.requires_grad_(True).train()
        self.pool = Pool(recipe.thinning, recipe.pool_size, recipe.p_history, generator(recipe.seed, 1))
        self.objective = Total(
            recipe.objectives, recipe.regularise_when, recipe.tv_form, recipe.target_area, recipe.area_gain
        )
        self.sides = self.objective.sides
        self.infill = infiller(recipe.infill)
        self.mask_weights = list(self.masker.decoder.parameters())
        if not recipe.shared:
            self.mask_weights += list(self.masker.encoder.module.parameters())
        self.class_weights = list(self.live.module.parameters()) if self.adapts else []
        self.mask_adam = torch.optim.Adam(self.mask_weights, recipe.masker_lr, weight_decay=recipe.weight_decay)
        self.class_sgd = torch.optim.SGD(
            self.class_weights or [nn.Parameter(torch.zeros(1))],
            recipe.classifier_lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )

    # ---- one step -------------------------------------------------------------------------------------------

    def step(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        images = images.to(self.fabric.device, memory_format=torch.channels_last)
        labels = labels.to(self.fabric.device)
        factor = self.learning_rate_factor()
        self.mask_adam.param_groups[0]["lr"] = self.recipe.masker_lr * factor
        self.class_sgd.param_groups[0]["lr"] = self.recipe.classifier_lr * factor
        with self.own_randomness(), self.fabric.autocast():
            averaged = self.recipe.classifier_update == "averaged"
            logged = self._averaged(images, labels) if averaged else self._two_steps(images, labels)
        self.steps += 1
        return logged

    def _averaged(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """The paper's Eq. 8: the classifier's loss is the mean of clean and masked; one update of each network.

        All gradients are taken before any weight moves, so every network is judged as it was in the forward.
        """
        if self.adapts:
            self.pool.offer(self.steps, self.live.module)
        clean, masks = self._mask(images)
        masked = self._masked(images, masks)
        older, judge = self._draw()
        learns = self.adapts and not (older and self.recipe.pool_use == "skip")
        # Where an older classifier judges the mask, the live one's forward need not reach back to the mask.
        seen_live = self.live.scores(masked if judge is None else masked.detach()) if learns or judge is None else None
        seen = seen_live if judge is None else self._older(judge, masked)
        assert seen is not None
        judged = Judged(clean.detach(), self._by_side(seen), labels, masks)
        loss = self.objective(judged)
        mask_gradients = self._mask_gradients(loss, keep_graph=judge is None and learns)
        if self.adapts:
            parts = []
            if self.recipe.classifier_sees == "clean_and_masked":
                parts.append(F.cross_entropy(clean, labels))
            if seen_live is not None and learns:
                parts.append(self._masked_loss(seen_live, labels))
            if parts:
                self._update(self.class_sgd, self.class_weights, self._class_gradients(torch.stack(parts).mean()))
        self._update(self.mask_adam, self.mask_weights, mask_gradients, clip=self.recipe.clip)
        return self._logged(judged, loss, older)

    def _two_steps(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """The released code: a full step on the clean pictures, then one on the masked if the live net judged."""
        clean, masks = self._mask(images)
        if self.adapts:
            if self.recipe.classifier_sees == "clean_and_masked":
                self._update(self.class_sgd, self.class_weights, self._class_gradients(F.cross_entropy(clean, labels)))
            self.pool.offer(self.steps, self.live.module)
        masked = self._masked(images, masks)
        older, judge = self._draw()
        seen = self.live.scores(masked) if judge is None else self._older(judge, masked)
        judged = Judged(clean.detach(), self._by_side(seen), labels, masks)
        loss = self.objective(judged)
        learns = self.adapts and not older
        mask_gradients = self._mask_gradients(loss, keep_graph=learns)
        if learns:
            self._update(self.class_sgd, self.class_weights, self._class_gradients(self._masked_loss(seen, labels)))
        self._update(self.mask_adam, self.mask_weights, mask_gradients, clip=self.recipe.clip)
        return self._logged(judged, loss, older)

    # ---- its parts ------------------------------------------------------------------------------------------

    def _mask(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Clean logits of the live classifier, and masks (B,H,W); one forward gives both where they share it."""
        learns_clean = self.adapts and self.recipe.classifier_sees == "clean_and_masked"
        with torch.set_grad_enabled(learns_clean):
            clean, taps = self.live.features(images)
        if self.recipe.shared:
            taps = [tap.detach() for tap in taps]  # the mask never trains the encoder it shares
        else:
            _, taps = self.masker.encoder.features(images)
        masks = self.masker.mask_of(taps, (images.shape[-2], images.shape[-1]))
        return clean, self.masker.finish.averaged(masks, images)

    def _masked(self, images: Tensor, masks: Tensor) -> Tensor:
        """The masked pictures of all sides, one batch after another, so that they share one forward."""
        views = []
        for side in self.sides:
            holes = masks.detach() if side == "out" else 1 - masks.detach()
            with torch.no_grad():
                fill = self.infill(images, holes, self.live.mean)
            views.append((masked_out if side == "out" else masked_in)(images, masks, fill))
        return torch.cat(views).contiguous(memory_format=torch.channels_last)

    def _by_side(self, logits: Tensor) -> dict[Side, Tensor]:
        return dict(zip(self.sides, logits.chunk(len(self.sides)), strict=True))

    def _masked_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The classifier's own cross entropy on masked pictures, sides weighted as in the mask's objective."""
        parts = self._by_side(logits)
        return sum((w * F.cross_entropy(parts[side], labels) for side, w in self.sides.items()), logits.new_zeros(()))

    def _draw(self) -> tuple[bool, Snapshot | None]:
        """Is it an older classifier's turn, and which one judges (None: the live one)."""
        judge = self.pool.draw() if self.adapts else None
        return judge is not None, None if self.recipe.pool_use == "skip" else judge

    def _older(self, judge: Snapshot, images: Tensor) -> Tensor:
        """Logits of a past classifier: its weights in the live network's code, in eval mode."""
        with evaluating(self.live.module):
            return functional_call(self.live.module, judge, (self.live.normalise(images),))

    def _mask_gradients(self, loss: Tensor, keep_graph: bool) -> tuple[Tensor | None, ...]:
        # What comes after the last tap of a separate encoder has no part in the mask.
        return torch.autograd.grad(
            loss, self.mask_weights, retain_graph=keep_graph, allow_unused=not self.recipe.shared
        )

    def _class_gradients(self, loss: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, self.class_weights)

    def _update(
        self,
        optimiser: torch.optim.Optimizer,
        weights: list[nn.Parameter],
        gradients: Iterable[Tensor | None],
        clip: float | None = None,
    ) -> None:
        for weight, gradient in zip(weights, gradients, strict=True):
            if gradient is not None and self.fabric.world_size > 1:
                weight.grad = cast(Tensor, self.fabric.all_reduce(gradient))
            else:
                weight.grad = gradient
        if clip is not None:
            nn.utils.clip_grad_norm_(weights, clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def _logged(self, judged: Judged, loss: Tensor, older: bool) -> dict[str, float]:
        area = judged.masks.detach().mean().item()
        self.objective.steer(area)
        right = {
            f"masked_{side}_right": (logits.argmax(1) == judged.labels).float().mean().item()
            for side, logits in judged.masked.items()
        }
        return {
            "loss": loss.item(),
            "area": area,
            "lambda_factor": self.objective.factor,
            "right": judged.right.float().mean().item(),
            **right,
            "spread": judged.masks.detach().std((1, 2)).mean().item(),
            "older": float(older),
        }

    # ---- all of it, for a checkpoint and for good -----------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "masker": self.masker.state_dict(),
            "live": self.live.state_dict(),
            "mask_adam": self.mask_adam.state_dict(),
            "class_sgd": self.class_sgd.state_dict(),
            "pool": self.pool.state_dict(),
            "objective": self.objective.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        self.masker.load_state_dict(state["masker"])
        self.live.load_state_dict(state["live"])
        self.mask_adam.load_state_dict(state["mask_adam"])
        self.class_sgd.load_state_dict(state["class_sgd"])
        self.pool.load_state_dict(state["pool"])
        self.objective.load_state_dict(state["objective"])

    def save(self, path: Path, *, half_encoder: bool = False) -> None:
        recipe = self.recipe.model_dump(mode="json")
        save_masker(path, self.masker, self.classifier, recipe, half_encoder=half_encoder)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in eval mode; each part's own flag comes back after."""
    flags = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, flag in flags:
            m.training = flag

"""Algorithm 1 of CASM: a masker and a classifier trained against each other, on one page."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

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
from maskwise.training.compiling import Tapping, compiled
from maskwise.training.descent import Descent
from maskwise.training.feed import generator
from maskwise.training.objectives import Judged, Total
from maskwise.training.objectives.base import Side
from maskwise.training.pool import Pool, Snapshot
from maskwise.training.recipe import Schedule
from maskwise.training.share import Part
from maskwise.training.tally import Tally
from maskwise.training.trainer import Change, Trainer, trainers


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
                classifier, recipe.first_tap, recipe.width, recipe.taps, recipe.head_std, Finish.of(dict(recipe)),
                recipe.shared,
            )  # fmt: skip
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
            recipe.objectives, recipe.regularise_when, recipe.tv_form,
            recipe.target_area, recipe.area_gain, recipe.area_lookahead,
        )  # fmt: skip
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
        # What comes after the last tap of a separate encoder has no part in the mask.
        some = not recipe.shared
        self.mask_descent = Descent(self.mask_adam, self.mask_weights, fabric, recipe.clip, some)
        self.class_descent = Descent(self.class_sgd, self.class_weights, fabric)
        self.features, self.scores = self.live.features, self.live.scores

    # ---- one step -------------------------------------------------------------------------------------------

    def step(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        factor, tally = self.learning_rate_factor(), Tally(self.fabric)
        update = self._averaged if self.recipe.classifier_update == "averaged" else self._two_steps
        older = update(self.parts(images, labels), tally, factor)
        self.steps += 1
        logged = tally.means()
        self.objective.steer(logged["area"])
        return {**logged, "lambda_factor": self.objective.factor, "older": float(older)}

    def _averaged(self, parts: list[Part], tally: Tally, factor: float) -> bool:
        """The paper's Eq. 8: the classifier's loss is the mean of clean and masked; one update of each network.

        All gradients are taken before any weight moves, so every network is judged as it was in the forward.
        """
        if self.adapts:
            self.pool.offer(self.steps, self.live.module)
        older, judge = self._draw()
        learns = self.adapts and not (older and self.recipe.pool_use == "skip")
        for whose in parts:
            with self.alone_with(whose) as part:
                clean, taps = self._read(part.images)
                masks = self._mask(part.images, taps)
                masked = self._masked(part.images, masks)
                # Where an older classifier judges the mask, the live one's forward need not reach back to the mask.
                seen_live = None
                if learns or judge is None:
                    seen_live = self.scores(masked if judge is None else masked.detach())
                seen = seen_live if judge is None else self._older(judge, masked)
                assert seen is not None
                judged = Judged(clean.detach(), self._by_side(seen), part.labels, masks)
                loss = self.objective(judged)
                self.mask_descent.add(loss, part, keep_graph=judge is None and learns)
                if self.adapts:
                    terms = []
                    if self.recipe.classifier_sees == "clean_and_masked":
                        terms.append(F.cross_entropy(clean, part.labels))
                    if seen_live is not None and learns:
                        terms.append(self._masked_loss(seen_live, part.labels))
                    if terms:
                        self.class_descent.add(torch.stack(terms).mean(), part)
                tally.add(facts(judged, loss), len(masks))
        self.class_descent.update(self.recipe.classifier_lr * factor)
        self.mask_descent.update(self.recipe.masker_lr * factor)
        return older

    def _two_steps(self, parts: list[Part], tally: Tally, factor: float) -> bool:
        """The released code: a full step on the clean pictures, then one on the masked if the live net judged.

        Masks are made from what the classifier saw before the first of them.
        """
        read: list[tuple[Tensor, list[Tensor]]] = []
        for whose in parts:
            with self.alone_with(whose) as part:
                clean, taps = self._read(part.images)
                if self.adapts and self.recipe.classifier_sees == "clean_and_masked":
                    self.class_descent.add(F.cross_entropy(clean, part.labels), part)
                read.append((clean.detach(), taps))
        self.class_descent.update(self.recipe.classifier_lr * factor)
        if self.adapts:
            self.pool.offer(self.steps, self.live.module)
        older, judge = self._draw()
        learns = self.adapts and not older
        for whose, (clean, taps) in zip(parts, read, strict=True):
            with self.alone_with(whose, 1) as part:
                masks = self._mask(part.images, taps)
                masked = self._masked(part.images, masks)
                seen = self.scores(masked) if judge is None else self._older(judge, masked)
                judged = Judged(clean, self._by_side(seen), part.labels, masks)
                loss = self.objective(judged)
                self.mask_descent.add(loss, part, keep_graph=learns)
                if learns:
                    self.class_descent.add(self._masked_loss(seen, part.labels), part)
                tally.add(facts(judged, loss), len(masks))
        self.class_descent.update(self.recipe.classifier_lr * factor)
        self.mask_descent.update(self.recipe.masker_lr * factor)
        return older

    # ---- its parts ------------------------------------------------------------------------------------------

    def _read(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Clean logits of the live classifier, and its taps, cut off: the mask never trains the encoder it shares."""
        learns_clean = self.adapts and self.recipe.classifier_sees == "clean_and_masked"
        with torch.set_grad_enabled(learns_clean):
            clean, taps = self.features(images)
        return clean, [tap.detach() for tap in taps] if self.recipe.shared else []

    def _mask(self, images: Tensor, taps: list[Tensor]) -> Tensor:
        """Masks (B,H,W), from the live classifier's taps or those of an encoder of its own."""
        if not self.recipe.shared:
            _, taps = self.masker.encoder.features(images)
        masks = self.masker.mask_of(taps, (images.shape[-2], images.shape[-1]))
        return self.masker.finish.averaged(masks, images)

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

    def large(self) -> list[nn.Module]:
        return [self.live.module, *([] if self.recipe.shared else [self.masker.encoder.module])]

    def changed(self, state: dict[str, Any], network: Change, optimiser: Change) -> dict[str, Any]:
        """Past classifiers, too."""
        pool = state["pool"]
        entries = [network(self.live.module, entry) for entry in pool["entries"]]
        return super().changed(state, network, optimiser) | {"pool": pool | {"entries": entries}}

    def compile(self, backend: str) -> None:
        """The live classifier's two forwards and the decoder's; a pool's snapshots run as they are."""
        self.features = compiled(Tapping(self.live), backend)
        self.scores = compiled(self.live.scores, backend)
        # Kept out of the module's attributes, so that its weights keep their names.
        decoder = self.masker.decoder
        object.__setattr__(decoder, "forward", compiled(decoder.forward, backend))

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
            "scalers": [self.mask_descent.state_dict(), self.class_descent.state_dict()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        self.masker.load_state_dict(state["masker"])
        self.live.load_state_dict(state["live"])
        self.mask_adam.load_state_dict(state["mask_adam"])
        self.class_sgd.load_state_dict(state["class_sgd"])
        self.pool.load_state_dict(state["pool"])
        self.objective.load_state_dict(state["objective"])
        for descent, scaler in zip((self.mask_descent, self.class_descent), state.get("scalers", []), strict=False):
            descent.load_state_dict(scaler)

    def save(self, path: Path, *, half_encoder: bool = False) -> None:
        recipe = self.recipe.model_dump(mode="json")
        save_masker(path, self.masker, self.classifier, recipe, half_encoder=half_encoder)


def facts(judged: Judged, loss: Tensor) -> dict[str, Tensor]:
    """What the log holds of some pictures, means or one number a picture."""
    masks = judged.masks.detach()
    right = {f"masked_{side}_right": logits.argmax(1) == judged.labels for side, logits in judged.masked.items()}
    return {
        "loss": loss,
        "area": masks.mean(),
        "right": judged.right,
        **right,
        "spread": masks.std((1, 2)).mean(),
    }


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

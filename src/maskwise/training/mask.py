"""Algorithm 1 of CASM: a masker and a classifier trained against each other, on one page."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier, widened
from maskwise.core.modes import eval_mode
from maskwise.infill import infiller
from maskwise.maskers import save_masker
from maskwise.maskers.finish import Finish
from maskwise.maskers.layout import Layout
from maskwise.maskers.masker import Masker
from maskwise.maskers.store import start_at
from maskwise.training import mask_recipe
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.class_wise import ByClass, ask
from maskwise.training.compiling import Tapping, compiled
from maskwise.training.consistency import enlarged_part, inconsistency
from maskwise.training.crops import random_crop
from maskwise.training.distributed.share import MicroBatch
from maskwise.training.draws import generator, seeded
from maskwise.training.judges import Judges, judged_by
from maskwise.training.likelihood import Bernoulli, Categorical, Likelihood, likelihood_of
from maskwise.training.loader import Loader
from maskwise.training.meter import Meter
from maskwise.training.objectives import Judged, Total
from maskwise.training.objectives.base import Side
from maskwise.training.optimizer_step import OptimizerStep
from maskwise.training.pool import Snapshot, SnapshotPool
from maskwise.training.trainer import Trainer, trainers
from maskwise.training.views import MaskView, seen_through

if TYPE_CHECKING:
    from lightning.fabric import Fabric

BySide = dict[Side, Tensor]  # masked pictures (B,3,S,S), or what a classifier says of them (B,K)


@trainers.register("mask")
class MaskTrainer(Trainer):
    """A masker and, unless it is fixed, a classifier; a step is one line of Algorithm 1 after another."""

    Recipe: ClassVar[type[BaseRecipe]] = mask_recipe.Recipe
    likelihoods: ClassVar[tuple[type[Likelihood], ...]] = (Categorical, Bernoulli)
    recipe: mask_recipe.Recipe

    def __init__(
        self, classifier: Classifier, recipe: mask_recipe.Recipe, steps_per_epoch: int, fabric: Fabric
    ) -> None:
        super().__init__(classifier, recipe, steps_per_epoch, fabric)
        self.likelihood = likelihood_of(classifier)
        with seeded(recipe.seed):
            self.masker = Masker.build(
                classifier, reads=recipe.taps, finish=Finish.of(dict(recipe)), shares_encoder=recipe.shared,
                layout=Layout.of(dict(recipe)),
            )  # fmt: skip
        self.adapts = recipe.thinning != "F"
        if self.adapts or not recipe.shared:
            widened(self.masker.encoder)  # it learns
        start_at(self.masker, recipe.start, classifier, encoder_too=self.adapts or not recipe.shared)
        self.masker.to(fabric.device).to(memory_format=torch.channels_last)
        self.masker.decoder.train()
        # The shared encoder is the live classifier itself; a separate one starts as its copy.
        self.live = self.masker.encoder if recipe.shared else copy.deepcopy(self.masker.encoder)
        self.live.module.requires_grad_(self.adapts)
        # Batch statistics of masked-in pictures are not those of masked-out ones: in train mode each has a forward.
        self.own_statistics = self.adapts and recipe.batch_norm == "train"
        if self.own_statistics:
            self.live.train()
        if not recipe.shared:
            self.masker.encoder.train().module.requires_grad_(True)
        self.judges = Judges.named(recipe.judges, classifier, recipe.seed, fabric.device)
        self.pool = SnapshotPool(recipe.thinning, recipe.pool_size, recipe.p_history, generator(recipe.seed, 1))
        self.objective = Total(
            recipe.objectives, recipe.regularise_when, recipe.tv_form, recipe.lambda_inside_weights,
            recipe.target_area, recipe.area_gain, recipe.area_lookahead, recipe.tv_edges,
        )  # fmt: skip
        self.sides = self.objective.sides
        self.class_weights = torch.ones(len(classifier.labels))  # how often each is drawn as one that is not there
        self.infill = infiller(recipe.infill)
        self.masker_parameters = list(self.masker.decoder.parameters())
        if not recipe.shared:
            self.masker_parameters += list(self.masker.encoder.module.parameters())
        adam = torch.optim.Adam(self.masker_parameters, recipe.masker_lr, weight_decay=recipe.weight_decay)
        # What comes after the last tap of a separate encoder has no part in the mask.
        some = not recipe.shared
        self.masker_step = OptimizerStep(adam, self.masker_parameters, fabric, recipe.clip, some)
        self.classifier_parameters = list(self.live.module.parameters()) if self.adapts else []
        if self.adapts:
            sgd = torch.optim.SGD(
                self.classifier_parameters, recipe.classifier_lr, recipe.momentum, weight_decay=recipe.weight_decay
            )
            self.classifier_step = OptimizerStep(sgd, self.classifier_parameters, fabric)
        self.features: Callable[[Tensor], tuple[Tensor, list[Tensor]]] = self.live.features
        self.logits: Callable[[Tensor], Tensor] = self.live.logits

    def prepare(self, loader: Loader, out: Path, progress: bool = False) -> None:
        """How often pictures show each class, where the classes that they do not show are drawn by that."""
        if self.recipe.negatives_of == "pictures":
            counts = torch.zeros(len(self.class_weights))
            for classes in loader.shown:
                counts[list(classes)] += 1
            self.class_weights = counts

    # ---- one step -------------------------------------------------------------------------------------------

    def train_step(self, images: Tensor, labels: Tensor) -> Meter:
        factor, meter = self.learning_rate_factor(), Meter(self.fabric)
        update = self._averaged if self.recipe.classifier_update == "averaged" else self._two_steps
        older = update(self.parts(images, labels), meter, factor)
        self.steps += 1
        self.objective.steer(meter.reduce().mean("area"))
        meter.note(lambda_factor=self.objective.factor, older=float(older))
        return meter

    def _averaged(self, parts: list[MicroBatch], meter: Meter, factor: float) -> bool:
        """The paper's Eq. 8: the classifier's loss is the mean of clean and masked; one update of each network.

        All gradients are taken before any weight moves, so every network is judged as it was in the forward.
        """
        if self.adapts:
            self.pool.offer(self.steps, self.live.module)
        older, judge = self._draw()
        learns = self.adapts and not (older and self.recipe.pool_use == "skip")
        for mine in parts:
            with self.alone_with(mine) as part:
                clean, taps = self._read(part.images)
                labels = self._explained(clean, part.labels)
                masks, by_class = self._mask(part.images, taps, labels)
                masked = self._masked(part.images, masks)
                # Where an older classifier judges the mask, the live one's forward need not reach back to the mask.
                seen_live = None
                if learns or judge is None:
                    cut_off = {side: view.detach() for side, view in masked.items()}
                    seen_live = self._seen_live(masked if judge is None else cut_off)
                seen = seen_live if judge is None else self._seen_by(judge, masked)
                assert seen is not None
                judged = Judged(clean.detach(), seen, labels, masks, self.likelihood, by_class, part.images)
                loss = self.objective(judged) + self._inconsistency(part.images, masks, labels)
                self.masker_step.add(loss, part, keep_graph=judge is None and learns)
                if self.adapts:
                    terms = []
                    if self.recipe.classifier_sees == "clean_and_masked":
                        terms.append(self.likelihood.cross_entropy(clean, part.labels))
                    if seen_live is not None and learns:
                        terms.append(self._masked_loss(seen_live, part.labels))
                    if terms:
                        self.classifier_step.add(torch.stack(terms).mean(), part)
                meter.add(facts(judged, loss), len(masks))
        if self.adapts:
            self.classifier_step.update(self.recipe.classifier_lr * factor)
        self.masker_step.update(self.recipe.masker_lr * factor)
        return older

    def _two_steps(self, parts: list[MicroBatch], meter: Meter, factor: float) -> bool:
        """The released code: a full step on the clean pictures, then one on the masked if the live net judged.

        Masks are made from what the classifier saw before the first of them.
        """
        read: list[tuple[Tensor, list[Tensor]]] = []
        for mine in parts:
            with self.alone_with(mine) as part:
                clean, taps = self._read(part.images)
                if self.adapts and self.recipe.classifier_sees == "clean_and_masked":
                    self.classifier_step.add(self.likelihood.cross_entropy(clean, part.labels), part)
                read.append((clean.detach(), taps))
        if self.adapts:
            self.classifier_step.update(self.recipe.classifier_lr * factor)
            self.pool.offer(self.steps, self.live.module)
        older, judge = self._draw()
        learns = self.adapts and not older
        for mine, (clean, taps) in zip(parts, read, strict=True):
            with self.alone_with(mine, 1) as part:
                labels = self._explained(clean, part.labels)
                masks, by_class = self._mask(part.images, taps, labels)
                masked = self._masked(part.images, masks)
                seen = self._seen_live(masked) if judge is None else self._seen_by(judge, masked)
                judged = Judged(clean, seen, labels, masks, self.likelihood, by_class, part.images)
                loss = self.objective(judged) + self._inconsistency(part.images, masks, labels)
                self.masker_step.add(loss, part, keep_graph=learns)
                if learns:
                    self.classifier_step.add(self._masked_loss(seen, part.labels), part)
                meter.add(facts(judged, loss), len(masks))
        if learns:
            self.classifier_step.update(self.recipe.classifier_lr * factor)
        self.masker_step.update(self.recipe.masker_lr * factor)
        return older

    # ---- its parts ------------------------------------------------------------------------------------------

    def _read(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Clean logits of the live classifier, and its taps, cut off: the mask never trains the encoder it shares."""
        learns_clean = self.adapts and self.recipe.classifier_sees == "clean_and_masked"
        with torch.set_grad_enabled(learns_clean):
            clean, taps = self.features(images)
        return clean, [tap.detach() for tap in taps] if self.recipe.shared else []

    def _explained(self, clean: Tensor, labels: Tensor) -> Tensor:
        """What masks are to show: the labels, or what the classifier itself finds in the whole crop."""
        return labels if self.recipe.explains == "label" else self.likelihood.found(clean.detach())

    def _mask(self, images: Tensor, taps: list[Tensor], labels: Tensor) -> tuple[Tensor, ByClass | None]:
        """Masks (B,H,W), from the live classifier's taps or those of an encoder of its own.

        Where the masker reads a class they are the union over the labels' classes, and those of single classes, and of
        others that the recipe asks for, come with them.
        """
        if not self.recipe.shared:
            _, taps = self.masker.encoder.features(images)
        if not self.masker.reads_class:
            return self.masker.ungated(images, taps, labels.new_zeros(len(images), 1))[:, 0], None
        asked = ask(labels, self.class_weights.to(labels.device), self.recipe.most_findings, self.recipe.negatives)
        by_class = asked.split(self.masker.ungated(images, taps, asked.classes))
        return by_class.own.union(), by_class

    def _inconsistency(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor | float:
        """How far the masks of one part of all pictures are from that part of their masks, as the recipe weighs it."""
        if not self.recipe.consistency:
            return 0.0
        draws = generator(self.recipe.seed, 7, self.steps)
        crop = random_crop(images.shape[-2], images.shape[-1], self.recipe.consistency_area, draws)
        enlarged = enlarged_part(images, crop)
        taps: list[Tensor] = []
        if self.recipe.shared:
            with torch.no_grad(), eval_mode(self.live.module):  # its statistics are of whole crops
                _, taps = self.live.features(enlarged)
        of_part, _ = self._mask(enlarged, taps, labels)
        return self.recipe.consistency * inconsistency(of_part, masks, crop)

    def _masked(self, images: Tensor, masks: Tensor) -> BySide:
        """The masked pictures (B,3,H,W) of all sides that are needed."""
        views = [MaskView(masks, side) for side in self.sides]
        return dict(zip(self.sides, seen_through(images, views, self.infill, self.live.mean), strict=True))

    def _seen_live(self, views: BySide) -> BySide:
        """Logits (B,K) of the live classifier, by side."""
        if self.own_statistics:
            return {side: self.logits(_channels_last(view)) for side, view in views.items()}
        return self._in_one_batch(self.logits, views)

    def _seen_by(self, judge: Snapshot | Classifier, views: BySide) -> BySide:
        """Logits (B,K) of another network, or of a past one: its weights in the live network's code, in eval mode."""
        if isinstance(judge, Classifier):
            return self._in_one_batch(lambda images: judged_by(judge, images), views)
        with eval_mode(self.live.module):
            return self._in_one_batch(lambda images: self.live.logits(images, judge), views)

    @staticmethod
    def _in_one_batch(logits: Callable[[Tensor], Tensor], views: BySide) -> BySide:
        """In eval mode no picture's answer depends on the others', and one large forward is quicker than two."""
        together = _channels_last(torch.cat(list(views.values())))
        return dict(zip(views, logits(together).chunk(len(views)), strict=True))

    def _masked_loss(self, seen: BySide, labels: Tensor) -> Tensor:
        """The classifier's own cross entropy on masked pictures, sides weighted as in the mask's objective."""
        terms = [weight * self.likelihood.cross_entropy(seen[side], labels) for side, weight in self.sides.items()]
        return torch.stack(terms).sum()

    def _draw(self) -> tuple[bool, Snapshot | Classifier | None]:
        """Is it an older or another classifier's turn, and which one judges (None: the live one)."""
        judge = self.pool.draw() if self.adapts else None
        other = self.judges.drawn(self.steps)
        if other is not None:
            return True, other
        return judge is not None, None if self.recipe.pool_use == "skip" else judge

    def compile(self, backend: str) -> None:
        """The live classifier's two forwards and the decoder's; a pool's snapshots run as they are."""
        self.features = compiled(Tapping(self.live), backend)
        self.logits = compiled(self.live.logits, backend)
        # Kept out of the module's attributes, so that its weights keep their names.
        decoder = self.masker.decoder
        object.__setattr__(decoder, "forward", compiled(decoder.forward, backend))

    # ---- all of it, for a checkpoint and for good -----------------------------------------------------------

    def modules(self) -> dict[str, nn.Module]:
        """The decoder, the live classifier where it adapts, and an encoder that is not shared."""
        found: dict[str, nn.Module] = {"decoder": self.masker.decoder}
        if self.adapts:
            found["classifier"] = self.live.module
        if not self.recipe.shared:
            found["encoder"] = self.masker.encoder.module
        return found

    def optimizers(self) -> dict[str, OptimizerStep]:
        found = {"masker": self.masker_step}
        return found | ({"classifier": self.classifier_step} if self.adapts else {})

    def generators(self) -> dict[str, torch.Generator]:
        return {"pool": self.pool.generator}

    def snapshots(self) -> dict[str, Snapshot]:
        return self.pool.snapshots()

    def extra_state(self) -> dict[str, Any]:
        return {"pool": self.pool.state_dict(), "objective": self.objective.state_dict()}

    def load_extra_state(self, state: dict[str, Any], snapshots: Mapping[str, Snapshot]) -> None:
        self.pool.load_state_dict(state["pool"], snapshots)
        self.objective.load_state_dict(state["objective"])

    def save(self, path: Path, *, half_encoder: bool = False) -> None:
        recipe = self.recipe.model_dump(mode="json")
        save_masker(path, self.masker, self.classifier, recipe, half_encoder=half_encoder)


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def facts(judged: Judged, loss: Tensor) -> dict[str, Tensor]:
    """What the log holds of some pictures, means or one number a picture."""
    masks, others = judged.masks.detach(), judged.masks_by_class.others
    says: dict[Side, Callable[[Tensor, Tensor], Tensor]]
    says = {"in": judged.likelihood.right, "out": judged.likelihood.shows}
    right = {f"masked_{side}_right": says[side](logits, judged.labels) for side, logits in judged.masked.items()}
    return {
        "loss": loss,
        "area": masks.mean(),
        **({} if others is None else {"others_area": others.union().mean()}),
        "right": judged.right,
        **right,
        "spread": masks.std((1, 2)).mean(),
    }

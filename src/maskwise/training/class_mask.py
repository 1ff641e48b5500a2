"""Training a class-conditional masker: first the class selector, then the mask (Dabkowski & Gal 2017)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.class_objective import Seen
from maskwise.classifiers import Classifier
from maskwise.maskers import ClassMasker, save_masker
from maskwise.maskers.decoder import readable_by
from maskwise.maskers.store import start_at
from maskwise.maskers.upsampler import Upsampler
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.class_mask_recipe import ClassMaskRecipe
from maskwise.training.draws import seeded
from maskwise.training.likelihood import Categorical, likelihood_of
from maskwise.training.meter import Meter
from maskwise.training.optimizer_step import OptimizerStep
from maskwise.training.trainer import Trainer, trainers

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def fake_classes(labels: Tensor, count: int) -> Tensor:
    """A class (B,) for each label that is another one, all others alike.

    The released code draws offsets 1 to count - 2; here the last class is drawn too.
    """
    return (labels + torch.randint(1, count, labels.shape, device=labels.device)) % count


@trainers.register("class_mask")
class ClassMaskTrainer(Trainer):
    """The classifier is judge and encoder, and never changes; its batch norm stays in eval mode.

    Each picture has one true class, and every other one is a fake: findings that a picture has several of, or none,
    are not for it.
    """

    Recipe: ClassVar[type[BaseRecipe]] = ClassMaskRecipe
    recipe: ClassMaskRecipe

    def __init__(self, classifier: Classifier, recipe: ClassMaskRecipe, steps_per_epoch: int, fabric: Fabric) -> None:
        super().__init__(classifier, recipe, steps_per_epoch, fabric)
        self.likelihood = cast(Categorical, likelihood_of(classifier))
        with seeded(recipe.seed):
            self.masker = ClassMasker.build(
                classifier, recipe.widths, recipe.upsampling, recipe.bottlenecks, recipe.encoder, recipe.kernel
            )
        if recipe.embedding == "classifier":
            self.masker.decoder.filter.start_at(classifier)
        for upsampler in self.masker.decoder.upsamplers:
            cast(Upsampler, upsampler).quieten_skip(recipe.skip_gain)
        start_at(self.masker, recipe.start, classifier)
        self.masker.to(fabric.device).to(memory_format=torch.channels_last)
        self.selector = list(self.masker.decoder.filter.parameters())
        taken = {id(p) for p in self.selector}
        self.masker_parameters = [p for p in self.masker.decoder.parameters() if id(p) not in taken]
        if recipe.encoder == "scratch":
            self.masker_parameters += [*self.selector, *self.masker.encoder.module.parameters()]
            self.masker.encoder.train()
        selector_adam = torch.optim.Adam(self.selector, recipe.selector_lr, weight_decay=recipe.weight_decay)
        masker_adam = torch.optim.Adam(self.masker_parameters, recipe.masker_lr, weight_decay=recipe.weight_decay)
        self.selector_step = OptimizerStep(selector_adam, self.selector, fabric, recipe.clip)
        # What comes after the last tap of an encoder of its own has no part in the mask.
        some = recipe.encoder == "scratch"
        self.masker_step = OptimizerStep(masker_adam, self.masker_parameters, fabric, recipe.clip, some)
        self.objective, self.alternative = recipe.objective(), recipe.alternative()
        self.features, self.logits = self.masker.encoder.features, self.classifier.logits

    def train_step(self, images: Tensor, labels: Tensor) -> Meter:
        recipe = self.recipe
        phase, update, rate, whole = self._select, self.selector_step, recipe.selector_lr, recipe.batch_size
        if self.steps < recipe.selector_steps:
            rate *= 0.1 ** (self.steps // recipe.selector_lr_steps)
        else:
            phase, update, rate = self._warm_up, self.masker_step, recipe.masker_lr
        if self.steps >= recipe.first_masks:  # which the released code reads in smaller batches
            done = (self.steps - recipe.first_masks) / (recipe.steps - recipe.first_masks)
            phase, rate = self._mask, rate * self._factor(done)
            whole = min(recipe.masker_batch_size or whole, whole)
            share = len(range(self.fabric.global_rank, recipe.masker_batch_size or whole, self.fabric.world_size))
            images, labels = (x[:share] if recipe.masker_batch_size else x for x in (images, labels))
        meter = Meter(self.fabric)
        for mine in self.parts(images, labels, whole):
            with self.alone_with(mine) as part:
                loss, facts = phase(part.images, part.labels)
                update.add(loss, part)
                meter.add({"loss": loss, **facts}, len(part.labels))
        update.update(rate)
        self.steps += 1
        return meter.reduce()

    def _select(self, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Phase 1: is the class that is asked for in the picture? Cross entropy of (-e/2, e/2)."""
        classes, real = self._asked(labels, self.recipe.selector_fakes)
        with torch.no_grad():
            _, taps = self.features(images)
        exists = self.masker.existence(taps, classes[:, None])[:, 0].float()
        loss = F.binary_cross_entropy_with_logits(exists, real.float())
        return loss, {"right": (exists > 0) == real}

    def _warm_up(self, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Between the phases: the mask becomes what the filter knows of the class's place, which is coarse.

        That is X_ij . C_k over its maximum, where it is positive, times the chance that the class is there. The
        objective alone takes thousands of steps to find out that the mask should depend on the class at all.
        """
        classes, _ = self._asked(labels, self.recipe.masker_fakes)
        taps, masks = self._masks(images, classes)
        with torch.no_grad():
            (last,) = readable_by(self.masker.decoder, taps[-1:])
            agrees = self.masker.decoder.filter.agreement(last, classes[:, None]).float().relu()
            place = agrees / agrees.amax((2, 3), keepdim=True).clamp(min=1e-6)
            place = place * self.masker.existence(taps, classes[:, None]).float().sigmoid()[:, :, None, None]
            wanted = F.interpolate(place, masks.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        safe = masks.clamp(1e-4, 1 - 1e-4)  # written out, since under autocast torch refuses its own
        loss = -(wanted * safe.log() + (1 - wanted) * (1 - safe).log()).mean()
        return loss, {"off": (masks - wanted).abs().mean()}

    def _masks(self, images: Tensor, classes: Tensor) -> tuple[list[Tensor], Tensor]:
        """Taps, and masks (B,S,S) of classes (B,), with a graph back to the weights of the mask."""
        self.masker.decoder.train()
        with torch.set_grad_enabled(not self.masker.shares_encoder):
            _, taps = self.features(images)
        return taps, self.masker.masks_for(taps, classes[:, None], (images.shape[-2], images.shape[-1]))[:, 0]

    def _mask(self, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Phase 2: masks of the classes that are asked for, judged by what they keep and what they leave."""
        classes, real = self._asked(labels, self.recipe.masker_fakes)
        _, masks = self._masks(images, classes)
        pictures = torch.cat([self.alternative(images, masks), self.alternative(images, 1 - masks)])
        answers = self.logits(pictures.contiguous(memory_format=torch.channels_last))
        kept, gone = self.likelihood.scaled(answers).chunk(2)
        terms = self.objective(Seen(masks, kept, gone, labels, real))
        loss = torch.stack(list(terms.values())).sum()
        return loss, {**terms, **_facts(masks, kept, gone, labels, real)}

    def _asked(self, labels: Tensor, p_fake: float) -> tuple[Tensor, Tensor]:
        """Classes (B,) that are asked for, and whether they are the pictures' own."""
        real = torch.rand(labels.shape, device=labels.device) >= p_fake
        return torch.where(real, labels, fake_classes(labels, len(self.classifier.labels))), real

    def _factor(self, done: float) -> float:
        """Cosine decay runs over phase 2 alone, and a step decay goes by epochs as in any other training."""
        if self.recipe.lr_decay == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate_factor()

    def modules(self) -> dict[str, nn.Module]:
        """The decoder, and an encoder that is learnt with it."""
        own = {} if self.masker.shares_encoder else {"encoder": self.masker.encoder.module}
        return {"decoder": self.masker.decoder, **own}

    def optimizers(self) -> dict[str, OptimizerStep]:
        return {"selector": self.selector_step, "masker": self.masker_step}

    def save(self, path: Path, *, half_encoder: bool = False) -> None:
        """As every trainer; ``half_encoder`` halves the decoder as well, which here is all there is to store."""
        recipe = self.recipe.model_dump(mode="json")
        save_masker(path, self.masker, self.classifier, recipe, half_encoder=half_encoder, half_decoder=half_encoder)


def _facts(masks: Tensor, kept: Tensor, gone: Tensor, labels: Tensor, real: Tensor) -> dict[str, Tensor]:
    """What the log holds beside the loss and its terms, one number a picture; NaN where it says nothing."""
    facts: dict[str, Tensor] = {}
    for name, rows in (("real", real), ("fake", ~real)):
        said = {"area": masks.detach().mean((1, 2))}
        said |= {f"{p}_right": (logits.argmax(1) == labels).float() for p, logits in (("kept", kept), ("gone", gone))}
        facts |= {f"{what}_{name}": values.masked_fill(~rows, torch.nan) for what, values in said.items()}
    return facts

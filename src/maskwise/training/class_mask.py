"""Training a class-conditional masker: first the class selector, then the mask (Dabkowski & Gal 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn

from maskwise.class_objective import Seen
from maskwise.classifiers import Classifier
from maskwise.maskers import ClassMasker, save_masker
from maskwise.maskers.upsampler import Upsampler
from maskwise.training.class_mask_recipe import ClassMaskRecipe
from maskwise.training.recipe import Schedule
from maskwise.training.trainer import Trainer, trainers


def fake_classes(labels: Tensor, count: int) -> Tensor:
    """A class (B,) for each label that is another one, all others alike.

    The released code draws offsets 1 to count - 2; here the last class is drawn too.
    """
    return (labels + torch.randint(1, count, labels.shape, device=labels.device)) % count


@trainers.register("class_mask")
class ClassMaskTrainer(Trainer):
    """The classifier is judge and encoder, and never changes; its batch norm stays in eval mode."""

    Recipe: ClassVar[type[Schedule]] = ClassMaskRecipe
    recipe: ClassMaskRecipe

    def __init__(self, classifier: Classifier, recipe: ClassMaskRecipe, steps_per_epoch: int, fabric: Fabric) -> None:
        super().__init__(classifier, recipe, steps_per_epoch, fabric)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.masker = ClassMasker.build(
                classifier, recipe.widths, recipe.upsampling, recipe.bottlenecks, recipe.encoder, recipe.kernel
            )
        if recipe.embedding == "classifier":
            self.masker.decoder.filter.start_at(classifier)
        for upsampler in self.masker.decoder.upsamplers:
            cast(Upsampler, upsampler).quieten_skip(recipe.skip_gain)
        self.masker.to(fabric.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.selector = list(self.masker.decoder.filter.parameters())
        taken = {id(p) for p in self.selector}
        self.mask_weights = [p for p in self.masker.decoder.parameters() if id(p) not in taken]
        if recipe.encoder == "scratch":
            self.mask_weights += [*self.selector, *self.masker.encoder.module.parameters()]
            self.masker.encoder.module.train()
        self.selector_adam = torch.optim.Adam(self.selector, recipe.selector_lr, weight_decay=recipe.weight_decay)
        self.mask_adam = torch.optim.Adam(self.mask_weights, recipe.masker_lr, weight_decay=recipe.weight_decay)
        self.objective, self.alternative = recipe.objective(), recipe.alternative()

    def step(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        phase = self._select if self.steps < self.recipe.selector_steps else self._warm_up
        if self.steps >= self.recipe.first_masks:  # which the released code reads in smaller batches
            phase = self._mask
            images, labels = images[: self.recipe.masker_batch_size], labels[: self.recipe.masker_batch_size]
        images = images.to(self.fabric.device, memory_format=torch.channels_last)
        labels = labels.to(self.fabric.device)
        with self.own_randomness(), self.fabric.autocast():
            logged = phase(images, labels)
        self.steps += 1
        return logged

    def _select(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """Phase 1: is the class that is asked for in the picture? Cross entropy of (-e/2, e/2)."""
        classes, real = self._asked(labels, self.recipe.selector_fakes)
        with torch.no_grad():
            _, taps = self.masker.encoder.features(images)
        exists = self.masker.existence(taps, classes[:, None])[:, 0].float()
        loss = F.binary_cross_entropy_with_logits(exists, real.float())
        factor = 0.1 ** (self.steps // self.recipe.selector_lr_steps)
        self._update(self.selector_adam, self.selector, loss, self.recipe.selector_lr * factor)
        return {"loss": loss.item(), "right": ((exists > 0) == real).float().mean().item()}

    def _warm_up(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """Between the phases: the mask becomes what the filter knows of the class's place, which is coarse.

        That is X_ij . C_k over its maximum, where it is positive, times the chance that the class is there. The
        objective alone takes thousands of steps to find out that the mask should depend on the class at all.
        """
        classes, _ = self._asked(labels, self.recipe.masker_fakes)
        taps, masks = self._masks(images, classes)
        with torch.no_grad():
            agrees = self.masker.decoder.filter.agreement(taps[-1], classes[:, None]).float().relu()
            place = agrees / agrees.amax((2, 3), keepdim=True).clamp(min=1e-6)
            place = place * self.masker.existence(taps, classes[:, None]).float().sigmoid()[:, :, None, None]
            wanted = F.interpolate(place, masks.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        safe = masks.clamp(1e-4, 1 - 1e-4)  # written out, since under autocast torch refuses its own
        loss = -(wanted * safe.log() + (1 - wanted) * (1 - safe).log()).mean()
        self._update(self.mask_adam, self.mask_weights, loss, self.recipe.masker_lr)
        return {"loss": loss.item(), "off": (masks - wanted).abs().mean().item()}

    def _masks(self, images: Tensor, classes: Tensor) -> tuple[list[Tensor], Tensor]:
        """Taps, and masks (B,S,S) of classes (B,), with a graph back to the weights of the mask."""
        self.masker.decoder.train()
        with torch.set_grad_enabled(not self.masker.shares_encoder):
            _, taps = self.masker.encoder.features(images)
        return taps, self.masker.masks_for(taps, classes[:, None], (images.shape[-2], images.shape[-1]))[:, 0]

    def _mask(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """Phase 2: masks of the classes that are asked for, judged by what they keep and what they leave."""
        classes, real = self._asked(labels, self.recipe.masker_fakes)
        _, masks = self._masks(images, classes)
        pictures = torch.cat([self.alternative(images, masks), self.alternative(images, 1 - masks)])
        kept, gone = self.classifier.scores(pictures.contiguous(memory_format=torch.channels_last)).chunk(2)
        terms = self.objective(Seen(masks, kept, gone, labels, real))
        loss = torch.stack(list(terms.values())).sum()
        done = (self.steps - self.recipe.first_masks) / (self.recipe.steps - self.recipe.first_masks)
        self._update(self.mask_adam, self.mask_weights, loss, self.recipe.masker_lr * self._factor(done))
        return {"loss": loss.item(), **_facts(terms, masks, kept, gone, labels, real)}

    def _asked(self, labels: Tensor, p_fake: float) -> tuple[Tensor, Tensor]:
        """Classes (B,) that are asked for, and whether they are the pictures' own."""
        real = torch.rand(labels.shape, device=labels.device) >= p_fake
        return torch.where(real, labels, fake_classes(labels, len(self.classifier.labels))), real

    def _factor(self, done: float) -> float:
        """Cosine decay runs over phase 2 alone, and a step decay goes by epochs as in any other training."""
        if self.recipe.lr_decay == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate_factor()

    def _update(
        self, optimiser: torch.optim.Optimizer, weights: Sequence[nn.Parameter], loss: Tensor, lr: float
    ) -> None:
        # What comes after the last tap of an encoder of its own has no part in the mask.
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
            weight.grad = gradient
        nn.utils.clip_grad_norm_(weights, self.recipe.clip)
        optimiser.param_groups[0]["lr"] = lr
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        state = {
            "steps": self.steps,
            "decoder": self.masker.decoder.state_dict(),
            "selector_adam": self.selector_adam.state_dict(),
            "mask_adam": self.mask_adam.state_dict(),
        }
        if not self.masker.shares_encoder:
            state["encoder"] = self.masker.encoder.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        self.masker.decoder.load_state_dict(state["decoder"])
        self.selector_adam.load_state_dict(state["selector_adam"])
        self.mask_adam.load_state_dict(state["mask_adam"])
        if not self.masker.shares_encoder:
            self.masker.encoder.load_state_dict(state["encoder"])

    def save(self, path: Path, *, half_encoder: bool = False) -> None:
        """As every trainer; ``half_encoder`` halves the decoder as well, which here is all there is to store."""
        recipe = self.recipe.model_dump(mode="json")
        save_masker(path, self.masker, self.classifier, recipe, half_encoder=half_encoder, half_decoder=half_encoder)


def _facts(
    terms: dict[str, Tensor], masks: Tensor, kept: Tensor, gone: Tensor, labels: Tensor, real: Tensor
) -> dict[str, float]:
    """What the log holds beside the loss; a mean over no picture is left out."""
    facts = {name: term.item() for name, term in terms.items()}
    areas = masks.detach().mean((1, 2))
    for name, rows in (("real", real), ("fake", ~real)):
        if rows.any():
            facts[f"area_{name}"] = areas[rows].mean().item()
            for picture, logits in (("kept", kept), ("gone", gone)):
                facts[f"{picture}_right_{name}"] = (logits.argmax(1) == labels)[rows].float().mean().item()
    return facts

"""A masker: a classifier as encoder and a decoder that reads its taps; one forward gives the mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier, still_copy
from maskwise.classifiers.class_activation import ClassActivation
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.maskers.attention import AttentionDecoder
from maskwise.maskers.class_gate import ClassGate, check_class_activation
from maskwise.maskers.decoder import FirstTap, readable_by
from maskwise.maskers.finish import Finish
from maskwise.maskers.hub import OnHub
from maskwise.maskers.ladder import Foothold, LadderDecoder
from maskwise.maskers.layout import AnyDecoder, Layout
from maskwise.maskers.mixing import MixingDecoder

FAINT = 1e-6  # a class activation that is nowhere above it shows nothing


class Masker(OnHub, nn.Module):
    """Predicts a class-agnostic saliency mask; with a class gate or a class tap, that of a class.

    Args:
        encoder: the classifier whose taps are read; a trained CASM brings its own adapted copy, and a masker of a black
            box another network (see ``own_encoder``).
        decoder: from taps to mask logits.
        reads: which of the encoder's taps the decoder reads, counted from the finest (0); None is all of them.
        finish: what is made of the decoder's logits.
        shares_encoder: is the encoder a classifier, too? One that was trained for masks alone gives no logits that
            mean anything.
    """

    def __init__(
        self,
        encoder: Classifier,
        decoder: AnyDecoder,
        reads: Sequence[int] | None = None,
        finish: Finish | None = None,
        shares_encoder: bool = True,
    ) -> None:
        super().__init__()
        self.shares_encoder = shares_encoder
        self.encoder, self.decoder, self.finish = encoder, decoder, finish or Finish()
        self.reads = tuple(range(len(encoder.tap_names)) if reads is None else reads)

    @classmethod
    def build(
        cls,
        classifier: Classifier,
        first_tap: FirstTap = "projected",
        width: int = 64,
        reads: Sequence[int] | None = None,
        head_std: float | None = None,
        finish: Finish | None = None,
        shares_encoder: bool = True,
        layout: Layout | None = None,
        empty: bool = False,
        encoder: Classifier | None = None,
    ) -> Masker:
        """A new masker on a copy of ``classifier``, decoder weights from the global generator.

        Args:
            reads: taps, counted from the finest (0) or from the last (-1).
            layout: of the decoder, instead of ``first_tap``, ``width`` and ``head_std``.
            empty: the decoder has shapes and no values (it is on the meta device), and no random number is drawn.
            encoder: whose taps are read in place of the classifier's, of which the classes still are.

        Raises:
            InputError: ``reads`` names a tap that the classifier does not have, or it can't have the gate or the class
                tap asked for.
        """
        layout = layout or Layout("added", width, first_tap, head_std=head_std)
        shares_encoder = shares_encoder and encoder is None
        reading = classifier if encoder is None else encoder
        if finish is not None and finish.class_gate is not None:
            ClassGate.check(classifier, finish.gate_scales)
        if layout.class_tap:
            check_class_activation(classifier, "class_tap")
            if not shares_encoder:
                raise InputError("class_tap reads the classifier itself: shared=true, or class_tap=false")
        if layout.decoder == "ladder" and not shares_encoder:
            raise InputError("a ladder never trains the network beside it: shared=true, or decoder=mixed")
        count = len(reading.tap_names)
        named = range(count) if reads is None else reads
        reads = sorted({tap + count if tap < 0 else tap for tap in named})
        if not reads or not 0 <= reads[0] <= reads[-1] < count:
            few = ",".join(map(str, range(count)[-5:]))
            raise InputError(
                f"{reading.name} has {count} taps: name some of 0…{count - 1}, as taps=[{few}], not {list(named)}"
            )
        with torch.no_grad():
            _, taps = reading.features(reading.example())
        layout = layout if reads[0] == 0 else replace(layout, first_tap="projected")
        with torch.device("meta" if empty else "cpu"):
            channels, footholds = [taps[i].shape[1] for i in reads], _footholds(reading, taps, reads)
            decoder = layout.build(channels, len(classifier.labels), footholds)
        decoder = decoder if empty else decoder.to(classifier.device)
        return cls(still_copy(reading), decoder, reads, finish, shares_encoder)

    @property
    def class_tap(self) -> bool:
        """Does the decoder itself read what speaks for a class?"""
        return isinstance(self.decoder, (MixingDecoder, LadderDecoder)) and self.decoder.class_tap

    @property
    def reads_class(self) -> bool:
        """Does the decoder itself draw another mask for another class?"""
        if isinstance(self.decoder, MixingDecoder) and self.decoder.embedding is not None:
            return True
        return self.class_tap or isinstance(self.decoder, AttentionDecoder)

    @property
    def needs_class(self) -> bool:
        """Is a mask of one class, rather than of any?"""
        return self.reads_class or self.finish.class_gate is not None

    def logits_of(self, taps: Sequence[Tensor], size: tuple[int, int], classes: Tensor) -> Tensor:
        """Mask logits (N,K,h,w) of classes (N,K) from all taps of the encoder, already computed; (N,1,h,w) where
        the decoder reads no class. No gradient goes to the class activation."""
        read = readable_by(self.decoder, [taps[i] for i in self.reads])
        if isinstance(self.decoder, AttentionDecoder):
            columns: Tensor = self.decoder(read, size, classes)
            return columns
        if isinstance(self.decoder, MixingDecoder) and self.decoder.embedding is not None:
            embedded: Tensor = self.decoder(read, size, classes=classes)
            return embedded
        if isinstance(self.decoder, (MixingDecoder, LadderDecoder)) and self.decoder.class_tap:
            activation, last = ClassActivation(self.encoder), taps[-1].detach()
            maps = activation(last, classes).detach().relu()
            if self.decoder.class_peak == "own":
                maps = min_max(maps)
            else:
                peak = activation.highest(last).detach().clamp(min=FAINT)
                maps = (maps / peak[:, :, None, None]).clamp(max=1)
            logits: Tensor = self.decoder(read, size, *readable_by(self.decoder, [maps]))
            return logits
        masks: Tensor = self.decoder(read, size)[:, None]
        return masks

    def mask_of(self, taps: Sequence[Tensor], size: tuple[int, int], classes: Tensor | None = None) -> Tensor:
        """Mask (N,H,W) in [0,1] from all taps of the encoder, already computed, before any gate.

        Args:
            classes: (N,), for a masker that reads a class.
        """
        if classes is None:
            assert not self.reads_class, "a masker that reads a class needs classes"
            classes = torch.zeros(len(taps[0]), dtype=torch.int64, device=taps[0].device)
        return self._finished(self.logits_of(taps, size, classes[:, None]), size)[:, 0]

    def ungated(self, images: Tensor, taps: Sequence[Tensor], classes: Tensor) -> Tensor:
        """Masks (N,K,H,W) of classes (N,K), before any gate, as in ``masks_for``: what a training works with.

        A masker that reads no class has one, (N,1,H,W).
        """
        size = (images.shape[-2], images.shape[-1])
        masks = self._finished(self.logits_of(taps, size, classes), size)
        return torch.stack([self.finish.averaged(mask, images) for mask in masks.unbind(1)], 1)

    def _finished(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Masks (N,K,H,W) of logits (N,K,h,w), before superpixels and gate."""
        masks = self.finish.mask(logits.flatten(0, 1), size, self.decoder.training)
        by_class: Tensor = masks.unflatten(0, (-1, logits.shape[1]))
        return by_class

    def forward(self, images: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (N,C) of the encoder and masks, from images (N,3,H,W) in [0,1], in one pass.

        Args:
            classes: (N,K), for a masker that needs a class; None is the encoder's top class. An encoder that is not
                shared has none: name them.

        Returns:
            Masks (N,H,W); with classes (N,K,H,W), which are all the same where a masker needs no class.
        """
        logits, taps = self.encoder.features(images)
        asked = logits.argmax(1, keepdim=True) if classes is None else classes
        masks = self.masks_for(images, taps, asked)
        return logits, masks[:, 0] if classes is None else masks

    def masks_for(
        self, images: Tensor, taps: Sequence[Tensor], classes: Tensor, seen: tuple[Classifier, Tensor] | None = None
    ) -> Tensor:
        """Masks (N,K,H,W) of classes (N,K) from all taps of the images' own forward.

        They are all the same where the masker needs no class; what the taps say is computed once for all classes.

        Args:
            seen: whose class activation is the gate, and its last tap; None is the encoder's own.
        """
        masks = self.finish.refined(self.ungated(images, taps, classes), images)
        if self.finish.class_gate is None:
            return masks.expand(-1, classes.shape[1], -1, -1)
        classifier, last = (self.encoder, taps[-1]) if seen is None else seen
        gate = ClassGate(classifier, self.finish.class_gate, self.finish.gate_scales)
        return masks * gate(images, last, classes)


def _footholds(classifier: Classifier, taps: Sequence[Tensor], reads: Sequence[int]) -> list[Foothold]:
    """What the taps are that a ladder climbs."""
    layouts = [classifier.layout(classifier.tap_names[i]) for i in reads]
    places = [taps[i].shape[-2] * taps[i].shape[-1] for i in reads]
    return [Foothold(n, at is not None and at.kind == "tokens") for n, at in zip(places, layouts, strict=True)]

"""A masker: a classifier as encoder and a decoder that reads its taps; one forward gives the mask."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.errors import InputError
from maskwise.maskers.decoder import Decoder, FirstTap
from maskwise.maskers.finish import Finish


class Masker(nn.Module):
    """Predicts a class-agnostic saliency mask.

    Args:
        encoder: the classifier whose taps are read; a trained CASM brings its own adapted copy.
        decoder: from taps to mask logits.
        reads: which of the encoder's taps the decoder reads, counted from the finest (0); None is all of them.
        finish: what is made of the decoder's logits.
    """

    def __init__(
        self,
        encoder: Classifier,
        decoder: Decoder,
        reads: Sequence[int] | None = None,
        finish: Finish | None = None,
    ) -> None:
        super().__init__()
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
    ) -> Masker:
        """A new masker on a copy of ``classifier``, decoder weights from the global generator.

        Args:
            reads: taps, counted from the finest (0) or from the last (-1).

        Raises:
            InputError: ``reads`` names a tap that the classifier does not have.
        """
        count = len(classifier.tap_names)
        named = range(count) if reads is None else reads
        reads = sorted({tap + count if tap < 0 else tap for tap in named})
        if not reads or not 0 <= reads[0] <= reads[-1] < count:
            raise InputError(f"{classifier.name} has {count} taps: name some of 0…{count - 1}, not {list(named)}")
        with torch.no_grad():
            size = classifier.input_size
            _, taps = classifier.features(torch.zeros(1, 3, size, size, device=classifier.device))
        raw_first: FirstTap = first_tap if reads[0] == 0 else "projected"
        decoder = Decoder([taps[i].shape[1] for i in reads], raw_first, width, head_std).to(classifier.device)
        return cls(copy.deepcopy(classifier), decoder, reads, finish)

    def mask_of(self, taps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Mask (N,H,W) in [0,1] from all taps of the encoder, already computed."""
        logits = self.decoder([taps[i] for i in self.reads], size)
        return self.finish.mask(logits, size, self.decoder.training)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N,K) of the encoder and mask (N,H,W), from images (N,3,H,W) in [0,1], in one pass."""
        logits, taps = self.encoder.features(images)
        masks = self.mask_of(taps, (images.shape[-2], images.shape[-1]))
        return logits, self.finish.averaged(masks, images)

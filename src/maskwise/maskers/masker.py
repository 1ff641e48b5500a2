"""A masker: a classifier as encoder and a decoder that reads its taps; one forward gives the mask."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.maskers.decoder import Decoder, FirstTap, to_mask


class Masker(nn.Module):
    """Predicts a class-agnostic saliency mask.

    Args:
        encoder: the classifier whose taps are read; a trained CASM brings its own adapted copy.
        decoder: from taps to mask logits.
    """

    def __init__(self, encoder: Classifier, decoder: Decoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    @classmethod
    def build(cls, classifier: Classifier, first_tap: FirstTap = "projected", width: int = 64) -> Masker:
        """A new masker on a copy of ``classifier``, decoder weights from the global generator."""
        with torch.no_grad():
            size = classifier.input_size
            _, taps = classifier.features(torch.zeros(1, 3, size, size, device=classifier.device))
        decoder = Decoder([t.shape[1] for t in taps], first_tap, width).to(classifier.device)
        return cls(copy.deepcopy(classifier), decoder)

    def mask_of(self, taps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Mask (N,H,W) in [0,1] from taps that were already computed."""
        return to_mask(self.decoder(taps, size), size)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N,K) of the encoder and mask (N,H,W), from images (N,3,H,W) in [0,1], in one pass."""
        logits, taps = self.encoder.features(images)
        return logits, self.mask_of(taps, (images.shape[-2], images.shape[-1]))

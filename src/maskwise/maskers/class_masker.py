"""A class-conditional masker: a classifier as encoder and the U-Net that answers "where is this class?"."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier, learning_copy, still_copy
from maskwise.core.errors import InputError
from maskwise.maskers.decoder import readable_by
from maskwise.maskers.hub import OnHub
from maskwise.maskers.unet import WIDTHS, UNet
from maskwise.maskers.upsampler import BLOCKS, Kernel, Upsampling

EncoderSource = Literal["frozen", "scratch"]


class ClassMasker(OnHub, nn.Module):
    """Predicts the masks of named classes (Dabkowski & Gal 2017).

    Args:
        encoder: the classifier whose taps are read.
        decoder: from taps and classes to masks; it reads the coarsest taps, as many as it has upsamplers, and one.
        settings: what ``build`` was called with, as plain data: a masker's file holds it.
    """

    needs_class = True

    def __init__(self, encoder: Classifier, decoder: UNet, settings: dict[str, Any]) -> None:
        super().__init__()
        self.encoder, self.decoder, self.settings = encoder, decoder, settings

    @classmethod
    def build(
        cls,
        classifier: Classifier,
        widths: Sequence[int] = WIDTHS,
        upsampling: Upsampling = "transposed",
        bottlenecks: int | None = None,
        encoder: EncoderSource = "frozen",
        kernel: Kernel = 2,
        empty: bool = False,
    ) -> ClassMasker:
        """A new masker for ``classifier``, weights from the global generator.

        Args:
            widths: channels that leave each upsampler, coarse to fine; a network of few scales uses the first ones.
            upsampling, bottlenecks, kernel: as ``Upsampler``.
            encoder: ``frozen`` is the classifier itself, not a copy; ``scratch`` a copy with new weights that learn
                with the mask, as in the report that rebuilt the method for CIFAR-10.
            empty: as in ``Masker.build``; a ``scratch`` encoder keeps its weights then.

        Raises:
            InputError: an option outside of its range.
        """
        if not widths or min(widths) < 1:
            raise InputError(f"widths are channels, coarse to fine, each at least 1, not {list(widths)}")
        if kernel not in (2, 3, 4):
            raise InputError(f"kernel is 2, 3 or 4, not {kernel}")
        if upsampling not in BLOCKS or (bottlenecks is not None and bottlenecks < 1):
            raise InputError(
                f"upsampling is {' or '.join(BLOCKS)} with at least one bottleneck, "
                f"not {upsampling!r} with {bottlenecks}"
            )
        with torch.no_grad():
            _, taps = classifier.features(classifier.example())
        read = taps[-len(widths) - 1 :]
        scales = [2 if fine.shape[-1] > coarse.shape[-1] else 1 for fine, coarse in pairwise(read)]
        channels = [tap.shape[1] for tap in read]
        with torch.device("meta" if empty else "cpu"):
            decoder = UNet(channels, scales[::-1], len(classifier.labels), widths, upsampling, bottlenecks, kernel)
        settings = {
            "widths": list(widths),
            "upsampling": upsampling,
            "bottlenecks": bottlenecks,
            "encoder": encoder,
            "kernel": kernel,
        }
        if encoder == "frozen":
            source = classifier
        else:
            source = still_copy(classifier) if empty else _anew(classifier)
        return cls(source, decoder if empty else decoder.to(classifier.device), settings)

    @property
    def shares_encoder(self) -> bool:
        """Is the encoder the classifier itself, so that its logits come with the mask?"""
        return bool(self.settings["encoder"] == "frozen")

    def masks_for(
        self, taps: Sequence[Tensor], classes: Tensor, size: tuple[int, int], confidence: float = 0.0
    ) -> Tensor:
        """Masks (N,K,H,W) in [0,1] of several classes of each picture, from taps that are computed once.

        Args:
            taps: all of the encoder's.
            classes: (N,K) int64.
            size: (H,W) of the masks.
            confidence: as ``FeatureFilter``.
        """
        read = readable_by(self.decoder, taps[-len(self.decoder.upsamplers) - 1 :])
        masks: Tensor = self.decoder(read, classes, size, confidence)
        return masks

    def existence(self, taps: Sequence[Tensor], classes: Tensor) -> Tensor:
        """Logits (N,K) of each class being in the picture, by the feature filter alone."""
        (last,) = readable_by(self.decoder, taps[-1:])
        return self.decoder.filter.existence(last, classes)

    def forward(self, images: Tensor, classes: Tensor, confidence: float = 0.0) -> tuple[Tensor, Tensor]:
        """Logits (N,C) of the encoder and masks (N,K,H,W), from images (N,3,H,W) in [0,1], in one pass.

        Args:
            classes: (N,K) int64, or (N,) for one class a picture.
        """
        logits, taps = self.encoder.features(images)
        classes = classes.reshape(classes.shape[0], -1)
        return logits, self.masks_for(taps, classes, (images.shape[-2], images.shape[-1]), confidence)


def _anew(classifier: Classifier) -> Classifier:
    """A copy with fresh weights."""
    fresh = learning_copy(classifier)
    for module in fresh.module.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    fresh.module.requires_grad_(True)
    return fresh

"""A gate on a mask: it opens where the classifier's last activation speaks for a class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.class_activation import ClassActivation, NoClassActivationError
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max


class ClassGate:
    """Gates in [0,1] from an activation that the encoder's forward gives anyway.

    The class activation (Zhou et al. 2016) is stretched to [0,1] in each picture; the gate is fully open from ``full``
    of its peak on, so that inside of it the mask, which is sharper, draws the outline.

    Args:
        encoder: a classifier that ends in average pooling and one linear layer; its last tap is read. ``check`` says
            whether it does.
        full: in (0,1].
        scales: how much the picture is enlarged, each at least 1. Every one but 1 costs a forward of its own; what
            they see is stretched, averaged and stretched again. Larger pictures have more places, and smaller ones.
    """

    def __init__(self, encoder: Classifier, full: float, scales: Sequence[float] = (1.0,)) -> None:
        self.encoder, self.full, self.scales = encoder, full, scales
        self.activation = ClassActivation(encoder)

    def __call__(self, images: Tensor, last: Tensor, classes: Tensor) -> Tensor:
        """Gates (N,K,H,W) of images (N,3,H,W), whose last tap is (N,C,h,w), for classes (N,K)."""
        size = (images.shape[-2], images.shape[-1])
        seen = [
            F.interpolate(min_max(self.activation(tap, classes).float()), size, mode="bilinear", align_corners=False)
            for tap in (last if scale == 1 else self._larger(images, scale) for scale in self.scales)
        ]
        gates = seen[0] if len(seen) == 1 else min_max(torch.stack(seen).mean(0))
        return (gates / self.full).clamp(0, 1)

    def _larger(self, images: Tensor, scale: float) -> Tensor:
        """The last tap of the pictures enlarged."""
        size = [round(side * scale) for side in images.shape[-2:]]
        larger = F.interpolate(images, size, mode="bilinear", align_corners=False)
        return self.encoder.features(larger)[1][-1]

    @classmethod
    def check(cls, encoder: Classifier, scales: Sequence[float] = (1.0,)) -> None:
        """As ``check_class_activation``.

        Raises:
            InputError: the encoder has no class activation, or takes no picture of another size.
        """
        check_class_activation(encoder, "class_gate")
        cls._check_sizes(encoder, scales)

    @staticmethod
    def _check_sizes(encoder: Classifier, scales: Sequence[float]) -> None:
        height, width = encoder.size
        for scale in set(scales) - {1.0}:
            size = (round(height * scale), round(width * scale))
            try:
                encoder.features(encoder.example(size=size))
            except Exception as error:  # a transformer's patches, say; each library has its own way to refuse
                sides = "x".join(map(str, dict.fromkeys(size)))
                raise InputError(f"{encoder.name} takes no pictures of {sides} pixels") from error


def check_class_activation(encoder: Classifier, setting: str) -> None:
    """One forward tells whether the encoder's last tap makes its logits as a class activation must.

    Args:
        setting: what asks for it.

    Raises:
        InputError: it does not.
    """
    classes = torch.zeros(1, 1, dtype=torch.int64, device=encoder.device)
    with torch.no_grad():
        picture = torch.rand(1, encoder.channels, *encoder.size, generator=torch.Generator().manual_seed(0))
        logits, taps = encoder.features(picture.to(encoder.device))
        try:
            activation = ClassActivation(encoder)
            if activation.explains(taps[-1], logits, classes):
                return
        except NoClassActivationError:
            pass
    raise InputError(
        f"{setting} needs a network that ends in average pooling and one linear layer (or a 1x1 convolution) behind "
        f"its last tap, and {encoder.name} does not: leave {setting} out"
    )

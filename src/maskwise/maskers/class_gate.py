"""A gate on a mask: it opens where the classifier's last activation speaks for a class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.class_activation import ClassActivation, NoClassActivationError
from maskwise.errors import InputError


class ClassGate:
    """Gates in [0,1] from an activation that the encoder's forward gives anyway.

    The class activation (Zhou et al. 2016) is stretched to [0,1] in each picture; the gate is fully open from ``full``
    of its peak on, so that inside of it the mask, which is sharper, draws the outline.

    Args:
        encoder: a classifier that ends in average pooling and one linear layer; its last tap is read. ``check`` says
            whether it does.
        full: in (0,1].
    """

    def __init__(self, encoder: Classifier, full: float) -> None:
        self.full, self.activation = full, ClassActivation(encoder)

    def __call__(self, last: Tensor, classes: Tensor, size: tuple[int, int]) -> Tensor:
        """Gates (N,K,H,W) of ``size`` from the last tap (N,C,h,w), for classes (N,K)."""
        maps = self.activation(last, classes)
        low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
        gates = (maps - low) / ((high - low).clamp(min=1e-12) * self.full)
        return F.interpolate(gates, size, mode="bilinear", align_corners=False).clamp(0, 1)

    @classmethod
    def check(cls, encoder: Classifier) -> None:
        """One forward tells whether the encoder's last tap makes its logits as a class activation must.

        Raises:
            InputError: it does not.
        """
        side = encoder.input_size
        classes = torch.zeros(1, 1, dtype=torch.int64, device=encoder.device)
        with torch.no_grad():
            picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
            logits, taps = encoder.features(picture.to(encoder.device))
            try:
                activation = ClassActivation(encoder)
                if activation.explains(activation(taps[-1], classes), logits, classes):
                    return
            except NoClassActivationError:
                pass
        raise InputError(
            "a class gate needs a network that ends in average pooling and one linear layer behind its last tap, and "
            f"{encoder.name} does not: leave class_gate out"
        )

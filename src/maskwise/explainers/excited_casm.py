"""CASM's mask where excitation backpropagation goes: an outline that any classifier could use, of one class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.answering import MeasuredLayer
from maskwise.core.blur import gaussian_blur
from maskwise.core.min_max import min_max
from maskwise.core.options import ranges
from maskwise.explainers.base import Explainer, methods
from maskwise.explainers.excitation import ExcitationBackprop
from maskwise.explainers.layers import LayerChoice
from maskwise.explainers.masker import Casm
from maskwise.explainers.targets import Targets


@methods.register(
    "excited_casm",
    family="maskers",
    paper="Zolna, Geras, Cho 2020, behind excitation backpropagation (Zhang et al. 2016)",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="2 forwards, 2 forwards and 1 backward of the layers above the gate's",
)
class ExcitedCasm(Explainer):
    """CASM's mask, gated by where a top-down walk from the class goes.

    The masker, which has outlines and knows no class, gives the mask; excitation backpropagation of the classifier
    itself, at the last tap but one, smoothed and stretched to [0,1], is the gate. Behind it nothing of the mask is
    left where no evidence for the class comes from.

    Args:
        classifier: the one the masker was trained on.
        masker: a masker's file, as of ``casm``.
        full: part of its peak from which on the gate is fully open, in (0,1].
        smooth: standard deviation of the Gaussian on the gate, as a part of the picture's side.

    Raises:
        InputError: as of ``casm`` and ``excitation_backprop``, or an option outside its range.
    """

    normalise = False
    packaged = "casm"

    def __init__(
        self, classifier: Classifier, masker: str | Path | None = None, full: float = 0.45, smooth: float = 8 / 224
    ) -> None:
        ranges(full=(full, 1e-3, 1), smooth=(smooth, 0, 1))
        super().__init__(classifier)
        self.mask, self.excitation = Casm(classifier, masker), ExcitationBackprop(classifier)
        self.identity["masker_digest"] = self.mask.identity["masker_digest"]
        self.full, self.smooth = full, smooth

    @classmethod
    def chosen(cls, classifier: Classifier, layers: Sequence[MeasuredLayer]) -> LayerChoice:
        made = cls(classifier)
        mask, gate = made.mask.read, made.excitation.layer
        return LayerChoice(tuple(dict.fromkeys((*mask.layers, gate))), f"{mask.why}; {gate} for its gate")

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        masks, _ = self.mask.saliency_and_logits(images, targets)
        visits = self.excitation.saliency(images, targets)
        self.adopt(self.mask, self.excitation)
        size = images.shape[-2], images.shape[-1]
        visits = F.interpolate(visits, size, mode="bilinear", align_corners=False)
        gates = min_max(gaussian_blur(visits, self.smooth * min(size)))
        return masks * (gates / self.full).clamp(max=1)

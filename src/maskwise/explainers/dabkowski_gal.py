"""Dabkowski & Gal's real-time saliency: a trained masker that is told which class to look for."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path

from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.answering import MeasuredLayer
from maskwise.core.files import is_file
from maskwise.core.hub_files import local_file
from maskwise.core.options import ranges
from maskwise.core.reading import sha256_of
from maskwise.explainers.base import Explainer, methods
from maskwise.explainers.doubts import KnownWeights
from maskwise.explainers.layers import LayerChoice
from maskwise.explainers.masker import check_trained_on, packaged_masker
from maskwise.explainers.targets import Targets
from maskwise.maskers import load_class_masker
from maskwise.maskers.fusing import fuse


@methods.register(
    "dabkowski_gal",
    family="maskers",
    paper="Dabkowski & Gal 2017",
    needs_gradients=False,
    needs_target=True,
    random=False,
    cost="1 forward",
)
class DabkowskiGal(Explainer):
    """A named class's mask in one forward: what is enough for the classifier to see it, and without which it can't.

    Several classes of a picture share the encoder's pass: ``explain(images, [["cat", "dog"]])``. A score function
    stands for the one class whose logit raises it most. Values are the masker's own and are not stretched.

    Args:
        classifier: the one the masker was trained on.
        masker: a masker's file (recipes ``dabkowski_gal…``); None is the packaged one, which fits efficientnet_lite0.
        confidence: how sure of the class a place must be (Y = X sigmoid(X . C - confidence)): 0 in the paper and in
            training; the released code shows maps at 6, its window at 5, with a slider from -2 to 11.

    Raises:
        InputError: no such file, a masker of another kind or of another classifier, or a confidence that is no number.
    """

    normalise = False

    def __init__(self, classifier: Classifier, masker: str | Path | None = None, confidence: float = 0.0) -> None:
        super().__init__(classifier)
        ranges(confidence=(confidence, -inf, inf))
        path = local_file(masker) if masker is not None else packaged_masker("dabkowski_gal")
        if masker is None and is_file(path):
            check_trained_on(path, "dabkowski_gal", classifier)
        self.masker = load_class_masker(path, classifier)
        fuse(self.masker.decoder).to(classifier.device)
        self.confidence = confidence
        self.known = KnownWeights(classifier)
        self.identity["masker_digest"] = sha256_of(path)[:16]

    @classmethod
    def chosen(cls, classifier: Classifier, layers: Sequence[MeasuredLayer]) -> LayerChoice:
        """The taps that the packaged masker reads, for listings.

        Raises:
            InputError: it was trained on another classifier.
        """
        masker = cls(classifier).masker
        read = masker.encoder.tap_names[-len(masker.decoder.upsamplers) - 1 :]
        return LayerChoice(tuple(read), "taps that its masker was trained on")

    @property
    def map_is_free(self) -> bool:
        return True

    def saliency_and_logits(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """The logits are the classifier's own; a masker with an encoder of its own takes a second forward."""
        self.doubt("other_classifier", self.known.have_changed())
        logits, taps = self.masker.encoder.features(images)
        if not self.masker.shares_encoder:
            logits = self.classifier.logits(images)
        size = (images.shape[-2], images.shape[-1])
        return self.masker.masks_for(taps, targets.classes_of(logits), size, self.confidence), logits

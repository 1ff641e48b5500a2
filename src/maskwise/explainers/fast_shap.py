"""Shapley values of a picture's cells in one forward, by a network that was trained for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.answering import MeasuredLayer
from maskwise.explainers.base import Explainer, methods
from maskwise.explainers.doubts import KnownWeights
from maskwise.explainers.layers import LayerChoice
from maskwise.explainers.masker import check_trained_on, packaged_masker
from maskwise.explainers.targets import Targets
from maskwise.maskers import load_shapley_masker
from maskwise.maskers.shapley_masker import READ


@methods.register(
    "fast_shap",
    family="maskers",
    paper="Jethani et al. 2022; Covert et al. 2023",
    needs_gradients=False,
    needs_target=True,
    random=False,
    cost="1 forward",
)
class FastShap(Explainer):
    """What each cell adds to the probability of a class, said by a network that has learned it from many games.

    The values add up to the probability less that of a picture without any cell. Any number of classes of a picture
    share the forward.

    Args:
        classifier: the one the network was trained on.
        masker: its file (recipes ``shapley…``); None is the packaged one, which fits efficientnet_lite0.
        signed: give the values as they are, in [-1,1], where else each map is stretched to [0,1].

    Raises:
        InputError: no such file, one of another kind, or of another classifier.
    """

    def __init__(self, classifier: Classifier, masker: str | Path | None = None, signed: bool = False) -> None:
        super().__init__(classifier)
        path = Path(masker) if masker is not None else packaged_masker("fast_shap")
        if masker is None and path.is_file():
            check_trained_on(path, "fast_shap", classifier)
        self.masker = load_shapley_masker(path, classifier)
        self.signed, self.normalise = signed, not signed
        self.known = KnownWeights(classifier)
        self.identity["masker_digest"] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    @classmethod
    def chosen(cls, classifier: Classifier, layers: Sequence[MeasuredLayer]) -> LayerChoice:
        """The taps that the packaged network reads, for listings.

        Raises:
            InputError: it was trained on another classifier.
        """
        return LayerChoice(tuple(cls(classifier).masker.encoder.tap_names[-READ:]), "taps that it was trained on")

    @property
    def map_is_free(self) -> bool:
        return True

    def saliency_and_logits(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        self.doubt("other_classifier", self.known.have_changed())
        logits, taps = self.masker.encoder.features(images)
        values = self.masker.values_of(taps, logits, targets.classes_of(logits))
        side = self.masker.decoder.grid
        return values.unflatten(2, (side, side)), logits

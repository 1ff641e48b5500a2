"""Shapley values of a picture's cells in one forward, by a network that was trained for it."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.hub_files import local_file
from maskwise.core.reading import sha256_of
from maskwise.explainers.base import Explainer, methods
from maskwise.explainers.doubts import KnownWeights
from maskwise.explainers.targets import Targets
from maskwise.maskers import load_shapley_masker


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
        masker: its file, by recipe ``shapley_lite0``; none comes with the package.
        signed: give the values as they are, in [-1,1], where else each map is stretched to [0,1].

    Raises:
        InputError: no such file, one of another kind, or of another classifier.
    """

    def __init__(self, classifier: Classifier, masker: str | Path | None = None, signed: bool = False) -> None:
        super().__init__(classifier)
        if masker is None:
            raise InputError(
                "fast_shap has no packaged network: train one (recipe shapley_lite0) and give its file as `masker`, or "
                "take kernel_shap, which needs none"
            )
        path = local_file(masker)
        self.masker = load_shapley_masker(path, classifier)
        self.signed, self.normalise = signed, not signed
        self.known = KnownWeights(classifier)
        self.identity["masker_digest"] = sha256_of(path)[:16]

    @property
    def map_is_free(self) -> bool:
        return True

    def saliency_and_logits(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        self.doubt("other_classifier", self.known.have_changed())
        logits, taps = self.masker.encoder.features(images)
        values = self.masker.values_of(taps, logits, targets.classes_of(logits))
        side = self.masker.decoder.grid
        return values.unflatten(2, (side, side)), logits

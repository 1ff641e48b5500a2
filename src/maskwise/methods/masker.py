"""Trained maskers as explainers."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.errors import InputError
from maskwise.maskers import load_masker, read_header
from maskwise.maskers.fusing import fuse
from maskwise.methods.base import Explainer, methods
from maskwise.methods.goals import Goals


def packaged_masker(name: str) -> Path:
    """Where a masker that comes with the package lies."""
    return Path(str(resources.files("maskwise") / "assets" / "maskers" / f"{name}.safetensors"))


class MaskerExplainer(Explainer):
    """A masker behind the explainers' interface: one forward, no class, values as the masker gives them.

    Args:
        classifier: the one the masker was trained on.
        weights: a masker's file; None is the packaged one, which fits efficientnet_lite0.

    Raises:
        InputError: no such file, or a masker of another classifier.
    """

    normalise = False
    needs_target = False
    packaged = ""

    def __init__(self, classifier: Classifier, weights: str | Path | None = None) -> None:
        super().__init__(classifier)
        path = Path(weights) if weights is not None else packaged_masker(self.packaged)
        if weights is None and not path.is_file():
            raise InputError(f"the packaged {self.packaged} masker is missing: install maskwise again, or give weights")
        if weights is None and read_header(path)["fingerprint"] != classifier.fingerprint():
            raise InputError(
                f"the packaged {self.packaged} masker was trained on {read_header(path)['classifier']}, not on "
                f"{classifier.name}: train one with `maskwise train {self.packaged} --data … --classifier …`"
            )
        self.masker = load_masker(path, classifier).to(classifier.device)
        fuse(self.masker.decoder).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.identity["masker"] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    @property
    def map_is_free(self) -> bool:
        return True

    def saliency_and_logits(self, images: Tensor, goals: Goals) -> tuple[Tensor, Tensor]:
        """The logits are those of the masker's encoder, which a trained CASM has adapted."""
        logits, masks = self.masker(images)
        return masks[:, None].expand(-1, goals.count, -1, -1), logits


@methods.register(
    "casm",
    family="maskers",
    paper="Zolna, Geras, Cho 2020",
    needs_gradients=False,
    needs_target=False,
    random=False,
    cost="1 forward",
)
class Casm(MaskerExplainer):
    """Classifier-agnostic saliency: the evidence that any classifier could use (CASM, Algorithm 1)."""

    packaged = "casm"


@methods.register(
    "casm_baseline",
    family="maskers",
    paper="Zolna, Geras, Cho 2020 (Baseline, thinning F)",
    needs_gradients=False,
    needs_target=False,
    random=False,
    cost="1 forward",
)
class CasmBaseline(MaskerExplainer):
    """The same masker trained against the one fixed classifier: the evidence that this classifier uses."""

    packaged = "casm_baseline"

"""Trained maskers as explainers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.answering import MeasuredLayer
from maskwise.core.errors import InputError
from maskwise.core.files import is_file
from maskwise.core.hub_files import local_file
from maskwise.core.options import ranges
from maskwise.core.reading import sha256_of
from maskwise.explainers.base import Explainer, methods
from maskwise.explainers.doubts import KnownWeights
from maskwise.explainers.layers import LayerChoice
from maskwise.explainers.targets import Targets
from maskwise.maskers import load_agnostic_masker, read_header
from maskwise.maskers.class_gate import ClassGate
from maskwise.maskers.fusing import fuse
from maskwise.maskers.store import trained_on


def packaged_masker(method: str) -> Path:
    """Where the masker lies that comes with the package for ``method``; another method has none."""
    name = getattr(methods.get(method), "packaged", None) if method in methods else None
    return Path(str(resources.files("maskwise") / "assets" / "maskers" / f"{name or method}.safetensors"))


def check_trained_on(path: Path, name: str, classifier: Classifier) -> None:
    """A packaged masker explains the one classifier that it was trained on.

    Args:
        path: its file.
        name: what it is called: that of its recipe, too.

    Raises:
        InputError: this is another classifier; says what to do instead.
    """
    header = read_header(path)
    if header["fingerprint"] != classifier.fingerprint():
        other = "banzhaf" if classifier.is_black_box else "grad_cam"
        raise InputError(
            f"the packaged {name} masker was trained on {header['classifier']}, not on {classifier.name}: take a "
            f"method that needs no masker, such as {other}, or train one (`maskwise fit`, or recipe {name}) and give "
            "its file as `masker`"
        )


class MaskerExplainer(Explainer):
    """A masker behind the explainers' interface: one forward, values as the masker gives them.

    Args:
        classifier: the one the masker was trained on.
        masker: a masker's file; None is the packaged one, which fits efficientnet_lite0.
        class_gate: keep of the mask what speaks for the class that is asked for, fully from this part of its class
            activation's peak on; None is what the file says, mostly no gate, and the mask is of no class.
        gate_scales: how much the picture is enlarged for the gate, each from 1 to 4, and their activations averaged;
            all but 1 cost a forward. None is what the file says, mostly (1,).

    Raises:
        InputError: no such file, a masker of another classifier, or a gate that this classifier can't have.
    """

    normalise = False
    needs_target = False
    packaged = ""

    def __init__(
        self,
        classifier: Classifier,
        masker: str | Path | None = None,
        class_gate: float | None = None,
        gate_scales: Sequence[float] | None = None,
    ) -> None:
        super().__init__(classifier)
        path = local_file(masker) if masker is not None else packaged_masker(self.packaged)
        if masker is None and not is_file(path):
            raise InputError(
                f"the packaged {self.packaged} masker is missing: install maskwise again or give a `masker`"
            )
        if masker is None:
            check_trained_on(path, self.packaged, classifier)
        self.masker = load_agnostic_masker(path, classifier).to(classifier.device)
        finish = self.masker.finish
        if class_gate is not None:
            ranges(class_gate=(class_gate, 1e-3, 1))
            finish = replace(finish, class_gate=class_gate)
        if gate_scales is not None:
            finish = replace(finish, gate_scales=_scales(gate_scales, finish.class_gate))
        if finish != self.masker.finish:
            ClassGate.check(self.judge, finish.gate_scales)
            self.masker.finish = finish
        self.needs_target = self.masker.needs_class
        self.known = KnownWeights(classifier)
        self.trained_on = trained_on(read_header(path))
        fuse(self.masker.decoder).to(memory_format=torch.channels_last)
        self.identity["masker_digest"] = sha256_of(path)[:16]

    @classmethod
    def chosen(cls, classifier: Classifier, layers: Sequence[MeasuredLayer]) -> LayerChoice:
        """The taps that the packaged masker reads, for listings.

        Raises:
            InputError: it was trained on another classifier.
        """
        return cls(classifier).read

    @property
    def read(self) -> LayerChoice:
        """Of the masker at hand."""
        names = self.masker.encoder.tap_names
        return LayerChoice(tuple(names[i] for i in self.masker.reads), "taps that its masker was trained on")

    @property
    def judge(self) -> Classifier:
        """Whose classes and logits these are: the masker's encoder, or the classifier if that one knows no classes."""
        return self.masker.encoder if self.masker.shares_encoder else self.classifier

    @property
    def gives_own_logits(self) -> bool:
        return not self.masker.shares_encoder

    @property
    def shows_findings(self) -> bool:
        """Also of a mask that knows no class: what it keeps is evidence of what is found."""
        return True

    @property
    def map_is_free(self) -> bool:
        return True

    def saliency_and_logits(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """The logits are those of the masker's encoder, which a trained CASM has adapted.

        Beside an encoder that was trained for masks alone the classifier itself takes a forward, and is the gate.
        """
        self.doubt("other_classifier", self.known.have_changed())
        logits, taps = self.masker.encoder.features(images)
        if self.masker.shares_encoder:
            return self.masker.masks_for(images, taps, targets.classes_of(logits)), logits
        if self.masker.finish.class_gate is None:  # nothing reads the classifier's layers, and a black box has none
            logits = self.classifier.logits(images)
            return self.masker.masks_for(images, taps, targets.classes_of(logits)), logits
        logits, own = self.classifier.features(images)
        return self.masker.masks_for(images, taps, targets.classes_of(logits), (self.classifier, own[-1])), logits


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


@methods.register(
    "gated_casm",
    family="maskers",
    paper="Zolna, Geras, Cho 2020, behind a class activation (Zhou et al. 2016)",
    needs_gradients=False,
    needs_target=True,
    random=False,
    cost="1 forward",
)
class GatedCasm(MaskerExplainer):
    """CASM's mask where the class activation of the same forward speaks for the class asked for.

    CASM's mask has outlines and knows no class; the class activation knows the class and has no outlines. Without a
    target it explains the top class of the masker's own, adapted classifier.
    """

    needs_target = True
    packaged = "casm"

    def __init__(
        self,
        classifier: Classifier,
        masker: str | Path | None = None,
        class_gate: float = 0.3,
        gate_scales: Sequence[float] | None = None,
    ) -> None:
        super().__init__(classifier, masker, class_gate, gate_scales)


@methods.register(
    "class_casm",
    family="maskers",
    paper="our own, by Zolna, Geras, Cho 2020 and Zhou et al. 2016",
    needs_gradients=False,
    needs_target=True,
    random=False,
    cost="1 forward",
)
class ClassCasm(MaskerExplainer):
    """A masker trained as CASM is, against a pool of classifiers, that also reads the class activation of a class.

    Training takes the class's evidence away from ever-changing classifiers, so masks are whole objects of that class.
    One forward of its own, adapted classifier answers for any number of classes; without a target it explains the top
    class of that one.
    """

    needs_target = True
    packaged = "class_casm"


@methods.register(
    "distilled",
    family="maskers",
    paper="our own, by Covert, Kim, Zou, Hashimoto 2024; taught by Zhang et al. 2016, Zhou et al. 2016",
    needs_gradients=False,
    needs_target=True,
    random=False,
    cost="1 forward",
)
class Distilled(MaskerExplainer):
    """A masker that was taught by excitation backpropagation and class activation, and sees no masked picture.

    It mixes the taps of the classifier, which stays as it is, with the class activation of the class asked for: one
    forward answers for any number of classes. Without a target it explains the top class.
    """

    needs_target = True
    packaged = "distilled"


def _scales(scales: Sequence[float], class_gate: float | None) -> tuple[float, ...]:
    if class_gate is None:
        raise InputError("gate_scales are those of a class gate: set class_gate, too")
    if not isinstance(scales, (list, tuple)) or not scales or not all(isinstance(s, (int, float)) for s in scales):
        raise InputError(f"gate_scales must be a list of numbers, such as [1, 1.43], not {scales!r}")
    for scale in scales:
        ranges(gate_scales=(scale, 1, 4))
    return tuple(float(scale) for scale in scales)

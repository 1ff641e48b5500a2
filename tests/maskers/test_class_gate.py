"""A mask behind a class's gate: the gate against loops, what it keeps, and whose it can't be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers.masker import MaskerExplainer
from maskwise.explainers.targets import parse_targets
from maskwise.exporting import export
from maskwise.maskers import Masker, load_masker, save_masker
from maskwise.maskers.class_gate import ClassGate
from maskwise.maskers.finish import Finish
from maskwise.training import recipes


class Colours(nn.Module):
    """Three classes, one a colour: its logit is ten times the mean of that channel of the picture at a quarter size."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.act, self.head = nn.AvgPool2d(4), nn.ReLU(), nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(10 * torch.eye(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.pool(x)).mean((2, 3)))


@pytest.fixture
def colours() -> Classifier:
    return Classifier(Colours(), mean=(0, 0, 0), std=(1, 1, 1), labels=["red", "green", "blue"], input_size=32)


@pytest.fixture
def halves() -> Tensor:
    """Red on the left, green on the right."""
    images = torch.zeros(1, 3, 32, 32)
    images[:, 0, :, :16] = 1
    images[:, 1, :, 16:] = 1
    return images


def gated(classifier: Classifier, gate: float | None = 0.5) -> Masker:
    torch.manual_seed(0)
    return Masker.build(classifier, finish=Finish(class_gate=gate)).eval()


def test_the_gate_in_loops() -> None:
    torch.manual_seed(1)
    classifier = Classifier(tiny_net(), input_size=32)
    images, classes = torch.rand(2, 3, 32, 32), torch.tensor([[0, 3], [4, 1]])
    with torch.no_grad():
        taps = classifier.features(images)[1]
        found = ClassGate(classifier, 0.7)(images, taps[-1], classes)
    weight = next(m for m in reversed(list(classifier.module.modules())) if isinstance(m, nn.Linear)).weight
    for n in range(2):
        for k in range(2):
            activation = sum(float(w) * a for w, a in zip(weight[classes[n, k]], taps[-1][n], strict=True))
            assert isinstance(activation, Tensor)
            stretched = (activation - activation.min()) / (activation.max() - activation.min()) / 0.7
            large = F.interpolate(stretched[None, None], (32, 32), mode="bilinear", align_corners=False)
            torch.testing.assert_close(found[n, k], large[0, 0].clamp(max=1).detach())


def test_scales_in_loops() -> None:
    torch.manual_seed(1)
    classifier = Classifier(tiny_net(), input_size=32)
    images, classes = torch.rand(2, 3, 32, 32), torch.tensor([[0, 3], [4, 1]])
    with torch.no_grad():
        found = ClassGate(classifier, 0.7, (1, 1.5, 2))(images, classifier.features(images)[1][-1], classes)
        weight = next(m for m in reversed(list(classifier.module.modules())) if isinstance(m, nn.Linear)).weight
        for n in range(2):
            for k in range(2):
                total = torch.zeros(32, 32)
                for side in (32, 48, 64):
                    large = F.interpolate(images[n, None], (side, side), mode="bilinear", align_corners=False)
                    activation = torch.einsum("c,chw->hw", weight[classes[n, k]], classifier.features(large)[1][-1][0])
                    activation = (activation - activation.min()) / (activation.max() - activation.min())
                    total += F.interpolate(activation[None, None], (32, 32), mode="bilinear", align_corners=False)[0, 0]
                opened = (total - total.min()) / (total.max() - total.min()) / 0.7
                torch.testing.assert_close(found[n, k], opened.clamp(max=1))


def test_a_larger_picture_has_more_places(colours: Classifier) -> None:
    """A red square of 4x4 pixels between the places of the usual size, each 4x4: enlarged, its edges are found."""
    images = torch.zeros(1, 3, 32, 32)
    images[:, 0, 14:18, 14:18] = 1
    gates = {}
    with torch.no_grad():
        for scales in ((1.0,), (4.0,)):
            masker = gated(colours)
            masker.finish = Finish(class_gate=1.0, gate_scales=scales)
            plain = gated(colours, None)(images)[1]
            gates[scales] = (masker(images, torch.tensor([[0]]))[1][0] / plain)[0]
    assert all(float(g[15:17, 15:17].min()) == 1 for g in gates.values())
    assert float(gates[4.0,].mean()) < 0.5 * float(gates[1.0,].mean())


def test_scales_that_are_none(colours: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "masker.safetensors"
    save_masker(path, gated(colours, None), colours, recipes.load("casm").model_dump(mode="json"))
    for scales in ([], [0.5], [5], "2", 2, ["a"], [float("nan")]):
        with pytest.raises(InputError, match="gate_scales must be"):
            mw.explainer("gated_casm", colours, masker=path, gate_scales=scales)
    with pytest.raises(InputError, match="set class_gate, too"):
        mw.explainer("casm", colours, masker=path, gate_scales=[1, 2])
    explain = mw.explainer("gated_casm", colours, masker=path, gate_scales=[1, 2])
    assert explain.masker.finish.gate_scales == (1.0, 2.0)


def test_a_network_of_one_size_has_one_scale() -> None:
    class OneSize(Colours):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] != 32:
                raise ValueError(x.shape)
            return super().forward(x)

    classifier = Classifier(OneSize(), input_size=32)
    ClassGate.check(classifier)
    with pytest.raises(InputError, match="takes no pictures of 64 pixels"):
        ClassGate.check(classifier, (1, 2))


def test_each_class_keeps_its_own_half(colours: Classifier, halves: Tensor) -> None:
    masker, plain = gated(colours), gated(colours, None)
    with torch.no_grad():
        _, masks = masker(halves, torch.tensor([[0, 1]]))
        _, whole = plain(halves)
    red, green = masks[0]
    torch.testing.assert_close(red[:, :8], whole[0, :, :8])  # open where the colour is
    assert float(red[:, 24:].max()) == 0  # shut where it is not
    torch.testing.assert_close(green[:, 24:], whole[0, :, 24:])
    assert float(green[:, :8].max()) == 0
    assert bool((masks <= whole[:, None]).all())


def test_a_class_without_any_evidence_opens_nothing(colours: Classifier, halves: Tensor) -> None:
    with torch.no_grad():
        _, masks = gated(colours)(halves, torch.tensor([[2]]))
    assert float(masks.max()) == 0


def test_without_a_class_it_is_the_top_one(colours: Classifier, halves: Tensor) -> None:
    masker = gated(colours)
    halves[:, :, :, :24] = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    with torch.no_grad():
        _, top = masker(halves)
        _, blue = masker(halves, torch.tensor([[2]]))
        _, both = masker(halves, torch.tensor([[2, 1]]))
    torch.testing.assert_close(top, blue[:, 0])
    torch.testing.assert_close(both[:, 0], top)
    assert float((both[:, 1] - top).abs().max()) > 0.1


def test_as_an_explainer_and_from_a_file(colours: Classifier, halves: Tensor, tmp_path: Path) -> None:
    recipe = recipes.load("casm", ["class_gate=0.5"]).model_dump(mode="json")
    path = tmp_path / "masker.safetensors"
    save_masker(path, gated(colours), colours, recipe)
    assert load_masker(path, colours).finish.class_gate == 0.5
    explain = mw.explainer("casm", colours, masker=path)
    assert explain.needs_target
    maps = explain(halves, [["red", "green"]])
    assert maps.shape == (1, 2, 32, 32)
    torch.testing.assert_close(explain(halves, "green"), maps[:, 1])
    # A score that rises with green's logit is green's.
    torch.testing.assert_close(explain(halves, lambda logits: logits[:, 1] - 0.5 * logits[:, 0]), maps[:, 1])
    other = mw.explainer("gated_casm", colours, masker=path, class_gate=1.0)
    assert float(other(halves, "green").mean()) <= float(maps[:, 1].mean())


def test_beside_an_encoder_trained_for_masks_alone_the_classifier_is_asked(
    colours: Classifier, halves: Tensor, tmp_path: Path
) -> None:
    """Such an encoder's head says nothing any more: here it would call red what is blue."""
    masker = gated(colours, None)
    with torch.no_grad():
        masker.encoder.module.head.weight.copy_(10 * torch.eye(3).flip(0))
    path, pictures = tmp_path / "masker.safetensors", 0.2 + 0.6 * halves
    save_masker(path, masker, colours, recipes.load("casm", ["shared=false"]).model_dump(mode="json"))
    explain = mw.explainer("gated_casm", colours, masker=path, class_gate=0.5)
    assert isinstance(explain, MaskerExplainer) and explain.judge is colours
    everything = mw.explainer("casm", colours, masker=path)(pictures)
    gate = ClassGate(colours, 0.5)
    with torch.no_grad():
        logits, taps = colours.features(pictures)
        expected = everything[:, None] * gate(pictures, taps[-1], torch.tensor([[0, 1]]))
        torch.testing.assert_close(explain(pictures, [["red", "green"]]), expected)
        _, found = explain.low_resolution(pictures, parse_targets(None, 1, colours))
    torch.testing.assert_close(found, logits)
    with pytest.raises(InputError, match="encoder of its own"):
        export(load_masker(path, colours), tmp_path / "masker.onnx")


@pytest.mark.parametrize(
    "head",
    [
        nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 5)),
        nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
    ],
)
def test_whose_logits_are_no_mean_of_places_has_no_gate(head: nn.Module) -> None:
    classifier = Classifier(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), head), input_size=32)
    with pytest.raises(InputError, match="average pooling and one linear layer"):
        gated(classifier)


@pytest.mark.parametrize("gate", [0, 1.5, float("nan")])
def test_a_gate_out_of_range(colours: Classifier, tmp_path: Path, gate: float) -> None:
    path = tmp_path / "masker.safetensors"
    save_masker(path, gated(colours, None), colours, recipes.load("casm").model_dump(mode="json"))
    with pytest.raises(InputError, match="class_gate"):
        mw.explainer("casm", colours, masker=path, class_gate=gate)

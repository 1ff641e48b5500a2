"""What the randomisation tests compare, and whose weights they make random: of all maskers and networks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from torch import Tensor, nn

from maskwise.checks import mprt
from maskwise.checks.figures import _called
from maskwise.checks.layers import layers_from_the_top
from maskwise.checks.randomise import randomise, restored
from maskwise.checks.subject import Subject
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import Explainer, explainer
from maskwise.maskers import Masker, ShapleyMasker, save_masker
from maskwise.maskers.layout import Layout
from maskwise.sess import SESS


@pytest.fixture
def images() -> Tensor:
    return F.interpolate(torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), 32, mode="bilinear")


def top(classifier: Classifier, images: Tensor) -> Tensor:
    with torch.no_grad():
        return classifier.logits(images).argmax(1)


def of_a_class(tiny: Classifier, folder: Path, **options: Any) -> Explainer:
    """A masker whose decoder reads the class activation of the class asked for."""
    recipe = {"decoder": "mixed", "class_tap": True, "width": 8}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = Masker.build(tiny, layout=Layout.of({**recipe, "head_std": 0.5})).eval()
    save_masker(folder / "mixed.safetensors", made, tiny, recipe)
    return explainer("distilled", tiny, masker=folder / "mixed.safetensors", **options)


class TestMaskersOfAClass:
    def test_logits_are_those_of_the_class(self, tiny: Classifier, images: Tensor, tmp_path: Path) -> None:
        """The decoder was asked without the class's activation: as if the method knew no class."""
        explain = of_a_class(tiny, tmp_path)
        subject = Subject.of(explain, tiny)
        assert subject.logits
        for target in (0, 3):
            classes = torch.full((4,), target)
            assert torch.allclose(subject.maps(images, classes).sigmoid(), explain(images, classes), atol=1e-5)
        assert not torch.allclose(subject.maps(images, torch.full((4,), 0)), subject.maps(images, torch.full((4,), 3)))
        assert torch.allclose(subject.maps(images, None).sigmoid(), explain(images), atol=1e-5)

    def test_a_gate_leaves_no_logits(self, tiny: Classifier, images: Tensor, tmp_path: Path) -> None:
        """Compared before the sigmoid, a gated mask was the mask without its gate."""
        explain = of_a_class(tiny, tmp_path, class_gate=0.3)
        subject, classes = Subject.of(explain, tiny), top(tiny, images)
        assert not subject.logits and torch.equal(subject.maps(images, classes), explain(images, classes).cpu())
        with pytest.raises(InputError, match="without a class gate"):
            Subject.of(explain, tiny, before_sigmoid=True)

    def test_the_last_layer_counts(self, tiny: Classifier, images: Tensor, tmp_path: Path) -> None:
        """It makes the class activation: with random weights there the map is another one."""
        for options in ({}, {"class_gate": 0.3}):
            explain = of_a_class(tiny, tmp_path, **options)
            rows = mprt(explain, tiny, images, modes=["independent"], measures=["spearman"]).rows
            assert rows[0].layer == "14" and rows[0].value.mean < 0.999

    def test_numbers_are_those_of_fresh_copies(self, tiny: Classifier, images: Tensor, tmp_path: Path) -> None:
        """A slow twin: at each stage the method made anew, its encoder given the random weights."""
        explain, classes = of_a_class(tiny, tmp_path, class_gate=0.3), top(tiny, images)
        result = mprt(explain, tiny, images, modes=["cascading"], measures=["ssim"], seed=2, examples=4)
        twin = of_a_class(tiny, tmp_path, class_gate=0.3)
        net = twin.masker.encoder.module  # type: ignore[attr-defined]
        for stage, layer in enumerate(layers_from_the_top(net, torch.zeros(1, 3, 32, 32)), 1):
            randomise(net, layer, seed=2)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert torch.allclose(result.maps["cascading"][stage], twin(images, classes), atol=1e-5)


def test_any_masker_s_own_encoder_is_found(tiny: Classifier, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        save_masker(tmp_path / "cells.safetensors", ShapleyMasker.build(tiny), tiny, {})
    cells = explainer("fast_shap", tiny, masker=tmp_path / "cells.safetensors")
    casm = of_a_class(tiny, tmp_path)
    for inner in (cells, casm):
        for explain in (inner, SESS(inner, scales=2), SESS(SESS(inner, scales=2), scales=2)):
            assert Subject.of(explain, tiny).network is inner.masker.encoder  # type: ignore[attr-defined]
    assert Subject.of(explainer("grad_cam", tiny), tiny).network is tiny


def test_a_method_of_a_classifier_and_a_masker_loses_both(tiny: Classifier, images: Tensor, tmp_path: Path) -> None:
    """Its gate is the classifier's, its mask another network's: that one stayed, and so did most of the map."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_masker(tmp_path / "any.safetensors", Masker.build(tiny).eval(), tiny, {})

    def made(classifier: Classifier) -> Explainer:
        return explainer("excited_casm", classifier, masker=tmp_path / "any.safetensors")

    explain, classes = made(tiny), top(tiny, images)
    before = {key: value.clone() for key, value in explain.mask.masker.state_dict().items()}  # type: ignore[attr-defined]
    result = mprt(explain, tiny, images, modes=["cascading"], measures=["ssim"], seed=2, examples=4)
    assert "likewise" in result.protocol["randomised"]
    after = explain.mask.masker.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(value, before[key]) for key, value in after.items())
    other = Classifier(tiny_net(), input_size=32)
    twin = made(other)
    nets = [other.module, twin.mask.masker.encoder.module]  # type: ignore[attr-defined]
    for stage, layer in enumerate(layers_from_the_top(nets[0], torch.zeros(1, 3, 32, 32)), 1):
        for net in nets:
            randomise(net, layer, seed=2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert torch.allclose(result.maps["cascading"][stage], twin(images, classes), atol=1e-5)


class Rooted(nn.Module):
    """Holds a token itself; its reset begins all that is in it anew, too, and puts a new tensor in place of one."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 8, 1, 1))
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def reset_parameters(self) -> None:
        for part in (self.conv, self.norm, self.head):
            part.reset_parameters()
        self.token = nn.Parameter(torch.randn(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.norm(self.conv(x)) * self.token).relu().mean((2, 3)))


class TestWhatTheNetworkItselfHolds:
    def test_is_called_by_its_name(self) -> None:
        layers = layers_from_the_top(Rooted().eval(), torch.zeros(1, 3, 8, 8))
        assert [layer.name for layer in layers] == ["head", "norm", "conv", "token"]
        assert [layer.name for layer in layers_from_the_top(nn.Linear(3, 2), torch.zeros(1, 3))] == ["(whole network)"]

    def test_becomes_random_alone_and_comes_back(self) -> None:
        """Its own reset reached into the layers below, and the tensor that it made anew never came back."""
        net = Rooted().eval()
        before, token = {key: value.clone() for key, value in net.state_dict().items()}, net.token
        *_, own = layers_from_the_top(net, torch.zeros(1, 3, 8, 8))
        with restored(net):
            randomise(net, own, seed=1)
            changed = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
            assert changed == {"token"} and net.token is token
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())

    def test_a_cascade_ends_with_everything_random(self) -> None:
        net = Rooted().eval()
        with torch.no_grad():
            net.norm.running_mean.fill_(3.0)  # type: ignore[union-attr]
        before = {key: value.clone() for key, value in net.state_dict().items()}
        for layer in layers_from_the_top(net, torch.zeros(1, 3, 8, 8)):
            randomise(net, layer, seed=1)
        same = {key for key, value in net.state_dict().items() if torch.equal(value, before[key])}
        assert same == {"norm.weight", "norm.bias", "norm.running_var", "norm.num_batches_tracked"}, "as they began"


def test_random_weights_give_no_advice(images: Tensor) -> None:
    """Maps of a random network are often flat: no class to be asked in place of this one would help."""
    tiny = Classifier(tiny_net(), input_size=32, name="random advice")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        rows = mprt(explainer("grad_cam", tiny), tiny, images, init="released", seed=1).rows
    assert sum(row.value.undefined for row in rows) > 0, "some are flat, and counted"
    assert not [str(one.message) for one in heard if "flat" in str(one.message)]


def test_a_grey_network_gets_its_own_pictures() -> None:
    net = tiny_net()
    net[0] = nn.Conv2d(1, 8, 3, padding=1)  # type: ignore[operator]
    grey = Classifier(net, mean=[0.5], std=[0.25], input_size=32)
    pictures = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    one = mprt(explainer("gradient", grey), grey, pictures, measures=["spearman"])
    three = mprt(explainer("gradient", grey), grey, pictures.expand(-1, 3, -1, -1), measures=["spearman"])
    assert [row.value.mean for row in one.rows] == pytest.approx([row.value.mean for row in three.rows], abs=1e-4)
    with pytest.raises(InputError, match="must be a tensor"):
        mprt(explainer("gradient", grey), grey, torch.rand(2, 5, 32, 32))


def test_the_figure_names_what_is_inside_sess(tiny: Classifier) -> None:
    inner = explainer("grad_cam", tiny)
    assert _called(Subject.of(inner, tiny).identity) == "grad_cam"
    assert _called(Subject.of(SESS(inner, scales=2), tiny).identity) == "grad_cam + SESS"
    assert _called(Subject.of(lambda images, targets: images.mean(1), tiny).identity) == "<lambda>"

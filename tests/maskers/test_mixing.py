"""The mixing decoder: its formula, its classes, its file, and who can't have a class tap."""

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
from maskwise.exporting import export
from maskwise.maskers import Masker, load_masker, save_masker
from maskwise.maskers.finish import Finish, sharpened
from maskwise.maskers.layout import Layout
from maskwise.maskers.mixing import MixingDecoder
from maskwise.maskers.store import start_at

RECIPE = {"decoder": "mixed", "class_tap": True, "width": 3, "mix": 5}


def decoder(class_tap: bool = True) -> MixingDecoder:
    torch.manual_seed(0)
    made = MixingDecoder([4, 6], width=3, mix=5, class_tap=class_tap, head_std=0.5)
    for norm in (m for m in made.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.weight, 1.0, 0.2)
        nn.init.normal_(norm.bias, 0.1, 0.2)
        norm.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return made.eval()


def classifier() -> Classifier:
    return Classifier(tiny_net(), input_size=32, name="tiny")


def masker(seed: int = 0, finish: Finish | None = None) -> Masker:
    torch.manual_seed(seed)
    made = Masker.build(classifier(), finish=finish, layout=Layout.of(RECIPE | {"head_std": 0.5}))
    made.decoder.train()(  # batch norm that is not the identity
        made.encoder.features(torch.rand(8, 3, 32, 32))[1], (32, 32), torch.rand(8, 2, 8, 8)
    )
    return made.eval()


def test_the_formula_in_plain_calls() -> None:
    """All channels enlarged and concatenated, the finest pooled as a ResNet's stem pools; then 1x1, and 3x3."""
    made = decoder()
    taps = [torch.rand(2, 4, 16, 16), torch.rand(2, 6, 4, 4)]
    activation = torch.rand(2, 3, 5, 5)

    def large(x: Tensor) -> Tensor:
        return F.interpolate(x, (8, 8), mode="bilinear", align_corners=False) if x.shape[-1] != 8 else x

    def norm(x: Tensor, by: nn.Module) -> Tensor:
        assert isinstance(by, nn.BatchNorm2d)
        shape = (1, -1, 1, 1)
        mean, var = by.running_mean.reshape(shape), by.running_var.reshape(shape)  # type: ignore[union-attr]
        return (x - mean) / (var + by.eps).sqrt() * by.weight.reshape(shape) + by.bias.reshape(shape)

    for k in range(3):
        parts = []
        for tap, block in zip((F.max_pool2d(taps[0], 3, 2, 1), taps[1]), made.projections, strict=True):
            conv, by, _ = block  # type: ignore[misc]
            parts.append(large(norm(torch.einsum("nchw,kc->nkhw", tap, conv.weight[:, :, 0, 0]), by).relu()))
        read = torch.cat([*parts, large(activation[:, k : k + 1])], 1)
        mixed = norm(torch.einsum("nchw,kc->nkhw", read, made.mix.weight[:, :, 0, 0]), made.norm).relu()
        expected = F.conv2d(mixed, made.head.weight, made.head.bias, padding=1)[:, 0]
        torch.testing.assert_close(made(taps, (32, 32), activation)[:, k], expected, atol=1e-5, rtol=1e-5)


def test_evidence_multiplies() -> None:
    """What a fine tap says counts only where the coarse one agrees: no sum of the two can do that."""
    made = decoder(class_tap=False)
    fine = torch.zeros(1, 4, 8, 8)
    fine[:, :, :, 4:] = 3
    both = [made([fine * a, torch.full((1, 6, 4, 4), b)], (32, 32)) for a in (0, 1) for b in (0.0, 3.0)]
    assert (both[3] - both[2] - both[1] + both[0]).abs().max() > 1e-3


def test_every_class_alone_is_the_same_as_among_others_and_taps_are_read_once() -> None:
    made, images = masker(), torch.rand(2, 3, 32, 32)
    calls: list[int] = []
    assert isinstance(made.decoder, MixingDecoder)
    made.decoder.projections[0].register_forward_hook(lambda *_: calls.append(1))
    classes = torch.tensor([[0, 3, 4], [2, 1, 0]])
    logits, masks = made(images, classes)
    assert masks.shape == (2, 3, 32, 32) and calls == [1]
    for k in range(3):
        torch.testing.assert_close(made(images, classes[:, k : k + 1])[1][:, 0], masks[:, k], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(masks[:, 0], masks[:, 1])
    torch.testing.assert_close(made(images)[1], made(images, logits.argmax(1, keepdim=True))[1][:, 0])
    torch.testing.assert_close(made.mask_of(made.encoder.features(images)[1], (32, 32), classes[:, 1]), masks[:, 1])


def test_a_class_tap_in_parts_of_the_predicted_class_s_peak() -> None:
    """With the activations of all classes written out: relu, over the largest value of the predicted class's map."""
    torch.manual_seed(3)
    made = Masker.build(classifier(), layout=Layout.of(RECIPE | {"head_std": 0.5, "class_peak": "top"})).eval()
    images, classes = torch.rand(4, 3, 32, 32), torch.arange(5).expand(4, 5)
    logits, taps = made.encoder.features(images)
    last = made.encoder.module[-1]
    assert isinstance(last, nn.Linear)
    maps = torch.stack([(taps[-1] * last.weight[k][:, None, None]).sum(1) for k in range(5)], 1)
    assert torch.allclose(maps.mean((2, 3)) + last.bias, logits, atol=1e-5)
    peaks = torch.stack([maps[i, logits[i].argmax()].max() for i in range(4)])
    wanted = (maps.relu() / peaks.clamp(min=1e-6)[:, None, None, None]).clamp(max=1)
    expected = made.decoder([taps[i] for i in made.reads], (32, 32), wanted)
    torch.testing.assert_close(made.logits_of(taps, (32, 32), classes), expected)
    own = Masker.build(classifier(), layout=Layout.of(RECIPE)).eval()
    own.decoder.load_state_dict(made.decoder.state_dict())
    assert not torch.allclose(own.logits_of(taps, (32, 32), classes), expected, atol=1e-3)


def test_the_class_tap_in_loops() -> None:
    """With a decoder that hands on the class tap alone the logits are the activation: ReLU, stretched, enlarged."""
    made, images = masker(), torch.rand(2, 3, 32, 32)
    assert isinstance(made.decoder, MixingDecoder)
    with torch.no_grad():
        made.decoder.mix.weight.zero_()[0, -1] = 1
        made.decoder.norm = nn.BatchNorm2d(5, eps=0).eval()
        made.decoder.head.weight.zero_()[0, 0, 1, 1] = 1
        made.decoder.head.bias.zero_()  # type: ignore[union-attr]
        _, taps = made.encoder.features(images)
        found = made.logits_of(taps, (32, 32), torch.tensor([[1, 2], [4, 0]]))
    weight = next(m for m in reversed(list(made.encoder.module.modules())) if isinstance(m, nn.Linear)).weight
    for n, k, c in ((0, 0, 1), (0, 1, 2), (1, 0, 4), (1, 1, 0)):
        activation = torch.einsum("c,chw->hw", weight[c], taps[-1][n]).relu()
        activation = (activation - activation.min()) / (activation.max() - activation.min()).clamp(min=1e-12)
        large = F.interpolate(activation[None, None], (8, 8), mode="bilinear", align_corners=False)[0, 0]
        torch.testing.assert_close(found[n, k], large.detach(), atol=1e-5, rtol=1e-5)


def test_no_gradient_reaches_the_classifier() -> None:
    made = masker()
    made.encoder.module.requires_grad_(True)
    with torch.no_grad():
        _, taps = made.encoder.features(torch.rand(2, 3, 32, 32))
    made.mask_of(taps, (32, 32), torch.tensor([0, 1])).sum().backward()
    assert all(p.grad is None for p in made.encoder.module.parameters())
    assert all(p.grad is not None for p in made.decoder.parameters())


def test_it_survives_its_file_and_another_training_starts_there(tmp_path: Path) -> None:
    own, made = classifier(), masker()
    save_masker(tmp_path / "m.safetensors", made, own, RECIPE)
    images, classes = torch.rand(2, 3, 32, 32), torch.tensor([[0, 3], [2, 1]])
    assert torch.equal(load_masker(tmp_path / "m.safetensors", own)(images, classes)[1], made(images, classes)[1])
    other = masker(1)
    start_at(other, tmp_path / "m.safetensors", own)
    assert torch.equal(other(images, classes)[1], made(images, classes)[1])
    wider = Masker.build(own, layout=Layout.of(RECIPE | {"mix": 6}))
    with pytest.raises(InputError, match="not laid out as the recipe says"):
        start_at(wider, tmp_path / "m.safetensors", own)


def test_explainers_answer_for_the_class_that_is_asked_for(tmp_path: Path) -> None:
    own, made = classifier(), masker()
    save_masker(tmp_path / "m.safetensors", made, own, RECIPE)
    explain = mw.explainer("casm", own, masker=tmp_path / "m.safetensors")
    assert isinstance(explain, MaskerExplainer) and explain.needs_target
    images = torch.rand(2, 3, 32, 32)
    maps = explain(images, torch.tensor([[0, 3], [2, 1]]))
    with torch.no_grad():
        expected = made(images, torch.tensor([[0, 3], [2, 1]]))[1]
    torch.testing.assert_close(maps, expected, atol=1e-5, rtol=1e-4)


def test_one_onnx_graph(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    written = export(masker(finish=Finish(sharpness=3.0)), tmp_path / "m.onnx")
    assert written.inputs == ("images", "classes") and written.difference < 1e-4


def test_who_can_not_have_it() -> None:
    two_layers = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3),
    )  # fmt: skip
    with pytest.raises(InputError, match="leave class_tap out"):
        Masker.build(Classifier(two_layers, input_size=32), layout=Layout.of(RECIPE))
    with pytest.raises(InputError, match="class_tap reads the classifier itself"):
        Masker.build(classifier(), layout=Layout.of(RECIPE), shares_encoder=False)
    for wrong in (
        {"class_tap": True}, {"decoder": "mixed", "first_tap": "raw"}, {"decoder": "other"}, {"class_peak": "no"}
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"class_tap|first_tap|decoder is added|class_peak"):
            Layout.of(wrong)


def test_sharpened_is_the_formula_and_keeps_order_and_mean() -> None:
    logits = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0)) - 1
    found = sharpened(logits, 4)
    for z, s in zip(logits, found, strict=True):
        mean = z.sigmoid().mean()
        torch.testing.assert_close(s, 1 / (1 + torch.exp(-4 * (z - torch.log(mean / (1 - mean))))))
        assert torch.equal(s >= 0.5, z.sigmoid() >= mean)
        assert torch.equal(s.flatten().argsort(), z.flatten().argsort())
    assert torch.equal(sharpened(logits[1:2], 4), found[1:2])
    size = (32, 32)
    finish = Finish(sharpness=4.0)
    assert torch.equal(finish.mask(logits, size, False)[:, ::4, ::4], found)
    assert torch.equal(finish.mask(logits, size, True), Finish().mask(logits, size, True)), "training does without"

"""T-TAME's attention: its formula, its classes, its file and its graph."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from torch import nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.exporting import export
from maskwise.maskers import Masker, load_masker, save_masker
from maskwise.maskers.attention import AttentionDecoder
from maskwise.maskers.fusing import fuse
from maskwise.maskers.layout import Layout

RECIPE = {"decoder": "attention"}


def awake(decoder: AttentionDecoder) -> AttentionDecoder:
    """In eval mode, with batch norm that is not the identity."""
    for norm in (m for m in decoder.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.weight, 1.0, 0.2)
        nn.init.normal_(norm.bias, 0.1, 0.2)
        norm.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return decoder.eval()


def masker(seed: int = 0, **options: bool) -> Masker:
    torch.manual_seed(seed)
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    made = Masker.build(classifier, layout=Layout.of(RECIPE), **options)  # type: ignore[arg-type]
    assert isinstance(made.decoder, AttentionDecoder)
    awake(made.decoder)
    return made.eval()


def test_one_tap_and_one_class_in_einsum() -> None:
    torch.manual_seed(0)
    made, tap = awake(AttentionDecoder([6], 1)), torch.rand(2, 6, 5, 7) - 0.3
    conv, norm = made.branches[0]  # type: ignore[misc]
    linear = torch.einsum("oc,nchw->nohw", conv.weight[:, :, 0, 0], tap) + conv.bias[:, None, None]
    scaled = (linear - norm.running_mean[:, None, None]) / (norm.running_var + norm.eps).sqrt()[:, None, None]
    normal = scaled * norm.weight[:, None, None] + norm.bias[:, None, None]
    attended = (normal + tap).clamp(min=0)
    expected = torch.einsum("c,nchw->nhw", made.head.weight[0, :, 0, 0], attended) + made.head.bias
    found = made([tap], (80, 80), torch.zeros(2, 1, dtype=torch.int64))
    torch.testing.assert_close(found, expected[:, None])


def test_columns_are_those_of_the_whole_convolution() -> None:
    """All taps enlarged, concatenated and convolved to all classes; then the classes asked for are taken."""
    torch.manual_seed(1)
    made, taps = awake(AttentionDecoder([3, 5], 4)), [torch.rand(2, 3, 8, 8), torch.rand(2, 5, 4, 4)]
    classes = torch.tensor([[3, 0], [1, 1]])
    for size, grid in (((32, 32), (8, 8)), ((64, 64), (8, 8)), ((16, 16), (4, 4))):
        large = [
            F.interpolate((branch(tap) + tap).relu(), grid, mode="bilinear", align_corners=False)
            for tap, branch in zip(taps, made.branches, strict=True)
        ]
        every = made.head(torch.cat(large, 1))
        expected = torch.stack([every[i, row] for i, row in enumerate(classes)])
        torch.testing.assert_close(made(taps, size, classes), expected)


def test_each_class_has_its_own_mask_in_any_order() -> None:
    made, images, order = masker(), torch.rand(2, 3, 32, 32), torch.tensor([4, 2, 0, 3, 1])
    masks = made(images, torch.arange(5).expand(2, 5))[1]
    assert made.needs_class and not made.class_tap and masks.std(1).max() > 1e-3
    torch.testing.assert_close(made(images, order.expand(2, 5))[1], masks[:, order])
    top = made(images)[0].argmax(1)
    torch.testing.assert_close(made(images)[1], torch.stack([masks[i, k] for i, k in enumerate(top)]))
    fused = fuse(made.decoder)
    torch.testing.assert_close(made(images, torch.arange(5).expand(2, 5))[1], masks)
    assert fused is made.decoder and not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())


@pytest.mark.parametrize("shared", [True, False])
def test_stored_and_loaded(shared: bool, tmp_path: Path) -> None:
    """With an encoder of its own it needs no class activation, and the file holds that encoder once it has changed."""
    made, classifier = masker(shares_encoder=shared), Classifier(tiny_net(), input_size=32, name="tiny")
    if not shared:
        first = next(made.encoder.module.parameters())
        with torch.no_grad():
            first.mul_(1.1)
    save_masker(tmp_path / "m.safetensors", made, classifier, RECIPE | {"shared": shared})
    loaded, images = load_masker(tmp_path / "m.safetensors", classifier), torch.rand(2, 3, 32, 32)
    assert isinstance(loaded, Masker) and loaded.shares_encoder == shared
    classes = torch.tensor([[1, 3], [0, 4]])
    torch.testing.assert_close(loaded(images, classes)[1], made(images, classes)[1])


def test_a_layout_that_it_can_t_have_is_refused() -> None:
    for wrong, said in (({"class_tap": True}, "class_tap belongs"), ({"first_tap": "raw"}, "first_tap=projected")):
        with pytest.raises(ValueError, match=said):
            Layout.of(RECIPE | wrong)
    with pytest.raises(InputError, match="name some of 0"):
        Masker.build(Classifier(tiny_net(), input_size=32, name="tiny"), reads=[7], layout=Layout.of(RECIPE))


def test_one_onnx_graph(tmp_path: Path) -> None:
    """``export`` compares it with PyTorch on two batch sizes, for drawn classes and for the top one."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    written = export(masker(), tmp_path / "m.onnx")
    assert written.inputs == ("images", "classes") and written.difference < 1e-4

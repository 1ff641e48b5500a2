"""The decoder's layout, and the masker's file."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.maskers import (
    ClassMasker,
    Decoder,
    Masker,
    ShapleyMasker,
    load_masker,
    load_shapley_masker,
    read_header,
    save_masker,
)

RESNET = [(64, 56), (256, 56), (512, 28), (1024, 14), (2048, 7)]


def test_the_released_layout_on_resnet50_taps() -> None:
    """First tap as it is, four projected: 64 + 4*64 = 320 channels are read; a quarter of 224 comes out."""
    decoder = Decoder([c for c, _ in RESNET], first_tap="raw")
    taps = [torch.rand(2, c, s, s) for c, s in RESNET]
    assert decoder.head.in_channels == 320
    assert decoder(taps, (224, 224)).shape == (2, 56, 56)
    assert decoder.head.weight.std().item() == pytest.approx(math.sqrt(2 / 9), rel=0.1)


def test_the_decoder_is_what_its_docstring_says() -> None:
    """Against the formula in plain calls, with a tap finer than the grid: pooled as a ResNet's stem pools."""
    decoder = Decoder([4, 6], width=3).eval()
    fine, coarse = torch.rand(1, 4, 16, 16), torch.rand(1, 6, 4, 4)
    parts = []
    for tap, block in zip((F.max_pool2d(fine, 3, 2, 1), coarse), decoder.projections, strict=True):
        conv, norm, _ = block  # type: ignore[misc]
        y = torch.einsum("nchw,kc->nkhw", tap, conv.weight[:, :, 0, 0])
        y = (y / math.sqrt(1 + norm.eps)).relu()
        parts.append(F.interpolate(y, (8, 8), mode="bilinear") if y.shape[-1] != 8 else y)
    expected = F.conv2d(torch.cat(parts, 1), decoder.head.weight, decoder.head.bias, padding=1)[:, 0]
    assert torch.allclose(decoder([fine, coarse], (32, 32)), expected, atol=1e-5)


def test_a_small_head_starts_with_a_grey_mask_where_the_papers_is_saturated() -> None:
    taps = [torch.rand(2, c, s, s) for c, s in RESNET]
    masks = {std: Decoder([c for c, _ in RESNET], head_std=std)(taps, (224, 224)).sigmoid() for std in (0.001, None)}
    assert (masks[0.001] - 0.5).abs().max() < 0.1
    assert ((masks[None] < 0.05) | (masks[None] > 0.95)).float().mean() > 0.3


def test_the_mask_is_made_of_blocks_of_four() -> None:
    masker = Masker.build(Classifier(tiny_net(), input_size=32)).eval()
    _, mask = masker(torch.rand(1, 3, 32, 32))
    assert mask.shape == (1, 32, 32)
    assert torch.equal(mask, mask[:, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2))


def test_a_masker_may_read_some_taps_only(tmp_path: Path) -> None:
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    masker = Masker.build(classifier, "raw", reads=[2, 1]).eval()
    assert masker.reads == (1, 2) and masker.decoder.head.in_channels == 2 * 64, "raw is for the finest tap alone"
    save_masker(tmp_path / "m.safetensors", masker, classifier, {"taps": [2, 1], "first_tap": "raw"})
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(load_masker(tmp_path / "m.safetensors", classifier)(images)[1], masker(images)[1])
    with pytest.raises(InputError, match="has 3 taps"):
        Masker.build(classifier, reads=[3])


def stored(tmp_path: Path, adapted: bool, half: bool = False) -> tuple[Classifier, Masker, Path]:
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    masker = Masker.build(classifier).eval()
    if adapted:
        with torch.no_grad():
            masker.encoder.module[0].weight.add_(0.1)  # type: ignore[index, operator, union-attr]
    save_masker(tmp_path / "m.safetensors", masker, classifier, {"title": "test"}, half_encoder=half)
    return classifier, masker, tmp_path / "m.safetensors"


@pytest.mark.parametrize("adapted", [False, True])
def test_a_masker_survives_its_file(tmp_path: Path, adapted: bool) -> None:
    classifier, masker, path = stored(tmp_path, adapted)
    images = torch.rand(2, 3, 32, 32)
    for a, b in zip(load_masker(path, classifier)(images), masker(images), strict=True):
        assert torch.equal(a, b)
    assert any(k.startswith("encoder.") for k in load_file(path)) == adapted
    header = read_header(path)
    assert json.loads(header["recipe"]) == {"title": "test"} and header["fingerprint"] == classifier.fingerprint()


def test_half_precision_stays_close(tmp_path: Path) -> None:
    classifier, masker, path = stored(tmp_path, adapted=True, half=True)
    images = torch.rand(2, 3, 32, 32)
    assert (load_masker(path, classifier)(images)[1] - masker(images)[1]).abs().max() < 0.02


def test_another_classifier_is_refused(tmp_path: Path) -> None:
    _, _, path = stored(tmp_path, adapted=True)
    with pytest.raises(InputError, match="was trained on tiny"):
        load_masker(path, Classifier(tiny_net(seed=7), input_size=32))


def test_a_masker_of_other_layers_is_refused_though_they_have_the_same_shapes(tmp_path: Path) -> None:
    """The outputs of the batch norms are as large as those of the ReLUs behind them, and are other numbers."""
    net, path = tiny_net(), tmp_path / "m.safetensors"
    own = Classifier(net, input_size=32, taps=["2", "6", "10"], name="tiny")
    found, other = Classifier(net, input_size=32), Classifier(net, input_size=32, taps=["1", "5", "9"], name="other")
    said = r'reads taps \["2", .* of other are \["1", '
    for masker in (Masker.build(own), ClassMasker.build(own)):
        save_masker(path, masker, own, {})
        assert load_masker(path, found), "the same layers, found and not named"
        with pytest.raises(InputError, match=said):
            load_masker(path, other)
    save_masker(path, ShapleyMasker.build(own, class_tap=False), own, {})
    assert load_shapley_masker(path, found)
    with pytest.raises(InputError, match=said):
        load_shapley_masker(path, other)


class TwoHeads(nn.Module):
    """Features, and two last layers that give five classes each."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.a, self.b = tiny_net()[:-1], nn.Linear(16, 5), nn.Linear(16, 5)  # type: ignore[index]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        seen = self.body(images)
        return {"a": self.a(seen), "b": self.b(seen)}


def test_a_masker_of_other_scores_of_the_network_is_refused(tmp_path: Path) -> None:
    """The weights are the same, and a class's number means another class."""
    net, path = TwoHeads().eval(), tmp_path / "m.safetensors"
    one, other = (Classifier(net, input_size=32, output=name, name="two heads") for name in "ab")
    assert one.fingerprint() == other.fingerprint()
    save_masker(path, Masker.build(one), one, {})
    assert load_masker(path, one)
    with pytest.raises(InputError, match=r'output "a" of two heads, and this is output "b"'):
        load_masker(path, other)


def test_bad_files_are_one_clear_line(tmp_path: Path) -> None:
    classifier, _, path = stored(tmp_path, adapted=False)
    (tmp_path / "text.safetensors").write_text("not weights")
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:200])
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("text", "cut", "other", "missing"):
        with pytest.raises(InputError) as caught:
            load_masker(tmp_path / f"{name}.safetensors", classifier)
        assert "\n" not in str(caught.value)


def test_a_masker_that_holds_nan_is_refused(tmp_path: Path) -> None:
    classifier = Classifier(tiny_net(), input_size=32)
    masker = Masker.build(classifier)
    with torch.no_grad():
        masker.decoder.head.weight.fill_(torch.nan)
    save_masker(tmp_path / "m.safetensors", masker, classifier, {})
    with pytest.raises(InputError, match="NaN"):
        load_masker(tmp_path / "m.safetensors", classifier)

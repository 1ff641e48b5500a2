"""A masker with an encoder of its own: its classes, its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.seal import save_sealed
from maskwise.exporting import export
from maskwise.maskers import Masker, load_masker, save_masker
from maskwise.maskers.layout import Layout
from maskwise.maskers.mixing import MixingDecoder
from maskwise.maskers.own_encoder import SmallEncoder, own_encoder

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
RECIPE = {"kind": "distil", "decoder": "mixed", "class_embedding": True, "width": 4, "mix": 6, "encoder": "small"}


def by_colour(images: Tensor) -> Tensor:
    return (4 * images.mean((2, 3))).softmax(1)


def by_brightness(images: Tensor) -> Tensor:
    return (9 * images.mean((2, 3))).softmax(1)


def box() -> Classifier:
    return mw.load_classifier(by_colour, size=32)


def masker(encoder: str = "small", seed: int = 0) -> Masker:
    torch.manual_seed(seed)
    made = Masker.build(
        box(), layout=Layout.of(RECIPE | {"head_std": 0.5}),
        encoder=own_encoder(encoder, box()),
    )  # fmt: skip
    assert isinstance(made.decoder, MixingDecoder) and made.decoder.embedding is not None
    torch.nn.init.normal_(made.decoder.embedding)
    return made.eval()


# ---- classes ------------------------------------------------------------------------------------------------


def embedded(classes: int | None = 3) -> MixingDecoder:
    torch.manual_seed(0)
    return MixingDecoder([4, 6], width=3, mix=5, head_std=0.5, embedded=classes).eval()


TAPS = [torch.rand(2, 4, 16, 16), torch.rand(2, 6, 4, 4)]


def test_a_class_that_nobody_taught_has_the_mask_that_all_have_in_common() -> None:
    made, plain = embedded(), embedded(None)
    plain.load_state_dict({k: v for k, v in made.state_dict().items() if k != "embedding"})
    classes = torch.tensor([[0, 2], [1, 1]])
    found = made(TAPS, (32, 32), classes=classes)
    assert found.shape == (2, 2, 8, 8)
    assert torch.allclose(found, plain(TAPS, (32, 32))[:, None].expand(-1, 2, -1, -1), atol=1e-6)


def test_a_class_weighs_what_is_drawn_from() -> None:
    """(1 + e) h before the last convolution is that convolution with weights times (1 + e)."""
    made = embedded()
    assert made.embedding is not None
    torch.nn.init.normal_(made.embedding)
    found = made(TAPS, (32, 32), classes=torch.tensor([[0, 2], [1, 0]]))
    for n, k, c in ((0, 0, 0), (0, 1, 2), (1, 0, 1), (1, 1, 0)):
        plain = embedded(None)
        state = {key: value.clone() for key, value in made.state_dict().items() if key != "embedding"}
        state["head.weight"] *= 1 + made.embedding[c].detach()[None, :, None, None]
        plain.load_state_dict(state)
        assert torch.allclose(found[n, k], plain(TAPS, (32, 32))[n], atol=1e-5), (n, k)


def test_only_a_mixing_decoder_without_class_tap_has_one() -> None:
    for wrong in ({"decoder": "added"}, {"decoder": "mixed", "class_tap": True}):
        with pytest.raises(ValueError, match="class_embedding belongs to a mixing decoder without class_tap"):
            Layout.of({"class_embedding": True, **wrong})
    assert Layout.of(RECIPE).reads_class and masker().needs_class


# ---- the encoder --------------------------------------------------------------------------------------------


def test_small_halves_the_picture_five_times_and_is_read_at_each_scale() -> None:
    made = own_encoder("small", box())
    assert isinstance(made.module, SmallEncoder) and made.size == (32, 32) and torch.equal(made.mean, box().mean)
    assert [tap.shape[1:] for tap in made.features(IMAGES)[1]][:4] == [
        (32, 16, 16),
        (64, 8, 8),
        (96, 4, 4),
        (128, 2, 2),
    ]
    grey = mw.load_classifier(
        lambda x: torch.cat([x.mean((2, 3)), 1 - x.mean((2, 3))], 1), size=32, mean=[0.5], std=[0.5]
    )
    assert own_encoder("small", grey).channels == 1
    with pytest.raises(mw.InputError, match="3 channels, and .* of 1: encoder=small takes those"):
        own_encoder("efficientnet_lite0", grey)


def test_small_is_ten_normalised_convolutions_at_the_box_s_own_sides() -> None:
    oblong = own_encoder("small", mw.load_classifier(by_colour, size=(32, 48), mean=[0.1, 0.2, 0.3]))
    assert oblong.size == (32, 48) and torch.allclose(oblong.mean, torch.tensor([0.1, 0.2, 0.3]))
    steps = [type(step) for step in oblong.module.modules() if not isinstance(step, nn.Sequential)]
    assert steps[:30] == 10 * [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] and len(steps) == 32
    assert [tap.shape[2:] for tap in oblong.features(torch.rand(1, 3, 32, 48))[1]][:2] == [(16, 24), (8, 12)]
    known = own_encoder("efficientnet_lite0", mw.load_classifier(by_colour, size=(64, 96)))
    assert known.size == (64, 96)


def test_another_name_is_refused_since_files_repeat_it(tmp_path: Path) -> None:
    with pytest.raises(mw.InputError, match="encoder is small or .*efficientnet_lite0"):
        own_encoder(f"{tmp_path}/net.py:make", box())
    with pytest.raises(mw.InputError, match=r"encoder vit_tiny_distilled takes no pictures of 33x33 pixels"):
        own_encoder("vit_tiny_distilled", mw.load_classifier(by_colour, size=33))


# ---- its file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["small", "efficientnet_lite0"])
def test_a_file_gives_the_same_masks_and_holds_no_network_that_comes_by_name(tmp_path: Path, encoder: str) -> None:
    made, path = masker(encoder), tmp_path / "m.safetensors"
    save_masker(path, made, box(), RECIPE | {"encoder": encoder})
    classes = torch.tensor([[0, 2], [1, 0]])
    state = torch.random.get_rng_state()
    again = load_masker(path, box())
    assert torch.equal(torch.random.get_rng_state(), state), "nothing is drawn from the global generator"
    assert isinstance(again, Masker) and not again.shares_encoder
    assert torch.allclose(again(IMAGES, classes)[1], made(IMAGES, classes)[1], atol=1e-6)
    with safe_open(path, framework="pt") as stored:
        assert any(key.startswith("encoder.") for key in list(stored.keys())) == (encoder == "small")
    explainer = mw.explainer("casm", box(), masker=path)
    assert torch.allclose(explainer(IMAGES, classes), made(IMAGES, classes)[1], atol=1e-5)
    top = box()(IMAGES).argmax(1)
    assert torch.equal(explainer(IMAGES), explainer(IMAGES, top)), "the top class is the box's own"
    with pytest.raises(mw.InputError, match="encoder of its own"):
        export(made, tmp_path / "m.onnx")


def test_it_is_of_one_box(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_masker(path, masker(), box(), RECIPE)
    with pytest.raises(mw.InputError, match="was trained on by_colour .*, not on by_brightness"):
        load_masker(path, mw.load_classifier(by_brightness, size=32))


def test_a_file_without_its_encoder_or_with_another_one_is_refused(tmp_path: Path) -> None:
    wrong = {"small": "encoder that learnt with the decoder is missing", "efficientnet_lite0": "other weights"}
    for encoder, said in wrong.items():
        path = tmp_path / f"{encoder}.safetensors"
        save_masker(path, masker(encoder), box(), RECIPE | {"encoder": encoder})
        with safe_open(path, framework="pt") as stored:
            header = dict(stored.metadata())
            tensors = {key: stored.get_tensor(key) for key in stored.keys() if not key.startswith("encoder.")}  # noqa: SIM118
        if encoder != "small":
            header["encoder_fingerprint"] = "0" * 16
        other = tmp_path / f"{encoder}-other.safetensors"
        save_sealed(other, tensors, header)
        with pytest.raises(mw.InputError, match=said):
            load_masker(other, box())
    assert json.loads(header["recipe"])["encoder"] == "efficientnet_lite0"

"""The ladder: its formula, where it begins, what it leaves alone, its file and its graph."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net, tiny_vit
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.exporting import export
from maskwise.maskers import Masker, load_masker, save_masker
from maskwise.maskers.decoder import Decoder
from maskwise.maskers.fusing import fuse
from maskwise.maskers.ladder import ConvRung, Foothold, LadderDecoder, TokenRung, enlarged_to
from maskwise.maskers.layout import Layout
from maskwise.maskers.mixing import MixingDecoder

RECIPE = {"decoder": "ladder", "width": 8, "mix": 6, "head_std": 0.5}


def cnn() -> Classifier:
    return Classifier(tiny_net(), input_size=32, name="tiny")


def vit() -> Classifier:
    return Classifier(tiny_vit(), input_size=32, name="tiny vit")


def lively(network: nn.Module) -> nn.Module:
    """Weights that are nowhere zero, and batch norm that is not the identity; in eval mode."""
    draws = torch.Generator().manual_seed(1)
    for weight in network.parameters():
        weight.data += torch.randn(weight.shape, generator=draws) / 4
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean += torch.randn(norm.num_features, generator=draws) / 10  # type: ignore[operator]
        norm.running_var *= 1.5  # type: ignore[operator]
    return network.eval()


def masker(classifier: Classifier, **settings: object) -> Masker:
    torch.manual_seed(0)
    made = Masker.build(classifier, layout=Layout.of({**RECIPE, **settings}))
    lively(made.decoder)
    return made.eval()


def up(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(x, size[-2:], mode="bilinear", align_corners=False)


def test_a_convolutional_ladder_in_plain_calls() -> None:
    """From the coarsest tap to the finest, which is pooled to a quarter of the input."""
    made = masker(cnn())
    ladder = made.decoder
    assert isinstance(ladder, LadderDecoder) and all(isinstance(block, ConvRung) for block in ladder.blocks)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        _, taps = made.encoder.features(images)
        assert [tap.shape[-1] for tap in taps] == [32, 16, 8]
        small = [F.max_pool2d(F.max_pool2d(taps[0], 3, 2, 1), 3, 2, 1), F.max_pool2d(taps[1], 3, 2, 1), taps[2]]
        state = torch.zeros(2, 8, 8, 8)
        for i in (2, 1, 0):
            linear, block = ladder.linears[i], ladder.blocks[i]
            x = state + F.gelu(torch.einsum("kc,nchw->nkhw", linear.weight, small[i]) + _column(linear.bias))
            depth, norm = block.around  # type: ignore[union-attr, misc]
            around = F.conv2d(x, depth.weight, padding=1, groups=8)
            around = (around - _column(norm.running_mean)) / (_column(norm.running_var) + norm.eps).sqrt()
            around = F.gelu(around * _column(norm.weight) + _column(norm.bias))
            state = x + torch.einsum("kc,nchw->nkhw", block.mixed.weight, around) + _column(block.mixed.bias)  # type: ignore[union-attr]
        expected = ladder.head([state], (32, 32)).sigmoid()
        found_logits, masks = made(images)
    torch.testing.assert_close(masks[:, ::4, ::4], expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(found_logits, made.encoder.logits(images)), "logits are the classifier's own, to the bit"


def _column(values: Tensor) -> Tensor:
    return values.reshape(1, -1, 1, 1)


def test_what_is_enlarged_keeps_the_centres_of_its_places() -> None:
    """From two places to four: a quarter of the way from one to the other, and the border's own value beyond."""
    state = torch.tensor([[[[0.0, 1.0]]]])
    found = enlarged_to(state, torch.zeros(1, 1, 1, 4))
    torch.testing.assert_close(found, torch.tensor([[[[0.0, 0.25, 0.75, 1.0]]]]))


def test_of_oblong_pictures_the_head_draws_on_the_finest_tap_s_grid() -> None:
    """Taps of 64x96 pixels, the finest of which is pooled to a quarter of them, rows and columns apart."""
    head = Decoder([8], width=3)
    ladder = lively(LadderDecoder([4, 6], head, 8))
    fine, coarse = torch.rand(2, 4, 32, 48), torch.rand(2, 6, 8, 12)
    asked: list[tuple[int, int]] = []
    head.register_forward_pre_hook(lambda _, given: asked.append((given[0][0].shape[2:], given[1])))
    with torch.no_grad():
        assert ladder([fine, coarse], (64, 96)).shape == (2, 16, 24)
        assert asked == [((16, 24), (64, 96))], "a head draws on a quarter of what it takes for the input"
        alone = lively(LadderDecoder([6], Decoder([8], width=3), 8))
        assert alone([coarse], (64, 96)).shape == (2, 8, 12), "where the finest tap is coarser, on its grid"


@pytest.mark.parametrize("peak", ["own", "top"])
def test_what_a_class_activation_is_measured_by_is_the_head_s_word(peak: str) -> None:
    made = masker(cnn(), class_tap=True, class_peak=peak)
    assert isinstance(made.decoder, LadderDecoder) and made.decoder.class_tap
    assert made.decoder.class_peak == made.decoder.head.class_peak == peak


def test_a_rung_of_tokens_is_torch_s_own_block() -> None:
    """Against ``nn.TransformerEncoderLayer``, pre-norm, with the same weights."""
    torch.manual_seed(0)
    rung = lively(TokenRung(32))
    assert isinstance(rung, TokenRung) and rung.heads == 2
    layer = nn.TransformerEncoderLayer(32, 2, 64, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    pairs = {
        "self_attn.in_proj_weight": rung.asked.weight, "self_attn.in_proj_bias": rung.asked.bias,
        "self_attn.out_proj.weight": rung.given.weight, "self_attn.out_proj.bias": rung.given.bias,
        "linear1.weight": rung.up.weight, "linear1.bias": rung.up.bias, "linear2.weight": rung.down.weight,
        "linear2.bias": rung.down.bias, "norm1.weight": rung.first.weight, "norm1.bias": rung.first.bias,
        "norm2.weight": rung.second.weight, "norm2.bias": rung.second.bias,
    }  # fmt: skip
    layer.load_state_dict(pairs)
    x = torch.randn(2, 32, 3, 5)
    with torch.no_grad():
        expected = layer(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (3, 5))
        torch.testing.assert_close(rung(x), expected, atol=1e-5, rtol=1e-4)


def test_equal_taps_are_climbed_in_the_order_of_the_network() -> None:
    """A transformer's: z of the first block goes into the second, and the last tap is the last rung."""
    made = masker(vit())
    ladder = made.decoder
    assert isinstance(ladder, LadderDecoder) and all(isinstance(block, TokenRung) for block in ladder.blocks)
    assert ladder.order == list(range(len(made.encoder.tap_names))) and len(ladder.order) > 2
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        _, taps = made.encoder.features(images)
        state = torch.zeros(2, 8, 8, 8)
        for linear, block, tap in zip(ladder.linears, ladder.blocks, taps, strict=True):
            state = block(state + F.gelu(linear(tap.movedim(1, -1)).movedim(-1, 1)))
        torch.testing.assert_close(made(images)[1][:, ::4, ::4], ladder.head([state], (32, 32)).sigmoid())
        assert torch.equal(made(images)[0], made.encoder.logits(images))
    hybrid = LadderDecoder([4, 6, 5], Decoder([8], width=3), 8, [Foothold(49), Foothold(16), Foothold(16, tokens=True)])
    assert hybrid.order == [1, 2, 0]
    assert [type(block) for block in hybrid.blocks] == [ConvRung, ConvRung, TokenRung]


@pytest.mark.parametrize("network", [cnn, vit])
@pytest.mark.parametrize("class_tap", [False, True])
def test_it_begins_as_a_plain_decoder_of_the_last_tap(network: object, class_tap: bool) -> None:
    own = network()  # type: ignore[operator]
    if class_tap and network is vit:
        return
    torch.manual_seed(0)
    made = Masker.build(own, layout=Layout.of({**RECIPE, "class_tap": class_tap}))
    ladder, size, images = made.decoder, (32, 32), torch.rand(3, 3, 32, 32)
    assert isinstance(ladder, LadderDecoder)
    activation = torch.rand(3, 2, 8, 8) if class_tap else None
    plain = MixingDecoder([8], 8, 6, class_tap, 0.5)
    plain.load_state_dict(ladder.head.state_dict())
    with torch.no_grad():
        _, taps = made.encoder.features(images)
        finest = F.max_pool2d(taps[0], 3, 2, 1)
        last = F.gelu(ladder.linears[-1](taps[-1].movedim(1, -1)).movedim(-1, 1))
        last = up(last, (8, 8)) if finest.shape[-1] > last.shape[-1] else last
        torch.testing.assert_close(ladder(taps, size, activation), plain([last], size, activation))
        changed = [torch.rand_like(tap) for tap in taps[:-1]] + taps[-1:]
        torch.testing.assert_close(ladder(changed, size, activation), ladder(taps, size, activation))
    before = ladder.linears[0].weight.clone()
    adam = torch.optim.Adam(ladder.parameters(), 0.01)
    ladder(taps, size, activation).square().mean().backward()
    adam.step()
    assert not torch.equal(ladder.linears[0].weight, before), "zero as they are, all rungs learn from the first step"


def test_no_gradient_reaches_the_network_beside_it() -> None:
    made = masker(cnn())
    made.encoder.module.requires_grad_(True)
    _, taps = made.encoder.features(torch.rand(2, 3, 32, 32))
    assert all(tap.requires_grad for tap in taps)
    made.decoder.train()(taps, (32, 32)).sum().backward()
    assert all(p.grad is None for p in made.encoder.module.parameters())
    assert all(p.grad is not None for p in made.decoder.parameters())
    with pytest.raises(InputError, match="a ladder never trains the network beside it"):
        Masker.build(cnn(), layout=Layout.of(RECIPE), shares_encoder=False)
    for wrong in ({"decoder": "ladder", "first_tap": "raw"}, {"decoder": "leiter"}):
        with pytest.raises(ValueError, match=r"first_tap|regions or ladder"):
            Layout.of(wrong)


@pytest.mark.parametrize("network", [cnn, vit])
def test_it_survives_its_file_and_fusing(network: object, tmp_path: Path) -> None:
    own = network()  # type: ignore[operator]
    settings: dict[str, object] = {"class_tap": True} if network is cnn else {}
    made, images = masker(own, **settings), torch.rand(2, 3, 32, 32)
    save_masker(tmp_path / "m.safetensors", made, own, {**RECIPE, **settings})
    again = load_masker(tmp_path / "m.safetensors", own)
    assert isinstance(again, Masker) and again.needs_class == bool(settings)
    with torch.no_grad():
        assert torch.equal(again(images)[1], made(images)[1])
        fused = fuse(again.decoder)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.blocks.modules())  # type: ignore[union-attr, operator]
        torch.testing.assert_close(again(images)[1], made(images)[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("network", [cnn, vit])
def test_one_onnx_graph(network: object, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    written = export(masker(network()), tmp_path / "m.onnx")  # type: ignore[operator]
    assert written.inputs == ("images",) and written.difference < 1e-4

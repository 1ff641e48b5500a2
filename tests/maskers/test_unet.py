"""The class-conditional masker: its filter, its mask formula, its shapes on every kind of network, its file."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from conftest import tiny_net
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.maskers import ClassMasker, Masker, load_agnostic_masker, load_class_masker, read_header, save_masker
from maskwise.maskers.feature_filter import FeatureFilter
from maskwise.maskers.fusing import fuse
from maskwise.maskers.unet import ratio
from maskwise.maskers.upsampler import Bottleneck, Upsampler

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def built(classifier: Classifier, seed: int = 0, **options: object) -> ClassMasker:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ClassMasker.build(classifier, **{"widths": (8, 4), **options}).eval()  # type: ignore[arg-type]


# ---- the mask formula ---------------------------------------------------------------------------------------


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_the_mask_is_the_quotient_of_magnitudes(a: float, b: float) -> None:
    mask = ratio(torch.tensor([a, b]).reshape(1, 2, 1, 1)).item()
    assert 0 <= mask <= 1
    if abs(a) + abs(b) > 1e-2:
        assert mask == pytest.approx(abs(a) / (abs(a) + abs(b)), abs=1e-4)


def test_limits_of_the_mask() -> None:
    pair = torch.tensor([[5.0, 0.0, 0.0, 1e20], [0.0, 5.0, 0.0, 1e20]])[None, :, None]
    assert ratio(pair)[0, 0].tolist() == pytest.approx([1, 0, 0.5, 0.5], abs=1e-6)
    half = ratio(torch.zeros(1, 2, 1, 1, dtype=torch.float16))
    assert half.dtype == torch.float32 and half.item() == 0.5, "float16 could not hold what keeps 0/0 away"
    nothing = torch.zeros(1, 2, 3, 3, requires_grad=True)
    ratio(nothing).sum().backward()
    assert nothing.grad is not None and nothing.grad.isfinite().all()


# ---- the feature filter -------------------------------------------------------------------------------------


def test_the_filter_against_its_formula_in_loops() -> None:
    draws = torch.Generator().manual_seed(1)
    features = torch.randn(2, 6, 3, 4, generator=draws)
    classes = torch.tensor([[1, 4], [0, 2]])
    layer = FeatureFilter(6, 5)
    passed, exists = layer(features, classes, confidence=2.0), layer.existence(features, classes)
    for n in range(2):
        for k in range(2):
            embedding, total = layer.embedding[classes[n, k]], 0.0
            for i in range(3):
                for j in range(4):
                    x = features[n, :, i, j]
                    agrees = float((x @ embedding).detach())
                    total += agrees
                    assert torch.allclose(passed[n, k, :, i, j], x / (1 + torch.e ** (2.0 - agrees)), atol=1e-5)
            assert exists[n, k].item() == pytest.approx(total / 12, abs=1e-5)


def test_the_filter_turns_off_what_does_not_speak_for_the_class() -> None:
    """Orthogonal: half passes in the paper's form and 1/400 at the released confidence; opposed: nothing."""
    layer = FeatureFilter(4, 3)
    with torch.no_grad():
        layer.embedding.copy_(torch.tensor([[0, 40.0, 0, 0], [-40.0, 0, 0, 0], [40.0, 0, 0, 0]]))
    features = torch.tensor([1.0, 0, 2, 3]).reshape(1, 4, 1, 1).expand(1, 4, 5, 5)
    ask = torch.tensor([[0, 1, 2]])
    norms = layer(features, ask)[0].norm(dim=1)[:, 0, 0] / features[0].norm(dim=0)[0, 0]
    assert norms.tolist() == pytest.approx([0.5, 0, 1], abs=1e-6)
    sure = layer(features, ask, confidence=6)[0].norm(dim=1)[:, 0, 0] / features[0].norm(dim=0)[0, 0]
    assert sure.tolist() == pytest.approx([0.002473, 0, 1], abs=1e-6)


def test_first_embeddings() -> None:
    torch.manual_seed(0)
    embedding = FeatureFilter(2048, 100).embedding
    assert embedding.var().item() == pytest.approx(1 / 2048, rel=0.02) and abs(embedding.mean().item()) < 1e-4
    classifier = Classifier(tiny_net(), input_size=32)
    layer = FeatureFilter(16, 5)
    layer.start_at(classifier)
    logits, taps = classifier.features(IMAGES)
    bias = classifier.module[-1].bias  # type: ignore[index, union-attr]
    every = torch.arange(5).expand(2, 5)
    assert torch.allclose(layer.existence(taps[-1], every), logits - bias, atol=1e-5), "GAP and a linear layer"
    with pytest.raises(InputError, match="no linear layer of 7 features"):
        FeatureFilter(7, 5).start_at(classifier)


# ---- upsamplers ---------------------------------------------------------------------------------------------


def test_both_readings_of_an_upsampler() -> None:
    """Counted by hand for the paper's first step, 2048 at 7 beside 1024 at 14, to 256."""
    paper, released = Upsampler(2048, 1024, 256), Upsampler(2048, 1024, 256, "pixel_shuffle")
    kinds = [m for m in paper.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert len(kinds) == 1 and len(paper.blocks) == 3
    first = released.up[0]  # type: ignore[index]
    assert first.weight.shape == (4 * 256, 2048, 3, 3) and first.bias is None and len(released.blocks) == 1
    for upsampler in (paper, released):
        assert upsampler(torch.rand(2, 2048, 7, 7), torch.rand(2, 1024, 14, 14)).shape == (2, 256, 14, 14)
        assert upsampler(torch.rand(2, 2048, 5, 5), torch.rand(2, 1024, 9, 9)).shape == (2, 256, 9, 9)


@pytest.mark.parametrize("state", ["training", "evaluated", "fused"])
@pytest.mark.parametrize(
    "options",
    [{}, {"kernel": 3}, {"kernel": 4}, {"upsampling": "pixel_shuffle"}, {"scale": 1}],
    ids=["2x2", "3x3", "4x4", "shuffle", "same"],
)
def test_an_upsampler_computes_what_it_says_once_for_all_classes(options: dict[str, Any], state: str) -> None:
    """Against its own layers in the order they are written in, on features filtered for each class and a copied tap."""
    torch.manual_seed(0)
    layer = Upsampler(6, 5, 8, **options).double().train(state == "training")
    for norm in [m for m in layer.modules() if isinstance(m, nn.BatchNorm2d)]:
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    layer = fuse(layer) if state == "fused" else layer
    side = 3 * options.get("scale", 2)
    coarse, gate = torch.randn(2, 6, 3, 4).double(), torch.rand(2, 3, 3, 4).double()
    skip = torch.randn(2, 5, side, side * 4 // 3).double()
    got = layer(coarse, skip, gate)
    x = layer.up(torch.stack([coarse[n] * gate[n, k] for n in range(2) for k in range(3)]))
    want = layer.blocks(torch.cat([x, skip.repeat_interleave(3, 0)], 1))
    assert torch.allclose(got, want, atol=1e-12) and got.shape == (6, 8, side, side * 4 // 3)
    weights = [weight for weight in layer.parameters() if weight.requires_grad]
    slopes = zip(
        torch.autograd.grad(got.sin().sum(), weights), torch.autograd.grad(want.sin().sum(), weights), strict=True
    )
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in slopes)
    if state != "training":  # whose batch norm sees the other classes, too
        assert torch.allclose(layer(coarse * gate[:, :1], skip), want[::3], atol=1e-12), "filtered beforehand"


def test_a_bottleneck_is_a_residual_block() -> None:
    block = Bottleneck(8, 8).eval()
    assert isinstance(block.shortcut, nn.Identity) and block.residual[0].out_channels == 2
    with torch.no_grad():
        block.residual[-2].weight.zero_()  # type: ignore[union-attr, operator]
    x = torch.randn(2, 8, 5, 5)
    assert torch.allclose(block(x), F.relu(x))
    assert Bottleneck(8, 4).shortcut.bias is not None


# ---- the whole network --------------------------------------------------------------------------------------

NETWORKS = {
    "tiny": lambda: (tiny_net(), 32),
    "resnet18": lambda: (torchvision.models.resnet18(weights=None, num_classes=5), 64),
    "odd resnet18": lambda: (torchvision.models.resnet18(weights=None, num_classes=5), 72),
    "vgg11": lambda: (torchvision.models.vgg11(weights=None, num_classes=5), 64),
    "convnext": lambda: (timm.create_model("convnext_atto", num_classes=5), 64),
    "vit": lambda: (timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=5), 64),
    "one scale": lambda: (
        nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
        16,
    ),
}


@pytest.mark.parametrize("upsampling", ["transposed", "pixel_shuffle"])
@pytest.mark.parametrize("network", NETWORKS)
def test_masks_of_every_kind_of_network(network: str, upsampling: str) -> None:
    module, side = NETWORKS[network]()
    classifier = Classifier(module, input_size=side)
    masker = built(classifier, widths=(8, 8, 4), upsampling=upsampling)
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        logits, masks = masker(images, torch.tensor([[0, 3], [1, 1]]))
        assert torch.equal(logits, classifier.logits(images))
    assert masks.shape == (2, 2, side, side) and masks.min() >= 0 and masks.max() <= 1
    assert torch.allclose(masks[1, 0], masks[1, 1], atol=1e-5) and not torch.equal(masks[0, 0], masks[0, 1])


def test_several_classes_are_each_class_alone_in_one_encoder_pass(tiny: Classifier) -> None:
    masker = built(tiny)
    forwards: list[int] = []
    tiny.module.register_forward_hook(lambda *_: forwards.append(1))
    with torch.no_grad():
        together = masker(IMAGES, torch.tensor([[0, 4, 2], [3, 3, 1]]))[1]
        assert len(forwards) == 1
        for k, classes in enumerate(([0, 3], [4, 3], [2, 1])):
            alone = masker(IMAGES, torch.tensor(classes))[1][:, 0]
            assert torch.allclose(together[:, k], alone, atol=1e-6)


def test_the_encoder_is_the_classifier_itself_or_one_from_scratch(tiny: Classifier) -> None:
    masker = built(tiny)
    assert masker.encoder is tiny and masker.shares_encoder
    anew = built(tiny, encoder="scratch")
    assert not anew.shares_encoder and anew.encoder.fingerprint() != tiny.fingerprint()
    assert all(p.requires_grad for p in anew.encoder.module.parameters())


def test_bad_networks_are_refused(tiny: Classifier) -> None:
    for options in ({"widths": ()}, {"widths": (0,)}, {"upsampling": "nearest"}, {"bottlenecks": 0}):
        with pytest.raises(InputError):
            built(tiny, **options)


# ---- its file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["frozen", "scratch"])
def test_a_class_masker_survives_its_file(tmp_path: Path, encoder: str, tiny: Classifier) -> None:
    masker = built(tiny, encoder=encoder, upsampling="pixel_shuffle", bottlenecks=2).eval()
    before = tiny.fingerprint()
    save_masker(tmp_path / "m.safetensors", masker, tiny, {"title": "test"})
    again = load_class_masker(tmp_path / "m.safetensors", tiny)
    ask = torch.tensor([1, 2])
    with torch.no_grad():
        assert torch.equal(again(IMAGES, ask)[1], masker(IMAGES, ask)[1])
    header = read_header(tmp_path / "m.safetensors")
    assert header["network"] == "unet" and json.loads(header["settings"])["bottlenecks"] == 2
    assert header["fingerprint"] == before == tiny.fingerprint()
    own = [key for key in load_file(tmp_path / "m.safetensors") if key.startswith("encoder.")]
    assert bool(own) == (encoder == "scratch"), "a frozen encoder need not be stored"


def test_half_precision_halves_the_file_and_stays_close(tmp_path: Path, tiny: Classifier) -> None:
    masker = built(tiny, widths=(64, 32))
    save_masker(tmp_path / "full.safetensors", masker, tiny, {})
    save_masker(tmp_path / "half.safetensors", masker, tiny, {}, half_decoder=True)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    ask = torch.tensor([1, 2])
    with torch.no_grad():
        loaded = load_class_masker(tmp_path / "half.safetensors", tiny)(IMAGES, ask)[1]
        assert (loaded - masker(IMAGES, ask)[1]).abs().max() < 0.02


def test_kinds_are_not_mixed_up(tmp_path: Path, tiny: Classifier) -> None:
    save_masker(tmp_path / "class.safetensors", built(tiny), tiny, {})
    save_masker(tmp_path / "any.safetensors", Masker.build(tiny), tiny, {})
    with pytest.raises(InputError, match="needs a class"):
        load_agnostic_masker(tmp_path / "class.safetensors", tiny)
    with pytest.raises(InputError, match="knows no classes"):
        load_class_masker(tmp_path / "any.safetensors", tiny)


def test_files_that_name_no_network_are_class_agnostic(tiny: Classifier) -> None:
    packaged = Path(__file__).parents[2] / "src" / "maskwise" / "assets" / "maskers" / "casm_baseline.safetensors"
    assert read_header(packaged)["network"] == "decoder"

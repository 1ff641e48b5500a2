"""The published networks: names and shapes of their files, the arithmetic written a second time, and conventions.

The tables and the second arithmetic follow the public PyTorch code (hughplay/DFNet ``model.py``;
daa233/generative-inpainting-pytorch ``model/networks.py``), not ours.
"""

from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.infill import infiller, infillers
from maskwise.infill.attention import contextual_attention
from maskwise.infill.contextual_attention import TwoStage
from maskwise.infill.dfnet import DFNet

COLOUR = torch.full((3,), 0.5)
Shapes = dict[str, tuple[int, ...]]


def norm(name: str, channels: int) -> Shapes:
    per_channel = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in per_channel} | {f"{name}.num_batches_tracked": ()}


def conv(name: str, outputs: int, inputs: int, kernel: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, kernel, kernel), f"{name}.bias": (outputs,)}


def dfnet_file() -> Shapes:
    shapes = conv("en_0.encode.0.conv.1", 64, 4, 7)
    encoder = [(128, 64, 5), (256, 128, 5), (512, 256, 3), *[(512, 512, 3)] * 4]
    for i, (outputs, inputs, kernel) in enumerate(encoder, 1):
        shapes |= conv(f"en_{i}.encode.0.conv.1", outputs, inputs, kernel) | norm(f"en_{i}.encode.1", outputs)
    decoder = [(4, 68), (64, 192), (128, 384), (256, 768), *[(512, 1024)] * 4]
    for i, (outputs, inputs) in enumerate(decoder):
        shapes |= conv(f"de_{i}.decode.0.conv", outputs, inputs, 3) | norm(f"de_{i}.decode.1", outputs)
    for i, inputs in enumerate([4, 64, 128, 256, 512, 512]):
        shapes |= conv(f"fuse_{i}.map2img.0.conv", 3, inputs, 1)
        shapes |= conv(f"fuse_{i}.blend.blend.0.conv", 32, 6, 1) | norm(f"fuse_{i}.blend.blend.1", 32)
        shapes |= conv(f"fuse_{i}.blend.blend.3.conv", 3, 32, 3) | norm(f"fuse_{i}.blend.blend.4", 3)
        shapes |= conv(f"fuse_{i}.blend.blend.6.conv", 3, 3, 1)
    return shapes


HEAD = [(11, 128), (12, 128), (13, 64), (14, 64), (15, 32), (16, 16), (17, 3)]
MIDDLE = [("conv5", 128), ("conv6", 128), *[(f"conv{n}_atrous", 128) for n in (7, 8, 9, 10)]]
COARSE = [("conv1", 32), ("conv2_downsample", 64), ("conv3", 64), ("conv4_downsample", 128), *MIDDLE]
FINE = [("conv1", 32), ("conv2_downsample", 32), ("conv3", 64), ("conv4_downsample", 64), *MIDDLE]
MATCHED = [
    ("pmconv1", 32), ("pmconv2_downsample", 32), ("pmconv3", 64), ("pmconv4_downsample", 128), ("pmconv5", 128),
    ("pmconv6", 128), ("pmconv9", 128), ("pmconv10", 128),
]  # fmt: skip


def two_stage_file() -> Shapes:
    shapes: Shapes = {}
    for prefix, chain, inputs in (
        ("coarse_generator", [*COARSE, *((f"conv{n}", c) for n, c in HEAD)], 5),
        ("fine_generator", FINE, 5),
        ("fine_generator", MATCHED, 5),
        ("fine_generator", [(f"allconv{n}", c) for n, c in HEAD], 256),
    ):
        for name, outputs in chain:
            shapes |= conv(f"{prefix}.{name}.conv", outputs, inputs, 5 if name in ("conv1", "pmconv1") else 3)
            inputs = outputs
    return shapes


FILES = {"dfnet": dfnet_file(), "contextual_attention": two_stage_file()}


@cache
def stored(name: str) -> dict[str, Tensor]:
    """Random weights under the published names, with variances and gains that keep activations alive."""
    g = torch.Generator().manual_seed(0)
    tensors = {}
    for key, shape in FILES[name].items():
        if key.endswith("num_batches_tracked"):
            tensors[key] = torch.tensor(1)
        elif len(shape) == 4:
            tensors[key] = torch.randn(shape, generator=g) * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        else:
            centre = 1.0 if key.endswith("running_var") or ".1.weight" in key or ".4.weight" in key else 0.0
            tensors[key] = centre + 0.2 * torch.rand(shape, generator=g)
    return tensors


@pytest.mark.parametrize("name", FILES)
def test_names_and_shapes_are_those_of_the_published_code(name: str) -> None:
    with torch.device("meta"):
        network = {"dfnet": DFNet, "contextual_attention": TwoStage}[name]()
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == FILES[name]


@pytest.mark.parametrize("name", FILES)
def test_files_in_both_formats_and_wrapped_load_strictly(name: str, tmp_path: Path) -> None:
    tensors = stored(name)
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "b.pth")
    torch.save({"state_dict": {f"module.{key}": value for key, value in tensors.items()}}, tmp_path / "c.pth")
    for file in ("a.safetensors", "b.pth", "c.pth"):
        network = infiller(name, weights=tmp_path / file).network  # type: ignore[attr-defined]
        assert all(torch.equal(value, tensors[key]) for key, value in network.state_dict().items())
        assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_files_that_are_something_else_are_refused_in_one_line(tmp_path: Path) -> None:
    tensors = stored("dfnet")
    torch.save(
        {key: value for key, value in tensors.items() if key != "de_3.decode.0.conv.bias"}, tmp_path / "less.pth"
    )
    torch.save(tensors | {"en_0.encode.0.conv.1.bias": torch.full((64,), torch.nan)}, tmp_path / "nan.pth")
    torch.save(Path("x"), tmp_path / "code.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.safetensors").write_text("no")
    for file, why in (
        ("less.pth", "not the weights of dfnet .*de_3.decode.0.conv.bias"),
        ("nan.pth", "NaN"),
        ("code.pth", "more than plain tensors"),
        ("list.pth", "not a state dict"),
        ("text.safetensors", "not a weights file that can be read"),
        ("none.pth", "does not exist"),
    ):
        with pytest.raises(InputError, match=why) as caught:
            infiller("dfnet", weights=tmp_path / file)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name, facts in infillers.items() if facts["needs_weights"]])
def test_without_weights_one_line_says_which_file_to_give(name: str) -> None:
    for ask in (
        lambda: infiller(name),
        lambda: infiller(name)(torch.rand(1, 3, 9, 9), torch.ones(1, 9, 9), COLOUR),
    ):
        with pytest.raises(InputError, match=f"{name} needs its published weights: give .*'{name}:weights=FILE'"):
            ask()


def dfnet_again(w: dict[str, Tensor], blank: Tensor, kept: Tensor) -> Tensor:
    def normed(x: Tensor, name: str) -> Tensor:
        parts = (w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    def flat(x: Tensor, name: str) -> Tensor:
        weight = w[f"{name}.conv.weight"]
        return F.conv2d(x, weight, w[f"{name}.conv.bias"], padding=weight.shape[-1] // 2)

    x = torch.cat([blank, kept], 1)
    scales = []
    for i, (before, after) in enumerate([(2, 3), (1, 2), (1, 2), *[(0, 1)] * 5]):
        scales.append(x)
        name = f"en_{i}.encode"
        padded = F.pad(x, (before, after, before, after))
        x = F.conv2d(padded, w[f"{name}.0.conv.1.weight"], w[f"{name}.0.conv.1.bias"], stride=2)
        x = F.relu(normed(x, f"{name}.1")) if i else x
    for i in range(7, -1, -1):
        x = torch.cat([x.repeat_interleave(2, 2).repeat_interleave(2, 3), scales[i]], 1)
        x = F.leaky_relu(normed(flat(x, f"de_{i}.decode.0"), f"de_{i}.decode.1"), 0.2)
    painted = flat(x, "fuse_0.map2img.0").sigmoid()
    a = torch.cat([blank, painted], 1)
    for conv_at, norm_at in ((0, 1), (3, 4)):
        a = F.leaky_relu(normed(flat(a, f"fuse_0.blend.blend.{conv_at}"), f"fuse_0.blend.blend.{norm_at}"), 0.2)
    a = flat(a, "fuse_0.blend.blend.6").sigmoid()
    return a * painted + (1 - a) * blank


def test_dfnet_s_arithmetic() -> None:
    weights = stored("dfnet")
    with torch.device("meta"):
        network = DFNet().eval()
    network.load_state_dict(weights, assign=True)
    blank, kept = torch.rand(1, 3, 256, 256), (torch.rand(1, 1, 256, 256) < 0.7).float()
    with torch.no_grad():
        out = network(blank * kept, kept)
        expected = dfnet_again(weights, blank * kept, kept)
    assert expected.std() > 0.01
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def two_stage_again(w: dict[str, Tensor], blank: Tensor, holes: Tensor) -> Tensor:
    def run(x: Tensor, stage: str, names: list[str], last: str = "elu") -> Tensor:
        for name in names:
            rate = {"conv7": 2, "conv8": 4, "conv9": 8, "conv10": 16}.get(name.removesuffix("_atrous"), 1)
            weight, bias = (w[f"{stage}_generator.{name}.conv.{part}"] for part in ("weight", "bias"))
            stride = 2 if name.endswith("downsample") else 1
            x = F.conv2d(x, weight, bias, stride, rate * (weight.shape[-1] // 2), rate)
            kind = last if name == names[-1] else "elu"
            x = {"elu": F.elu, "relu": F.relu, "none": lambda y: y}[kind](x)
        return x

    def up(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def head(x: Tensor, stage: str, prefix: str) -> Tensor:
        x = up(run(x, stage, [f"{prefix}conv11", f"{prefix}conv12"]))
        x = up(run(x, stage, [f"{prefix}conv13", f"{prefix}conv14"]))
        x = run(x, stage, [f"{prefix}conv15", f"{prefix}conv16", f"{prefix}conv17"], "none")
        return x.clamp(-1, 1)

    ones = torch.ones_like(holes)
    first = run(torch.cat([blank, ones, holes], 1), "coarse", [name for name, _ in COARSE])
    first = head(first, "coarse", "")
    given = torch.cat([first * holes + blank * (1 - holes), ones, holes], 1)
    imagined = run(given, "fine", [name for name, _ in FINE])
    matched = run(given, "fine", [name for name, _ in MATCHED[:6]], "relu")
    copied = run(contextual_attention(matched, holes), "fine", ["pmconv9", "pmconv10"])
    return head(torch.cat([imagined, copied], 1), "fine", "all")


def test_the_two_stages_arithmetic() -> None:
    weights = stored("contextual_attention")
    network = TwoStage().eval()
    network.load_state_dict(weights)
    holes = torch.zeros(1, 1, 48, 40)
    holes[..., 8:24, 8:30] = 1
    blank = (2 * torch.rand(1, 3, 48, 40) - 1) * (1 - holes)
    with torch.no_grad():
        out, expected = network(blank, holes), two_stage_again(weights, blank, holes)
    assert expected.std() > 0.05
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


class Probe(torch.nn.Module):
    """Remembers what it was given and paints one value."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, pictures: Tensor, mask: Tensor) -> Tensor:
        self.pictures, self.mask = pictures, mask
        return torch.full_like(pictures, self.value)


def probed(name: str, value: float, images: Tensor, holes: Tensor) -> tuple[Probe, Tensor]:
    fill_in, probe = infillers.get(name)(), Probe(value)
    fill_in.__dict__["network"] = probe  # where the cached property keeps it
    return probe, fill_in(images, holes, COLOUR)


def test_what_dfnet_is_handed() -> None:
    """[0,1], 256 pixels, blank in the hole, 1 = kept; soft holes as they are."""
    images, holes = torch.rand(2, 3, 256, 256), torch.zeros(2, 256, 256)
    holes[0, 100:150, 60:90], holes[1] = 1, 0.3
    probe, fill = probed("dfnet", 0.7, images, holes)
    torch.testing.assert_close(probe.mask[:, 0], 1 - holes)
    torch.testing.assert_close(probe.pictures, images * (1 - holes[:, None]))
    assert torch.allclose(fill, torch.tensor(0.7))
    probe, fill = probed("dfnet", 0.7, torch.rand(1, 3, 100, 180), torch.zeros(1, 100, 180))
    assert probe.pictures.shape == (1, 3, 256, 256) and fill.shape == (1, 3, 100, 180)


def test_what_contextual_attention_is_handed() -> None:
    """[-1,1], zero in the hole, 1 = missing, the picture's own size where 8 divides it; soft holes as they are."""
    images, holes = torch.rand(2, 3, 224, 64), torch.zeros(2, 224, 64)
    holes[0, 100:150, 20:40], holes[1] = 1, 0.3
    probe, fill = probed("contextual_attention", 0.4, images, holes)
    assert torch.equal(probe.mask[:, 0], holes)
    assert torch.equal(probe.pictures, (2 * images - 1) * (1 - holes[:, None]))
    assert torch.allclose(fill, torch.tensor(0.7)), "0.4 in [-1,1]"
    probe, fill = probed("contextual_attention", 0.4, torch.rand(1, 3, 600, 803), torch.zeros(1, 600, 803))
    assert probe.pictures.shape == (1, 3, 384, 512) and fill.shape == (1, 3, 600, 803)


@pytest.mark.parametrize("name", FILES)
def test_with_weights_a_fill_is_finite_and_blind_to_the_hole(name: str, tmp_path: Path) -> None:
    torch.save(stored(name), tmp_path / "weights.pth")
    fill_in = infiller(f"{name}:weights={tmp_path / 'weights.pth'}")
    images, holes = torch.rand(1, 3, 40, 50), torch.zeros(1, 40, 50)
    holes[:, 10:30, 5:25] = 1
    other = torch.where(holes[:, None] > 0, torch.rand(1, 3, 40, 50), images)
    fill = fill_in(images, holes, COLOUR)
    assert fill.shape == images.shape and ((fill >= 0) & (fill <= 1)).all()
    assert torch.equal(fill, fill_in(other, holes, COLOUR))

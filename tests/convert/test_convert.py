"""Released checkpoints become maskers that give the same masks, and files that would run something do not."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet50
from typer.testing import CliRunner

import maskwise as mw
from maskwise.cli import app
from maskwise.convert import convert
from maskwise.convert.checkpoint import read_checkpoint
from maskwise.core.errors import InputError
from maskwise.maskers import read_header

CHANNELS = (64, 256, 512, 1024, 2048)


class Released(nn.Module):
    """The released decoders' layers, names and arithmetic, by the papers' supplements and the shapes of their files.

    Args:
        taps: which of the five are read; 0 is read as it is, unless it is the only one.
        ending: "sigmoid", or "gumbel", whose masks are h > 0 after training.
    """

    def __init__(self, taps: tuple[int, ...] = (0, 1, 2, 3, 4), ending: str = "sigmoid") -> None:
        super().__init__()
        self.taps, self.ending = taps, ending
        read = 0
        for tap in taps:
            if tap > 0 or taps == (0,):
                layers = nn.Sequential(nn.Conv2d(CHANNELS[tap], 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
                setattr(self, f"conv1x1_{tap}", layers)
            read += 64
        last = nn.Conv2d(read, 1, 3, padding=1)
        self.final = nn.Sequential(last) if ending == "sigmoid" else nn.ModuleDict({"conv": last})

    def forward(self, taps: list[Tensor]) -> Tensor:
        parts = []
        for tap in self.taps:
            layers = getattr(self, f"conv1x1_{tap}", None)
            x = taps[tap] if layers is None else layers(taps[tap])
            if x.shape[-1] != 56:
                x = F.interpolate(x, scale_factor=56 / x.shape[-1], mode="bilinear", align_corners=False)
            parts.append(x)
        last = self.final[0] if self.ending == "sigmoid" else self.final["conv"]  # type: ignore[index]
        h = last(torch.cat(parts, 1))
        mask = torch.sigmoid(h) if self.ending == "sigmoid" else (h > 0).float()
        return F.interpolate(mask, scale_factor=4, mode="nearest")[:, 0]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A ResNet-50 of ten classes whose batch norms have seen something."""
    torch.manual_seed(0)
    return stirred(resnet50(weights=None, num_classes=10))


def stirred(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.1, 0.1)
            nn.init.uniform_(part.running_var, 0.8, 1.2)
            nn.init.uniform_(part.weight, 0.8, 1.2)
    return module.eval()


def released_masks(network: Any, decoder: Released, images: Tensor) -> Tensor:
    """As the released code computes them: normalised pictures, five taps, the decoder."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        x = (images - mean[:, None, None]) / std[:, None, None]
        taps = [network.maxpool(network.relu(network.bn1(network.conv1(x))))]
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
            taps.append(layer(taps[-1]))
        return decoder.eval()(taps)


CASM_ARGS = Namespace(
    data="/home/somebody/imagenet", lr=0.001, lambda_r=10.0, hp=0.5, smf=100, upsample="nearest", adversarial=False,
    reproduce="L100", name="", casms_path="/scratch/casms",
)  # fmt: skip
PHANG_ARGS = {"masker_use_layers": "3,4", "apply_gumbel": False, "mask_out_lambda_r": 15.0, "output_path": "/out"}


def save_casm(path: Path, network: nn.Module, decoder: nn.Module, **options: Any) -> Path:
    """The keys of CASM's file, the optimisers' states among them."""
    parameters = list(decoder.parameters())
    adam = torch.optim.Adam(parameters)
    for p in parameters:
        p.grad = torch.zeros_like(p)
    adam.step()
    whole = {
        "epoch": 60, "state_dict_classifier": network.state_dict(), "state_dict_decoder": decoder.state_dict(),
        "optimizer_decoder": adam.state_dict(), "args": CASM_ARGS,
    }  # fmt: skip
    torch.save(whole, path, **options)
    return path


def save_phang(path: Path, network: nn.Module, decoder: nn.Module, args: dict[str, Any]) -> Path:
    whole = {"epoch": 60, "state_dict_classifier": network.state_dict(), "state_dict_masker": decoder.state_dict()}
    torch.save({**whole, "args": args}, path)
    return path


def masks_of(converted: Any, images: Tensor) -> Tensor:
    classifier = mw.load_classifier("torchvision/resnet50", converted.classifier)
    return mw.explainer("casm", classifier, masker=converted.masker)(images)


@pytest.mark.parametrize("format", ["zip", "legacy"])
def test_casm(format: str, network: nn.Module, tmp_path: Path) -> None:
    decoder = stirred(Released())
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    old = save_casm(tmp_path / "epoch_060.chk", network, decoder, _use_new_zipfile_serialization=format == "zip")
    assert zipfile.is_zipfile(old) == (format == "zip")
    converted = convert(old, tmp_path / "casm.safetensors")
    assert converted.taps == (0, 1, 2, 3, 4)
    expected = released_masks(network, decoder, images)
    assert expected.std() > 0.01, "masks that are all alike would prove nothing"
    assert (masks_of(converted, images) - expected).abs().max() < 1e-4
    recipe = json.loads(read_header(converted.masker)["recipe"])
    assert recipe["first_tap"] == "raw" and recipe["arguments"]["lambda_r"] == 10
    assert "somebody" not in json.dumps(recipe) and "scratch" not in json.dumps(recipe), "no paths of old machines"


@pytest.mark.parametrize(
    ("taps", "ending"), [((3, 4), "sigmoid"), ((0,), "sigmoid"), ((0, 2), "sigmoid"), ((1, 4), "gumbel")]
)
def test_phang(taps: tuple[int, ...], ending: str, network: nn.Module, tmp_path: Path) -> None:
    decoder = stirred(Released(taps, ending))
    args = PHANG_ARGS | {"apply_gumbel": ending == "gumbel", "apply_gumbel_tau": 0.05}
    converted = convert(save_phang(tmp_path / "a.chk", network, decoder, args), tmp_path / "m.safetensors")
    assert converted.taps == taps
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    expected = released_masks(network, decoder, images)
    difference = (masks_of(converted, images) - expected).abs()
    assert (difference > 1e-4).float().mean() < (1e-3 if ending == "gumbel" else 1e-9), "h = 0 may fall to either side"
    assert expected.std() > 0.01
    if ending == "gumbel":
        assert json.loads(read_header(converted.masker)["recipe"])["temperature"] == 0.05


def test_with_a_pretrained_network_the_encoder_is_in_the_file(network: nn.Module, tmp_path: Path) -> None:
    """And several GPUs' prefix is taken off."""
    decoder = stirred(Released((4,)))
    pretrained = stirred(resnet50(weights=None, num_classes=10))
    torch.save(pretrained.state_dict(), tmp_path / "pretrained.pth")
    prefixed = {f"module.{key}": value for key, value in network.state_dict().items()}
    whole = {"state_dict_classifier": prefixed, "state_dict_masker": decoder.state_dict(), "args": {}}
    torch.save(whole, tmp_path / "a.chk")
    converted = convert(tmp_path / "a.chk", tmp_path / "m.safetensors", tmp_path / "pretrained.pth")
    assert converted.classifier is None and sorted(p.suffix for p in tmp_path.iterdir()) == [
        ".chk",
        ".pth",
        ".safetensors",
    ]
    classifier = mw.load_classifier("torchvision/resnet50", tmp_path / "pretrained.pth")
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(3))
    masks = mw.explainer("casm", classifier, masker=converted.masker)(images)
    assert (masks - released_masks(network, decoder, images)).abs().max() < 1e-4


def test_the_command(network: nn.Module, tmp_path: Path) -> None:
    old = save_phang(tmp_path / "a.chk", network, Released((4,)), PHANG_ARGS)
    told = CliRunner().invoke(app, ["convert", str(old), str(tmp_path / "m.safetensors"), "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["taps"] == [4] and (tmp_path / "m.classifier.safetensors").is_file()
    refused = CliRunner().invoke(app, ["convert", str(old), str(tmp_path / "m.pth")])
    assert refused.exit_code == 2 and "ends in .safetensors" in refused.stderr


# What is not such a checkpoint


def small(**changes: Any) -> dict[str, Any]:
    classifier = {"fc.weight": torch.zeros(10, 2048)}
    return {"state_dict_classifier": classifier, "state_dict_masker": Released((4,)).state_dict(), "args": {}} | changes


@pytest.mark.parametrize(
    ("whole", "match"),
    [
        ([1, 2], "holds a list, not a checkpoint"),
        ({"epoch": 1}, "has no state_dict_classifier"),
        ({"state_dict_classifier": 5}, "has no state_dict_classifier"),
        (small(state_dict_classifier={"conv.weight": torch.zeros(1)}), "is not a ResNet-50"),
        (small(), "the classifier is not the released code's"),
        (small(state_dict_classifier={"fc.weight": torch.full((10, 2048), torch.nan)}), "NaN or infinity"),
    ],
)
def test_other_files(whole: Any, match: str, tmp_path: Path) -> None:
    torch.save(whole, tmp_path / "a.chk")
    with pytest.raises(InputError, match=match):
        convert(tmp_path / "a.chk", tmp_path / "m.safetensors")
    assert not list(tmp_path.glob("*.safetensors"))


def without_head(decoder: Released) -> OrderedDict[str, Tensor]:
    return OrderedDict((k, v) for k, v in decoder.state_dict().items() if not k.startswith("final"))


@pytest.mark.parametrize(
    ("decoder", "args", "match"),
    [
        (Released((4,)).state_dict(), {"add_class_ids": True}, "also reads class numbers"),
        (Released((4,)).state_dict(), {"add_prob_layers": True}, "also reads an area prior"),
        (Released((4,)).state_dict(), {"upsample": "bilinear"}, "enlarges its masks bilinearly"),
        (Released((4,), "gumbel").state_dict(), {"gumbel_output_mode": "logits"}, r"not in \[0,1\]"),
        (without_head(Released((4,))), {}, "layers of other names"),
        ({**Released((4,)).state_dict(), "final.0.weight": torch.zeros(1, 500, 3, 3)}, {}, "reads 500 channels"),
    ],
)
def test_other_decoders(decoder: Any, args: dict[str, Any], match: str, tmp_path: Path) -> None:
    torch.save(small(state_dict_masker=decoder, args=args), tmp_path / "a.chk")
    with pytest.raises(InputError, match=match):
        convert(tmp_path / "a.chk", tmp_path / "m.safetensors")
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_decoder_with_more_layers(network: nn.Module, tmp_path: Path) -> None:
    decoder = nn.Module()
    for name, part in Released((4,)).named_children():
        decoder.add_module(name, part)
    decoder.add_module("more", nn.Linear(1, 1))
    old = save_phang(tmp_path / "a.chk", network, decoder, PHANG_ARGS)
    with pytest.raises(InputError, match="the decoder is not the released code's"):
        convert(old, tmp_path / "m.safetensors")


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x80\x02.", b"PK\x03\x04" + bytes(60)])
def test_files_that_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.chk").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.chk: "):
        read_checkpoint(tmp_path / "a.chk")
    with pytest.raises(InputError, match="no such file"):
        read_checkpoint(tmp_path / "b.chk")


def test_truncated_and_flipped_files_raise_nothing_else(tmp_path: Path) -> None:
    torch.save(small(), tmp_path / "whole.chk")
    whole = (tmp_path / "whole.chk").read_bytes()
    for i in range(60):
        place = i * len(whole) // 60
        for harmed in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :]):
            (tmp_path / "a.chk").write_bytes(harmed)
            with contextlib.suppress(InputError):
                read_checkpoint(tmp_path / "a.chk")


# What would run something


class Runs:
    """Unpickled, it calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("place", ["alone", "args", "nested", "state", "namespace"])
@pytest.mark.parametrize("weapon", ["system", "eval", "exec", "getattr", "open", "popen"])
def test_nothing_runs(weapon: str, place: str, legacy: bool, tmp_path: Path) -> None:
    import subprocess

    mark = tmp_path / "ran"
    bad = {
        "system": Runs(os.system, f"touch {mark}"),
        "eval": Runs(eval, f"open({str(mark)!r}, 'w')"),
        "exec": Runs(exec, f"open({str(mark)!r}, 'w')"),
        "getattr": Runs(getattr, os, "system"),
        "open": Runs(open, str(mark), "w"),
        "popen": Runs(subprocess.Popen, ["touch", str(mark)]),
    }[weapon]
    whole: Any = {
        "alone": bad,
        "args": small(args=bad),
        "nested": small(optimizer={"state": [1, {"a": (bad,)}]}),
        "state": small(state_dict_masker=OrderedDict(a=bad)),
        "namespace": small(args=Namespace(lr=0.1, hook=bad)),
    }[place]
    if weapon == "getattr":
        whole = {"a": Runs(getattr, Namespace, "__init__")}
    torch.save(whole, tmp_path / "a.chk", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match="a file that runs code is not opened|can't be read"):
        convert(tmp_path / "a.chk", tmp_path / "m.safetensors")
    assert not mark.exists() and not list(tmp_path.glob("*.safetensors"))


def test_the_refusal_names_what_was_asked_for(tmp_path: Path) -> None:
    torch.save(small(args=Runs(os.system, "true")), tmp_path / "a.chk")
    with pytest.raises(InputError, match=rf"asks for '{os.system.__module__}\.system', which is neither"):
        read_checkpoint(tmp_path / "a.chk")


def test_the_weapons_would_have_worked(tmp_path: Path) -> None:
    """Plain pickle runs them, so that the tests above prove something."""
    mark = tmp_path / "ran"
    pickle.loads(pickle.dumps(Runs(os.system, f"touch {mark}")))
    assert mark.exists()


def test_the_allowance_ends_with_the_reading(tmp_path: Path) -> None:
    torch.save(small(args=Namespace(a=1)), tmp_path / "a.chk")
    assert read_checkpoint(tmp_path / "a.chk")["args"].a == 1
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.chk", weights_only=True)

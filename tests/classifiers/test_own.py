"""Classifiers of the user's own: a function in a file, an exported program, TorchScript, and what is said of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from calling import call, refused
from conftest import tiny_net
from PIL import Image

import maskwise as mw
from maskwise.core.weights import without_wrapper

FILE = """
import torch
from torch import nn

class Binary(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(16, 1)

    def forward(self, x):
        return self.head(self.layers(x).mean((2, 3)))

def chest():
    torch.manual_seed(0)
    parts = [nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 14))

def ready():
    import maskwise
    return maskwise.Classifier(Binary(), input_size=32, labels=["no", "yes"], name="ready")

def broken():
    raise RuntimeError("no weights here")

number = 3
"""
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(FILE)
    return path


def test_a_class_a_function_and_a_classifier_in_a_file(file: Path) -> None:
    binary = mw.load_classifier(f"{file}:Binary", size=32, labels=["healthy", "ill"])
    assert binary.activation == "sigmoid" and binary.labels.names == ("healthy", "ill")
    chest = mw.load_classifier(f"{file}:chest", mean=[0.5], std=[0.25], size=(40, 32), activation="sigmoid")
    assert chest.channels == 1 and chest.size == (40, 32) and len(chest.labels) == 14
    ready = mw.load_classifier(f"{file}:ready")
    assert ready.name == "ready" and ready.labels.names == ("no", "yes") and torch.equal(ready(IMAGES), binary(IMAGES))
    assert mw.load_classifier(f"{file}:ready", labels=["a", "b"]).labels.names == ("a", "b")
    assert not any(weight.requires_grad for weight in ready.module.parameters())


def test_what_is_said_anew_leaves_the_rest() -> None:
    net = tiny_net()
    first = mw.Classifier(net, input_size=32, activation="sigmoid", taps=["2", "6"], name="mine")
    second = first.described(labels=list("abcde"))
    assert second.labels.names == tuple("abcde") and second.fingerprint() == first.fingerprint()
    assert (second.activation, second.tap_names, second.name, second.size) == ("sigmoid", ("2", "6"), "mine", (32, 32))


def test_weights_for_it(file: Path, tmp_path: Path) -> None:
    state = {key: value + 1 for key, value in mw.load_classifier(f"{file}:Binary", size=32).module.state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    found = mw.load_classifier(f"{file}:Binary", tmp_path / "w.pth", size=32)
    assert all(torch.equal(value, state[key]) for key, value in found.module.state_dict().items())
    with pytest.raises(mw.InputError, match="do not fit"):
        mw.load_classifier(f"{file}:chest", tmp_path / "w.pth", mean=[0.5], std=[0.25])


@pytest.mark.parametrize("before", ["module.", "_orig_mod.", "model.", "_orig_mod.module.", "a.b."])
@pytest.mark.parametrize("entry", ["state_dict", "model", None])
def test_checkpoints_of_trainings(file: Path, tmp_path: Path, before: str, entry: str | None) -> None:
    """What DataParallel, torch.compile and Lightning put before the names, and what else lies in a checkpoint."""
    plain = mw.load_classifier(f"{file}:Binary", size=32).module.state_dict()
    state = {before + key: value + 1 for key, value in plain.items()}
    kept = state if entry is None else {"epoch": 3, entry: state, "optimizer": {"state": {}, "param_groups": []}}
    torch.save(kept, tmp_path / "w.pth")
    found = mw.load_classifier(f"{file}:Binary", tmp_path / "w.pth", size=32).module.state_dict()
    assert found.keys() == plain.keys()
    assert all(torch.equal(value, plain[key] + 1) for key, value in found.items())


def test_a_name_is_only_cut_where_nothing_else_can_be_meant(file: Path, tmp_path: Path) -> None:
    plain = mw.load_classifier(f"{file}:Binary", size=32).module.state_dict()
    assert without_wrapper(plain, plain) is plain
    nested = {f"module.{key}": value for key, value in plain.items()}
    assert without_wrapper(nested, nested) is nested, "names that the network has stay as they are"
    for more in ("other.weight", "module.other.weight"):
        state = {**nested, more: torch.zeros(1)}
        torch.save(state, tmp_path / "w.pth")
        with pytest.raises(mw.InputError, match=r"they lack .*layers.0.weight' and 5 more, and the network has no"):
            mw.load_classifier(f"{file}:Binary", tmp_path / "w.pth", size=32)
    torch.save({"model": plain, "ema": plain}, tmp_path / "two.pth")
    with pytest.raises(mw.InputError, match=r"several state dicts \(ema, model\)"):
        mw.load_classifier(f"{file}:Binary", tmp_path / "two.pth", size=32)


def test_a_library_network_from_a_checkpoint_of_a_training(tmp_path: Path) -> None:
    """The number of its classes is read from the names, too."""
    from torchvision.models import squeezenet1_1

    state = squeezenet1_1(num_classes=3).state_dict()
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "w.pth")
    found = mw.load_classifier("torchvision/squeezenet1_1", tmp_path / "w.pth")
    assert len(found.labels) == 3
    assert all(torch.equal(value, state[key]) for key, value in found.module.state_dict().items())


def test_a_file_may_import_what_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_layers.py").write_text(FILE)
    (tmp_path / "json.py").write_text("raise RuntimeError('a file there takes no library's place')")
    (tmp_path / "load.py").write_text("import json\nfrom their_layers import Binary\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert mw.load_classifier("load.py:Binary", size=32).activation == "sigmoid"
    (tmp_path / "wrong.py").write_text("\nimport no_such_module_of_theirs\n")
    with pytest.raises(mw.InputError, match=r"wrong.py`: line 2: ModuleNotFoundError"):
        mw.load_classifier("wrong.py:net")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("net.py:nothing", "net.py:Binary"),
        ("net.py", "net.py:chest"),
        ("net.py:broken", "no weights here"),
        ("net.py:number", "no network and nothing that gives one"),
        ("gone.py:Binary", "no such Python file"),
        ("weights.pth", "FILE.py:NAME"),
        ("weights.safetensors", "FILE.py:NAME"),
        ("state.pt", "no TorchScript program"),
        ("gone.pt2", "no such file"),
        ("junk.pt2", "can't be read as a program"),
    ],
)
def test_what_else_is_needed_is_said(file: Path, name: str, said: str) -> None:
    torch.save(tiny_net().state_dict(), file.parent / "state.pt")
    (file.parent / "junk.pt2").write_bytes(b"junk")
    with pytest.raises(mw.InputError, match=said) as refusal:
        mw.load_classifier(str(file.parent / name))
    assert "\n" not in str(refusal.value)


def test_programs(tmp_path: Path) -> None:
    net = tiny_net()
    expected = mw.Classifier(net, input_size=32)(IMAGES)
    torch.jit.script(net).save(str(tmp_path / "net.pt"))
    batch = torch.export.Dim("batch")
    program = torch.export.export(net, (torch.rand(2, 3, 32, 32),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "net.pt2")
    for name in ("net.pt", "net.pt2"):
        classifier = mw.load_classifier(str(tmp_path / name), size=32)
        assert torch.allclose(classifier(IMAGES), expected, atol=1e-5)
        assert mw.explainer("occlusion", classifier)(IMAGES, 1).shape == (2, 32, 32)
        with pytest.raises(mw.InputError, match="leave `weights` out"):
            mw.load_classifier(str(tmp_path / name), tmp_path / "w.pth")


def test_from_the_command_line(file: Path, tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    deep = draws.integers(0, 65536, (60, 50), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    (tmp_path / "two.txt").write_text("healthy\nill\n")
    options = ["--size", "32", "--labels", str(tmp_path / "two.txt"), "--method", "grad_cam", "--target", "ill"]
    said = call(
        "explain", str(tmp_path / "deep.png"), "--classifier", f"{file}:Binary", *options, "--out", str(tmp_path / "a")
    )
    assert said.exit_code == 0 and "ill" in said.stdout
    said = call(
        "explain", str(tmp_path / "deep.png"), "--classifier", f"{file}:chest", "--mean", "0.5", "--std", "0.25",
        "--size", "40x32", "--activation", "sigmoid", "--method", "grad_cam", "--out", str(tmp_path / "b"),
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    saliency = np.load(tmp_path / "b" / "deep" / "map.npy")
    assert saliency.shape == (60, 50) and saliency.max() > 0.9
    picture = tmp_path / "deep.png"
    refused(call("explain", picture, "--classifier", f"{file}:nothing"), "--classifier", f"{file}:chest")
    refused(call("explain", picture, "--classifier", f"{file}:chest", "--size", "big"), "HxW")


def test_sixteen_bits_reach_a_grey_network_whole(file: Path, tmp_path: Path) -> None:
    values = np.arange(60 * 50, dtype=np.uint16).reshape(60, 50) * 20
    Image.fromarray(values).save(tmp_path / "deep.png")
    chest = mw.load_classifier(f"{file}:chest", mean=[0.5], std=[0.25], size=(60, 50))
    seen = chest.prepare(mw.load_images([tmp_path / "deep.png"]))
    assert torch.allclose(seen[0, 0], torch.from_numpy(values / 65535.0).float(), atol=1e-7)


class Scaled(torch.nn.Module):
    """A network whose scores are multiplied by what no state dict has."""

    def __init__(self, by: float, kept: str) -> None:
        super().__init__()
        self.net = tiny_net()
        if kept == "buffer":
            self.register_buffer("by", torch.full((5,), by), persistent=False)
        else:
            self.by = torch.full((5,), by)
        if kept == "weights":
            self.net[-1].weight.data.mul_(by)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x) * self.by


@pytest.mark.parametrize("how", ["export", "trace", "frozen", "optimised"])
@pytest.mark.parametrize("kept", ["attribute", "buffer", "weights"])
def test_programs_that_differ_in_their_constants_alone_are_two_classifiers(how: str, kept: str, tmp_path: Path) -> None:
    """What is kept of one, rows and maskers, must not be taken for the other's."""

    def program(by: float) -> mw.Classifier:
        net = Scaled(by, kept).eval()
        if how == "export":
            batch = torch.export.Dim("batch")
            torch.export.save(torch.export.export(net, (IMAGES,), dynamic_shapes=({0: batch},)), tmp_path / "net.pt2")
            return mw.load_classifier(str(tmp_path / "net.pt2"), size=32)
        made = torch.jit.trace(net, IMAGES)
        if how == "optimised":  # which torch itself can't read from a file again
            return mw.Classifier(torch.jit.optimize_for_inference(made), input_size=32)
        made = torch.jit.freeze(made) if how == "frozen" else made
        made.save(str(tmp_path / "net.pt"))
        return mw.load_classifier(str(tmp_path / "net.pt"), size=32)

    one, again, other = program(1), program(1), program(3)
    assert one.fingerprint() == again.fingerprint() and one.digest() == again.digest()
    assert one.fingerprint() != other.fingerprint() and one.digest() != other.digest()
    plain = mw.Classifier(Scaled(3, kept).eval(), input_size=32)
    assert torch.allclose(other(IMAGES), plain(IMAGES), atol=1e-4)
    maps = mw.explainer("occlusion", other)(IMAGES, 1)
    assert torch.allclose(maps, mw.explainer("occlusion", plain)(IMAGES, 1), atol=1e-3)


def test_an_export_for_one_picture_is_told_how_to_take_more(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(tiny_net(), (IMAGES[:1],)), tmp_path / "net.pt2")
    with pytest.raises(mw.InputError, match=r"takes one picture at a time.*dynamic_shapes") as refusal:
        mw.load_classifier(str(tmp_path / "net.pt2"), size=32)
    assert "input_size" not in str(refusal.value)
    with pytest.raises(mw.InputError, match="input_size"):
        mw.load_classifier(str(tmp_path / "net.pt2"), size=40)

"""Weights and checkpoints whose sizes don't agree: refused in one line before PyTorch's reader makes a tensor."""

from __future__ import annotations

import hashlib
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_net
from fuzz.bombs import Storage, bombs, saved, tensor, zipped
from torch import nn

from maskwise.classifiers import load_classifier
from maskwise.classifiers.cifar import cifar_resnet18
from maskwise.convert.checkpoint import read_checkpoint
from maskwise.core.errors import InputError
from maskwise.core.torch_file import check_torch_file, load_torch
from maskwise.core.weights import read_weights
from maskwise.training.checkpoint import MARK, read_sealed

BOMBS = bombs()


@pytest.mark.parametrize("name", BOMBS)
def test_refused_before_a_tensor_is_made(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As weights, as a checkpoint to convert, and as one of a training, under a seal that fits."""

    opened: list[Any] = []
    monkeypatch.setattr(torch, "load", lambda *args, **options: opened.append(args) or {})
    path = tmp_path / "bomb.pth"
    path.write_bytes(BOMBS[name])
    for read in (read_weights, read_checkpoint):
        with pytest.raises(InputError) as caught:
            read(path)
        assert "\n" not in str(caught.value) and "bomb.pth" in str(caught.value)
    path.write_bytes(BOMBS[name] + MARK + hashlib.sha256(BOMBS[name]).hexdigest().encode())
    with pytest.raises(InputError, match="can't be read"):
        read_sealed(path)
    assert not opened


def test_sizes_that_agree(tmp_path: Path) -> None:
    """What ``torch.save`` writes is read, in both formats: views, shared storages, parameters, plain data."""
    whole = torch.arange(12.0)
    content: dict[str, Any] = {
        "part": whole[2:8],
        "turned": whole.reshape(3, 4).T,
        "again": whole,
        "one": torch.tensor(3),
        "none": torch.zeros(0, 3),
        "step": whole[::2],
        "weight": nn.Parameter(torch.ones(2)),
        "state": tiny_net().state_dict(),
        "size": torch.Size([1]),
        "type": torch.float32,
        "device": torch.device("cpu"),
        "bytes": b"ab\xff",
        "buffer": bytearray(b"x"),
        "set": {1},
        "half": torch.ones(2, dtype=torch.bfloat16),
        "bool": torch.ones(2, dtype=torch.bool),
        "args": Namespace(lr=0.1),
    }
    for new in (True, False):
        path = tmp_path / f"{new}.pth"
        path.write_bytes(saved(content, new))
        found = load_torch(path, allowed=(Namespace,))["a"]
        for name, value in content.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(found[name], value), name
            elif name != "state":
                assert found[name] == value, name
        assert check_torch_file(path, ["argparse.Namespace"]).tensors == 9 + len(content["state"])


def test_the_crafted_files_are_what_torch_reads(tmp_path: Path) -> None:
    """Those of ``bombs.py`` without their bomb: what is refused above is refused for its sizes."""
    path = tmp_path / "good.pth"
    path.write_bytes(zipped({"a": tensor(Storage(2), (2,), (1,))}, {"0": bytes(8)}))
    assert torch.equal(read_weights(path)["a"], torch.zeros(2))


@pytest.mark.parametrize("shape", [(), (0,), (0, 512), (200_000,)])
@pytest.mark.parametrize("name", ["torchvision/resnet18", "cifar_resnet18", "timm/resnet18"])
def test_a_number_of_classes_that_is_none(
    name: str, shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A last layer of rank 0, without rows, or of more classes than its other tensor has: no network is built."""
    state = {key: value for key, value in cifar_resnet18().state_dict().items() if not key.startswith("layer")}
    state["fc.weight" if name == "cifar_resnet18" else "fc.bias"] = torch.zeros(shape)
    path = tmp_path / "w.pth"
    torch.save(state, path)
    built = nn.Linear.__init__

    def small(self: nn.Linear, rows: int, columns: int, *args: Any, **options: Any) -> None:
        assert columns < 200_000 or torch.get_default_device().type == "meta", "it was built"
        built(self, rows, columns, *args, **options)

    monkeypatch.setattr(nn.Linear, "__init__", small)
    with pytest.raises(InputError, match="do not fit"):
        load_classifier(name, path)


def test_odd_numbers_in_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2, dtype=torch.complex64)}, tmp_path / "c.safetensors")
    with pytest.raises(InputError, match="numbers of type torch.complex64"):
        read_weights(tmp_path / "c.safetensors")

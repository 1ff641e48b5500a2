"""Bits that flipped, files that were cut, files of others: refused with one sentence, wherever the damage is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.seal import ASSETS, check_seal, save_sealed
from maskwise.core.weights import read_weights
from maskwise.explainers.masker import packaged_masker
from maskwise.infill.partial_conv import PACKAGED, PartialConvInfiller
from maskwise.maskers import Masker, load_masker, save_masker
from maskwise.training.checkpoint import read_sealed, write_sealed

flips = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
some = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def flipped(data: bytes, place: tuple[float, int]) -> bytes:
    at = int(place[0] * len(data))
    return data[:at] + bytes([data[at] ^ 1 << place[1]]) + data[at + 1 :]


@pytest.fixture
def masker(tiny: Classifier, tmp_path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_masker(tmp_path / "masker.safetensors", Masker.build(tiny, width=4), tiny, {"width": 4})
    return tmp_path / "masker.safetensors"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    state = {"steps": 3, "weights": torch.arange(50.0), "pool": [{"w": torch.ones(2)}]}
    write_sealed(tmp_path / "checkpoint.pt", {"identity": "r", "trainer": state})
    return tmp_path / "checkpoint.pt"


@some
@given(flips)
def test_any_flipped_bit_of_a_masker(tiny: Classifier, masker: Path, place: tuple[float, int]) -> None:
    bad = masker.with_name("bad.safetensors")
    bad.write_bytes(flipped(masker.read_bytes(), place))
    with pytest.raises(InputError):
        load_masker(bad, tiny)


def test_sealed_weights_of_any_network(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_sealed(path, {"w": torch.zeros(1000)}, {"format": "maskwise-x-2"})
    whole = path.read_bytes()
    assert torch.equal(read_weights(path)["w"], torch.zeros(1000))
    path.write_bytes(whole[:-1] + b"\1")
    with pytest.raises(InputError, match="checksum is wrong"):
        read_weights(path)


def test_every_bit_of_a_header(tiny: Classifier, masker: Path) -> None:
    """Where a flip can hide: names, lengths, the seal itself and its name."""
    data, bad = masker.read_bytes(), masker.with_name("bad.safetensors")
    for at in range(8 + int.from_bytes(data[:8], "little")):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        bad.write_bytes(changed)
        with pytest.raises(InputError):
            load_masker(bad, tiny)


@some
@given(flips)
def test_any_flipped_bit_of_a_checkpoint(checkpoint: Path, place: tuple[float, int]) -> None:
    bad = checkpoint.with_name("bad.pt")
    bad.write_bytes(flipped(checkpoint.read_bytes(), place))
    with pytest.raises(InputError, match="delete it to begin anew"):
        read_sealed(bad)


@given(st.floats(0, 1, exclude_max=True))
@settings(some, max_examples=50)
def test_truncated(tiny: Classifier, masker: Path, checkpoint: Path, part: float) -> None:
    for path in (masker, checkpoint):
        data, bad = path.read_bytes(), path.with_name(f"cut{path.suffix}")
        bad.write_bytes(data[: int(part * len(data))])
        with pytest.raises(InputError):
            load_masker(bad, tiny) if path is masker else read_sealed(bad)


def test_whole_files_are_read(tiny: Classifier, masker: Path, checkpoint: Path) -> None:
    assert load_masker(masker, tiny)(torch.rand(1, 3, 32, 32))[1].shape == (1, 32, 32)
    stored, _ = read_sealed(checkpoint)
    assert stored["identity"] == "r" and torch.equal(stored["trainer"]["weights"], torch.arange(50.0))
    assert torch.load(checkpoint, weights_only=True)["trainer"]["steps"] == 3, "torch reads it, too"


def sealed(folder: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    save_sealed(folder / "sealed.safetensors", tensors, metadata)
    return (folder / "sealed.safetensors").read_bytes()


def test_what_is_streamed_is_what_the_library_writes(tmp_path: Path) -> None:
    """Every type, a scalar, an empty one and one that is not contiguous: the same bytes but for the metadata."""
    types = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16, torch.bfloat16, torch.int32,
             torch.float32, torch.float64, torch.int64)  # fmt: skip
    draws = torch.Generator().manual_seed(0)
    tensors = {f"{i % 3}{i}": torch.randn(3, 4, generator=draws).mul(9).to(kind) for i, kind in enumerate(types)}
    tensors |= {
        "none": torch.zeros(0, 3),
        "one": torch.tensor(7.0),
        "turned": torch.rand(5, 700_000, generator=draws).T,
    }
    whole = sealed(tmp_path, tensors, {"format": "maskwise-x-2", "zeros": "0" * 64})
    check_seal(tmp_path / "sealed.safetensors")
    plain = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    mine, theirs = (8 + int.from_bytes(data[:8], "little") for data in (whole, plain))
    assert whole[mine:] == plain[theirs:]
    header = json.loads(whole[8:mine])
    assert header.pop("__metadata__")["zeros"] == "0" * 64 and header == json.loads(plain[8:theirs])
    found = read_weights(tmp_path / "sealed.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    tensors = {"b": torch.ones(3), "a": torch.zeros(2, dtype=torch.float16)}
    first = sealed(tmp_path, tensors, {"format": "maskwise-masker-2", "x": "1", "y": "2"})
    assert first == sealed(tmp_path, tensors, {"y": "2", "x": "1", "format": "maskwise-masker-2"})
    assert first != sealed(tmp_path, tensors, {"format": "maskwise-masker-2", "x": "1", "y": "3"})


def test_the_packaged_files_are_listed_and_any_other_bit_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(ASSETS.rglob("*.safetensors"))
    assert {PACKAGED, packaged_masker("casm"), packaged_masker("dabkowski_gal")} <= set(files)
    for path in files:
        check_seal(path)
    bad = tmp_path / "partial_conv.safetensors"
    right = hashlib.sha256(PACKAGED.read_bytes()).hexdigest()
    monkeypatch.setattr("maskwise.core.seal._packaged", lambda: {bad.resolve(): right})
    bad.write_bytes(PACKAGED.read_bytes())
    check_seal(bad)
    bad.write_bytes(flipped(PACKAGED.read_bytes(), (0.9, 1)))
    with pytest.raises(InputError, match="checksum"):
        check_seal(bad)


def test_every_packaged_file_has_its_own_digest() -> None:
    """As ``sha256sum -c SHA256SUMS`` would say."""
    listed = dict(line.split()[::-1] for line in (ASSETS / "SHA256SUMS").read_text().splitlines())
    assert listed == {name: hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() for name in listed}


def test_files_of_others_pass_without_a_seal(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "theirs.safetensors")
    check_seal(tmp_path / "theirs.safetensors")
    ours = sealed(tmp_path, load_file(PACKAGED), {"format": "maskwise-infiller-2"})
    (tmp_path / "ours.safetensors").write_bytes(ours)
    PartialConvInfiller(weights=tmp_path / "ours.safetensors").load()
    (tmp_path / "ours.safetensors").write_bytes(flipped(ours, (0.5, 0)))
    with pytest.raises(InputError, match="checksum"):
        PartialConvInfiller(weights=tmp_path / "ours.safetensors").load()


def test_a_masker_of_the_first_format_is_read(tiny: Classifier, masker: Path) -> None:
    with safe_open(masker, framework="pt") as stored:
        header = {k: v for k, v in stored.metadata().items() if k != "sha256"}
    save_file(load_file(masker), masker, header | {"format": "maskwise-masker-1"})
    load_masker(masker, tiny)
    save_file(load_file(masker), masker, header)
    with pytest.raises(InputError, match="checksum"):
        load_masker(masker, tiny)

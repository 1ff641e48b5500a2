"""Files of weights: maskers (safetensors with a header), state dicts, class names."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tempfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from conftest import tiny_net
from fuzz.bombs import bombs
from fuzz.harness import Target
from fuzz.mutate import SIZES, WORDS, as_bytes, damaged, reworded
from fuzz.tables import shaken
from safetensors.torch import save

from maskwise.classifiers import Classifier
from maskwise.classifiers.loading import read_labels
from maskwise.convert.checkpoint import read_checkpoint
from maskwise.core.errors import InputError
from maskwise.core.weights import read_weights
from maskwise.explainers import explainer
from maskwise.maskers import ClassMasker, Masker
from maskwise.maskers.store import load_masker, save_masker
from maskwise.training.checkpoint import MARK, read_sealed

RECIPE = (
    "width", "mix", "taps", "gate_scales", "superpixels", "temperature", "sharpness", "class_gate", "pamr", "gumbel",
    "shared", "encoder", "first_tap", "channel", "regions", "class_tap", "class_embedding",
)  # fmt: skip


@cache
def classifier() -> Classifier:
    return Classifier(tiny_net(), input_size=32, name="tiny")


@cache
def masker() -> bytes:
    path = Path(tempfile.mkdtemp()) / "masker.safetensors"
    save_masker(path, Masker.build(classifier(), width=4), classifier(), {"width": 4, "first_tap": "projected"})
    return path.read_bytes()


@cache
def class_masker() -> bytes:
    path = Path(tempfile.mkdtemp()) / "masker.safetensors"
    save_masker(path, ClassMasker.build(classifier(), widths=(8, 4)), classifier(), {})
    return path.read_bytes()


@cache
def small_files() -> tuple[bytes, ...]:
    """Those that would become large."""
    return tuple(bombs().values())


@cache
def states() -> tuple[bytes, ...]:
    """A state dict as safetensors, as a .pth of today, and as one of the time before zip."""
    state = classifier().module.state_dict()
    files = [save(state)]
    for new in (True, False):
        buffer = io.BytesIO()
        torch.save({"state_dict": state}, buffer, _use_new_zipfile_serialization=new)
        files.append(buffer.getvalue())
    return tuple(files)


def with_header(data: bytes, random: Random) -> bytes:
    """The same tensors under a header of which a value is another one."""
    (length,) = struct.unpack("<Q", data[:8])
    header: Any = json.loads(data[8 : 8 + length])
    about: dict[str, Any] = header.get("__metadata__", {})
    if about and random.random() < 0.8:  # with the seal of whoever changed it, so that the rest is looked at
        about["format"] = "maskwise-masker-1"
        about.pop("sha256", None)
    chance = random.random()
    if about and chance < 0.3:
        about[random.choice(list(about))] = random.choice(WORDS)
    elif about and chance < 0.5:
        about.pop(random.choice(list(about)))
    elif about and chance < 0.6:
        about["recipe"] = json.dumps(shaken(json.loads(about["recipe"]), random, 1))
    elif about and chance < 0.8:
        about |= oversized(about, random)
    else:
        header = shaken(header, random)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def oversized(about: dict[str, Any], random: Random) -> dict[str, str]:
    """One setting of the header is a number, or a list of numbers, that would take all memory."""
    key, names = random.choice(
        [("recipe", RECIPE)] + [("settings", ("widths", "bottlenecks", "kernel"))] * ("settings" in about)
    )
    number = random.choice((*SIZES, -1, 0.5, 1e9, 1e300, float("nan"), float("inf")))
    lists = ([number], [number] * 100, [4] * random.choice((10, 10_000)), [[number]])
    value = random.choice((number, number, *lists, random.choice(WORDS), True, None, 0, {}))
    kind = {"decoder": "mixed"} if random.random() < 0.3 else {}
    return {key: json.dumps({**json.loads(about[key]), **kind, random.choice(names): value})}


def make_masker(random: Random) -> bytes:
    whole = random.choice((masker(), masker(), class_masker()))
    return with_header(whole, random) if random.random() < 0.6 else damaged(whole, states(), random)


def read_masker(data: bytes, folder: Path) -> None:
    path = folder / "masker.safetensors"
    path.write_bytes(data)
    masker = load_masker(path, classifier())
    picture = torch.rand(1, 3, 40, 52, generator=torch.Generator().manual_seed(0))
    method = "dabkowski_gal" if isinstance(masker, ClassMasker) else "casm"
    (found,) = explainer(method, classifier(), masker=path)(picture, 1 if masker.needs_class else None)
    assert found.shape == (40, 52) and found.isfinite().all()  # what is wrong is said when it is read


def make_state(random: Random) -> bytes:
    data = random.choice(states())
    if data is states()[0] and random.random() < 0.5:
        return with_header(data, random)
    return damaged(data, states(), random)


def make_bomb(random: Random) -> bytes:
    """A small file that would become large, as it is or damaged; or a good one with numbers of its pickle changed."""
    data = random.choice((random.choice(small_files()), random.choice(states()[1:])))
    if random.random() < 0.2:
        return data
    if random.random() < 0.5:
        return damaged(data, small_files(), random)
    out = bytearray(data)
    places = [i for i in range(len(out) - 5) if out[i : i + 1] in (b"K", b"M", b"J")]  # numbers of 1, 2 and 4 bytes
    for place in random.sample(places, min(len(places), random.choice((1, 2, 4)))):
        width = {b"K": 1, b"M": 2, b"J": 4}[data[place : place + 1]]
        out[place + 1 : place + 1 + width] = (random.choice(SIZES) % (1 << 8 * width)).to_bytes(width, "little")
    return bytes(out)


def read_bomb(data: bytes, folder: Path) -> None:
    """As weights; as a checkpoint to convert; and as one of a training, under a seal that fits."""
    path, refused = folder / "bomb.pth", list[InputError]()
    for read in (read_weights, read_checkpoint, read_sealed):
        sealed = read is read_sealed
        path.write_bytes(data + MARK + hashlib.sha256(data).hexdigest().encode() if sealed else data)
        try:
            read(path)
        except InputError as error:
            refused.append(error)
    if refused:
        raise refused[0]


def read_state(data: bytes, folder: Path) -> None:
    path = folder / ("weights.safetensors" if data[8:9] == b"{" else "weights.pth")
    path.write_bytes(data)
    read_weights(path)


def make_names(random: Random) -> bytes:
    text = "tench, Tinca tinca\ndog\ncat\n"
    return as_bytes(reworded(text, random, ",\n")) if random.random() < 0.7 else damaged(text.encode(), [], random)


def read_names(data: bytes, folder: Path) -> None:
    path = folder / "names.txt"
    path.write_bytes(data)
    read_labels(path)


TARGETS = [
    Target("masker", 0.05, make_masker, read_masker),
    Target("weights", 0.05, make_state, read_state),
    Target("bombs", 0.03, make_bomb, read_bomb),
    Target("class names", 0.03, make_names, read_names),
]

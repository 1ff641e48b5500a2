"""Files of weights: maskers (safetensors with a header), state dicts, class names."""

from __future__ import annotations

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
from fuzz.harness import Target
from fuzz.mutate import WORDS, as_bytes, damaged, reworded
from fuzz.tables import shaken
from safetensors.torch import save

from maskwise.classifiers import Classifier
from maskwise.classifiers.loading import read_labels
from maskwise.core.weights import read_weights
from maskwise.maskers import Masker
from maskwise.maskers.store import load_masker, save_masker


@cache
def classifier() -> Classifier:
    return Classifier(tiny_net(), input_size=32, name="tiny")


@cache
def masker() -> bytes:
    path = Path(tempfile.mkdtemp()) / "masker.safetensors"
    save_masker(path, Masker.build(classifier(), width=4), classifier(), {"width": 4, "first_tap": "projected"})
    return path.read_bytes()


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
    elif about and chance < 0.7:
        about["recipe"] = json.dumps(shaken(json.loads(about["recipe"]), random, 1))
    else:
        header = shaken(header, random)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def make_masker(random: Random) -> bytes:
    return with_header(masker(), random) if random.random() < 0.6 else damaged(masker(), states(), random)


def read_masker(data: bytes, folder: Path) -> None:
    path = folder / "masker.safetensors"
    path.write_bytes(data)
    load_masker(path, classifier())


def make_state(random: Random) -> bytes:
    data = random.choice(states())
    if data is states()[0] and random.random() < 0.5:
        return with_header(data, random)
    return damaged(data, states(), random)


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
    Target("class names", 0.03, make_names, read_names),
]

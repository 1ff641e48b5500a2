"""ONNX files: small graphs whose shapes, names, types and weights lie, and damaged ones."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from fuzz.harness import Target
from fuzz.mutate import SIZES, WORDS, damaged

from maskwise.classifiers import load_classifier

try:
    import onnx
    import onnxruntime  # noqa: F401, asked for by what reads them
except ImportError:  # an extra
    onnx = None  # type: ignore[assignment]

NAMES = tuple(word for word in WORDS if word.isprintable() or word.isascii())  # which can be written as UTF-8
TYPES = (1, 1, 1, 1, 2, 3, 6, 7, 9, 10, 11, 12, 13, 16)  # float, mostly


@cache
def good() -> bytes:
    return graph(Random(0), lies=False)


def graph(random: Random, lies: bool = True) -> bytes:
    """Means of the pictures' colours plus a weight, cast to some type; with ``lies`` one thing in it is something else.

    What it computes stays small: what a graph asks of time and memory while it runs is its own affair.
    """
    helper, which = onnx.helper, random.randrange(9) if lies else -1
    shape: list[Any] = ["n", 3, 16, 16]
    if which == 0:
        for _ in range(random.choice((1, 1, 2, 4))):
            shape[random.randrange(len(shape))] = random.choice((*SIZES, 0, -1, 1, 3, 16, "h", random.choice(NAMES)))
    if which == 1:
        shape = [random.choice((1, 3, 16, "n")) for _ in range(random.choice((0, 1, 2, 3, 5)))]
    kind = random.choice(TYPES) if which == 2 else 1
    axes = random.sample(range(-1, 4), random.choice((0, 1, 2, 3))) if which == 3 else [2, 3]
    weight = onnx.numpy_helper.from_array(np.zeros(1, dtype=np.float32), "w")
    if which == 4:
        weight.dims[0] = random.choice((*(size % 2**63 for size in SIZES), 0, -1, 3))
        weight.data_type = random.choice((*TYPES, 0, 99))
        weight.raw_data = struct.pack("<f", 1.0) * random.choice((0, 1, 3))
    if which == 5:
        weight.data_location = 1
        for key in random.sample(("location", "location", "offset", "length", "checksum"), 2):
            weight.external_data.add(
                key=key, value=random.choice((*NAMES, *map(str, SIZES), "w.bin", "..", "/dev/zero"))
            )
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"] if axes else ["x"], ["m"], keepdims=int(which == 3)),
        helper.make_node("Add", ["m", "w"], ["a"]),
        helper.make_node("Cast", ["a"], ["y"], to=random.choice(TYPES) if which == 6 else 1),
    ]
    if which == 7:
        node = random.choice(nodes)
        place = random.choice((node.input, node.output))
        place[random.randrange(len(place))] = random.choice(("x", "m", "a", "y", "", random.choice(NAMES)))
    names = [random.choice(NAMES) if which == 8 and random.random() < 0.5 else "g" for _ in range(2)]
    made = helper.make_graph(
        nodes, names[0],
        [helper.make_tensor_value_info("x", kind, None if which == 1 and random.random() < 0.1 else shape)],
        [helper.make_tensor_value_info("y", 1, None)],
        [weight, onnx.numpy_helper.from_array(np.array(axes, dtype=np.int64), "axes")],
    )  # fmt: skip
    version = random.choice((0, 1, 7, 30, 2**31)) if which == 8 else 18
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", version)], ir_version=10)
    return bytes(model.SerializeToString())


def make(random: Random) -> bytes:
    return graph(random) if random.random() < 0.7 else damaged(good(), [], random)


def read(data: bytes, folder: Path) -> None:
    path = folder / "graph.onnx"
    path.write_bytes(data)
    classifier = load_classifier(str(path), activation="none")
    picture = torch.rand(3, classifier.channels, 16, 16, generator=torch.Generator().manual_seed(0))
    assert classifier.logits(classifier.prepare(picture)).shape == (3, len(classifier.labels))


TARGETS = [] if onnx is None else [Target("ONNX graph", 0.02, make, read)]

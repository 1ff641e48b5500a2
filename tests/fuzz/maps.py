"""Folders of maps that somebody else made, one file of them damaged, and read as a contender's."""

from __future__ import annotations

import io
import shutil
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import torch
from fuzz.harness import Target
from fuzz.mutate import damaged
from PIL import Image

from maskwise.evaluation.given_maps import GivenMaps

SUFFIXES = (".npy", ".npz", ".png")


@cache
def seeds() -> tuple[bytes, ...]:
    """Valid maps, the first byte of each saying of which suffix."""
    values = np.random.default_rng(0).random((12, 9))
    found = []
    for kind in ("float32", "float16", "uint8", "uint16", "int64", "bool"):
        array = (values * 200).astype(kind)
        for suffix, write in enumerate((np.save, np.savez_compressed)):
            buffer = io.BytesIO()
            write(buffer, array if kind != "uint16" else array[None])
            found.append(bytes([suffix]) + buffer.getvalue())
        if kind in ("uint8", "uint16", "bool"):
            buffer = io.BytesIO()
            Image.fromarray(array).save(buffer, "PNG")
            found.append(b"\2" + buffer.getvalue())
    return tuple(found)


def make(random: Random) -> bytes:
    seed = random.choice(seeds())
    return seed[:1] + damaged(seed[1:], [one[1:] for one in seeds()], random)


def read(data: bytes, folder: Path) -> None:
    shutil.rmtree(folder / "maps", ignore_errors=True)
    (folder / "maps").mkdir()
    np.save(folder / "maps" / "whole.npy", np.eye(5))
    broken = folder / "maps" / f"broken{SUFFIXES[data[0] % 3]}"
    broken.write_bytes(data[1:])
    maps = GivenMaps(folder / "maps").checked({"a": folder / "maps" / "whole.npy", "b": broken})
    made = maps(torch.zeros(2, 3, 16, 16), None, ids=["a", "b"])
    assert made.shape == (2, 16, 16) and bool(((made >= 0) & (made <= 1)).all())


TARGETS = (Target("maps from files", 0.1, make, read),)

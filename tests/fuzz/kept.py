"""What runs keep for themselves and read again: rows, numbers, cells, maps. A disk may have changed it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, cast

import numpy as np
from fuzz.harness import Target
from fuzz.mutate import damaged
from fuzz.tables import shaken

from maskwise.audit.parts import kept
from maskwise.checks.cells import FILE, Cells
from maskwise.core.errors import InputError
from maskwise.evaluation.maps import MapFolder
from maskwise.evaluation.store import key_of
from maskwise.studies.cell_directory import RESULT, CellDirectory
from maskwise.studies.overview import overview
from maskwise.training.label_file import LabelFile
from maskwise.training.tap_file import TapFile

RUN = {"a": 1, "b": [1.5, None]}
NUMBER = {"value": 0.5, "bounds": [0.1, 0.9], "draws": [0.4, None, 0.6]}
CELL = {"row": "x", "facts": {}, "seconds": 2.5, "rows": {"x": {"le": NUMBER, "f1": {**NUMBER, "bounds": None}}}}
PART = {"identity": key_of(RUN), "numbers": {"share": 0.5}}
STUDY = {
    "protocol": {"study": "table", "scale": "smoke"}, "not_run": [], "failures": {}, "rows": [{}],
    "claims": [{"claim": "c", "verdict": "holds"}],
}  # fmt: skip


def _cells(folder: Path) -> None:
    cells = Cells(folder, RUN)
    cells.find(labels="true")
    cells.add({"labels": "true"})


def _overview(folder: Path) -> None:
    assert overview(folder).startswith("#")


def _part(folder: Path) -> None:
    assert isinstance(kept(folder, "x", RUN, dict), dict)


def _cell(folder: Path) -> None:
    CellDirectory(cast(Any, None), folder, {}).read()


# The file, what it holds while it is whole, and what reads it.
TEXTS: dict[str, tuple[str, list[Any], Callable[[Path], None]]] = {
    "cells": (FILE, [{"run": RUN}, {"labels": "true", "accuracy": 0.5}], _cells),
    "part": ("parts/x.json", [PART], _part),
    "cell": (RESULT, [CELL], _cell),
    "overview": ("table.json", [STUDY], _overview),
}


def make_text(random: Random) -> bytes:
    """Which of them, a zero byte, and what it holds now."""
    name = random.choice(list(TEXTS))
    lines = list(TEXTS[name][1])
    if random.random() < 0.6:
        place = random.randrange(len(lines))
        lines[place] = shaken(lines[place], random, random.choice((0, 2)))
    whole = "\n".join(map(json.dumps, lines)).encode("utf-8", "surrogatepass")
    return name.encode() + b"\0" + (whole if random.random() < 0.5 else damaged(whole, [whole], random))


def read_text(data: bytes, folder: Path) -> None:
    name, _, made = data.partition(b"\0")
    file, _, read = TEXTS[name.decode()]
    shutil.rmtree(folder / "kept", ignore_errors=True)
    path = folder / "kept" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(made)
    read(folder / "kept")


@cache
def arrays() -> tuple[bytes, ...]:
    """A map, a teacher's maps and taps, each after a byte that says which."""
    maps, taps = np.random.default_rng(0).random((2, 5, 5)), np.zeros(2, [("key", "S32"), ("row", "<f2", (4,))])
    files = (io.BytesIO(), io.BytesIO(), io.BytesIO())
    np.savez_compressed(files[0], map=maps[0].astype(np.float32), picture=np.array("a.png"))
    np.savez(files[1], keys=np.array(["a" * 32, "b" * 32]), maps=maps.astype(np.float16))
    np.save(files[2], taps)
    return tuple(bytes([number]) + file.getvalue() for number, file in enumerate(files))


def make_array(random: Random) -> bytes:
    whole = random.choice(arrays())
    return whole[:1] + damaged(whole[1:], [one[1:] for one in arrays()], random)


def read_array(data: bytes, folder: Path) -> None:
    if data[0] == 0:
        maps = MapFolder(folder)
        path = folder / "run" / f"{key_of({'picture': 'a.png'})}.npz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data[1:])
        found = maps.read("run", "a.png")
        if found is None:
            raise InputError("the map is made again")
        assert found.ndim == 2 and bool(found.isfinite().all())
        return
    path = folder / ("labels.npz" if data[0] == 1 else "taps.npy")
    path.write_bytes(data[1:])
    if data[0] == 1:
        assert all(one.ndim == 2 for one in LabelFile(path).maps.values())
    else:
        TapFile(path, 4)


TARGETS = (
    Target("kept numbers", 0.05, make_text, read_text),
    Target("kept maps", 0.05, make_array, read_array),
)

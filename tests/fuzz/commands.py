"""The command line, in this process: any command with any options, some right, some words out of a hat."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import typer.main
from fuzz import pictures, recipes, tables, weights
from fuzz.harness import Target
from fuzz.mutate import WORDS

from maskwise import cli
from maskwise.classifiers.loading import classifiers
from maskwise.core.alike import count_alike
from maskwise.core.errors import InputError

LEFT_OUT = {"serve", "demo", "doctor", "convert"}  # a server, and what takes no bad input; conversion has its own tests
LONG = {
    "train", "fit", "panel", "study", "export", "live", "pack",
    "check mprt", "check drt", "check roar", "check max-sensitivity", "check arcc", "check focus", "check f-fidelity",
    "check leak",
}  # fmt: skip
JUNK = (
    "--",
    "-",
    "--help",
    "--nope",
    "-x",
    "--out",
    "--set",
    "--json=1",
    "--limit=0",
    "@file",
    "-1",
    "\udcff.png",
    "a\nb",
)
GOOD: dict[str, tuple[str, ...]] = {
    "data": ("shapes:n=2,size=32", "folder"),
    "pictures": ("picture.png",),
    "method": ("center", "gradient", "random"),
    "methods": ("center", "center,random"),
    "metrics": ("le", "le,area", "f1"),
    "limit": ("1",),
    "batch": ("2",),
    "resize": ("squash", "none", "crop"),
    "target": ("0", "1", "label"),
    "infill": ("mean", "blur:sigma=2"),
    "out": ("out", "out/a/b"),
    "recipe": ("casm", "recipe.yaml"),
    "weights": ("weights.pth", "masker.safetensors"),
    "masker": ("masker.safetensors",),
    "labels": ("names.txt",),
    "options": ("seed=1", "a=b"),
    "device": ("cpu", "auto"),
    "classifier": ("efficientnet_lite0", "timm/nothing", "torchvision/nothing"),
    "difficult": ("list.txt",),
    "mean": ("0.5,0.5,0.5", "0,0,0"),
    "std": ("0.5,0.5,0.5", "0,0,0"),
    "precision": ("fp32", "bf16", "auto"),
}
FILES = {  # made anew for each input, damaged or not
    "picture.png": lambda random: pictures.make(random.choice(("PNG", "JPEG", "GIF", "WEBP", "BMP")), random),
    "recipe.yaml": recipes.make,
    "weights.pth": weights.make_state,
    "masker.safetensors": weights.make_masker,
    "names.txt": weights.make_names,
    "list.txt": tables.make_difficult,
}


@cache
def parameters() -> dict[str, list[Any]]:
    """Each command's options and arguments."""
    root: Any = typer.main.get_command(cli.app)
    found = {}
    for name, command in root.commands.items():
        inner = getattr(command, "commands", None)
        for full, one in [(f"{name} {n}", c) for n, c in inner.items()] if inner else [(name, command)]:
            if full not in LEFT_OUT:
                found[full] = [p for p in one.params if p.name != "help"]
    return found


def make(random: Random) -> bytes:
    """The arguments and the seed of the files, as JSON."""
    command = random.choice(list(parameters()))
    arguments = command.split()
    if random.random() < 0.03:
        arguments = [random.choice((*WORDS, *JUNK))]
    for parameter in parameters()[command]:
        for _ in range(2 if parameter.multiple and random.random() < 0.2 else 1):
            if random.random() < (0.9 if parameter.required else 0.15):
                arguments += _given(parameter, command, random)
    if random.random() < 0.15:
        arguments.insert(random.randrange(len(arguments) + 1), random.choice(JUNK))
    if command in ("evaluate", "compare") and random.random() < 0.9:
        arguments += ["--metrics", "le"]
    arguments = [a.replace("\0", "") for a in arguments]
    return json.dumps([arguments, random.randrange(2**32)]).encode()


def _given(parameter: Any, command: str, random: Random) -> list[str]:
    good = GOOD.get(parameter.name, ())
    if (command, parameter.name) == ("plan", "recipe"):
        good = ("nothing", "picture.png", "list.txt")  # a right one is counted on a real network: seconds of work
    if command in LONG and parameter.name in ("data", "pictures", "folder", "video", "camera", "masker"):
        good = (
            "nothing",
            "picture.png",
            "list.txt",
        )  # hours of work may be right; here only what is wrong is asked for
    value = random.choice(good) if good and random.random() < 0.8 else random.choice((*WORDS, *JUNK, "1", "2"))
    if parameter.param_type_name == "argument":
        return [value]
    name = random.choice(parameter.opts)
    if getattr(parameter, "is_flag", False):
        return [name]
    return [f"{name}={value}"] if random.random() < 0.3 else [name, value]


def read(data: bytes, folder: Path) -> None:
    arguments, seed = json.loads(data)
    arguments = [a for a in arguments if a not in ("-v", "--verbose")]  # which asks for the traceback
    for number, (name, made) in enumerate(FILES.items()):
        if any(name in argument for argument in arguments):
            (folder / name).write_bytes(made(Random(seed + number)))
    if not (folder / "folder").is_dir():
        for name, text in tables.LAYOUTS["folder"][1].items():
            path = folder / "folder" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tables.content(text))
    count_alike()  # of other targets' pictures, which a process of its own would not have read
    code, err = called(arguments, folder)
    assert code in (0, 2), f"exit {code}: {err}"
    assert "Traceback" not in err, err
    if code == 2:
        lines = err.strip().splitlines()
        if lines and lines[0].startswith("Usage: "):
            raise InputError(err)  # a group of commands without one shows its help
        # Several pictures are several complaints.
        assert lines and all(line.startswith("maskwise: ") for line in lines), err
        assert len(lines) == 1 or arguments[0] == "explain", err
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", err), repr(err)
        raise InputError(err)


def called(arguments: list[str], folder: Path) -> tuple[int, str]:
    """Exit code and what came out on stderr, C libraries' words included, of one call within ``folder``."""
    there = Path.cwd()
    tiny = {name: lambda weights=None: weights_of(weights) for name in classifiers.names()}
    with (
        mock.patch.dict(classifiers._entries, tiny),  # type: ignore[arg-type]
        mock.patch.object(sys, "argv", ["maskwise", *arguments]),
        _captured(folder) as errors,
    ):
        os.chdir(folder)
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            os.chdir(there)
    return code, errors[0]


def weights_of(path: str | Path | None) -> Any:
    """The tiny classifier in place of those that take half a second to load."""
    from conftest import tiny_net

    from maskwise.classifiers import Classifier
    from maskwise.core.weights import fill, read_weights

    module = tiny_net()
    if path is not None:
        fill(module, read_weights(path), "the weights do not fit tiny")
    return Classifier(module, input_size=32, name="tiny")


@contextlib.contextmanager
def _captured(folder: Path) -> Iterator[list[str]]:
    """The process's own stdout and stderr, by their numbers, in files."""
    told = [""]
    out, err = folder / "stdout", folder / "stderr"
    with out.open("wb") as o, err.open("wb") as e:
        saved = [os.dup(1), os.dup(2)]
        streams = sys.stdout, sys.stderr
        os.dup2(o.fileno(), 1)
        os.dup2(e.fileno(), 2)
        # As Python opens them, so that a name that is no UTF-8 does here what it does there.
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", "strict", write_through=True)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", write_through=True)
        try:
            yield told
        finally:
            sys.stdout, sys.stderr = streams
            for number, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, number)
                os.close(copy)
    told[0] = err.read_text(encoding="utf-8", errors="replace")


TARGETS = [Target("command line", 0.01, make, read)]

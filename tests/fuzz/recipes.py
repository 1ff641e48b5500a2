"""Recipes: packaged ones, a few words changed or odd YAML put in; read as ``maskwise train`` reads them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

import yaml
from fuzz.harness import Target
from fuzz.mutate import WORDS, as_bytes, damaged, reworded

from maskwise.training import recipes

ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)) + "infill: *a39\n"
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40))
ODD = (
    ALIASES,
    MERGES,
    "[" * 5000,
    "{a: " * 3000,
    "- " * 3000 + "a",
    "infill: " + "[" * 500 + "]" * 500,
    "a: &a [*a]\n",
    "infill: &a {name: *a}\n",
    "? [a, b]\n: c\n",
    "1: 2\n",
    "null: 1\n",
    "true: 1\n",
    "!!python/object/apply:os.system [id]",
    "!!python/name:os.system",
    "!!timestamp 2020-99-99\n",
    "seed: " + "9" * 5000,
    "seed: 9223372036854775808",
    "kind: [1]\n",
    "base: [casm]\n",
    "base: {a: b}\n",
    "base: casm\nbase: fan\n",
    "objectives: {max_entropy: null}\n",
    "objectives: {}\n",
    "crop_area: [.nan, .inf]\n",
    "clip: .inf\n",
    "classifier_lr: .inf\n",
    "epochs: .inf\n",
    "steps: 1e400\n",
    "a: " * 2000,
    "%YAML 9.9\n---\na: 1",
    "a: 1\n---\nb: 2\n",
    "\t",
    "a: 'x",
    "input_size: 4294967296\nwidth: 4294967296\n",
)


@cache
def seeds() -> tuple[str, ...]:
    names = (
        "casm",
        "casm_l",
        "phang/ca",
        "phang/fix",
        "dabkowski_gal",
        "dabkowski_gal_lite0",
        "infiller",
        "fan",
        "distilled_lite0",
        "regions_lite0",
    )
    whole = [recipes.dump(recipes.load(name)) for name in names]
    return (*whole, *(f"base: {name}\nepochs: 3\n" for name in names))


def make(random: Random) -> bytes:
    text = random.choice(seeds())
    chance = random.random()
    if chance < 0.05:
        return as_bytes(random.choice(ODD))
    if chance < 0.15:
        return as_bytes(text + random.choice(ODD))
    if chance < 0.3:
        return damaged(text.encode(), [t.encode() for t in seeds()], random)
    if chance < 0.6:
        settings = yaml.safe_load(text)
        key = random.choice(list(settings))
        others = [yaml.safe_load(random.choice(seeds())).get(key), random.choice(list(settings.values())), _odd(random)]
        settings[key] = random.choice(others)
        return as_bytes(yaml.safe_dump(settings))
    return as_bytes(reworded(text, random, " \n:[],{}"))


def _odd(random: Random) -> object:
    return random.choice(
        (
            None,
            True,
            -1,
            0,
            2**70,
            -(2**70),
            1e308,
            float("nan"),
            float("inf"),
            "",
            "x" * 10_000,
            [],
            {},
            [[[]]],
            {"a": {}},
            b"bytes",
            {1: 2},
            {"name": "dfnet", "weights": "/nowhere"},
            {"name": None},
            [1, "a"],
            random.choice(WORDS),
        )
    )


def read(data: bytes, folder: Path) -> None:
    path = folder / "recipe.yaml"
    path.write_bytes(data)
    recipes.dump(recipes.load(path))


def make_override(random: Random) -> bytes:
    keys = (
        "epochs", "objectives.max_entropy", "objectives.max_entropy.lambda_out", "infill", "infill.name", "seed",
        "crop_area", "kind", "base", "weights.tv", "", ".", "a.b.c", "steps.x", "row", "taps",
    )  # fmt: skip
    value = random.choice(WORDS + ODD) if random.random() < 0.6 else str(_odd(random))
    return as_bytes(random.choice(keys) + random.choice(("=", "=", "=", "", "==")) + value)


def read_override(data: bytes, folder: Path) -> None:
    recipes.dump(recipes.load("casm", [data.decode("utf-8", "surrogatepass")]))


TARGETS = [Target("recipe", 0.1, make, read), Target("recipe override", 0.03, make_override, read_override)]

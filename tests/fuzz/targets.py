"""All that is fuzzed, and how many inputs each gets."""

from __future__ import annotations

from collections.abc import Sequence

from fuzz import commands, graphs, kept, maps, pictures, recipes, shards, tables, weights
from fuzz.harness import Target

MODULES = (pictures, tables, shards, recipes, weights, graphs, maps, kept, commands)
TARGETS: dict[str, Target] = {target.name: target for module in MODULES for target in module.TARGETS}


def counts(inputs: int, only: Sequence[str] | None = None) -> dict[str, int]:
    """Inputs of each target, by its share, so that they are ``inputs`` in all."""
    chosen = [TARGETS[name] for name in only or TARGETS]
    whole, found, given, share = sum(target.share for target in chosen), {}, 0, 0.0
    for target in chosen:
        share += target.share
        found[target.name] = round(inputs * share / whole) - given
        given += found[target.name]
    return found

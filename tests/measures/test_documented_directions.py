"""The table of metrics in the guide says of each which side is better, and what it needs, as the registry does."""

from __future__ import annotations

import re
from pathlib import Path

from maskwise.measures import metrics

GUIDE = Path(__file__).parents[2] / "docs" / "measuring.md"
SIDES = {True: "higher", False: "lower", None: ""}


def documented() -> dict[str, tuple[str, str]]:
    """By name: the better side, and what it needs."""
    text = GUIDE.read_text(encoding="utf-8")
    table = text.partition("| metric | what | better | needs |\n")[2].partition("\n\n")[0]
    found: dict[str, tuple[str, str]] = {}
    for line in table.splitlines()[1:]:
        first, *_, better, needs = (part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1])
        names: list[str] = []
        for name in re.findall(r"`(\w+)`", first):
            names.append(names[0] + name if name.startswith("_") else name)
        sides = better.split(", ")
        sides = sides * len(names) if len(sides) == 1 else sides
        found |= {name: (side, needs) for name, side in zip(names, sides, strict=True)}
    return found


def test_each_metric_is_there_with_its_better_side() -> None:
    assert {name: side for name, (side, _) in documented().items()} == {
        name: SIDES[metrics.facts(name)["higher_is_better"]] for name in metrics.names()
    }


def test_truth_that_a_metric_cannot_do_without_is_named() -> None:
    for name, (_, needs) in documented().items():
        for truth in ("boxes", "masks", "labels"):
            if truth in metrics.facts(name)["needs"]:
                assert truth in needs, (name, truth)

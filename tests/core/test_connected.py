"""Groups of things with names in common."""

import random

import pytest

from maskwise.core.connected import connected


def by_hand(names: list[list[str]]) -> list[int]:
    """Merges sets until no two have a name in common."""
    groups = [({i}, set(own)) for i, own in enumerate(names)]
    merged = True
    while merged:
        merged = False
        for i, (members, seen) in enumerate(groups):
            for j in range(i + 1, len(groups)):
                if seen & groups[j][1]:
                    members |= groups[j][0]
                    seen |= groups.pop(j)[1]
                    merged = True
                    break
            if merged:
                break
    order = sorted(groups, key=lambda group: min(group[0]))
    return [next(k for k, (members, _) in enumerate(order) if i in members) for i in range(len(names))]


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_those_of_sets_merged_one_by_one(seed: int) -> None:
    draws = random.Random(seed)
    names = [[f"n{draws.randrange(12)}" for _ in range(draws.choice((0, 1, 1, 2)))] for _ in range(15)]
    assert connected(names).tolist() == by_hand(names)


def test_nothing_and_things_without_names() -> None:
    assert connected([]).tolist() == [] and connected([[], [], []]).tolist() == [0, 1, 2]

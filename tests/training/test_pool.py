"""Thinning sequences worked by hand, and the frequencies of the draw."""

import pytest
import torch
from torch import nn

from maskwise.training.loader import generator
from maskwise.training.pool import SnapshotPool


def filled(thinning: str, steps: int, size: int = 30, p: float = 0.5) -> SnapshotPool:
    net = nn.Linear(1, 1, bias=False)
    pool = SnapshotPool(thinning, size, p, generator(0))  # type: ignore[arg-type]
    for step in range(steps):
        with torch.no_grad():
            net.weight.fill_(step)
        pool.offer(step, net)
    return pool


@pytest.mark.parametrize(
    ("thinning", "kept"),
    [("F", []), ("L", []), ("FL", [0]), ("L100", list(range(0, 950, 100))), ("L1000", [0])],
)
def test_what_is_kept_of_950_steps(thinning: str, kept: list[int]) -> None:
    pool = filled(thinning, 950)
    assert pool.kept_at == kept
    assert [e["weight"].item() for e in pool.entries] == kept, "each entry is the network as it was at that step"


def test_l1000_keeps_every_thousandth() -> None:
    assert filled("L1000", 3001).kept_at == [0, 1000, 2000, 3000]


def test_a_full_pool_replaces_uniformly() -> None:
    pool = filled("L100", 100 * 400, size=30)
    assert len(pool.entries) == 30
    # After many replacements entry ages are geometric: with 30 slots the mean age is about 30 snapshots.
    ages = [(39900 - kept) / 100 for kept in pool.kept_at]
    assert 15 < sum(ages) / 30 < 55


def test_draws_are_half_newest_half_uniform_over_the_rest() -> None:
    pool = filled("L100", 500)  # five entries
    draws = [pool.draw() for _ in range(6000)]
    newest = sum(d is None for d in draws)
    assert 0.47 * 6000 < newest < 0.53 * 6000
    counts = [sum(d is not None and d["weight"].item() == 100 * k for d in draws) for k in range(5)]
    assert sum(counts) + newest == 6000
    expected = (6000 - newest) / 5
    assert sum((c - expected) ** 2 / expected for c in counts) < 18.5, "chi-square, 4 degrees of freedom, p = 0.001"


def test_an_empty_pool_or_no_history_gives_the_newest() -> None:
    assert all(filled("L", 300).draw() is None for _ in range(50))
    assert all(filled("L100", 300, p=0.0).draw() is None for _ in range(50))


def test_a_snapshot_does_not_follow_the_live_network() -> None:
    net = nn.BatchNorm1d(2)
    pool = SnapshotPool("FL", 30, 0.5, generator(0))
    pool.offer(0, net)
    net(torch.randn(8, 2) + 5)
    with torch.no_grad():
        net.weight.fill_(9)
    assert pool.entries[0]["weight"].tolist() == [1, 1]
    assert pool.entries[0]["running_mean"].tolist() == [0, 0]

"""Shards read by many at once, in the order of an epoch, and as a training is fed with them."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import end_at, epoch, tiny_net
from hypothesis import given
from hypothesis import strategies as st

from maskwise.classifiers import Classifier
from maskwise.data import read_data
from maskwise.data.order import epoch_order
from maskwise.training import recipes
from maskwise.training.loader import Loader

pytestmark = pytest.mark.usefixtures("cache")


# Many at once


def test_threads_pickles_and_forks(shards: Path) -> None:
    data = read_data(shards)
    expected = [float(sample.image.sum()) for sample in data]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda r: float(data.image(r).sum()), list(data.records) * 5)) == expected * 5
    copy = pickle.loads(pickle.dumps(data))
    assert [float(copy.image(r).sum()) for r in copy.records] == expected
    assert [r.id for r in data.subset([3, 1]).records] == ["shapes/0/3", "shapes/0/1"]


# The order of an epoch


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    loose=st.integers(0, 5),
    lanes=st.integers(1, 9),
    seed=st.integers(0, 9),
)
def test_an_epoch_visits_everything_once(sizes: list[int], loose: int, lanes: int, seed: int) -> None:
    groups: list[int | None] = [None] * loose + [i for i, size in enumerate(sizes) for _ in range(size)]
    order = epoch_order(groups, torch.Generator().manual_seed(seed), lanes)
    assert sorted(order) == list(range(len(groups)))
    assert order == epoch_order(groups, torch.Generator().manual_seed(seed), lanes)


def test_without_groups_it_is_the_permutation_it_always_was() -> None:
    draws = torch.Generator().manual_seed(3)
    assert epoch_order([None] * 50, draws) == torch.randperm(50, generator=torch.Generator().manual_seed(3)).tolist()


def test_ranks_read_their_own_shards() -> None:
    """64 shards of 10: a rank of 1, 2, 4 or 8 needs its part of them, all together every shard once."""
    groups = [i // 10 for i in range(640)]
    order = epoch_order(groups, torch.Generator().manual_seed(0))
    for world in (1, 2, 4, 8):
        mine = [{groups[i] for i in order[rank::world]} for rank in range(world)]
        assert [len(shards) for shards in mine] == [64 // world] * world
        assert set.union(*mine) == set(range(64))


def test_few_shards_are_in_use_at_a_time() -> None:
    groups = [i // 10 for i in range(640)]
    order = epoch_order(groups, torch.Generator().manual_seed(0))
    first = {g: min(k for k, i in enumerate(order) if groups[i] == g) for g in range(64)}
    last = {g: max(k for k, i in enumerate(order) if groups[i] == g) for g in range(64)}
    assert max(sum(first[g] <= k <= last[g] for g in range(64)) for k in range(640)) <= 16
    neighbours = sum(abs(groups[a] - groups[b]) == 0 for a, b in pairwise(order))
    assert neighbours < 20, "those of one shard do not stand together"


def feed(source: str) -> Loader:
    settings = recipes.load("casm", ["batch_size=4", "fraction=1", "input_size=32", "epochs=2"])
    return Loader([read_data(source)], settings, 32)


@pytest.mark.parametrize("place", ["near", "far"])
def test_an_epoch_from_its_middle(place: str, shards: Path, far: str) -> None:
    """Batches from step 2 on are those that an epoch from the start gives, and other epochs have other orders."""
    source = str(shards) if place == "near" else far
    whole = [labels.tolist() for _, labels in epoch(feed(source), 1)]
    assert len(whole) == 3 and sorted(chain.from_iterable(whole)) == sorted(r.label for r in read_data(shards).records)
    pictures = [images for images, _ in epoch(feed(source), 1)]
    for images, expected in zip(epoch(feed(source), 1, first=2), pictures[2:], strict=True):
        assert images[0].equal(expected)
    assert whole != [labels.tolist() for _, labels in epoch(feed(source), 0)]
    shares = [[labels.tolist() for _, labels in epoch(feed(source), 1, rank=rank, world=2)] for rank in (0, 1)]
    assert [[a[i // 2] if i % 2 == 0 else b[i // 2] for i in range(4)] for a, b in zip(*shares, strict=True)] == whole


def test_near_shards_are_fed_as_a_folder_is(shards: Path) -> None:
    for a, b in zip(epoch(feed(str(shards)), 0), epoch(feed("shapes:n=12,size=32,labels=own"), 0), strict=True):
        assert a[0].equal(b[0]) and a[1].equal(b[1])


@pytest.mark.parametrize("place", ["near", "far"])
def test_a_resumed_training_equals_one_never_stopped(place: str, shards: Path, far: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from maskwise.training import train

    settings = ["batch_size=4", "fraction=1", "epochs=2", "input_size=32"]
    source = str(shards) if place == "near" else far

    def run(out: Path, **options: Any) -> Path:
        classifier = Classifier(tiny_net(classes=8), input_size=32, name="tiny")
        return train(
            "casm",
            source,
            classifier=classifier,
            out=out,
            overrides=settings,
            checkpoint_every=1,
            device="cpu",
            **options,
        )

    whole = run(tmp_path / "whole")
    run(tmp_path / "stopped", callbacks=[end_at(2)])
    resumed = run(tmp_path / "stopped", resume=True)
    a, b = load_file(whole), load_file(resumed)
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)

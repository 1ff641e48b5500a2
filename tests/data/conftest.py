"""Shards of drawn pictures, near and far, and a cache of each test's own."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from maskwise.data import read_data
from maskwise.data.pack import pack


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("MASKWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MASKWISE_CACHE_GB", raising=False)
    monkeypatch.delenv("MASKWISE_ALLOW_PIPE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Twelve drawn pictures in six shards."""
    return pack(read_data("shapes:n=12,size=32,labels=own"), tmp_path / "shards", count=2).folder


@pytest.fixture
def far(shards: Path) -> str:
    """The same shards in an object store."""
    store = fsspec.filesystem("memory")
    store.put(str(shards), "/bucket/set", recursive=True)
    yield "memory://bucket/set"
    store.rm("/bucket", recursive=True)

"""Per-picture rows on disk: written as they come, so that a killed run goes on where it was."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.files import writable_folder

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (run TEXT PRIMARY KEY, facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS packed (
    run TEXT NOT NULL, metric TEXT NOT NULL, picture TEXT NOT NULL, statistics BLOB NOT NULL,
    PRIMARY KEY (run, metric, picture)
) WITHOUT ROWID;
"""


def key_of(facts: Mapping[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 of plain data."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _packed(row: Tensor) -> bytes:
    """Float64, every bit of it, sorted by bytes of equal weight: most numbers are whole and small, or zero."""
    numbers = row.detach().double().cpu().contiguous().numpy()
    return zlib.compress(numbers.view(np.uint8).reshape(-1, 8).T.tobytes(), 6) if len(numbers) else b""


def _unpacked(blob: bytes) -> np.ndarray:
    if not blob:
        return np.zeros(0)
    flat = np.frombuffer(zlib.decompress(blob), dtype=np.uint8)
    return np.ascontiguousarray(flat.reshape(8, -1).T).view(np.float64)[:, 0]


class Rows:
    """Statistics of each picture by run (who explained what, and how) and metric, in one SQLite file.

    Args:
        folder: where ``rows.db`` lies; None keeps the rows in memory.

    Raises:
        InputError: the folder can't be written, or holds a file of that name that is none of ours.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._known: dict[tuple[str, str], set[str]] = {}
        self._width: dict[tuple[str, str], int] = {}
        self.path = ":memory:" if folder is None else str(writable_folder(folder) / "rows.db")
        with self._plainly():
            self.database = sqlite3.connect(self.path, timeout=60)
            self.database.executescript(SCHEMA)

    def run(self, facts: Mapping[str, Any]) -> str:
        """The key of a run; its facts are kept beside the rows."""
        key = key_of(facts)
        with self._plainly(), self.database:
            text = json.dumps(facts, sort_keys=True, default=str)
            self.database.execute("INSERT OR IGNORE INTO runs VALUES (?, ?)", (key, text))
        return key

    def write(self, run: str, rows: Iterable[tuple[str, str, Tensor]]) -> None:
        """Adds (metric, picture, statistics (D,)) in one transaction: all of them are kept, or none.

        Raises:
            InputError: they can't be kept, for example since the disk is full, or are not as long as other pictures'.
        """
        rows = list(rows)
        for metric, _, row in rows:
            self._fits(run, metric, len(row))
        packed = [(run, metric, picture, _packed(row)) for metric, picture, row in rows]
        with self._plainly(), self.database:
            self.database.executemany("INSERT OR REPLACE INTO packed VALUES (?, ?, ?, ?)", packed)
        for _, metric, picture, _ in packed:
            self.known(run, metric).add(picture)

    def known(self, run: str, metric: str) -> set[str]:
        """Pictures that have a row."""
        if (run, metric) not in self._known:  # asked for once, since it is wanted for every batch
            found = self.database.execute("SELECT picture FROM packed WHERE run = ? AND metric = ?", (run, metric))
            self._known[run, metric] = {picture for (picture,) in found}
        return self._known[run, metric]

    def read(self, run: str, metric: str, pictures: Iterable[str]) -> Tensor:
        """(N,D) float64, in the order of ``pictures``; a row of NaN where there is nothing to say."""
        found = dict(
            self.database.execute("SELECT picture, statistics FROM packed WHERE run = ? AND metric = ?", (run, metric))
        )
        rows = [_unpacked(found.get(picture, b"")) for picture in pictures]
        for row in rows:
            self._fits(run, metric, len(row))
        table = np.full((len(rows), self._width.get((run, metric), 1)), np.nan)
        for i, row in enumerate(rows):
            if len(row):
                table[i] = row
        return torch.from_numpy(table)

    def _fits(self, run: str, metric: str, width: int) -> None:
        """Rows of several lengths have no sum."""
        if width and self._width.setdefault((run, metric), width) != width:
            raise InputError(
                f"{metric.partition(':')[0]}: pictures of different sizes give curves of different lengths: a step in "
                "pixels is for pictures of one size, a share for any, as step=3.571%"
            )

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise InputError(f"{self.path}: can't keep rows there ({error}); name another folder") from None

    def __enter__(self) -> Rows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.database.close()

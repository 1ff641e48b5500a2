"""Rows of more pictures or maps than fit in memory: read when they are asked for, the next ones already meanwhile."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Index = Tensor | Sequence[int]
Request = TypeVar("Request")
Made = TypeVar("Made")
MOST_READERS = 8


class LazyRows(ABC):
    """Stands for a tensor (N,…) where that would not fit in memory: it has its shape, rows by index, and ``split``.

    Code that asks for nothing else takes either. Rows are read from several threads at once.

    Attributes:
        shape: of the tensor.
    """

    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, rows: Index) -> Tensor:
        """The rows (B,…) with these indices, in their order."""

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows in order, ``size`` at once; the next parts are read while one is used."""
        return parts_of(self, torch.arange(len(self)).split(size))


Values = Tensor | LazyRows


class Picked(LazyRows):
    """Some rows of others, in another order perhaps; nothing is read until one is asked for.

    Args:
        rows: of these.
        picks: their indices (B,).
    """

    def __init__(self, rows: LazyRows, picks: Tensor) -> None:
        self.rows, self.picks = rows, picks
        self.shape = (len(picks), *rows.shape[1:])

    def __getitem__(self, rows: Index) -> Tensor:
        return self.rows[self.picks[rows]]


def picked(values: Values, picks: Tensor) -> Values:
    """Rows (B,…) of a tensor, or of what stands for one."""
    return values[picks] if isinstance(values, Tensor) else Picked(values, picks)


def parts_of(values: Values, parts: Iterable[Tensor]) -> Iterator[Tensor]:
    """``values[rows]`` for each ``rows`` of ``parts``; what is not in memory is read ahead."""
    if isinstance(values, Tensor):
        return (values[rows.to(values.device)] for rows in parts)
    return ahead(values.__getitem__, parts, read_ahead_threads())


def ahead(read: Callable[[Request], Made], jobs: Iterable[Request], threads: int) -> Iterator[Made]:
    """``map(read, jobs)``, in order, of which ``threads`` are under way while one is used, and no more."""
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Made]] = deque()
        try:
            for job in jobs:
                pending.append(pool.submit(read, job))
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def read_ahead_threads() -> int:
    """Threads that read: one for each core that this process may use, and at most eight."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_READERS)


def as_float(values: Tensor) -> Tensor:
    """Pictures as float32 in [0,1], of uint8 or of floats, which stay as they are."""
    return values if values.is_floating_point() else values.float() / 255


def on(values: Values, device: torch.device | str) -> Values:
    """A tensor on ``device``; rows that are read later stay where they are, and their parts are moved."""
    return values.to(device) if isinstance(values, Tensor) else values

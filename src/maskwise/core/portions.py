"""Where memory is not enough: the same pictures in smaller portions, which changes no map, and is said."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch

from maskwise.core.errors import InputError

T = TypeVar("T")
SIGNS = (  # of what is raised as a RuntimeError alone
    "can't allocate memory", "not enough memory", "MPS backend out of memory", "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "bad_alloc", "Cannot allocate memory",
    "Storage size calculation overflowed",
)  # fmt: skip


def out_of_memory(error: BaseException) -> bool:
    """Is it what CUDA, MPS, the CPU's allocator or Python raise where memory is not enough?"""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM  # of mmap, and of processes that are started
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


class Portions:
    """Does work on so many pictures at once as memory takes, halving whenever it is not enough.

    Attributes:
        largest: pictures at once that are still tried; what failed is not tried again.
    """

    def __init__(self) -> None:
        self.largest: int | None = None

    def __call__(self, work: Callable[[slice], T], count: int, smaller: Callable[[], bool] = lambda: False) -> list[T]:
        """What ``work`` gives for slices that together are ``count`` pictures.

        Args:
            work: its result for a picture must not depend on the others.
            smaller: asked where one picture is too much: makes the work on it smaller, or says that it can't.

        Raises:
            InputError: memory is not enough for one picture.

        Example:
            >>> Portions()(lambda rows: list(range(5))[rows], 5)
            [[0, 1, 2, 3, 4]]
        """
        found: list[T] = []
        first = 0
        while first < count:
            size = min(self.largest or count, count - first)
            try:
                found.append(work(slice(first, first + size)))
                first += size
                continue
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            # Only here is the failed attempt's memory free: the error held its frames.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if size > 1:
                self.largest = size // 2
                warnings.warn(f"out of memory with {size} pictures at once: going on with {size // 2}", stacklevel=2)
            elif not smaller():
                raise InputError(
                    "out of memory with one picture at once: take smaller pictures, a method or classifier that needs "
                    "less, or `device=cpu`"
                )
        return found


def smaller_batch(explainer: Any) -> Callable[[], bool]:
    """Halves what an explainer, or the one inside it, computes at once for a picture: masks or windows."""

    def halve() -> bool:
        part = explainer
        while part is not None:
            settings = getattr(part, "settings", None)  # of SESS
            holder = part if settings is None else settings
            batch = getattr(holder, "batch", 1)
            if isinstance(batch, int) and batch > 1:
                if settings is None:
                    part.batch = batch // 2
                else:
                    part.settings = replace(settings, batch=batch // 2)
                warnings.warn(f"out of memory with {batch} forwards at once: going on with {batch // 2}", stacklevel=3)
                return True
            part = getattr(settings, "explainer", None)
        return False

    return halve

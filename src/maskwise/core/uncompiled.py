"""Compiled parts of a network run as they were written, for a while."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

import torch

_lock = Lock()
_open: list[ExitStack] = []  # the stance, set once for all that want it
_count = 0


@contextmanager
def uncompiled() -> Iterator[None]:
    """While open, what ``torch.compile`` made runs the Python that it was made of.

    A compiled graph calls no hooks that came after it, and operations that are to be seen or to have another backward
    are fused into it: a layer is not found, and relevance goes back through a part by its ordinary gradient, which
    looks like any other map. ``torch.compiler.set_stance`` is the process's: other threads are slower meanwhile, and
    the stance comes back with the last of those that wanted it.

    Nothing happens where nobody has compiled anything.
    """
    global _count
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with _lock:
        if not _count:
            _open.append(_eager())
        _count += 1
    try:
        yield
    finally:
        with _lock:
            _count -= 1
            if not _count:
                _open.pop().close()


def _eager() -> ExitStack:
    held = ExitStack()
    try:
        held.enter_context(torch.compiler.set_stance("force_eager"))
    except RuntimeError:  # whoever asks is being compiled as a whole, and has the say
        return ExitStack()
    return held

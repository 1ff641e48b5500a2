"""Keeping freed memory for the next layer, instead of giving it back and asking for it again."""

from __future__ import annotations

import contextlib
import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def keep_freed_memory() -> bool:
    """Tells glibc's malloc to serve large blocks from its heap and to keep what is freed, for the whole process.

    By default every activation of some megabytes is mapped anew, cleared page by page when it is first written, and
    unmapped with the layer. In batches of 32 pictures a third of a training step on a CPU went that way, and more than
    half of the time of a forward. The process then holds on to its peak, so this is for commands that run the same
    batches over and over.

    Returns:
        False where there is no glibc; nothing has changed then.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def give_back_freed_memory() -> None:
    """Gives back what is kept and not in use, so that the memory of what follows can be seen; only with glibc."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)

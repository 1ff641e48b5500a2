"""Another library's warnings silenced while it works, from any number of threads."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class Quiet:
    """Silences the warnings of a package as long as any thread is within ``here``; all others stay as they are.

    ``warnings.catch_warnings`` alone is not for threads: of two that overlap, the one that ends last puts back what the
    other had set, so that every warning of the process may be silenced for good.

    Args:
        package: whose modules' warnings are silenced.
    """

    def __init__(self, package: str) -> None:
        self.package = package
        self._lock, self._within = Lock(), 0
        self._kept: warnings.catch_warnings[None] | None = None
        if hasattr(os, "register_at_fork"):  # threads within are not in the child
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock, self._within = Lock(), 0

    @contextmanager
    def here(self) -> Iterator[None]:
        """While open, the package warns of nothing."""
        with self._lock:
            if self._within == 0:
                self._kept = warnings.catch_warnings()
                self._kept.__enter__()
                warnings.filterwarnings("ignore", module=rf"{self.package}\.")
            self._within += 1
        try:
            yield
        finally:
            with self._lock:
                self._within -= 1
                if self._within == 0 and self._kept is not None:
                    self._kept.__exit__(None, None, None)

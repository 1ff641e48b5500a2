"""How long a request will take, as those before it did."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

FIRST = 1.0  # seconds, before anything was measured
KINDS = 500  # that are remembered
NEWEST = 0.3  # weight of the newest


class UsualTime:
    """Seconds by kind of work: a running mean of what was measured; of an unknown kind the mean over all."""

    def __init__(self) -> None:
        self._seconds: OrderedDict[Hashable, float] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, kind: Hashable, seconds: float) -> None:
        """What a piece of work took."""
        with self._lock:
            before = self._seconds.get(kind, seconds)
            self._seconds[kind] = (1 - NEWEST) * before + NEWEST * seconds
            self._seconds.move_to_end(kind)
            if len(self._seconds) > KINDS:
                self._seconds.popitem(last=False)

    def expected(self, kind: Hashable) -> float:
        """Seconds that the next one will take, roughly."""
        with self._lock:
            if kind in self._seconds:
                return self._seconds[kind]
            return sum(self._seconds.values()) / len(self._seconds) if self._seconds else FIRST

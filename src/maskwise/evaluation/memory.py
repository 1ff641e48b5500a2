"""Peak memory of a piece of work: on the GPU by its allocator, on the CPU by watching the process."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

import torch

EVERY = 0.02  # seconds between two looks


class PeakMemory:
    """``with PeakMemory(device) as memory: …`` and then ``memory.megabytes`` above what was there before.

    On the CPU the process is looked at every 20 ms, which only Linux's /proc allows; elsewhere it is NaN.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.megabytes = device, float("nan")
        self._done = threading.Event()

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before: float = torch.cuda.memory_allocated(self.device)
        else:
            self._before = self._peak = _resident()
            self._watch = threading.Thread(target=self._look, daemon=True)
            self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.device.type == "cuda":
            peak: float = torch.cuda.max_memory_allocated(self.device)
        else:
            self._done.set()
            self._watch.join()
            peak = max(self._peak, _resident())
        self.megabytes = (peak - self._before) / 2**20

    def _look(self) -> None:
        while not self._done.wait(EVERY):
            self._peak = max(self._peak, _resident())


def _resident() -> float:
    """Bytes that the process holds in memory."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return float("nan")

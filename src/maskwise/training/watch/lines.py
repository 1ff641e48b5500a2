"""A plain line now and then, for a log file or a pipe, where no bar can be shown."""

from __future__ import annotations

import sys
import time

from maskwise.training.callbacks import Callback, TrainingState


class Lines(Callback):
    """Says on stderr where the page is, and every minute how far the training is.

    Args:
        seconds: between two lines; None says nothing but where the page is.
        page: is there one?
    """

    def __init__(self, seconds: float | None = 60.0, page: bool = True) -> None:
        self.seconds, self.page = seconds, page
        self.last: float | None = None

    def on_look(self, state: TrainingState) -> None:
        if self.last is not None:
            return
        self.last = time.monotonic()
        if self.page:
            print(f"watch it in a browser: {state.out / 'index.html'}", file=sys.stderr, flush=True)

    def on_step(self, state: TrainingState) -> None:
        now = time.monotonic()
        wanted = self.seconds is not None and self.last is not None and now - self.last >= self.seconds
        if wanted and state.logged and state.step < state.total:
            self.last = now
            print(progress_line(state), file=sys.stderr, flush=True)


def progress_line(state: TrainingState) -> str:
    """How far it is, in words.

    Example:
        >>> from pathlib import Path
        >>> from types import SimpleNamespace
        >>> logged = {"step": 120, "loss": -0.3125, "area": 0.381, "seconds_per_step": 1.9}
        >>> progress_line(TrainingState(SimpleNamespace(steps=120), Path(), 600, logged))
        'step 120 of 600, loss -0.31, area 0.38, 1.9 s a step, about 15 min left'
    """
    said = [f"{name} {state.logged[name]:.2f}" for name in ("loss", "area") if name in state.logged]
    pace = state.logged["seconds_per_step"]
    left = duration(pace * (state.total - state.step))
    return ", ".join([f"step {state.step} of {state.total}", *said, f"{pace:.2g} s a step", f"about {left} left"])


def duration(seconds: float) -> str:
    """Roughly, as one would say it.

    Example:
        >>> [duration(s) for s in (12.3, 300, 912, 7300, 200_000)]
        ['12 s', '5 min', '15 min', '2 h 2 min', '2 d 7 h']
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"

"""What all that watches a training shares: what goes wrong with it is told of, and the training goes on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from maskwise.training.callbacks import Callback


class Watcher(Callback):
    """A callback that writes for people.

    Attributes:
        what: it writes, for the warning.
        lost: can it no longer write?
    """

    what = "what watches the training"
    lost = False

    @contextmanager
    def careful(self) -> Iterator[None]:
        """An error in here ends the watching, not the training: a full disk, a server that is gone."""
        try:
            yield
        except Exception as error:  # of any library
            if not self.lost:
                said = " ".join(str(error).split()) or type(error).__name__
                warnings.warn(
                    f"{self.what} can't be written any more ({said[:200]}); the training goes on", stacklevel=3
                )
            self.lost = True

"""The log of a training: one line of JSON a step, as many as there are steps."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from maskwise.core.files import atomic_write, unwritable


class Log:
    """``with Log(path, done) as log: log.write({...})``.

    Args:
        path: of the file.
        done: steps that a resumed run has behind it. Lines past them are written again, so they go; a half-written
            last line goes with them.

    Raises:
        InputError: here and in ``write``: the folder can't be written to, or the disk is full.
    """

    def __init__(self, path: Path, done: int = 0) -> None:
        self.path = path
        self.kept: list[str] = []
        if path.is_file():
            self.kept = path.read_text(encoding="utf-8").splitlines()[:done]
            with atomic_write(path) as temporary:
                temporary.write_text("".join(line + "\n" for line in self.kept), encoding="utf-8")

    def __enter__(self) -> Log:
        with self._plainly():
            self.file = self.path.open("a", 1, "utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._plainly():
            self.file.close()

    def write(self, line: Mapping[str, Any]) -> None:
        with self._plainly():
            self.file.write(json.dumps(line) + "\n")

    def sync(self) -> None:
        """Onto the disk, so that no checkpoint is ahead of its log."""
        with self._plainly():
            self.file.flush()
            os.fsync(self.file.fileno())

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self.path, error) from error

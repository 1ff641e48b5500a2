"""Finished pieces of a long check on disk, one JSON line each, so that a killed run goes on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write, writable_folder

FILE = "rows.jsonl"


class Cells:
    """Rows by their key; each is on disk when ``add`` returns.

    Args:
        folder: where ``rows.jsonl`` lies; None keeps the rows in memory.
        run: plain data that says which run this is: the first line of the file.

    Raises:
        InputError: the folder can't be written to, or holds another run.
    """

    def __init__(self, folder: Path | None, run: dict[str, Any]) -> None:
        self.rows: list[dict[str, Any]] = []
        self.path = None if folder is None else writable_folder(folder) / FILE
        if self.path is None:
            return
        run = json.loads(json.dumps(run, default=str))
        if self.path.is_file():
            first, *self.rows = _whole_lines(self.path) or [{"run": run}]
            if first != {"run": run}:
                theirs = first.get("run", {})
                differs = [key for key in run if theirs.get(key) != run[key]] if isinstance(theirs, dict) else []
                raise InputError(f"{self.path}: belongs to another run ({', '.join(differs)}); name another `out`")
        with atomic_write(self.path) as temporary:  # without a half-written last line
            lines = [json.dumps(line) + "\n" for line in [{"run": run}, *self.rows]]
            temporary.write_text("".join(lines), encoding="utf-8")

    def find(self, **key: Any) -> dict[str, Any] | None:
        """The row with these values, or None."""
        for row in self.rows:
            if all(name in row and row[name] == value for name, value in key.items()):
                return row
        return None

    def add(self, row: dict[str, Any]) -> dict[str, Any]:
        """Appends a row and waits until it is on the disk."""
        self.rows.append(row)
        if self.path is not None:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        return row


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines up to the first that can't be read: a kill in the middle of a write leaves half a line."""
    found: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(row, dict):
            break
        found.append(row)
    return found

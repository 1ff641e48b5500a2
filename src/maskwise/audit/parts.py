"""Numbers of a part that takes long, kept on the disk for a run that goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from maskwise.core.files import atomic_write
from maskwise.evaluation.store import key_of


def kept(
    folder: Path,
    name: str,
    identity: dict[str, Any],
    make: Callable[[], dict[str, Any]],
    files: Sequence[Path] = (),
) -> dict[str, Any]:
    """What ``make`` gave for this identity, now or in an earlier run whose files are still there.

    Args:
        folder: of the audit; parts lie in its ``parts``.
        name: of the part.
        identity: plain data; another one is made anew.
        make: gives plain data.
        files: what it writes beside.
    """
    path = folder / "parts" / f"{name}.json"
    who = key_of(identity)
    if path.is_file() and all(file.is_file() for file in files):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and found.get("identity") == who and isinstance(found.get("numbers"), dict):
            return dict(found["numbers"])
    numbers = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"identity": who, "numbers": numbers}, indent=1) + "\n", encoding="utf-8")
    return numbers

"""All studies of a folder on one page: what was run, and the verdict on each claim."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from maskwise.core.files import atomic_write

NAME = "overview.md"


def write_overview(folder: Path) -> Path:
    """``overview.md`` of all studies that have a ``NAME.json`` in ``folder``."""
    path = folder / NAME
    with atomic_write(path) as temporary:
        temporary.write_text(overview(folder), encoding="utf-8")
    return path


def overview(folder: Path) -> str:
    lines = ["# Studies at a glance", "", "| study | scale | rows | claim | verdict |", "|---|---|---|---|---|"]
    for study in _studies(folder):
        lines += _rows(study)
    return "\n".join(lines) + "\n"


def _rows(study: dict[str, Any]) -> list[str]:
    """One line a claim; none of a file that is no study's whole result."""
    lines = []
    try:
        name, scale = study["protocol"]["study"], study["protocol"]["scale"]
        first = [f"[{name}]({name}.md)", scale, rows_there(study)]
        for claim in study["claims"] or [{"claim": "", "verdict": ""}]:
            lines.append(f"| {' | '.join([*first, claim['claim'], claim['verdict']])} |")
            first = ["", "", ""]
    except (LookupError, TypeError, AttributeError):
        return []
    return lines


def rows_there(study: Mapping[str, Any]) -> str:
    """``all 11`` of its rows, or ``7 of 11``."""
    there, gone = len(study["rows"]), len(study["not_run"]) + len(study["failures"])
    return f"{there} of {there + gone}" if gone else f"all {there}"


def stored_study(path: Path) -> dict[str, Any] | None:
    """What ``write_report`` wrote; None where there is no such file, or another one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    protocol = found.get("protocol") if isinstance(found, dict) else None
    return found if isinstance(protocol, dict) and protocol.get("study") == path.stem else None


def _studies(folder: Path) -> Iterator[dict[str, Any]]:
    """Those in a folder, by name; other JSON files are left alone."""
    return (found for path in sorted(folder.glob("*.json")) if (found := stored_study(path)) is not None)

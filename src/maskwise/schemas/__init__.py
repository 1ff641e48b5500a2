"""What ``--json`` prints, as JSON Schemas (draft 2020-12): a file each, shipped with the package."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

SCHEMAS = {
    "audit": "audit", "evaluate": "leaderboard", "compare": "leaderboard", "methods": "methods", "metrics": "metrics",
    "classifiers": "classifiers", "recipes": "recipes", "datasets": "datasets", "convert": "convert",
    "doctor": "doctor", "layers": "layers", "pack": "pack", "train": "train", "fit": "fit", "export": "export",
    "live": "live", "panel": "panel", "plan": "plan", "study": "study", "explain": "explain", "demo": "explain",
    **{f"check {name}": "check"
       for name in ("mprt", "drt", "roar", "max-sensitivity", "arcc", "focus", "f-fidelity", "leak")},
}  # fmt: skip


def schema(command: str) -> dict[str, Any]:
    """The schema of what a command prints with ``--json``.

    Raises:
        KeyError: none is written down for this command.

    Example:
        >>> schema("audit")["required"]
        ['stamp', 'criteria', 'sections']
    """
    text = (resources.files("maskwise.schemas") / f"{SCHEMAS[command]}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found

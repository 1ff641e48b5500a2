"""The SHA-256 of a file, in constant memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

PIECE = 1 << 22


def sha256_of(path: str | Path) -> str:
    """Of a file, as hex digits.

    Raises:
        OSError: it can't be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(PIECE):
            digest.update(block)
    return digest.hexdigest()

"""Safetensors with a seal: the header holds a digest of the whole file, and equal content gives equal bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO

from safetensors.torch import save
from torch import Tensor

from maskwise.core.errors import InputError

SEAL = "sha256"
OPEN = "0" * 64  # what stands in the seal's place while the file is digested
LONGEST = 100_000_000  # bytes of a header, by the format's own rule
PIECE = 1 << 20
ASSETS = Path(str(resources.files("maskwise") / "assets"))


def sealed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The file's bytes. The library itself writes metadata in an order that differs from process to process.

    Args:
        tensors: by name, contiguous.
        metadata: with a ``format`` that ends in a number above 1, by which a missing seal is noticed.
    """
    plain = save(dict(tensors))
    length = int.from_bytes(plain[:8], "little")
    header: dict[str, Any] = {"__metadata__": dict(sorted({**metadata, SEAL: OPEN}.items()))}
    text = json.dumps(header | json.loads(plain[8 : 8 + length]), separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    whole = len(text).to_bytes(8, "little") + text + plain[8 + length :]
    return whole.replace(OPEN.encode(), hashlib.sha256(whole).hexdigest().encode(), 1)


def check_seal(path: str | Path) -> None:
    """Compares the file with its seal, or a packaged one with the package's list; other files without a seal pass.

    Raises:
        InputError: the file was damaged or changed, or is no safetensors file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start, metadata = _header(file, path.stat().st_size)
            seal = metadata.get(SEAL)
            if seal is None:
                expected = _packaged().get(path.resolve())
                if metadata.get("format", "").startswith("maskwise-") and not metadata["format"].endswith("-1"):
                    expected = ""  # it had one once
            else:
                start, expected = start.replace(seal.encode(), OPEN.encode(), 1), seal
            found = expected if expected is None else _digest(start, file)
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a safetensors file ({' '.join(str(error).split())[:100]})") from None
    if found != expected:
        raise InputError(f"{path}: its checksum is wrong: the file was damaged or changed; get it again")


def _header(file: BinaryIO, size: int) -> tuple[bytes, dict[str, str]]:
    """Bytes up to the tensors, and the metadata in them."""
    first = file.read(8)
    length = int.from_bytes(first, "little")
    if length > min(size, LONGEST):
        raise ValueError("its header is longer than the file")
    text = file.read(length)
    return first + text, json.loads(text).get("__metadata__") or {}


def _digest(start: bytes, rest: BinaryIO) -> str:
    found = hashlib.sha256(start)
    for piece in _pieces(rest):
        found.update(piece)
    return found.hexdigest()


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


@lru_cache(maxsize=1)
def _packaged() -> dict[Path, str]:
    """Digests of packaged files by their path; those written without a seal are listed."""
    lines = (ASSETS / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return {(ASSETS / name).resolve(): digest for digest, name in (line.split(maxsplit=1) for line in lines)}

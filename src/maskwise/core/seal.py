"""Safetensors with a seal: the header holds a digest of the whole file, and equal content gives equal bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.reading import PIECE, pieces

SEAL = "sha256"
OPEN = "0" * 64  # what stands in the seal's place while the file is digested
LONGEST = 100_000_000  # bytes of a header, by the format's own rule
DTYPES = {  # the format's names of types, in the order in which the library lays them down, last one first
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.int32: "I32", torch.float32: "F32", torch.float64: "F64", torch.int64: "I64",
}  # fmt: skip
ASSETS = Path(str(resources.files("maskwise") / "assets"))


def save_sealed(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes the file; of the tensors one at a time is copied, and the digest is made on the way.

    The library itself writes metadata in an order that differs from process to process, and asks for the whole file as
    one piece of memory.

    Args:
        path: a new file.
        tensors: by name, on any device.
        metadata: with a ``format`` that ends in a number above 1, by which a missing seal is noticed.

    Raises:
        KeyError: a tensor of a type that the format does not have here.
        OSError: it can't be written.
    """
    order = sorted(tensors, key=lambda name: (-list(DTYPES).index(tensors[name].dtype), name))  # as the library's
    header: dict[str, Any] = {"__metadata__": dict(sorted({**metadata, SEAL: OPEN}.items()))}
    place = 0
    for name in order:
        tensor, first = tensors[name], place
        place += tensor.numel() * tensor.element_size()
        about = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [first, place]}
        header[name] = about
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = len(text).to_bytes(8, "little") + text
    digest = hashlib.sha256(start)
    with path.open("wb") as file:  # not the library's save_file, whose file is readable for its owner alone
        file.write(start)
        for name in order:
            for piece in _bytes_of(tensors[name]):
                digest.update(piece)
                file.write(piece)
        file.seek(start.index(f'"{SEAL}":"{OPEN}"'.encode()) + len(f'"{SEAL}":"'))
        file.write(digest.hexdigest().encode())


def _bytes_of(tensor: Tensor) -> Iterator[memoryview]:
    """Its numbers, little end first, in pieces."""
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    for first in range(0, len(flat), PIECE):
        yield flat[first : first + PIECE].numpy().data


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
    for piece in pieces(rest):
        found.update(piece)
    return found.hexdigest()


@lru_cache(maxsize=1)
def _packaged() -> dict[Path, str]:
    """Digests of packaged files by their path; those written without a seal are listed."""
    lines = (ASSETS / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return {(ASSETS / name).resolve(): digest for digest, name in (line.split(maxsplit=1) for line in lines)}

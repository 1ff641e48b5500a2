"""The header of a ``.npy`` file, read without Python's own parser, which is not safe in several threads at once."""

from __future__ import annotations

import re
from typing import IO, NamedTuple

import numpy as np

MAGIC = b"\x93NUMPY"
LENGTH_BYTES = {b"\1\0": 2, b"\2\0": 4, b"\3\0": 4}  # by the format's version
MOST_BYTES = 10_000  # as NumPy
# One of the three entries. Python 2 may have written 3L for 3 and u"" for ""; a list is the fields of a record.
ENTRY = re.compile(
    r"""\s* u? (["']) (?P<key>descr|fortran_order|shape) \1 \s* : \s*
    (?: u? (["']) (?P<kind>[<>|=]?[a-zA-Z?]\d{0,8}(?:\[\w{1,12}\])?) \3
      | (?P<fields>\[ .* \])
      | (?P<truth>True|False)
      | \( (?P<sides>(?:\s*-?\d{1,18}L?\s*(?:,|(?=\))))*) \s* \) )
    \s* (?: , \s* | (?=\}) )""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)


class NpyHeader(NamedTuple):
    """What a ``.npy`` file says of its array.

    Attributes:
        shape: of any length; a side may be negative, as no array's is.
        columns_first: the first index changes fastest.
        kind: of its numbers; None for records with fields.
    """

    shape: tuple[int, ...]
    columns_first: bool
    kind: np.dtype | None


def read_npy_header(file: IO[bytes]) -> NpyHeader:
    """The header at which ``file`` stands, and no byte more. Format: ``numpy.lib.format``, versions 1 to 3.

    NumPy's own reader calls ``ast.literal_eval``. In CPython 3.11 that fails at random where two threads are in it:
    "AST constructor recursion depth mismatch".

    Raises:
        ValueError: it is none.

    Example:
        >>> from io import BytesIO
        >>> stream = BytesIO()
        >>> np.save(stream, np.zeros((2, 3), np.float32))
        >>> read_npy_header(BytesIO(stream.getvalue()))
        NpyHeader(shape=(2, 3), columns_first=False, kind=dtype('float32'))
    """
    start = file.read(len(MAGIC) + 2)
    version = start[len(MAGIC) :]
    if not start.startswith(MAGIC) or version not in LENGTH_BYTES:
        raise ValueError("no .npy file")
    length = int.from_bytes(file.read(LENGTH_BYTES[version]), "little")
    if length > MOST_BYTES:
        raise ValueError(f"a header of {length:,} bytes")
    text = file.read(length)
    if len(text) < length:
        raise ValueError("the header ends too early")
    return _parsed(text.decode("utf-8" if version == b"\3\0" else "latin1").strip())


def _parsed(text: str) -> NpyHeader:
    if not text.startswith("{"):
        raise ValueError("the header is no dictionary")
    entries, place = dict[str, re.Match[str]](), 1
    while (entry := ENTRY.match(text, place)) is not None:
        entries[entry["key"]] = entry
        place = entry.end()
    if text[place:].strip() != "}" or len(entries) < 3:
        raise ValueError("the header is not one of an array")
    kind, truth, sides = entries["descr"], entries["fortran_order"]["truth"], entries["shape"]["sides"]
    if truth is None or sides is None or (kind["kind"] is None and kind["fields"] is None):
        raise ValueError("the header has a value of the wrong type")
    shape = tuple(int(side) for side in re.findall(r"-?\d+", sides))
    try:
        return NpyHeader(shape, truth == "True", None if kind["kind"] is None else np.dtype(kind["kind"]))
    except TypeError as error:
        raise ValueError(str(error)) from None

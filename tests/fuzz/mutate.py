"""Seeded damage: to bytes, and to text that still looks like what it was."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from random import Random

# Where readers that count, allocate or compare go wrong.
SIZES = (0, 1, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 50_000, 0x7FFFFFFF, 0xFFFFFFFF, 2**40, 2**63 - 1)
WORDS = (
    "",
    " ",
    "0",
    "-1",
    "1e309",
    "-1e309",
    "nan",
    ".nan",
    "inf",
    ".inf",
    "-.inf",
    "1e-400",
    "9" * 40,
    "9" * 5000,
    "0x1F",
    "1_0",
    "null",
    "~",
    "true",
    "no",
    "2001-01-01",
    "1:30:00",
    "!!binary aGk=",
    "!!set {a}",
    "!!python/none x",
    "!!python/object/apply:os.system [id]",
    "*a",
    "&a x",
    "{}",
    "[]",
    "[1, 2",
    "{a: b",
    "'",
    '"',
    "|",
    "%TAG",
    "---",
    "../../../etc/passwd",
    "/etc/passwd",
    "C:\\x",
    "a\x00b",
    "\x1b[31mred\x1b[0m",
    "\u202etxt",
    "\ufeff",
    "\ud83d\ude00",
    "<script>alert(1)</script>",
    "=1+1",
    "a" * 300,
    "é",
    "[/bold]",
    "{{7*7}}",
    "%s%n",
    "$(id)",
    ",",
    ";",
    "\t",
    "\r",
)


def damaged(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """The bytes after one to four blows; ``others`` are what a piece may be taken from."""
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        random.choice(BLOWS)(out, others, random)
    return bytes(out)


def _flip_bits(out: bytearray, others: Sequence[bytes], random: Random) -> None:
    for _ in range(random.choice((1, 2, 8, 64)) if out else 0):
        out[random.randrange(len(out))] ^= 1 << random.randrange(8)


def _set_bytes(out: bytearray, others: Sequence[bytes], random: Random) -> None:
    for _ in range(random.choice((1, 4, 16)) if out else 0):
        out[random.randrange(len(out))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))


def _truncate(out: bytearray, others: Sequence[bytes], random: Random) -> None:
    del out[random.randrange(len(out) + 1) :]


def _cut(out: bytearray, others: Sequence[bytes], random: Random) -> None:
    start = random.randrange(len(out) + 1)
    del out[start : start + random.choice((1, 4, 32, 256))]


def _repeat(out: bytearray, others: Sequence[bytes], random: Random) -> None:
    start = random.randrange(len(out) + 1)
    piece = bytes(out[start : start + random.choice((1, 4, 32, 256))])
    out[start:start] = piece * random.choice((1, 2, 50))


def _insert(out: bytearray, others: Sequence[bytes], random: Random) -> None:
    start = random.randrange(len(out) + 1)
    out[start:start] = random.randbytes(random.choice((1, 2, 4, 32)))


def _splice(out: bytearray, others: Sequence[bytes], random: Random) -> None:
    """The head of one file on the tail of another."""
    other = random.choice(others) if others else b""
    out[random.randrange(len(out) + 1) :] = other[random.randrange(len(other) + 1) :]


def _header(out: bytearray, others: Sequence[bytes], random: Random) -> None:
    """A number of the first 64 bytes, where sizes and offsets stand, becomes another one."""
    width, code = random.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
    if len(out) >= width:
        start = random.randrange(min(len(out) - width + 1, 64))
        value = random.choice((*SIZES, random.randrange(2**32))) % (1 << 8 * width)
        out[start : start + width] = struct.pack(random.choice("<>") + code, value)


BLOWS: tuple[Callable[[bytearray, Sequence[bytes], Random], None], ...] = (
    _flip_bits,
    _set_bytes,
    _truncate,
    _cut,
    _repeat,
    _insert,
    _splice,
    _header,
    _header,
)


def reworded(text: str, random: Random, separators: str) -> str:
    """Text with one to three of its fields, which ``separators`` part, replaced, dropped or repeated."""
    for _ in range(random.choice((1, 1, 2, 3))):
        starts = [0, *(i + 1 for i, sign in enumerate(text) if sign in separators)]
        start = random.choice(starts)
        end = next((i for i in range(start, len(text)) if text[i] in separators), len(text))
        field = text[start:end]
        new = random.choice((random.choice(WORDS), field * 2, "", field + random.choice(WORDS), _lines(text, random)))
        text = text[:start] + new + text[end:]
    return text


def _lines(text: str, random: Random) -> str:
    line = random.choice(text.splitlines() or [""])
    return f"{line}\n" * random.choice((1, 2, 20))


def as_bytes(text: str) -> bytes:
    """UTF-8; halves of a UTF-16 pair become bytes that no UTF-8 reader takes."""
    return text.encode("utf-8", "surrogatepass")

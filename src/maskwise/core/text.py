"""Texts from outside, such as names of files and classes, made safe to print."""

from __future__ import annotations

from collections.abc import Sequence

NAMED = 3  # in one line


def printable(text: object) -> str:
    """One line that moves no cursor: control characters, which a file may be called, and odd spaces are written out.

    Example:
        >>> printable("dog\\x1b[2J.jpg")
        'dog\\\\x1b[2J.jpg'
    """
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in str(text))


def utf8(name: str) -> str:
    """A file's name as text that can be written anywhere: bytes of it that are no UTF-8 are written out.

    Example:
        >>> utf8("d\\udcffg.png")
        'd\\\\udcffg.png'
    """
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def how_many(count: int, thing: str) -> str:
    """So many things, in words that fit one, too.

    Example:
        >>> how_many(1, "picture"), how_many(2, "picture"), how_many(1200, "picture")
        ('1 picture', '2 pictures', '1,200 pictures')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def in_percent(values: Sequence[float]) -> bool:
    """Are they probabilities, which are said in percent, and not ages or other scores?"""
    return all(0 <= value <= 1 for value in values)


def probabilities_said(values: Sequence[float], digits: int = 1) -> list[str]:
    """Percentages of probabilities; numbers of four digits where one lies below 0 or above 1, as an age does.

    Example:
        >>> probabilities_said([0.9, 0.05]), probabilities_said([46.02, 0.5])
        (['90.0%', '5.0%'], ['46.02', '0.5'])
    """
    percent = in_percent(values)
    return [f"{value:.{digits}%}" if percent else f"{value:.4g}" for value in values]


def few(names: Sequence[str]) -> str:
    """The first name, and a sign that there are more.

    Example:
        >>> few(["a.png"]), few(["a.png", "b.png"])
        ('a.png', 'a.png, …')
    """
    return names[0] if len(names) == 1 else f"{names[0]}, …"


def first_few(names: Sequence[str]) -> str:
    """The first three names, and how many more there are.

    Example:
        >>> first_few(["a", "b", "c", "d"]), first_few(["a"])
        ('a, b, c and 1 more', 'a')
    """
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return utf8(", ".join(names[:NAMED])) + more


def shortened(text: str, most: int) -> str:
    """The text; one of more than ``most`` signs without its middle.

    Example:
        >>> shortened("from the beginning to the end", 16)
        'from the … e end'
    """
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 3]} … {text[-end:]}"


def one_line(text: object, most: int) -> str:
    """What another library says, in one line of at most ``most`` signs."""
    return " ".join(str(text).split())[:most]


def cell(text: object) -> str:
    """``printable`` for a table of rich, in which brackets would be styles."""
    from rich.markup import escape

    return escape(printable(text))

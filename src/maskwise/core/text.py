"""Texts from outside, such as names of files and classes, made safe to print."""

from __future__ import annotations


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

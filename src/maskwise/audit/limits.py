"""Where a criterion fails: the bounds of an audit, each to be set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from maskwise.core.errors import InputError
from maskwise.core.text import few

DECIDED_BY: dict[str, tuple[str, ...]] = {
    "accuracy": ("accuracy", "calibration"), "errors": (), "evidence": ("evidence",),
    "background": ("background", "classes"), "spurious": ("spurious",), "shortcut": ("shortcut",),
    "sanity": ("mprt", "stability", "leak"),
}  # fmt: skip
"""The criteria that each part of an audit decides."""
CRITERIA = (*(name for names in DECIDED_BY.values() for name in names), "worse")


@dataclass(frozen=True)
class Limits:
    """Bounds; a criterion fails where the whole 95% interval is beyond its bound.

    Args:
        calibration: expected calibration error, 0 to 1, that must not be exceeded.
        background: the part of the accuracy on objects upon a background of their own class that is lost upon one of
            another class, that must not be exceeded.
        classes: how much more often any class may be said of its own backgrounds than of others', as shares.
        spurious: how much more often any class may be said of pictures of other classes with what lies beside its
            objects than with what lies beside those of other classes, as shares.
        mprt: rank correlation with maps of a network of random weights that must not be reached.
        stability: rank correlation of maps under small changes of the picture that must be reached.
        shortcut: how many times more of the map must lie on a planted patch than of a map that is the same everywhere.
        leak: how much more, in accuracy, a masker's own judge may gain by its masks than one that knows random holes.
    """

    calibration: float = 0.1
    background: float = 0.3
    classes: float = 0.5
    spurious: float = 0.1
    mprt: float = 0.5
    stability: float = 0.7
    shortcut: float = 1.5
    leak: float = 0.05

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 100:
                raise InputError(f"the bound {one.name} is a number from 0 on, not {value!r}")


def parts_asked(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """The parts of these names, in the order of an audit; None is all of them.

    Raises:
        InputError: no name, or one that is none of a part.

    Example:
        >>> parts_asked(["evidence", "accuracy"])
        ('accuracy', 'evidence')
    """
    if names is None:
        return tuple(DECIDED_BY)
    names = [names] if isinstance(names, str) else names
    wrong = [name for name in names if name not in DECIDED_BY]
    if wrong or not names:
        said = f"an audit has no part {few(wrong)}" if wrong else "an audit has at least one part"
        raise InputError(f"{said}: they are {', '.join(DECIDED_BY)}")
    return tuple(name for name in DECIDED_BY if name in names)


def part_of(criterion: str) -> str | None:
    """The part that decides a criterion; None for ``worse``, which another checkpoint decides."""
    return next((part for part, names in DECIDED_BY.items() if criterion in names), None)


def unknown_criteria(names: Sequence[str]) -> None:
    """Raises InputError where a name is none of a criterion."""
    wrong = [name for name in names if name not in CRITERIA]
    if wrong:
        raise InputError(f"there is no criterion {few(wrong)}: they are {', '.join(CRITERIA)}")

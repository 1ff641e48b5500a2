"""What metrics ask of a classifier again and again, of the same pictures, asked once.

Much of what a metric of faithfulness asks depends on the pictures and not on the map: the scores of the whole picture,
and those without fixed or random parts of it. Several metrics and all methods of a comparison need the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
KEPT = 16  # answers: some of the pictures, used with each map, and those of the last few maps
PLAIN = (bool, int, float, str)

_Known = list[tuple[Callable[..., object], tuple[object, ...], object]]  # latest last
_known: ContextVar[_Known | None] = ContextVar("known", default=None)


@contextmanager
def shared_scores() -> Iterator[None]:
    """While open, ``shared`` keeps what it has computed; it is for a time in which no classifier changes.

    One within another begins anew, and leaves the outer one as it was.
    """
    before = _known.set([])
    try:
        yield
    finally:
        _known.reset(before)


def shared(function: Callable[..., T], *given: object) -> T:
    """What the function gives for these arguments: computed once while ``shared_scores`` is open, else each time.

    Args:
        function: its result depends on nothing but its arguments, and is not changed by who gets it.
        given: its arguments. Tensors are the same if all their values are, numbers and texts likewise, anything else
            if it is the very object.

    Example:
        >>> calls = []
        >>> ask = calls.append
        >>> with shared_scores():
        ...     shared(ask, 1), shared(ask, 1), shared(ask, 2)
        (None, None, None)
        >>> calls
        [1, 2]
    """
    known = _known.get()
    if known is None:
        return function(*given)
    for place, (other, theirs, result) in enumerate(known):
        if other is function and _same(given, theirs):
            known.append(known.pop(place))
            return result  # type: ignore[return-value]
    made = function(*given)
    known.append((function, given, made))
    del known[:-KEPT]
    return made


def _same(these: tuple[object, ...], those: tuple[object, ...]) -> bool:
    return len(these) == len(those) and all(map(_one_is, these, those))


def _one_is(this: object, that: object) -> bool:
    if this is that:
        return True
    if isinstance(this, Tensor) and isinstance(that, Tensor):
        alike = (this.shape, this.dtype, this.device) == (that.shape, that.dtype, that.device)
        return alike and torch.equal(this, that)
    return type(this) is type(that) and isinstance(this, PLAIN) and this == that

"""What networks give, as scores (N,K): a tensor, a tuple, a dictionary, an object with ``logits``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from maskwise.core.errors import InputError

ScoresAt = int | str | None


def scores_of(raw: Any, output: ScoresAt, count: int | None = None) -> Tensor:
    """Scores (N,K) in what a network gave.

    Args:
        raw: a tensor; or a tuple, list, dictionary or object that holds one.
        output: index or name of the scores in it; None takes them where only one thing can be meant.
        count: N, where it is known; a row of scores without pictures is told by it.

    Raises:
        InputError: several tensors could be meant, or the one that is has another shape.
    """
    scores = _tensor(raw, output, count)
    count = len(scores) if count is None and scores.ndim else count
    if scores.ndim == 4 and scores.shape[2:] == (1, 1):
        scores = scores.flatten(1)
    if scores.ndim == 1 and len(scores) == count:
        scores = scores[:, None]
    if scores.ndim == 2 and len(scores) == count and scores.shape[1]:
        return scores
    shape = f"{tuple(scores.shape)} for {count} pictures"
    if scores.ndim == 4:
        raise InputError(f"the network gives {shape}, a value at each place: make it scores (N,K), such as their mean")
    if scores.ndim == 3:
        raise InputError(f"the network gives {shape}, tokens or steps: make it scores (N,K), such as the first one's")
    raise InputError(f"the network gives {shape}, and scores are (N,K): one row a picture, one column a class")


def _tensor(raw: Any, output: ScoresAt, count: int | None) -> Tensor:
    if isinstance(raw, Tensor):
        return raw
    if output is not None:
        return _named(raw, output)
    logits = raw.get("logits") if isinstance(raw, Mapping) else getattr(raw, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    held = {key: value for key, value in _items(raw) if isinstance(value, Tensor)}
    fitting = {key: value for key, value in held.items() if value.ndim == 2 and count in (None, len(value))}
    for found in (held, fitting):
        if len(found) == 1:
            return next(iter(found.values()))
    if not held:
        raise InputError(f"the network gives {type(raw).__name__}, which holds no tensor: wrap it so that it gives one")
    shapes = ", ".join(f"{key!r} {tuple(value.shape)}" for key, value in held.items())
    raise InputError(
        f"the network gives several tensors ({shapes}): say which are the scores, `output={next(iter(held))}`"
    )


def _named(raw: Any, output: int | str) -> Tensor:
    try:
        if isinstance(output, str) and not isinstance(raw, Mapping):
            found = getattr(raw, output)
        else:
            found = raw[output]
    except (AttributeError, KeyError, IndexError, TypeError):
        there = ", ".join(repr(key) for key, _ in _items(raw)) or type(raw).__name__
        raise InputError(f"the network's output has no {output!r}; it has {there}") from None
    if not isinstance(found, Tensor):
        raise InputError(f"the network's output {output!r} is {type(found).__name__}, not a tensor")
    return found


def _items(raw: Any) -> list[tuple[int | str, Any]]:
    if isinstance(raw, Tensor):
        return []
    if isinstance(raw, Mapping):
        return list(raw.items())
    if isinstance(raw, Sequence) and not isinstance(raw, str):
        return list(enumerate(raw))
    slots = [name for kind in type(raw).__mro__ for name in _slots(kind) if hasattr(raw, name)]
    return [*((name, getattr(raw, name)) for name in slots), *getattr(raw, "__dict__", {}).items()]


def _slots(kind: type) -> tuple[str, ...]:
    """Names that objects of a class keep outside of ``__dict__``, as those of a dataclass with ``slots=True``."""
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(name for name in slots if not name.startswith("__"))

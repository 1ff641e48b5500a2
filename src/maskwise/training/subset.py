"""Few classes, few pictures of each: which ones, drawn by a seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from maskwise.core.errors import InputError
from maskwise.training.draws import generator


def subset(
    labels: Sequence[int], classes: int | Sequence[int] | None, per_class: int | None, seed: int
) -> tuple[list[int], list[int]]:
    """Pictures of a few-shot or unseen-class training (Phang et al. 5.4; CASM 6.4).

    More classes or more pictures under the same seed always contain those of a smaller subset.

    Args:
        labels: of every picture.
        classes: how many, drawn at random, or which; None is all of them.
        per_class: at most so many of each; a class with fewer gives what it has.

    Returns:
        Indices of the pictures in rising order, and the classes in rising order.

    Raises:
        InputError: more classes are asked for than there are, or a named one has no picture.

    Example:
        >>> subset([0, 0, 0, 7, 7, 9], classes=[7, 9], per_class=1, seed=0)[1]
        [7, 9]
    """
    there = sorted(set(labels))
    if isinstance(classes, int):
        if classes > len(there):
            raise InputError(f"{classes} classes were asked for, but the pictures have {len(there)}")
        order = torch.randperm(len(there), generator=generator(seed, 3)).tolist()
        kept = sorted(there[i] for i in order[:classes])
    else:
        kept = sorted(set(there if classes is None else classes))
    missing = sorted(set(kept) - set(there))
    if missing:
        raise InputError(f"no picture has class {missing[0]}; classes must be among those of the data")
    chosen: list[int] = []
    for label in kept:
        own = [i for i, other in enumerate(labels) if other == label]
        if per_class is not None:
            order = torch.randperm(len(own), generator=generator(seed, 4, label)).tolist()
            own = [own[i] for i in order[:per_class]]
        chosen += own
    return sorted(chosen), kept

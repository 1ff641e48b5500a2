"""Few classes, few pictures of each: which ones, drawn by a seed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from maskwise.core.errors import InputError
from maskwise.training.draws import generator


def subset(
    shown: Sequence[Collection[int]], classes: int | Sequence[int] | None, per_class: int | None, seed: int
) -> tuple[list[int], list[int]]:
    """Pictures of a few-shot or unseen-class training (Phang et al. 5.4; CASM 6.4).

    More classes or more pictures under the same seed always contain those of a smaller subset.

    Args:
        shown: the classes of every picture: its label, or all its findings.
        classes: how many, drawn at random, or which; None is all of them. A picture that shows any other is left out.
        per_class: at most so many of each; a class with fewer gives what it has. A picture of several counts for each.

    Returns:
        Indices of the pictures in rising order, and the classes in rising order.

    Raises:
        InputError: more classes are asked for than there are, a named one has no picture, or no picture has a class.

    Example:
        >>> subset([{0}, {0}, {0}, {7}, {7}, {9}], classes=[7, 9], per_class=1, seed=0)[1]
        [7, 9]
    """
    there = sorted({label for own in shown for label in own})
    if isinstance(classes, int):
        if classes > len(there):
            raise InputError(f"{classes} classes were asked for, but the pictures have {len(there)}")
        order = torch.randperm(len(there), generator=generator(seed, 3)).tolist()
        kept = sorted(there[i] for i in order[:classes])
    else:
        kept = sorted(set(there if classes is None else classes))
    if not kept:
        raise InputError("no picture shows a class, by a label or to the classifier: there is nothing to choose from")
    missing = sorted(set(kept) - set(there))
    if missing:
        raise InputError(f"no picture has class {missing[0]}; classes must be among those of the data")
    seen = set(kept)
    places: dict[int, list[int]] = {label: [] for label in kept}
    for i, classes_of_it in enumerate(shown):
        if seen.issuperset(classes_of_it):
            for label in classes_of_it:
                places[label].append(i)
    chosen: set[int] = set()
    for label, own in places.items():
        if per_class is not None:
            order = torch.randperm(len(own), generator=generator(seed, 4, label)).tolist()
            own = [own[i] for i in order[:per_class]]
        chosen |= set(own)
    return sorted(chosen), kept

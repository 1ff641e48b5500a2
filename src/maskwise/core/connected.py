"""Things that have a name in common, directly or by way of others."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor


def connected(names: Sequence[Iterable[Hashable]]) -> Tensor:
    """The number of each thing's group, (N,) int64, counted from 0 in the order in which groups first appear.

    Args:
        names: of each thing, any number; two with a name in common are of one group, and so are those that a third one
            joins.

    Example:
        >>> connected([["a"], ["b"], ["c", "a"], [], ["c"]]).tolist()
        [0, 1, 0, 2, 0]
    """
    # A quarter of a second to load, which whoever has no subjects does without.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    place: dict[Hashable, int] = {}
    edges = [(i, len(names) + place.setdefault(name, len(place))) for i, own in enumerate(names) for name in own]
    ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
    size = len(names) + len(place)
    graph = coo_array((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(size, size))
    _, of_each = connected_components(graph, directed=False)
    order: dict[int, int] = {}
    numbers = [order.setdefault(one, len(order)) for one in of_each[: len(names)].tolist()]
    return torch.tensor(numbers, dtype=torch.int64)


def or_alone(groups: Tensor | None, count: int) -> Tensor:
    """The groups (N,), or where there are none each of so many things by itself."""
    return torch.arange(count) if groups is None else groups


def of_rows(groups: Tensor | None, rows: Tensor | slice) -> Tensor | None:
    """The groups of some rows, (N,) bool or (n,) int64 places; None where there are none."""
    return None if groups is None else groups[rows]

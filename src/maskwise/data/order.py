"""The order in which an epoch visits pictures, where some are cheap to read only one after another."""

from __future__ import annotations

from collections.abc import Sequence

import torch

LANES = 8  # of every LANES neighbours in the order each is of another lane: the ranks of a run share the lanes
WINDOW = 2  # so many shards of a lane are shuffled together


def epoch_order(groups: Sequence[int | None], draws: torch.Generator, lanes: int = LANES) -> list[int]:
    """Every position once, in an order that depends on the groups and the generator alone.

    Without groups it is a permutation like any other. With groups, shards in a random order are dealt to lanes; a lane
    goes through its shards two at a time, their pictures shuffled together; and the lanes take turns. So at any time
    at most ``2 * lanes`` shards are in use, and a rank that takes every n-th position, n a divisor of ``lanes``, reads
    only its lanes' shards as long as all lanes last. Positions without a group are placed at random among the others.

    Args:
        groups: the shard of each position; None where any order costs the same.
        draws: the epoch's.
        lanes: how many.

    Example:
        >>> epoch_order([0, 0, 1, 1, 2, 2], torch.Generator().manual_seed(0), lanes=1)
        [5, 4, 1, 0, 3, 2]
    """
    count = len(groups)
    if all(group is None for group in groups):
        return [int(i) for i in torch.randperm(count, generator=draws).tolist()]
    members: dict[int, list[int]] = {}
    loose = []
    for position, group in enumerate(groups):
        if group is None:
            loose.append(position)
        else:
            members.setdefault(group, []).append(position)
    names = sorted(members)
    shards = [members[names[i]] for i in torch.randperm(len(names), generator=draws).tolist()]
    dealt = [_in_windows(shards[lane::lanes], draws) for lane in range(lanes)]
    longest = max(map(len, dealt))
    ordered = [lane[turn] for turn in range(longest) for lane in dealt if turn < len(lane)]
    if not loose:
        return ordered
    mixed = torch.randperm(count, generator=draws)
    slots = set(mixed[: len(loose)].tolist())
    shuffled = iter([loose[i] for i in torch.randperm(len(loose), generator=draws).tolist()])
    rest = iter(ordered)
    return [next(shuffled) if i in slots else next(rest) for i in range(count)]


def _in_windows(shards: list[list[int]], draws: torch.Generator) -> list[int]:
    order: list[int] = []
    for first in range(0, len(shards), WINDOW):
        window = [position for shard in shards[first : first + WINDOW] for position in shard]
        order += [window[i] for i in torch.randperm(len(window), generator=draws).tolist()]
    return order

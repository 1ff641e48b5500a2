"""Several processes at one evaluation: who does which pictures, and how the rows come together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.evaluation.loader import ItemIndex

TIMEOUT = "MASKWISE_TIMEOUT"
# What a process found: places, keys, statistics.
FoundRows = tuple[list[ItemIndex], list[str], dict[tuple[str, str], Tensor]]
T = TypeVar("T")


def rank_and_world() -> tuple[int, int]:
    """(rank, how many processes); (0, 1) where there is only this one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def patience() -> timedelta:
    """How long a process waits for the others: ``MASKWISE_TIMEOUT`` seconds, otherwise half an hour.

    One that dies is noticed at once; this is for one that hangs. It must be longer than the slowest process takes after
    the quickest one is done.

    Raises:
        InputError: not a number above 0.
    """
    text = os.environ.get(TIMEOUT, "1800")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e7:
        raise InputError(f"{TIMEOUT} is a number of seconds above 0, not {text!r}")
    return timedelta(seconds=seconds)


@contextmanager
def answering() -> Iterator[None]:
    """While open, a process that is gone or silent is an error of one line.

    Raises:
        InputError: another process ended, or did not answer in time.
    """
    try:
        yield
    except (dist.DistError, RuntimeError) as error:  # gloo says most things with a plain RuntimeError
        raise InputError(
            f"process {rank_and_world()[0]} of {rank_and_world()[1]} got no answer: another one ended, or was silent "
            f"for {patience().total_seconds():g} s ({TIMEOUT}); what has been measured is kept where rows are, so run "
            f"the same command again"
        ) from error


def gathered(mine: T) -> list[T]:
    """What each process has, in the order of ranks; every process gets all of it.

    Raises:
        InputError: another process ended, or did not answer in time.
    """
    _, world = rank_and_world()
    if world == 1:
        return [mine]
    everybody: list[T | None] = [None] * world
    with answering():
        dist.all_gather_object(everybody, mine)
    return [theirs for theirs in everybody if theirs is not None]


def merged(parts: Sequence[FoundRows]) -> tuple[list[str], dict[tuple[str, str], Tensor]]:
    """Keys and statistics of all processes, in the order of the listing."""
    order = sorted((place, rank, row) for rank, (places, _, _) in enumerate(parts) for row, place in enumerate(places))
    pictures = [parts[rank][1][row] for _, rank, row in order]
    offsets = [sum(len(keys) for _, keys, _ in parts[:rank]) for rank in range(len(parts))]
    rows = torch.tensor([offsets[rank] + row for _, rank, row in order], dtype=torch.int64)
    return pictures, {name: stacked([found[name] for _, _, found in parts])[rows] for name in parts[0][2]}


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Statistics (n,D) one below the other; where nobody knew anything, and so not how many there are, they are NaN."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([p if p.shape[1] == width else p.new_full((len(p), width), torch.nan) for p in parts])


@contextmanager
def launched() -> Iterator[bool]:
    """Joins the processes that ``torchrun`` started, if it did; says whether this one is to speak and to write.

    Rows travel as objects over gloo, whatever the device.

    Raises:
        InputError: not all of them came, or answered, in time.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or rank_and_world()[1] > 1:
        yield rank_and_world()[0] == 0
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    with answering():
        dist.init_process_group("gloo", timeout=patience())
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()

"""What a machine takes for a training whose steps are counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from maskwise.planning.counting import Count
from maskwise.planning.machines import Machine
from maskwise.planning.phases import Phase

TRAIN_FORWARDS = 2  # of the live classifier in a step: clean pictures, masked ones; an older judge takes no statistics


@dataclass(frozen=True)
class Reckoned:
    """For one machine.

    Attributes:
        step: seconds of a mean step: ``compute``, ``reduce``, and of ``read`` what these do not hide.
        hours: in all; ``device_hours`` times the devices.
    """

    machine: str
    devices: int
    step: float
    compute: float
    reduce: float
    read: float
    hours: float
    device_hours: float


def reckon(
    machine: Machine,
    phases: Sequence[Phase],
    devices: int,
    gradients: int,
    norms: int,
    reads: float,
) -> Reckoned:
    """Time of counted phases on ``devices`` of one machine.

    Args:
        gradients: bytes that a step reduces over the devices.
        norms: synchronised batch norms of the classifier.
        reads: pictures a second that one core reads.
    """
    steps = sum(p.steps for p in phases)
    compute = reduce = read = total = 0.0
    for phase in phases:
        count, share = cast(Count, phase.count), -(-phase.batch // devices)
        work = machine.compute(count.flops * share, count.kernels)
        # Forward and backward of a synchronised batch norm take two collectives each.
        talk = machine.reduce(gradients, 3 + 4 * norms * TRAIN_FORWARDS, devices)
        reading = share / (reads * machine.readers)
        compute, reduce = compute + phase.steps * work, reduce + phase.steps * talk
        read, total = (
            read + phase.steps * max(reading - work - talk, 0),
            total + phase.steps * max(work + talk, reading),
        )
    hours = total / 3600
    return Reckoned(
        machine.name, devices, total / steps, compute / steps, reduce / steps, read / steps, hours, hours * devices
    )  # fmt: skip

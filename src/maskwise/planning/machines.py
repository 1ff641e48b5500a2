"""Machines that a plan is made for: printed peaks, and what is assumed of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """One device among others like it. All but the peak and the memory are assumptions, and shown with the plan.

    Attributes:
        name: on the command line.
        teraflops: peak, 10^12 multiplications and additions a second; dense bfloat16 on a GPU.
        used: share of the peak that convolutions reach at a full batch.
        gigabytes: of memory.
        launch: seconds that a kernel needs at least, however small its work.
        near, far: bytes a second of an all-reduce inside of a machine and between machines, per device.
        wait: seconds that a collective takes at least inside of a machine; between machines it is twice that.
        readers: CPU cores that read pictures for each device.
    """

    name: str
    teraflops: float
    used: float
    gigabytes: float
    launch: float = 6e-6
    near: float = 150e9
    far: float = 20e9
    wait: float = 30e-6
    readers: int = 8

    def compute(self, flops: float, kernels: float) -> float:
        """Seconds: the work, or its kernels' launches where the work is small."""
        return max(flops / (self.teraflops * 1e12 * self.used), kernels * self.launch)

    def reduce(self, size: float, collectives: float, devices: int) -> float:
        """Seconds of all-reduces of ``size`` bytes in all over a ring, which nothing hides."""
        if devices == 1:
            return 0.0
        inside = devices <= A_MACHINE
        moved = 2 * (devices - 1) / devices * size / (self.near if inside else self.far)
        return moved + collectives * self.wait * (1 if inside else 2)


A_MACHINE = 8  # GPUs that share one
MACHINES: Mapping[str, Machine] = {
    m.name: m
    for m in (
        Machine("a100", 312, 0.20, 80),
        Machine("h100", 989, 0.12, 80),
        Machine("h200", 989, 0.13, 141),
    )
}

"""What this machine does: a step, a picture read, a kernel started. Only what is timed here is said of it."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from statistics import median

import torch
from lightning.fabric import Fabric

from maskwise.classifiers import Classifier
from maskwise.planning.counting import counted
from maskwise.planning.machines import Machine
from maskwise.planning.phases import SAMPLE, Phase, trainer_of
from maskwise.training.distributed.processes import fabric_of, readers

AT_ONCE = 2 * SAMPLE  # pictures of a timed step on a CPU, whose time is in proportion to them
LAUNCHES = 1000


def timed(phase: Phase, network: Classifier, steps: int, size: int, share: int) -> dict[str, float]:
    """Times steps of a phase, after one that warms up, and all else that a plan otherwise assumes of a machine.

    Args:
        network: a copy of it goes to the GPU, where there is one, and runs in bfloat16 there.
        steps: of which the median is taken.
        size: pixels.
        share: pictures of a device's share of a batch: so many are timed on a GPU, which a few would leave idle.

    Returns:
        ``step``: seconds of ``pictures`` pictures; ``picture``, ``flop``: of one; ``read``: pictures that a thread
        reads in a second; ``readers``: threads that a training here has; ``launch``: seconds of a kernel without work.
    """
    fabric = fabric_here()
    on_gpu = fabric.device.type == "cuda"
    pictures = max(share, AT_ONCE) if on_gpu else AT_ONCE
    network = copy.deepcopy(network).to(fabric.device) if on_gpu else network
    trainer = trainer_of(phase.settings, network, fabric)
    trainer.steps = phase.at
    images, labels = torch.rand(pictures, 3, size, size), torch.zeros(pictures, dtype=torch.long)
    trainer.step(images, labels)
    live = getattr(trainer, "live", trainer.classifier)
    flops = counted(lambda: trainer.step(images, labels), live.module).flops
    step = median(seconds(lambda: trainer.step(images, labels), fabric.device) for _ in range(steps))
    return {
        "step": step,
        "pictures": pictures,
        "picture": step / pictures,
        "flop": step / flops,
        "read": reading(size),
        "readers": readers(fabric),
        "launch": launching(fabric.device),
    }


def fabric_here() -> Fabric:
    """One process on the best device that there is."""
    there = torch.cuda.is_available()
    return fabric_of("cuda" if there else "cpu", precision="auto")


def here(found: dict[str, float]) -> Machine:
    """This machine as ``timed`` found it; one device, so that nothing is reduced."""
    device = fabric_here().device
    bytes_there = (
        torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    )  # fmt: skip
    return Machine(
        "here", 1e-12 / found["flop"], 1.0, bytes_there / 1e9, launch=found["launch"], readers=int(found["readers"])
    )


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """What a call takes, until a GPU is through with it."""
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def launching(device: torch.device) -> float:
    """Seconds that a kernel takes which has next to nothing to do."""
    one = torch.zeros(1, device=device)

    def many() -> None:
        for _ in range(LAUNCHES):
            one.add_(1)

    many()
    return seconds(many, device) / LAUNCHES


def reading(size: int) -> float:
    """Packaged pictures a second that one thread decodes and crops here."""
    from maskwise.images import load_image, packaged_pictures
    from maskwise.training.crops import random_crop, resized
    from maskwise.training.draws import generator
    from maskwise.training.loader import to_bytes

    paths = packaged_pictures()
    began = time.perf_counter()
    for k, path in enumerate(paths * 4):
        picture = to_bytes(load_image(path))
        resized(picture, random_crop(picture.shape[-2], picture.shape[-1], (0.08, 1.0), generator(k)), size)
    return 4 * len(paths) / (time.perf_counter() - began)

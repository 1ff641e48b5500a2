"""What this machine does: FLOPs and pictures a second, timed here. Nothing is said of a machine that is not here."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import torch

from maskwise.classifiers import Classifier
from maskwise.planning.counting import counted
from maskwise.planning.phases import SAMPLE, Phase, noise, trainer_of
from maskwise.training.crops import PixelSize
from maskwise.training.distributed.processes import fabric_of, reader_threads

if TYPE_CHECKING:
    from lightning.fabric import Fabric

AT_ONCE = 2 * SAMPLE  # pictures of a timed step on a CPU, where time is in proportion to them


@dataclass(frozen=True)
class Throughput:
    """Of this machine's device, as it was timed.

    Attributes:
        pictures: that went through at once.
        seconds: they took, median of several.
        flops_per_second: counted FLOPs over these seconds.
        read_per_second: pictures that one thread decodes and crops.
        readers: threads that a training here has.
    """

    pictures: int
    seconds: float
    flops_per_second: float
    read_per_second: float
    readers: int

    def hours(self, steps: float, pictures: int, flops: float) -> float:
        """Of steps of so many pictures, of ``flops`` each; reading goes on beside computing, and the slower one counts.

        Args:
            steps: how many.
            pictures: of each.
            flops: of a picture.
        """
        computing = pictures * flops / self.flops_per_second
        reading = pictures / (self.read_per_second * self.readers)
        return steps * max(computing, reading) / 3600

    def mfu(self, peak: float) -> float:
        """Model FLOPs utilisation (Chowdhery et al. 2022): the share of ``peak``, FLOPs a second, that is reached."""
        return self.flops_per_second / peak


def step_throughput(phase: Phase, network: Classifier, steps: int, size: PixelSize, share: int) -> Throughput:
    """Times steps of a phase, after one that warms up.

    Args:
        phase: of a training.
        network: a copy of it goes to the GPU, where there is one, and runs in bfloat16 there.
        steps: of which the median is taken.
        size: in pixels, a square's side or (h,w).
        share: pictures of a device's share of a batch: so many are timed on a GPU, which a few would leave idle.
    """
    fabric = fabric_here()
    on_gpu = fabric.device.type == "cuda"
    pictures = max(share, AT_ONCE) if on_gpu else AT_ONCE
    network = copy.deepcopy(network).to(fabric.device) if on_gpu else network
    trainer = trainer_of(phase.settings, network, fabric)
    trainer.steps = phase.at
    images, labels = noise(trainer, pictures, size)
    trainer.step(images, labels)
    live = getattr(trainer, "live", trainer.classifier)
    flops = counted(lambda: trainer.step(images, labels), live.module).flops
    step = median(timed_seconds(lambda: trainer.step(images, labels), fabric.device) for _ in range(steps))
    return Throughput(pictures, step, flops / step, reading(size), reader_threads(fabric))


def fabric_here() -> Fabric:
    """One process on the best device that there is."""
    there = torch.cuda.is_available()
    return fabric_of("cuda" if there else "cpu", precision="auto")


def timed_seconds(call: Callable[[], object], device: torch.device) -> float:
    """What a call takes, until a GPU is through with it."""
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def reading(size: PixelSize) -> float:
    """Packaged pictures a second that one thread decodes and crops here."""
    from maskwise.images import load_image, packaged_pictures, to_bytes
    from maskwise.training.crops import random_crop, resized
    from maskwise.training.draws import generator

    paths = packaged_pictures()
    began = time.perf_counter()
    for k, path in enumerate(paths * 4):
        picture = to_bytes(load_image(path))
        resized(picture, random_crop(picture.shape[-2], picture.shape[-1], (0.08, 1.0), generator(k)), size)
    return 4 * len(paths) / (time.perf_counter() - began)

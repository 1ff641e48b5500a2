"""What a step and a picture take here."""

from __future__ import annotations

import time
from statistics import median

import torch

from maskwise.planning.counting import counted
from maskwise.planning.phases import SAMPLE
from maskwise.training.trainer import Trainer


def timed(trainer: Trainer, steps: int, size: int) -> dict[str, float]:
    """Seconds a FLOP and a picture of a step here, after one that warms up; and what a core reads in a second."""
    images, labels = torch.rand(2 * SAMPLE, 3, size, size), torch.zeros(2 * SAMPLE, dtype=torch.long)
    trainer.step(images, labels)
    live = getattr(trainer, "live", trainer.classifier)
    flops = counted(lambda: trainer.step(images, labels), live.module).flops
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        trainer.step(images, labels)
        times.append(time.perf_counter() - began)
    return {
        "step": median(times),
        "picture": median(times) / len(images),
        "flop": median(times) / flops,
        "read": reading(size),
    }


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

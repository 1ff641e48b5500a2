"""What a patch costs, found by trying one."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from maskwise.core.own_thread import in_this_thread
from maskwise.explainers.base import Explainer
from maskwise.explainers.doubts import of_patches
from maskwise.sess.budget import MapCost
from maskwise.sess.patches import WindowOf
from maskwise.sess.sweep import Sweep


def forwards_of(sweep: Sweep) -> MapCost:
    """In forwards of the classifier. A backward is not counted, and what an explainer runs is."""
    if sweep.shares_forward:
        return MapCost(score=1, map=1, both=1)
    explainer = sweep.settings.explainer
    if isinstance(explainer, Explainer):
        with of_patches(), explainer.calling():  # what is asked once is no cost of a patch
            pass
    rows = 0

    def count(module: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal rows
        rows += len(given[0])

    handle = sweep.settings.classifier.module.register_forward_pre_hook(in_this_thread(count))
    try:
        sweep.low_resolution(*_sample(sweep, 1))
    finally:
        handle.remove()
    used = max(rows, 1)  # a masker runs an encoder of its own
    return MapCost(score=1, map=used, both=used + 1)


def seconds_of(sweep: Sweep) -> MapCost:
    """In seconds, of a full batch, after one warm-up."""
    patches, jobs = _sample(sweep, sweep.settings.batch)
    score = _timed(lambda: sweep.logits(patches)) / len(patches)
    explained = _timed(lambda: sweep.low_resolution(patches, jobs)) / len(patches)
    return MapCost(score, explained, explained if sweep.shares_forward else score + explained)


def _sample(sweep: Sweep, count: int) -> tuple[Tensor, list[WindowOf]]:
    """The first picture as a whole, several times."""
    whole = sweep.settings.classifier.prepare(sweep.images[:1])
    patches = whole.expand(count, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    return patches, [WindowOf(0, 0)] * count


def _timed(call: Callable[[], object]) -> float:
    on_gpu = torch.cuda.is_available()
    times = []
    for _ in range(2):  # the first one warms up
        if on_gpu:
            torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return times[-1]

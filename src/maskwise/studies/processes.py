"""Cells spread over processes: one process a cell, so that one that is killed takes nothing with it."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess

from maskwise.core.errors import InputError
from maskwise.studies.cell_directory import CellDirectory, run_cell
from maskwise.studies.run_config import RunConfig
from maskwise.studies.study import Study, studies


def run_in_processes(
    directories: Sequence[CellDirectory],
    config: RunConfig,
    study: Study,
    devices: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Runs cells, ``devices`` at once; slot i sees GPU i alone, or its share of the CPU's threads.

    What a cell finds, or why it failed, lies in its folder afterwards.
    """
    context, waiting = mp.get_context("spawn"), list(directories)
    threads = max((os.cpu_count() or 1) // devices, 1)
    slots: dict[int, tuple[CellDirectory, SpawnProcess]] = {}
    done = 0
    try:
        while waiting or slots:
            for slot in range(devices):
                if waiting and slot not in slots:
                    directory = waiting.pop(0)
                    process = context.Process(target=run_worker, args=(directory, config, study.name, threads))
                    slots[slot] = directory, process
                    with _one_gpu(slot, config.device), _deaf_to_ctrl_c():
                        process.start()
            for slot in [slot for slot, (_, process) in slots.items() if not process.is_alive()]:
                directory, process = slots.pop(slot)
                process.join()
                if process.exitcode and not directory.done:
                    directory.fail(InputError(_ending(process.exitcode)))
                done += 1
                if progress is not None:
                    progress(done, len(directories))
            time.sleep(0.05)
    finally:
        for _, process in slots.values():
            process.terminate()
        for _, process in slots.values():
            process.join()  # a training saves its state first; whoever runs this again must not find its lock


def _ending(code: int) -> str:
    """Why a process ended that wrote neither a result nor an error."""
    if code < 0:
        return f"its process was killed by signal {-code} (9 is often for want of memory); run it again to do the cell"
    return f"its process ended with code {code}; run it again to do the cell"


def run_worker(directory: CellDirectory, config: RunConfig, study: str, threads: int) -> None:
    """In the new process."""
    import torch

    from maskwise.core.allocator import keep_freed_memory
    from maskwise.studies import grids  # noqa: F401, this process has registered no study yet

    torch.set_num_threads(min(threads, torch.get_num_threads()))
    keep_freed_memory()
    try:
        run_cell(directory, config, studies.get(study))
    except KeyboardInterrupt:  # a training has saved its state; the first process says how to go on
        raise SystemExit(128 + signal.SIGTERM) from None


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """While open, a process that is started will not hear SIGINT, which a terminal sends to all of a group.

    The first process hears it, and ends the others by SIGTERM. For itself a SIGINT only waits until this is over.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_gpu(slot: int, device: str) -> Iterator[None]:
    """While open, a process that is started sees one GPU only."""
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    if device != "cuda":
        yield
        return
    import torch

    there = before.split(",") if before else [str(i) for i in range(torch.cuda.device_count())]
    os.environ[name] = there[slot % len(there)]
    try:
        yield
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})

"""When a loss or a weight is no number any more: stop with the evidence, or take the step back and count it."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor, nn

from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write
from maskwise.core.portions import out_of_memory
from maskwise.core.text import how_many
from maskwise.training.draws import generator
from maskwise.training.meter import Meter, read_meters
from maskwise.training.trainer import Trainer

OnNan = Literal["stop", "skip"]
EVIDENCE = "nan_step.safetensors"
READ_EVERY = 20  # steps beside an accelerator, which would have to wait for each of them
OUT_OF_MEMORY = (
    "out of memory at step {} with {} pictures at once: set `accumulate=2` or more, which changes next to nothing, or "
    "set batch_size lower, which is another training"
)
StepMetrics = dict[str, float]


@dataclass(frozen=True)
class _Taken:
    """A step with numbers that are still on the device."""

    number: int
    meter: Meter
    generators: dict[str, Tensor]


class Guard:
    """A trainer's steps, metered and watched.

    On a CPU every step's numbers are read at once. Beside an accelerator they are read every ``READ_EVERY`` steps,
    since reading waits for the device; a NaN is then found some steps late, and said of the step that it came in.

    Args:
        trainer: takes the steps.
        out: where ``nan_step.safetensors`` goes; None keeps no evidence.
        on_nan: ``stop`` saves the step's pictures, labels, step, seed and generators, and raises; ``skip`` puts every
            weight, statistic and generator back as before the step. A skipped step counts as done, so that the
            schedule and the pictures to come are the same. To skip, every step is read at once.
        most: so many skipped steps in a row stop the training after all.
        log: lines that a resumed run goes on from; what was skipped is counted from them.
        batch: gives pictures and labels of a step again, by its number from 0; needed where there is ``out``.
    """

    def __init__(
        self,
        trainer: Trainer,
        out: Path | None,
        batch: Callable[[int], tuple[Tensor, Tensor]] | None = None,
        on_nan: OnNan = "stop",
        most: int = 10,
        log: Iterable[str] = (),
    ) -> None:
        self.trainer, self.out, self.batch, self.on_nan, self.most = trainer, out, batch, on_nan, most
        self.every = 1 if on_nan == "skip" or trainer.fabric.device.type == "cpu" else READ_EVERY
        self.pending: list[_Taken] = []
        self.skipped = self.in_a_row = 0
        for line in log:
            self._count("skipped" in json.loads(line))

    def step(self, images: Tensor, labels: Tensor) -> list[StepMetrics]:
        """One step; returns what has been read since the last, a row a step: ``{"skipped": 1}`` if taken back.

        Raises:
            InputError: the loss or a weight became NaN or infinite, and steps are not skipped, or too many were; or
                memory was not enough, which is not mended here since another batch size is another training.
        """
        trainer = self.trainer
        number, generators = trainer.steps, _states(trainer)
        before = copied(trainer.state_dict()) if self.on_nan == "skip" else None
        try:
            meter = trainer.metered_step(images, labels)
        except (RuntimeError, MemoryError) as error:
            if out_of_memory(error):
                raise InputError(OUT_OF_MEMORY.format(number + 1, len(images))) from None
            raise
        self.pending.append(_Taken(number, meter, generators))
        return self.read(before) if len(self.pending) >= self.every else []

    def read(self, before: dict[str, Any] | None = None) -> list[StepMetrics]:
        """The rows of all steps that have not been read yet; all processes must ask at the same step.

        Args:
            before: the trainer's state before the only one of them, for where it is to be taken back.
        """
        taken, self.pending = self.pending, []
        if not taken:
            return []
        rows = read_meters([step.meter for step in taken])
        bad = next((k for k, row in enumerate(rows) if not math.isfinite(row["loss"])), None)
        broken = self._agreed(bad is not None or not _finite_weights(self.trainer))
        for _ in taken:
            self._count(broken)
        if not broken:
            return rows
        if before is not None and self.in_a_row < self.most:
            self.trainer.load_state_dict(before)
            self.trainer.steps = taken[0].number + 1
            return [{"skipped": 1.0}]
        step = taken[-1 if bad is None else bad]
        often = f", {self.in_a_row} times in a row," if before is not None else ""
        said = f"the loss or a weight became NaN{often} at step {step.number + 1}"
        if self.out is None or self.batch is None:
            raise InputError(f"{said}; lower the learning rate")
        path = self._save_evidence(self.out, self.batch(step.number), step, rows[-1 if bad is None else bad])
        otherwise = "" if before is not None else ", or resume with `on_nan=skip`"
        raise InputError(f"{said}, whose pictures are in {path}; lower the learning rates{otherwise}")

    def say(self) -> None:
        """Warns of what was skipped, where anything was."""
        if self.skipped:
            were = "was" if self.skipped == 1 else "were"
            warnings.warn(f"{how_many(self.skipped, 'step')} gave NaN and {were} skipped (see log.jsonl)", stacklevel=3)

    def _count(self, broken: bool) -> None:
        self.skipped += broken
        self.in_a_row = self.in_a_row + 1 if broken else 0

    def _agreed(self, broken: bool) -> bool:
        """One process that can't take a step is enough: all take it back, and stay alike."""
        fabric = self.trainer.fabric
        if fabric.world_size == 1:
            return broken
        everybody: Any = fabric.all_reduce(torch.tensor(float(broken), device=fabric.device), reduce_op="sum")
        return float(everybody) > 0

    def _save_evidence(self, out: Path, batch: tuple[Tensor, Tensor], step: _Taken, row: StepMetrics) -> Path:
        trainer = self.trainer
        rank = f"-rank{trainer.fabric.global_rank}" if trainer.fabric.world_size > 1 else ""
        path = (out / EVIDENCE).with_stem(f"nan_step{rank}")
        images, labels = batch
        seed = trainer.recipe.seed
        facts = {
            "step": str(step.number + 1),
            "seed": str(seed),
            "step_seed": str(generator(seed, 2, step.number).initial_seed()),  # see Trainer.own_randomness
            "logged": json.dumps({name: repr(value) for name, value in row.items()}),
            "recipe": json.dumps(trainer.recipe.model_dump(mode="json")),
        }
        tensors = {"images": images.cpu().contiguous(), "labels": labels.cpu().contiguous(), **step.generators}
        with atomic_write(path) as temporary:
            temporary.write_bytes(save(tensors, metadata=facts))
        return path


def copied(state: Any) -> Any:
    """Of nested dicts and lists, with every tensor cloned."""
    if isinstance(state, dict):
        return {name: copied(value) for name, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(map(copied, state))
    return state.clone() if isinstance(state, Tensor) else state


def _finite_weights(trainer: Trainer) -> bool:
    """Of everything that learns; a loss can be a number while its gradient is none."""
    weights = {id(w): w.detach() for step in trainer.optimizers().values() for w in step.parameters}
    return bool(nn.utils.get_total_norm(list(weights.values())).isfinite())


def _states(trainer: Trainer) -> dict[str, Tensor]:
    """Of the global generator and of those that the trainer keeps."""
    own = {f"generator.{name}": found.get_state().clone() for name, found in trainer.generators().items()}
    return {"generator": torch.get_rng_state(), **own}

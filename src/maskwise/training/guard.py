"""When a loss or a weight is no number any more: stop with the evidence, or take the step back and count it."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor, nn

from maskwise.errors import InputError
from maskwise.files import atomic_write
from maskwise.portions import out_of_memory
from maskwise.training.feed import generator
from maskwise.training.trainer import Trainer

OnNan = Literal["stop", "skip"]
EVIDENCE = "nan_step.safetensors"
OUT_OF_MEMORY = (
    "out of memory at step {} with {} pictures at once: add --accumulate 2 or more, which changes next to nothing, or "
    "set batch_size lower, which is another training"
)
NEVER_CHANGED = "entries"  # of a pool: its snapshots are replaced as a whole, so they need no copy


class Guard:
    """A trainer's steps, watched.

    Args:
        trainer: whose ``step`` is called.
        out: where ``nan_step.safetensors`` goes.
        on_nan: ``stop`` saves the step's pictures, labels, step, seed and generators, and raises; ``skip`` puts every
            weight, statistic and generator back as before the step. A skipped step counts as done, so that the
            schedule and the pictures to come are the same.
        most: so many skipped steps in a row stop the training after all.
        log: lines that a resumed run goes on from; what was skipped is counted from them.
    """

    def __init__(
        self, trainer: Trainer, out: Path, on_nan: OnNan = "stop", most: int = 10, log: Iterable[str] = ()
    ) -> None:
        self.trainer, self.out, self.on_nan, self.most = trainer, out, on_nan, most
        self.skipped = self.in_a_row = 0
        for line in log:
            self._count("skipped" in json.loads(line))

    def step(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """One step, and what the log holds of it; ``{"skipped": 1}`` where it was taken back.

        Raises:
            InputError: the loss or a weight became NaN or infinite, and steps are not skipped, or too many were; or
                memory was not enough, which is not mended here since another batch size is another training.
        """
        trainer = self.trainer
        number, generators = trainer.steps, _generators(trainer)
        before = copied(trainer.state_dict()) if self.on_nan == "skip" else None
        try:
            logged = trainer.step(images, labels)
        except (RuntimeError, MemoryError) as error:
            if out_of_memory(error):
                raise InputError(OUT_OF_MEMORY.format(number + 1, len(images))) from None
            raise
        broken = self._agreed(not math.isfinite(logged["loss"]) or not _finite_weights(trainer))
        self._count(broken)
        if not broken:
            return logged
        if before is not None and self.in_a_row < self.most:
            trainer.load_state_dict(before)
            trainer.steps = number + 1
            return {"skipped": 1.0}
        path = self._save_evidence(number, images, labels, generators, logged)
        often = f", {self.in_a_row} times in a row," if before is not None else ""
        otherwise = "" if before is not None else ", or resume with --on-nan skip"
        raise InputError(
            f"the loss or a weight became NaN{often} at step {number + 1}, whose pictures are in {path}; lower the "
            f"learning rates{otherwise}"
        )

    def say(self) -> None:
        """Warns of what was skipped, where anything was."""
        if self.skipped:
            warnings.warn(f"{self.skipped} steps gave NaN and were skipped (see log.jsonl)", stacklevel=3)

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

    def _save_evidence(
        self, step: int, images: Tensor, labels: Tensor, generators: dict[str, Tensor], logged: dict[str, float]
    ) -> Path:
        trainer = self.trainer
        rank = f"-rank{trainer.fabric.global_rank}" if trainer.fabric.world_size > 1 else ""
        path = (self.out / EVIDENCE).with_stem(f"nan_step{rank}")
        seed = trainer.recipe.seed
        facts = {
            "step": str(step + 1),
            "seed": str(seed),
            "step_seed": str(generator(seed, 2, step).initial_seed()),  # see Trainer.own_randomness
            "logged": json.dumps({name: repr(value) for name, value in logged.items()}),
            "recipe": json.dumps(trainer.recipe.model_dump(mode="json")),
        }
        tensors = {"images": images.cpu().contiguous(), "labels": labels.cpu().contiguous(), **generators}
        with atomic_write(path) as temporary:
            temporary.write_bytes(save(tensors, metadata=facts))
        return path


def copied(state: Any, key: str = "") -> Any:
    """Of nested dicts and lists, with every tensor cloned that a step may change."""
    if isinstance(state, dict):
        return {name: copied(value, str(name)) for name, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(value if key == NEVER_CHANGED else copied(value) for value in state)
    return state.clone() if isinstance(state, Tensor) else state


def _finite_weights(trainer: Trainer) -> bool:
    """Of everything that learns; a loss can be a number while its gradient is none."""
    parts = [part for part in vars(trainer).values() if isinstance(part, nn.Module)]
    weights = {id(w): w.detach() for part in parts for w in part.parameters() if w.requires_grad}
    return bool(nn.utils.get_total_norm(list(weights.values())).isfinite())


def _generators(trainer: Trainer) -> dict[str, Tensor]:
    """States of the global generator and of those that the trainer keeps."""
    found = {"generator": torch.get_rng_state()}
    for name, part in vars(trainer).items():
        own = getattr(part, "generator", None)
        if isinstance(own, torch.Generator):
            found[f"generator.{name}"] = own.get_state().clone()
    return found

"""Checkpoints: a training's whole state in one file that ends in its own digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from maskwise.errors import InputError
from maskwise.files import atomic_write
from maskwise.training.trainer import Trainer

CHECKPOINT = "checkpoint.pt"
MARK = b"\nmaskwise-checkpoint-1 sha256:"
TAIL = len(MARK) + 64


def save_checkpoint(path: Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Writes a state atomically: the last checkpoint stays until the new one is whole and on the disk.

    The digest comes after torch's own zip archive, which ``torch.load`` reads all the same.

    Args:
        identity: of the run, as plain data; who goes on must have the same.
        state: tensors and plain data, such as ``Trainer.state_dict()``.

    Raises:
        InputError: it can't be written, for example since the disk is full.
    """
    with atomic_write(path) as temporary:
        try:
            with temporary.open("wb") as file:
                torch.save({"identity": json.dumps(identity), "trainer": state}, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # what the system said, which torch's writer covers up
                raise error.__context__ from None
            raise
        with temporary.open("ab") as file:
            file.write(MARK + _digest(file.tell(), temporary).encode())


def read_checkpoint(path: Path, device: torch.device | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The run's identity and the state in ``path``.

    Raises:
        InputError: a truncated, changed or foreign file.
    """
    otherwise = "delete it to begin anew"
    try:
        size = path.stat().st_size - TAIL
        with path.open("rb") as file:
            file.seek(max(size, 0))
            tail = file.read()
        if size <= 0 or not tail.startswith(MARK):
            raise InputError(f"{path}: can't be read (it is truncated, or no checkpoint of maskwise); {otherwise}")
        if _digest(size, path).encode() != tail[len(MARK) :]:
            raise InputError(f"{path}: can't be read (its checksum is wrong: it was damaged on the disk); {otherwise}")
        stored = torch.load(path, map_location=device, weights_only=True)
        return json.loads(stored["identity"]), stored["trainer"]
    except InputError:
        raise
    except Exception as error:  # whatever a foreign file makes the reader raise
        raise InputError(f"{path}: can't be read ({type(error).__name__}); {otherwise}") from None


def restore(trainer: Trainer, path: Path, identity: dict[str, Any]) -> None:
    """Puts the trainer where the checkpoint is.

    Raises:
        InputError: it can't be read (see ``read_checkpoint``), or belongs to another run.
    """
    # Whole weights may be more than the device holds.
    theirs, state = read_checkpoint(path, torch.device("cpu") if trainer.sharding else trainer.fabric.device)
    if theirs != identity:
        differs = [k for k in identity if theirs.get(k) != identity[k]] or ["settings"]
        raise InputError(f"{path}: belongs to another run ({', '.join(differs)} differ); name another --out")
    try:
        trainer.load_whole_state(state)
    except Exception as error:
        raise InputError(f"{path}: does not fit this training ({type(error).__name__}); name another --out") from None


def _digest(size: int, path: Path) -> str:
    """SHA-256 of the first ``size`` bytes, as hex digits; read in pieces, since checkpoints can be large."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (piece := file.read(min(size, 1 << 20))):
            found.update(piece)
            size -= len(piece)
    return found.hexdigest()

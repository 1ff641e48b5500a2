"""Checkpoints: a training's whole state, in files that end in their own digest.

``checkpoint.pt`` holds all that changes from step to step. Snapshots of past classifiers never change, and thirty of
them are most of what there is to save: each is written once, into ``snapshots/``, and named with its digest in the
checkpoint that needs it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write
from maskwise.core.pickle_outline import OutlineError
from maskwise.core.portions import out_of_memory
from maskwise.core.torch_file import load_torch
from maskwise.training.callbacks import Callbacks
from maskwise.training.trainer import Trainer

CHECKPOINT = "checkpoint.pt"
SNAPSHOTS = "snapshots"
MARK = b"\nmaskwise-checkpoint-2 sha256:"
TAIL = len(MARK) + 64
OTHERWISE = "delete it to begin anew"


class Checkpoints:
    """Writes and reads the checkpoint of one run's folder.

    Args:
        out: the folder.
        identity: of the run, as plain data; a resumed run must have the same.
        callbacks: what they remember is stored, too.
    """

    def __init__(self, out: Path, identity: dict[str, Any], callbacks: Callbacks | None = None) -> None:
        self.path, self.folder, self.identity = out / CHECKPOINT, out / SNAPSHOTS, identity
        self.callbacks = callbacks or Callbacks([])
        self.digests: dict[str, str] = {}  # of the snapshots that this process has written or read

    def save(self, trainer: Trainer) -> None:
        """Writes the trainer's state atomically: the last checkpoint stays until the new one is whole and on the disk.

        Raises:
            InputError: it can't be written, for example since the disk is full.
        """
        snapshots = trainer.snapshots()
        for name, snapshot in snapshots.items():
            if name not in self.digests:
                self.digests[name] = write_sealed(self._file(name), dict(snapshot))
        named = {name: self.digests[name] for name in snapshots}
        content = {
            "identity": json.dumps(self.identity),
            "snapshots": named,
            "trainer": trainer.state_dict(),
            "callbacks": self.callbacks.state_dict(),
        }
        write_sealed(self.path, content)
        for old in set(self.digests) - set(named):  # no checkpoint needs them any more
            self._file(old).unlink(missing_ok=True)
            del self.digests[old]

    def restore(self, trainer: Trainer) -> None:
        """Puts the trainer where the checkpoint is.

        Raises:
            InputError: it or one of its snapshots can't be read, or it belongs to another run.
        """
        stored, _ = read_sealed(self.path, trainer.fabric.device)
        try:
            theirs, named, state = json.loads(stored["identity"]), dict(stored["snapshots"]), stored["trainer"]
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{self.path}: can't be read (it holds no training); {OTHERWISE}") from None
        if theirs != self.identity:
            differs = [key for key in self.identity if theirs.get(key) != self.identity[key]] or ["settings"]
            values = "; ".join(_values(theirs, self.identity, differs))
            said = f"{', '.join(differs)} differ{': ' * bool(values)}{values}"
            raise InputError(f"{self.path}: belongs to another run ({said}); name another `out`")
        snapshots = {name: self._snapshot(name, digest, trainer) for name, digest in named.items()}
        try:
            trainer.load_state_dict(state, snapshots)
            self.callbacks.load_state_dict(stored["callbacks"])
        except Exception as error:
            if out_of_memory(error):
                raise
            raise InputError(
                f"{self.path}: does not fit this training ({type(error).__name__}); name another `out`"
            ) from None
        self.digests = named

    def _snapshot(self, name: str, digest: str, trainer: Trainer) -> dict[str, Tensor]:
        path = self._file(name)
        state, found = read_sealed(path, trainer.fabric.device)
        if found != digest:
            raise InputError(f"{path}: is not the one that {self.path} was written with; {OTHERWISE}")
        return state

    def _file(self, name: str) -> Path:
        return self.folder / f"{Path(name).name}.pt"


def _values(theirs: dict[str, Any], ours: dict[str, Any], differs: Iterable[str]) -> Iterator[str]:
    """Of what differs both values, where they say something: numbers, words and a recipe's settings, but no digests."""
    for key in differs:
        there, here = theirs.get(key), ours.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            yield from _values(there, here, [name for name in here if there.get(name) != here[name]])
        elif "content" not in key and "labels" not in key and key != "fingerprint":
            yield f"{key} {str(there)[:20]} there, {str(here)[:20]} here"


def write_sealed(path: Path, content: Mapping[str, Any]) -> str:
    """Saves tensors and plain data atomically, followed by their digest, which is returned.

    The digest comes after torch's own zip archive, which ``torch.load`` reads all the same.

    Raises:
        InputError: it can't be written, for example since the disk is full.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        hashing = _Hashing(file)
        try:
            torch.save(content, cast("IO[bytes]", hashing))
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # what the system said, which torch's writer covers up
                raise error.__context__ from None
            raise
        digest = hashing.digest.hexdigest()
        file.write(MARK + digest.encode())
    return digest


def read_sealed(path: Path, device: torch.device | None = None) -> tuple[dict[str, Any], str]:
    """What ``write_sealed`` wrote, and its digest.

    Raises:
        InputError: a missing, truncated, changed or foreign file.
    """
    try:
        size = path.stat().st_size - TAIL
        with path.open("rb") as file:
            file.seek(max(size, 0))
            tail = file.read()
        if size <= 0 or not tail.startswith(MARK):
            raise InputError(f"{path}: can't be read (it is truncated, or no checkpoint of maskwise); {OTHERWISE}")
        digest = _digest(size, path)
        if digest.encode() != tail[len(MARK) :]:
            raise InputError(f"{path}: can't be read (its checksum is wrong: it was damaged on the disk); {OTHERWISE}")
        return load_torch(path, device), digest
    except InputError:
        raise
    except OutlineError as error:
        raise InputError(f"{path}: can't be read (it {error}); {OTHERWISE}") from None
    except Exception as error:  # whatever a foreign file makes the reader raise
        if out_of_memory(error):  # nothing is wrong with the file
            raise
        raise InputError(f"{path}: can't be read ({type(error).__name__}); {OTHERWISE}") from None


class _Hashing(io.RawIOBase):
    """A file that is hashed while it is written; torch's writer goes from front to back."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.file, self.digest = file, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        if not self.file.closed:
            self.file.flush()


def _digest(size: int, path: Path) -> str:
    """SHA-256 of the first ``size`` bytes, as hex digits; read in pieces, since checkpoints can be large."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (piece := file.read(min(size, 1 << 20))):
            found.update(piece)
            size -= len(piece)
    return found.hexdigest()

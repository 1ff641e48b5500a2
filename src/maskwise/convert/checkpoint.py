"""Old checkpoints opened by an allow-list: tensors, plain data and argparse's namespace, and nothing that runs."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from maskwise.core.errors import InputError
from maskwise.core.files import is_file
from maskwise.core.pickle_outline import ForbiddenNameError, OutlineError
from maskwise.core.portions import out_of_memory
from maskwise.core.text import one_line
from maskwise.core.torch_file import load_torch

PLAIN = (bool, int, float, str, type(None))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The dictionary that ``torch.save`` wrote, in its zip or its older format.

    It holds tensors, ordered dictionaries and plain data; ``argparse.Namespace``, in which old scripts kept their
    settings, is all that is allowed beside these. How much it holds is checked before a tensor is made (see
    ``load_torch``).

    Raises:
        InputError: no such file, not a checkpoint, or one that names anything else; it is not opened further then.
    """
    path = Path(path)
    if not is_file(path):
        raise InputError(f"{path}: no such file")
    try:
        loaded = load_torch(path, allowed=(Namespace,))
    except ForbiddenNameError as error:
        raise InputError(f"{path}: {error}; a file that runs code is not opened") from None
    except UnpicklingError as error:
        raise InputError(f"{path}: asks for {one_line(error, 160)}; a file that runs code is not opened") from None
    except OutlineError as error:
        raise InputError(f"{path}: not a checkpoint that can be read: it {error}") from None
    except Exception as error:  # whatever a mangled stream makes the reader raise
        if out_of_memory(error):
            raise
        raise InputError(f"{path}: not a checkpoint that can be read ({one_line(error, 120)})") from None
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: holds a {type(loaded).__name__}, not a checkpoint (a dictionary)")
    return loaded


def arguments(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the old script, as far as they are plain data; paths of the machine it ran on are left out."""
    found = checkpoint.get("args", {})
    named = vars(found) if isinstance(found, Namespace) else found if isinstance(found, dict) else {}
    return {
        str(key): value
        for key, value in sorted(named.items(), key=lambda item: str(item[0]))
        if isinstance(value, PLAIN) and not (isinstance(value, str) and ("/" in value or "\\" in value))
    }

"""Old checkpoints opened by an allow-list: tensors, plain data and argparse's namespace, and nothing that runs."""

from __future__ import annotations

import re
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from maskwise.core.errors import InputError

NAMED = re.compile(r"GLOBAL ([\w.]+)")
PLAIN = (bool, int, float, str, type(None))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The dictionary that ``torch.save`` wrote, in its zip or its older format.

    PyTorch's own ``weights_only`` reader does it, which knows tensors, storages, ordered dictionaries and basic types;
    ``argparse.Namespace``, in which old scripts kept their settings, is all that is allowed beside these.

    Raises:
        InputError: no such file, not a checkpoint, or one that names anything else; it is not opened further then.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with torch.serialization.safe_globals([Namespace]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        text = " ".join(str(error).split())
        named = NAMED.search(text)
        what = f"{named[1]!r}, which is neither a tensor nor plain data" if named else text[:160]
        raise InputError(f"{path}: asks for {what}; a file that runs code is not opened") from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a checkpoint that can be read ({_line(error)})") from None
    except Exception as error:  # whatever a mangled stream makes the reader raise
        raise InputError(f"{path}: not a checkpoint that can be read ({type(error).__name__})") from None
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


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]

"""A part of a large package, without the rest of it.

``from torchmetrics import Metric`` loads the hundred metrics beside it, and with them transformers, torchvision and
half of scipy: up to three seconds of processor time, at the start of every command that measures.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any


def lazy_package(name: str, first: str | None = None, **known: Any) -> ModuleType:
    """Package ``name``, whose modules can be imported one by one; its ``__init__`` runs once more is asked of it.

    It is the same module object before and after that, so that whoever imports the package has what is loaded already.
    One that is loaded stays as it is.

    Args:
        name: of a package at the top.
        first: a module of it that the others need, to be imported now.
        known: attributes that its modules ask of it and that need no loading.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    package, lock, load = module_from_spec(spec), RLock(), spec.loader.exec_module

    def attribute(asked: str) -> Any:
        part = sys.modules.get(f"{name}.{asked}")  # in a circle of imports, before it is an attribute
        if part is not None:
            return part
        # What goes through all loaded modules, as inspect does, asks each of them for such names.
        if asked.startswith("__") and asked not in (
            "__all__",
            "__version__",
        ):
            raise AttributeError(f"module {name!r} has no attribute {asked!r}")
        with lock:
            if vars(package).pop("__getattr__", None) is not None:
                try:
                    load(package)
                except BaseException:
                    vars(package)["__getattr__"] = attribute
                    raise
        return getattr(package, asked)

    vars(package).update(known, __getattr__=attribute)
    sys.modules[name] = package
    if first is not None:
        import_module(f"{name}.{first}")
    return package


def lazy_torchmetrics() -> None:
    """Before ``torchmetrics.metric`` is imported, and before a library that only asks which version is there."""
    log = logging.getLogger("torchmetrics")
    lazy_package("torchmetrics", "utilities", _logger=log, __version__=version("torchmetrics"))

"""Programs beside the package, ``scripts/`` and ``benchmarks/`` and the docs' own, loaded for a test."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]


def loaded(path: Path) -> ModuleType:
    """The file as a module of a name that nothing else has.

    Its folder does not come onto the path: ``scripts/fuzz.py`` there would hide the tests' own package of that name.
    """
    name = f"{path.parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module

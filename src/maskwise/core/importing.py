"""Python files of the user's, run as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from maskwise.core.errors import InputError
from maskwise.core.files import is_file


def import_file(path: Path, what: str = "imports") -> ModuleType:
    """Runs a Python file as a module, once in a process.

    As with ``python FILE.py`` it may import what lies beside it; its folder is the last place where modules are looked
    for, so that no file there takes a library's place.

    Args:
        what: the parameter that named it.

    Raises:
        InputError: there is no such file, or it raises an error.
    """
    name = f"maskwise_import:{path.resolve()}"
    if name in sys.modules:
        return sys.modules[name]
    if path.suffix != ".py" or not is_file(path):
        raise InputError(f"`{what}={path}`: no such Python file")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        line = _line(error, path)
        raise InputError(f"`{what}={path}`: {line}{type(error).__name__}: {error}") from error
    return module


def _line(error: BaseException, path: Path) -> str:
    """``line 3: `` of the file, the innermost one that the error came through."""
    if isinstance(error, SyntaxError):
        return ""  # whose text says it
    found, at = "", error.__traceback__
    while at is not None:
        if Path(at.tb_frame.f_code.co_filename) == path.absolute():
            found = f"line {at.tb_lineno}: "
        at = at.tb_next
    return found

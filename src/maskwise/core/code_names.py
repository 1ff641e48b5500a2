"""What a piece of code asks for by name: globals, attributes, modules; and whose a module is."""

from __future__ import annotations

import dis
import functools
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType

LIBRARIES = ("site-packages", "dist-packages")
BY_TEXT = {"globals", "vars", "getattr"}  # with them a name may stand in a text
GLOBAL, ATTRIBUTE = ("GLOBAL", "LOAD_NAME"), ("ATTR", "METHOD", "IMPORT_FROM")  # in names of instructions
RUNS_TEXT = {"eval", "exec", "__import__"}


@dataclass
class CodeNames:
    """Names in a function's code, and in functions, classes and comprehensions within it.

    Attributes:
        globals: read from its module, builtins among them; texts, too, where the code looks names up by text.
        attributes: asked of anything, so of modules, too.
        imports: (name, level) of import statements, where the level counts the dots before a relative name.
    """

    globals: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    imports: set[tuple[str, int]] = field(default_factory=set)

    @classmethod
    def of(cls, code: CodeType) -> CodeNames:
        """Of this code."""
        found, texts = cls(), set[str]()
        for inner in _codes(code):
            before: list[object] = [None, None]
            for step in dis.get_instructions(inner):
                if step.opname == "IMPORT_NAME":
                    found.imports.add((step.argval, before[0] if isinstance(before[0], int) else 0))
                elif isinstance(step.argval, str) and any(word in step.opname for word in GLOBAL):
                    found.globals.add(step.argval)
                elif isinstance(step.argval, str) and any(word in step.opname for word in ATTRIBUTE):
                    found.attributes.add(step.argval)
                before = [before[1], step.argval]
            texts.update(text for text in inner.co_consts if isinstance(text, str) and text.isidentifier())
        if found.globals & BY_TEXT:
            found.globals |= texts
            found.attributes |= texts
        return found


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


@functools.lru_cache(maxsize=1000)
def of_library(module: str) -> bool:
    """Is it installed or Python's own, or this package's, so that its version says what it does?

    Args:
        module: a dotted name; it need not be imported yet.

    Example:
        >>> of_library("torch.nn"), of_library("json"), of_library("__main__")
        (True, True, False)
    """
    top = module.partition(".")[0]
    if top == "__main__":  # a notebook's is a file of the program that runs it
        return False
    if top in ("maskwise", "builtins") or top in sys.stdlib_module_names:
        return True
    return any(part in LIBRARIES for place in _places(top) for part in Path(place).parts)


def _places(top: str) -> list[str]:
    """Files or folders of a module; none where there is no such module."""
    known = sys.modules.get(top)
    if known is not None:
        file = getattr(known, "__file__", None)
        return [file] if file is not None else [str(place) for place in getattr(known, "__path__", ())]
    try:
        spec = importlib.util.find_spec(top) if top else None
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    return [spec.origin] if spec.origin is not None else list(spec.submodule_search_locations or ())

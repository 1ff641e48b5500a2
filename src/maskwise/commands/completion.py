"""Completion of values: what is registered, read from the source so that a press of TAB loads no library.

Importing PyTorch takes seconds; reading the calls of ``register`` in a room's files takes milliseconds.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import maskwise
from maskwise.core.recipe_files import packaged_recipes

ROOT = Path(maskwise.__file__).parent
LITE = tuple(f"efficientnet_lite{i}" for i in range(3))  # registered in a loop, under names that are put together
Complete = Callable[[str], list[str]]


def registered(room: str, registry: str) -> list[str]:
    """Names that files of a room register, as they stand in ``@registry.register("name", …)`` or ``register(…)``.

    Args:
        room: a folder of the package.
        registry: the variable's name.

    Example:
        >>> [name for name in registered("explainers", "methods") if name.startswith("gr")]
        ['grad_cam', 'grad_cam_pp', 'grad_eclip', 'gradient', 'group_cam']
    """
    return sorted(name for path in (ROOT / room).rglob("*.py") for name in _names(path, registry))


def _names(path: Path, registry: str) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if "register" not in text:
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and node.args and _registers(node.func, registry):
            first = node.args[0]
            if isinstance(first, ast.Call) and first.args:  # an entry that has its name: register(Study("name", …))
                first = first.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def _registers(called: ast.expr, registry: str) -> bool:
    if isinstance(called, ast.Name):  # the studies' own
        return called.id == "register" or called.id == f"register_{registry.removesuffix('ies')}y"
    return (
        isinstance(called, ast.Attribute)
        and called.attr == "register"
        and isinstance(called.value, ast.Name)
        and called.value.id == registry
    )


def _presets() -> list[str]:
    """Of metrics: the keys of their file, read without a library."""
    text = (ROOT / "evaluation" / "presets.yaml").read_text(encoding="utf-8")
    return re.findall(r"^([a-z][\w:-]*):$", text, re.M)


def _one(names: Callable[[], list[str]]) -> Complete:
    return lambda incomplete: [name for name in names() if name.startswith(incomplete)]


def _several(names: Callable[[], list[str]]) -> Complete:
    """The last of several names with commas between; those before it are not offered again."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        taken = before.split(",")
        return [f"{before}{comma}{name}" for name in names() if name.startswith(last) and name not in taken]

    return complete


def _words(*words: str) -> Complete:
    return _one(lambda: list(words))


def _methods() -> list[str]:
    return registered("explainers", "methods")


def _classifiers() -> list[str]:
    return sorted({*LITE, *registered("classifiers", "classifiers"), "torchvision/", "timm/", "hf/", "open_clip/"})


method_names = _one(_methods)
method_list = _several(_methods)
metric_list = _several(lambda: ["all", *_presets(), *registered("measures", "metrics")])
classifier_names = _one(_classifiers)
classifier_list = _several(_classifiers)
data_sources = _one(lambda: [f"{name}:" for name in registered("data", "datasets")])
infiller_names = _one(lambda: registered("infill", "infillers"))
recipe_names = _one(packaged_recipes)
study_names = _one(lambda: registered("studies", "studies"))
devices = _words("auto", "cpu", "cuda", "mps")
precisions = _words("fp32", "bf16", "fp16", "auto")
targets = _words("predicted", "label", "each")
teacher_names = _one(lambda: ["auto", "none", "both", *_methods()])
predicted = _words("predicted", "finer", "findings")
resizes = _words("squash", "crop", "none")
sess_presets = _words("sess_quality", "sess_metrics", "sess_fast")
study_scales = _words("smoke", "small", "medium", "full")
no_yes_both = _words("no", "yes", "both")

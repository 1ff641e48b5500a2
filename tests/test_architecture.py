"""The house: arrows between rooms run down only, no files import each other in a circle, and names have one meaning.

Read with the standard library's ``ast``: every import counts, those inside functions and for type checkers, too.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "src" / "maskwise"

# From the ground up: a room may import those in lines above its own, and nothing else.
FLOORS = (
    "core",
    "deep_pictures formats papers schemas",
    "picture_headers",
    "blending box images labels",
    "drawing",
    "classifiers infill",
    "class_objective data maskers measures",
    "explainers convert",
    "sess",
    "evaluation explain exporting live",
    "training",
    "checks planning",
    "audit",
    "report static_page",
    "doctor",
    "studies",
    "web",
    "commands",
    "cli",
)
FLOOR = {room: height for height, line in enumerate(FLOORS) for room in line.split()}
PUBLIC = "maskwise"  # __init__.py: it only says where names live, and may be asked for the version by anybody


def modules() -> dict[str, Path]:
    """File by dotted name, below the package."""
    found = {}
    for path in sorted(HOUSE.rglob("*.py")):
        parts = path.relative_to(HOUSE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def arrows(name: str) -> set[str]:
    """The modules that a module imports."""
    path = MODULES[name]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("maskwise.") for alias in node.names if alias.name.startswith("maskwise")}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "maskwise":
            home = node.module.removeprefix("maskwise").removeprefix(".")
            for alias in node.names:
                inner = f"{home}.{alias.name}".removeprefix(".")
                found.add(inner if inner in MODULES else home)
    return {target for target in found if target in MODULES and target != name}


def room(name: str) -> str:
    return name.split(".")[0]


def test_every_room_has_its_floor() -> None:
    rooms = {room(name) for name in MODULES} - {"", "__main__"}
    assert rooms == set(FLOOR)


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) in FLOOR])
def test_arrows_between_rooms_run_down(name: str) -> None:
    up = {t for t in arrows(name) - {"", PUBLIC} if room(t) != room(name) and FLOOR[room(t)] >= FLOOR[room(name)]}
    assert not up, f"{name} may not import {', '.join(sorted(up))}"


def test_no_files_import_each_other_in_a_circle() -> None:
    """Tarjan's strongly connected components, without recursion limits in the way: each has one file."""
    graph = {name: sorted(arrows(name) - {"", PUBLIC}) for name in MODULES if name}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in graph[name]:
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            circle = stack[stack.index(name) :]
            del stack[-len(circle) :]
            if len(circle) > 1:
                circles.append(sorted(circle))

    for name in graph:
        if name not in index:
            visit(name)
    assert not circles


def public_names(name: str) -> dict[str, str]:
    """What a module defines for others, and what it is; constants only where another module takes them from it."""
    found = {}
    for node in ast.parse(MODULES[name].read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = "class" if isinstance(node, ast.ClassDef) else "function"
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: "value" for target in targets if isinstance(target, ast.Name)}
    return {known: kind for known, kind in found.items() if not known.startswith("_")}


def taken() -> set[tuple[str, str]]:
    """(module, name) of all names that another module imports."""
    found = set()
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {(node.module.removeprefix("maskwise").removeprefix("."), alias.name) for alias in node.names}
    return found


def test_no_public_name_has_two_meanings() -> None:
    """A function, class or type of one name stands in one module; constants of a module's own don't count."""
    imported, homes = taken(), defaultdict(list)
    for name in MODULES:
        if room(name) in ("", "__main__"):  # what the package offers is defined elsewhere, or lists what is there
            continue
        for known, kind in public_names(name).items():
            own = kind == "value" and (name, known) not in imported and (known.isupper() or len(known) == 1)
            if not own and known != "log":  # each module's logger
                homes[known].append(name)
    twice = {known: places for known, places in homes.items() if len(places) > 1}
    assert not twice, "\n".join(f"{known}: {', '.join(places)}" for known, places in sorted(twice.items()))

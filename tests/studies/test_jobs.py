"""What a job says of itself, against a walk through its fields."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import maskwise
from maskwise.studies import SCALES, studies
from maskwise.studies.jobs import CheckJob, Explain, PanelJob, Train
from maskwise.studies.jobs.base import Job

SOURCES = Path(maskwise.__file__).parent


def inside(value: Any) -> Iterator[Job]:
    """The jobs in a job, itself first."""
    if isinstance(value, Job):
        yield value
    if is_dataclass(value):
        for field in fields(value):
            yield from inside(getattr(value, field.name))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from inside(part)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", studies.names())
def test_a_seed_reaches_all_that_a_job_trains(name: str, scale: str) -> None:
    for cell in studies.get(name).cells(SCALES[scale]):
        seeded = cell.job.with_seed(7)
        assert type(seeded) is type(cell.job)
        if cell.job.trains:
            assert {job.seed for job in inside(seeded)} == {7} and seeded.with_seed(0) == cell.job
        else:
            assert seeded is cell.job and not any(job.trains for job in inside(cell.job))


def test_which_maskers_are_packaged() -> None:
    small, full = SCALES["small"], SCALES["full"]
    casm, other = Train("casm", packaged="casm", small="casm_lite0"), Train("fan")
    panel = PanelJob((("CASM", casm), ("Fan", other)))
    assert panel.packaged_maskers(small) == ("casm", None) and panel.packaged_maskers(full) == (None, None)
    assert CheckJob(casm, "drt").packaged_maskers(small) == ("casm",)
    assert Explain("grad_cam").packaged_maskers(small) == ()
    assert [job.needs_judges for job in (panel, casm, Explain("cam"))] == [True, False, False]


def test_nothing_but_its_command_imports_the_laboratory() -> None:
    importers = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [f"{node.module}.{a.name}" for a in node.names] if isinstance(node, ast.ImportFrom) else []
            if any(f"{name}.".startswith("maskwise.studies.") for name in names):
                importers.add(path.relative_to(SOURCES))
    assert {path for path in importers if path.parts[0] != "studies"} == {Path("commands/study.py")}

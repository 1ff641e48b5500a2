"""Numbers in the documentation: each table of them says what gives it, and those with a file are the file's."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from test_docs import DOCS, ROOT
from test_docs_pages import shows, tables

import maskwise.cli  # noqa: F401  it registers the commands
from maskwise.commands.registration import commands

# a table whose numbers are settings or counts by definition
NOT_MEASURED = {
    ("shapley.md", "forwards a picture"),
    ("class-wise.md", "network that draws"),
    ("training.md", "paper (default)"),
}
PROGRAM = r"(?:python|pytest) ((?:benchmarks|scripts|docs|examples|tests)/[\w/.]+\.py)"
COMMAND = re.compile(rf"maskwise ((?!explain|methods)[a-z]+)\b|{PROGRAM}")
CODE = re.compile(r"^```\w*\n(.*?)^```|`([^`]+)`", re.S | re.M)
# A command as it was typed: with an option or what it is of, not its name alone.
GIVES = "audit|check|compare|evaluate|export|fit|panel|plan|study|train"
TYPED = re.compile(rf"maskwise (?:{GIVES})\b.*(?:--|\w\.zip)|{PROGRAM}", re.S)
LINK = re.compile(r"\]\((?:\.\./)?(?:results/)?([\w-]+\.csv)\)")
INTERVAL = re.compile(r"(-?\d[\d.]*) \[(-?[\d.]+), (-?[\d.]+)\]")


class Section(NamedTuple):
    """From a heading to the next one."""

    page: str
    text: str


def sections() -> list[Section]:
    """Of all pages but those that ``docs/build.py`` may have left here: test_docs_pages.py asks for their sources."""
    written = set(re.findall(r'write\("([\w-]+\.md)"', (DOCS / "build.py").read_text(encoding="utf-8")))
    assert "which-method.md" in written
    own = [page for page in sorted(DOCS.glob("*.md")) if page.name not in written]
    found = []
    for page in [ROOT / "README.md", *own, DOCS / "results" / "README.md"]:
        text, start, fenced = page.read_text(encoding="utf-8"), 0, False
        place = 0
        for line in text.splitlines(keepends=True):
            fenced ^= line.startswith("```")
            if line.startswith("#") and not fenced and place:
                found.append(Section(page.name, text[start:place]))
                start = place
            place += len(line)
        found.append(Section(page.name, text[start:]))
    return found


def is_of_numbers(rows: list[list[str]]) -> bool:
    """Do at least three cells, and a third of those that are not names, begin with a number?"""
    cells = [re.sub(r"`[^`]*`", "", cell).strip() for row in rows[2:] for cell in row[1:]]
    numbers = [cell for cell in cells if re.match(r"[*~+-]*\d", cell)]
    return len(numbers) >= 3 and 3 * len(numbers) >= len([cell for cell in cells if cell])


def measured() -> list[tuple[Section, list[list[str]]]]:
    return [
        (s, t) for s in sections() for t in tables(s.text) if is_of_numbers(t) and (s.page, t[0][1]) not in NOT_MEASURED
    ]


def test_a_table_of_numbers_names_the_command_or_the_file_that_gives_it() -> None:
    """Its section has the command with what was typed behind it, or a link to the file."""
    known, without = {name.split()[0] for name in commands}, []
    for section, rows in measured():
        named = COMMAND.findall(section.text)
        for command, script in named:
            assert command in known if command else (ROOT / script).is_file(), (section.page, command or script)
        files = LINK.findall(section.text)
        assert all((DOCS / "results" / name).is_file() for name in files), (section.page, files)
        typed = any(TYPED.search(block or inline) for block, inline in CODE.findall(section.text))
        if not typed and not files:
            without.append((section.page, section.text.splitlines()[0], rows[0]))
    assert without == []
    assert len(measured()) > 30


Ends = tuple[float, float, float]


def values_of(paths: list[Path]) -> dict[str, list[Ends]]:
    """The values with their intervals that ``compare`` wrote, by method."""
    found: dict[str, list[Ends]] = {}
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                if line["low"]:
                    ends = float(line["value"]), float(line["low"]), float(line["high"])
                    found.setdefault(line["method"], []).append(ends)
    return found


def linked() -> list[tuple[str, list[Path], list[list[str]]]]:
    """(page, files, table): the table after a paragraph that ends in a colon, else the one before it."""
    found = []
    for section in sections():
        blocks = re.split(r"\n\s*\n", section.text)
        at = [number for number, block in enumerate(blocks) if tables(block + "\n")]
        for number, block in enumerate(blocks):
            if files := [DOCS / "results" / name for name in LINK.findall(block)]:
                near = [i for i in at if i > number][:1] if block.endswith(":") else [i for i in at if i < number][-1:]
                found += [(section.page, files, tables(blocks[i] + "\n")[0]) for i in near]
    return found


@pytest.mark.parametrize(("page", "files", "rows"), linked(), ids=[files[0].stem for _, files, _ in linked()])
def test_values_with_intervals_are_those_of_the_linked_file(
    page: str, files: list[Path], rows: list[list[str]]
) -> None:
    """Differences, in a row or from a column on that says `less`, are of other pairs than the file's."""
    known, compared = values_of(files), 0
    known["masker"], known["centre box"] = known.get("distilled", []), known.get("center", [])
    heads = rows[0][: next((i for i, head in enumerate(rows[0]) if "less" in head), len(rows[0]))]
    for cells in rows[2:]:
        named = [name for cell in cells for name in known if cell in (name, f"`{name}`", f"{name} (`center`)")]
        for head, cell in zip(heads, cells, strict=False):
            if named and (found := INTERVAL.fullmatch(cell)):
                assert any(all(map(shows, found.groups(), ends)) for ends in known[named[0]]), (
                    page,
                    cells[0],
                    head,
                    cell,
                )
                compared += 1
    assert compared > 3


def test_every_file_of_a_comparison_is_linked() -> None:
    """A file that no page names tells nobody anything."""
    named = {path for _, files, _ in linked() for path in files}
    assert {p for p in (DOCS / "results").glob("*.csv") if not p.with_suffix(".md").is_file()} == named

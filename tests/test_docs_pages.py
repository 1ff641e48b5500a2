"""Pages of the documentation that are made: numbers are their files', options say what to pass, papers are linked."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from script_files import loaded
from test_docs import DOCS, generated

from maskwise.explainers import methods
from maskwise.infill import infillers
from maskwise.measures import metrics
from maskwise.papers import PAPERS, paper_links, with_paper_links

RESULTS = DOCS / "results"
# shown again on pages that lead to others, which say what made them
MADE_ELSEWHERE = {"demo.png", "sess.png", "methods.png"}
# no paper, or one on no open server, or whose address is not known here
WITHOUT = {"chance", "whole picture", "Morbidelli et al. 2020", "RefineCAM, 2025"}


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    return generated(monkeypatch)


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each Markdown table."""
    found = re.findall(r"(?:^\|.*\|$\n?)+", text, re.M)
    return [[[c.strip() for c in line.strip("|\n").split("|")] for line in table.splitlines()] for table in found]


def shows(cell: str, value: float) -> bool:
    """Is the number at the cell's beginning the value, as precisely as it is printed?"""
    number = re.match(r"-?\d+(?:\.(\d+))?(?:e([+-]\d+))?", cell)
    if number is None:
        return False
    digit = 10.0 ** (int(number[2] or 0) - len(number[1] or ""))
    return abs(float(number[0]) - value) <= 0.5 * digit * (1 + 1e-6) or float(number[0]) == float(f"{value:.3g}")


def row_of(label: str, values: dict[tuple[str, str], str]) -> str:
    """The row that a page's label is of: `A: Baseline` of A."""
    return label if any(row == label for row, _ in values) else label.partition(":")[0]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.csv")), ids=lambda path: path.stem)
def test_a_results_page_has_the_numbers_of_its_file(path: Path) -> None:
    page = path.with_suffix(".md")
    if not page.is_file():
        pytest.skip("no page of its own")
    with path.open(encoding="utf-8", newline="") as file:
        values = {(row["row"], row["column"]): row["value"] for row in csv.DictReader(file)}
    compared = 0
    for section in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.M):
        less = re.match(r"Less (.+)\n", section)  # of differences from a row
        than = less and row_of(less[1], values)
        for header, _, *rows in tables(section):
            for label, *cells in rows:
                name = row_of(label, values)
                for column, cell in zip(header[1:], cells, strict=True):
                    if values.get((name, column)) and cell:
                        expected = float(values[name, column]) - (float(values[than, column]) if than else 0)
                        assert shows(cell, expected), (name, column, cell, expected)
                        compared += 1
    assert compared > 3


def test_which_method_when_prints_the_measured_landscape(pages: dict[str, str]) -> None:
    with (RESULTS / "landscape.csv").open(encoding="utf-8", newline="") as file:
        values = {(row["row"], row["column"]): float(row["value"]) for row in csv.DictReader(file)}
    with (RESULTS / "vit-tiny-distilled.csv").open(encoding="utf-8", newline="") as file:
        transformer = {row["method"]: float(row["value"]) for row in csv.DictReader(file) if row["metric"] == "le"}
    assert "do not compare with the rest" in pages["which-method.md"]
    seen = set()
    for header, _, *rows in tables(pages["which-method.md"]):
        if header[:3] != ["method", "LE", "seconds"]:
            continue
        for name, error, seconds, *_ in rows:
            plain = re.sub(r"\[(\w+)\].*", r"\1", name)
            seen.add(plain)
            if plain in methods and methods.facts(plain)["family"] == "attention":
                assert shows(error, transformer[plain])  # measured on another network, which the page says
            elif (plain, "LE") in values:
                assert shows(error, values[plain, "LE"]) and float(seconds) == float(f"{values[plain, 'seconds']:.2g}")
            else:
                assert error == "not run"
    assert seen >= set(methods.names()) | {name for name, _ in values}, "a method that no question leads to"


def test_the_gallery_has_every_method_and_its_picture(pages: dict[str, str]) -> None:
    for name in methods.names():
        assert f"[{name}](methods/{name}.md)" in pages["gallery.md"]
        if name == "fast_shap":
            continue  # no network of its kind comes with the package
        assert f"images/methods/{name}.webp" in pages["gallery.md"], f"python docs/pictures.py {name}"


def test_the_sheets_of_methods_and_infillers_are_of_all_that_there_are() -> None:
    pictures = loaded(DOCS / "pictures.py")
    assert set(pictures.shown()) == set(methods.names()) - {"fast_shap"}
    sources = {name: Image.open(DOCS / "images" / f"{name}.png").info["Source"] for name in ("methods", "infillers")}
    assert sources["methods"] == pictures.content(), "python docs/pictures.py"
    drawn = [name for name, facts in infillers.items() if not facts["needs_weights"]]
    assert sources["infillers"].split() == drawn, "python benchmarks/infill_picture.py docs/images/infillers.png"


def test_no_page_that_is_generated_is_kept() -> None:
    """`docs/build.py` outside of mkdocs writes its pages here, where they would grow old."""
    listed = subprocess.run(["git", "ls-files", "docs"], cwd=DOCS.parent, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    kept = {path.removeprefix("docs/") for path in listed.stdout.splitlines()}
    assert "index.md" in kept and not kept & {
        "api.md",
        "gallery.md",
        "which-method.md",
        "methods/cam.md",
        "metrics/le.md",
    }


def test_every_picture_says_what_made_it() -> None:
    """In its caption, the paragraph behind it: a command of ours, or a program that lies here."""
    without = set()
    for page in [DOCS.parent / "README.md", *DOCS.glob("*.md")]:
        blocks = re.split(r"\n\s*\n", page.read_text(encoding="utf-8"))
        for block, behind in zip(blocks, [*blocks[1:], ""], strict=True):
            for name in re.findall(r"!\[[^\]]*\]\(\S*images/([\w/-]+\.\w+)\)", block):
                made = re.findall(r"maskwise \w+|make demo|python ((?:benchmarks|scripts|docs)/\w+\.py)", behind)
                assert all((DOCS.parent / script).is_file() for script in made if script)
                without |= set() if made or name in MADE_ELSEWHERE else {(page.name, name)}
    assert without == set()


def test_the_tutorials_page_is_that_of_its_script() -> None:
    pytest.importorskip("nbformat", reason="nbformat is not installed")
    convert = loaded(DOCS / "notebooks" / "convert.py")
    script = (DOCS / "notebooks" / "tutorial.py").read_text(encoding="utf-8")
    page = (DOCS / "notebooks" / "tutorial.md").read_text(encoding="utf-8")
    assert page.startswith(convert.mark(script)), "python docs/notebooks/convert.py --page"
    shown = re.findall(r"\]\((\.\./images/tutorial/\d\.webp)\)", page)
    assert len(shown) == 3 and all((DOCS / "notebooks" / picture).is_file() for picture in shown)
    for cell in convert.notebook(script).cells:
        assert cell.source in page


def test_options_say_what_to_pass(pages: dict[str, str]) -> None:
    for name in methods.names():
        options = pages[f"methods/{name}.md"].split("## Options")[1]
        for table in tables(options):
            assert table[0] == ["option", "default", "what to pass"]
            assert all(cells[2] for cells in table[2:]), name
    assert "0 in the paper" in pages["methods/dabkowski_gal.md"].split("## Options")[1]


def test_the_search_finds_the_words_that_people_type(pages: dict[str, str]) -> None:
    text = " ".join([*pages.values(), *(page.read_text("utf-8") for page in DOCS.rglob("*.md"))]).casefold()
    for word in ("vit", "heatmap", "heat map", "colormap", "transformer", "attribution"):
        assert re.search(rf"\b{word}\b", text), word


def test_papers_are_linked() -> None:
    for registry in (methods, metrics):
        for name, facts in registry.items():
            paper = facts["paper"]
            if re.search(r"\b(?:19|20)\d\d\b", paper) and paper not in WITHOUT:
                assert paper_links(paper), f"{name}: {paper}"
    assert all(re.fullmatch(r"https://(?:arxiv\.org/abs/\d{4}\.\d{4,5}|doi\.org/10\.\S+)", a) for a in PAPERS.values())
    page = "# Du et al. 2018\n\nDu et al. 2018, Du et al. 2018, [Cao et al. 2015](x.md)\n\n```\nBach et al. 2015\n```\n"
    linked = with_paper_links(page)
    assert linked.count("https://") == 1
    assert linked.replace("[Du et al. 2018](https://arxiv.org/abs/1804.00506)", "Du et al. 2018") == page

"""The documentation: its snippets run, its pages know every method and metric, the tutorial runs."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import pytest
from script_files import loaded

import maskwise as mw
from maskwise.explainers import methods
from maskwise.measures import metrics

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def snippets(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.S | re.M)


def forget(registry: Any, name: str) -> None:
    registry._entries.pop(name, None)
    registry._facts.pop(name, None)


def test_bring_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("captum")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    try:
        for snippet in snippets(DOCS / "bring-your-own.md"):
            exec(snippet, names)
        assert "brightness" in methods and "peak" in metrics
    finally:
        forget(methods, "brightness")
        forget(metrics, "peak")


def test_the_callback_of_the_training_page() -> None:
    found = doctest.testfile(str(DOCS / "training.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert found.attempted == 5 and not found.failed


def test_the_page_of_each_method_and_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = generated(monkeypatch)
    assert {f"methods/{name}.md" for name in methods.names()} <= set(pages)
    assert {f"metrics/{name}.md" for name in metrics.names()} <= set(pages)
    grad_cam = pages["methods/grad_cam.md"]
    for said in ("Selvaraju et al. 2017", "1 forward, 1 backward", "Weights are the mean over positions", "layer"):
        assert said in grad_cam
    assert "Petsiuk" in pages["metrics/insertion.md"] and "`step`" in pages["metrics/insertion.md"]
    assert all(f"::: {mw._HOMES.get(name, 'maskwise')}.{name}" in pages["api.md"] for name in mw.__all__)


def generated(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What docs/build.py writes."""
    import io
    import sys
    import types

    pages: dict[str, io.StringIO] = {}

    class Kept(io.StringIO):
        def close(self) -> None: ...

    def keep(path: str, mode: str) -> io.StringIO:
        return pages.setdefault(path, Kept())

    monkeypatch.setitem(sys.modules, "mkdocs_gen_files", types.SimpleNamespace(open=keep))  # type: ignore[arg-type]
    loaded(DOCS / "build.py")
    return {path: page.getvalue() for path, page in pages.items()}


def test_links_within_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    made = set(generated(monkeypatch))
    for page in DOCS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert link in made or (DOCS / link).exists() or link.startswith(".."), f"{page.name}: {link}"


def test_the_page_of_the_code_names_every_room_and_short_walks() -> None:
    """Each file that it names exists, each room is named, and nobody is led through more than eight files."""
    house, text = ROOT / "src" / "maskwise", (DOCS / "code.md").read_text(encoding="utf-8")
    rooms = text.split("## The rooms")[1].split("## The walk")[0]
    table = "".join(line for line in rooms.splitlines() if line.startswith("|"))
    named = {name.rstrip("/") for name in re.findall(r"`([\w/]+(?:/|\.py))`", table)}
    here = {path.name for path in house.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert here - {"__main__.py"} == named
    walks = re.findall(r"^## The walk of a (.*?)\n(.*?)(?=^## )", text, re.S | re.M)
    assert [name for name, _ in walks] == ["picture", "recipe", "measured map"]
    for name, walk in walks:
        stations = re.findall(r"^(\d+)\. `([\w/]+\.py)`", walk, re.M)
        assert [int(number) for number, _ in stations] == list(range(1, len(stations) + 1)), name
        assert 3 < len({path for _, path in stations}) == len(stations) <= 8, name
        assert [path for _, path in stations if not (house / path).is_file()] == []
    tails = {path.name for path in house.rglob("*.py")} | {"test_architecture.py", "pictures.py"}
    assert {Path(path).name for path in re.findall(r"[\w/]+\.py", text)} <= tails


def test_the_tutorial_as_a_notebook(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    client = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    convert = loaded(DOCS / "notebooks" / "convert.py")
    text = (DOCS / "notebooks" / "tutorial.py").read_text(encoding="utf-8")
    for long, short in (("in range(100)", "in range(9)"), ('"steps=70"', '"steps=9"'), ("step=0.1)", "step=0.5)")):
        assert text.count(long) == 1
        text = text.replace(long, short)  # what is learned or measured so is not looked at here
    book = convert.notebook(text)
    nbformat.validate(book)
    client.NotebookClient(book, timeout=240, kernel_name="python3").execute(cwd=str(tmp_path))
    shown = [out for cell in book.cells if cell.cell_type == "code" for out in cell.outputs if "data" in out]
    assert sum("text/html" in out["data"] and "image/png" in out["data"] for out in shown) == 3


def test_what_is_promised_names_a_test_that_is_there() -> None:
    """Each row of the tables of promises names files or folders of tests, or a script, and those hold tests."""
    for page in ("reliability.md", "security.md"):
        named = set(re.findall(r"`(?:python )?((?:tests|scripts|benchmarks)/[\w/.-]+|test_\w+\.py)", _page(page)))
        assert named, f"{page} names no test"
        for name in named:
            found = sorted((ROOT / "tests").rglob(name)) if name.startswith("test_") else [ROOT / name]
            assert len(found) == 1 and found[0].exists(), f"{page}: {name} is not one file there, but {found}"
            place = found[0]
            if name.startswith(("tests", "test_")):
                files = sorted(place.rglob("test_*.py")) if place.is_dir() else [place]
                assert any(re.search(r"^\s*def test_", file.read_text("utf-8"), re.M) for file in files), name


def _page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_every_row_of_reliability_names_its_test() -> None:
    rows = [line for line in _page("reliability.md").splitlines() if line.startswith("| ") and "---" not in line]
    promises = [row for row in rows if not row.startswith("| promise")]
    assert len(promises) > 15
    for row in promises:
        assert re.search(r"`(?:(?:python )?(?:tests|scripts|benchmarks)/|test_\w+\.py)", row), row

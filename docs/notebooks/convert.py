"""The tutorial as a notebook: `python docs/notebooks/convert.py tutorial.ipynb`; run by the tests."""

import sys
from pathlib import Path
from typing import Any

import nbformat


def notebook(text: str) -> Any:
    """A percent script's cells; comments of markdown cells are their text."""
    cells = []
    for cell in text.split("# %%")[1:]:
        head, _, body = cell.partition("\n")
        if "[markdown]" in head:
            lines = [line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines()]
            cells.append(nbformat.v4.new_markdown_cell("\n".join(lines)))
        else:
            cells.append(nbformat.v4.new_code_cell(body.strip()))
    return nbformat.v4.new_notebook(cells=cells)


if __name__ == "__main__":
    script = Path(__file__).parent / "tutorial.py"
    nbformat.write(notebook(script.read_text(encoding="utf-8")), sys.argv[1])

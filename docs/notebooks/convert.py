"""The tutorial as a notebook and as a page, both of one script.

`python docs/notebooks/convert.py tutorial.ipynb` writes the notebook, without outputs. `python
docs/notebooks/convert.py --page` runs it and writes tutorial.md with its outputs, and the pictures beside it; some minutes. The tests run the
notebook, and see that the page is that of the script as it is.
"""

import base64
import hashlib
import html
import io
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

HERE = Path(__file__).parent
PICTURES = HERE.parent / "images" / "tutorial"
WIDEST = 1000  # pixels of a picture on the page


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


def mark(text: str) -> str:
    """The page's first line, by which it is known whose outputs it shows."""
    return f"<!-- {hashlib.sha256(text.encode()).hexdigest()} of tutorial.py -->"


def page(book: Any, text: str, pictures: Path) -> str:
    """A notebook that ran as Markdown; its pictures become WebP files in a folder."""
    from PIL import Image

    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.webp"):
        old.unlink()
    parts, shown = [mark(text)], 0
    for cell in book.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        printed = ""
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                shown += 1
                picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB")
                picture.thumbnail((WIDEST, 4 * WIDEST))
                picture.save(pictures / f"{shown}.webp", quality=80, method=6)
                first = cell.source.strip().splitlines()[-1]
                parts.append(f"![What `{html.escape(first)}` shows](../images/tutorial/{shown}.webp)")
                continue
            said = output.get("text") if output.output_type == "stream" else data.get("text/plain")
            if said and output.get("name") != "stderr":
                printed += str(said)
        if printed:  # of a bar that was drawn over itself the last state, of a temporary folder no name
            lines = [line.rsplit("\r", 1)[-1] for line in printed.rstrip().splitlines()]
            plain = re.sub(r"/[\w/.-]*/tmp\w+", "/tmp/…", "\n".join(lines).replace(tempfile.gettempdir(), "/tmp"))
            parts.append(f"```text\n{plain}\n```")
    return "\n\n".join(parts) + "\n"


def run(text: str) -> Any:
    """The notebook of a script, executed in a folder of its own."""
    from nbclient import NotebookClient

    book = notebook(text)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(book, timeout=1200, kernel_name="python3").execute(cwd=folder)
    return book


def main() -> None:
    text = (HERE / "tutorial.py").read_text(encoding="utf-8")
    if sys.argv[1] == "--page":
        (HERE / "tutorial.md").write_text(page(run(text), text, PICTURES), encoding="utf-8")
    else:
        nbformat.write(notebook(text), sys.argv[1])


if __name__ == "__main__":
    main()

"""The figures of docs/results, drawn again from the numbers that lie there: `python docs/figures.py`."""

from pathlib import Path

from maskwise.studies.stored import redraw

if __name__ == "__main__":
    for path in redraw(Path(__file__).parent / "results"):
        print(path.name)

"""What it takes until ``--help`` of each command is printed: the median of a fresh process, and typer's own share.

    python benchmarks/command_line.py --repeats 5

The floor is a program of typer with one command and one option: its ``--help`` imports what typer itself needs. The
aim is 300 ms for any page on an idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from maskwise.cli import app  # noqa: F401, registers the commands
from maskwise.commands.registration import commands

AIM = 300  # ms
FLOOR = """
import typer
app = typer.Typer(rich_markup_mode=None)
app.callback()(lambda: None)
@app.command()
def one(name: str = "") -> None: ...
app(["one", "--help"])
"""


def milliseconds(*call: str, repeats: int) -> float:
    """Median of so many fresh processes, after one that warms up the file system."""
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, *call], stdout=subprocess.DEVNULL, check=True)
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="fresh processes, of which the median is taken")
    repeats = parser.parse_args().repeats
    print(f"{'typer alone':<14}{milliseconds('-c', FLOOR, repeats=repeats):6.0f} ms")
    for name in ["", *sorted(commands)]:
        taken = milliseconds("-m", "maskwise", *name.split(), "--help", repeats=repeats)
        print(f"{name or 'maskwise':<14}{taken:6.0f} ms{'' if taken < AIM else f', over {AIM}'}")


if __name__ == "__main__":
    main()

"""Bad input by the hundred thousand: every reader and the command line, from one seed.

``python scripts/fuzz.py --inputs 100000 --seed 0`` prints what was taken and what refused, the slowest input, and the
most memory that one took. It ends with 1 where the promise was broken: one clear line, two seconds, one gigabyte.
What broke it is kept in ``--keep`` and comes again with ``--target NAME --file PATH``.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# In place of this script's own folder, in which `fuzz` would be this file.
sys.path[0] = str(Path(__file__).parents[1] / "tests")


def main() -> int:
    from fuzz.harness import Row, run
    from fuzz.targets import TARGETS, counts

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="only this one; may be given again")
    parser.add_argument("--file", type=Path, help="only this input, of the one target")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    with tempfile.TemporaryDirectory(prefix="maskwise-fuzz-") as scratch:
        if asked.file is not None:
            TARGETS[asked.target[0]].read(asked.file.read_bytes(), Path(scratch))
            return 0
        began, rows = time.time(), list[Row]()
        print(line("target", "inputs", "accepted", "refused", "slowest s", "peak MB", "failures"), flush=True)
        for name, inputs in counts(asked.inputs, asked.target).items():
            row = run(TARGETS[name], inputs, asked.seed, Path(scratch), asked.keep)
            rows.append(row)
            print(shown(row), flush=True)
            for failure in row.failures[:5]:
                print("  ", failure.strip().splitlines()[0], failure.strip().splitlines()[-1], flush=True)
        total = Row("all")
        for row in rows:
            total.add(row)
        print(shown(total))
        kept = f"; reproducers in {asked.keep}" if total.failures else ""
        print(f"seed {asked.seed}, {time.time() - began:.0f} s{kept}")
    return 1 if total.failures else 0


def shown(row: object) -> str:
    facts = vars(row)
    return line(
        facts["target"], facts["inputs"], facts["accepted"], facts["refused"], f"{facts['slowest']:.2f}",
        f"{facts['peak'] / 2**20:.0f}", len(facts["failures"]),
    )  # fmt: skip


def line(name: str, *cells: object) -> str:
    return f"{name:24}" + "".join(f"{cell!s:>11}" for cell in cells)


if __name__ == "__main__":
    sys.exit(main())

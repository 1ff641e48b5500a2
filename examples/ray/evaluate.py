"""One method on one data set, spread over the workers of a Ray cluster; a row of each picture in Parquet.

    pip install "maskwise[scale]"
    python examples/ray/evaluate.py --data s3://bucket/imagenet-val --method distilled --out rows --parts 256
    python examples/ray/evaluate.py --data pets3.zip@test --method grad_cam --out rows --workers 2

Pictures are dealt to parts by a hash of their ids, so that a picture is in one part whatever the number of workers,
and no part is filled up with pictures of another. Each part becomes one file, whole or not at all; a part that is
there is not computed again, so the same call after a crash does the rest. Ray gives the part of a dead worker to
another one. The table at the end is made of the files alone and equals that of `maskwise evaluate`.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import maskwise as mw
from maskwise.core.files import atomic_write
from maskwise.core.spread import evenly_spread
from maskwise.data import read_data
from maskwise.evaluation import Contender, Leaderboard, Measured, Settings, leaderboard, measure
from maskwise.measures import Metric, metric

Row = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """What is measured; plain data, since it travels to the workers."""

    data: str
    method: str = "distilled"
    classifier: str = "efficientnet_lite0"
    metrics: tuple[str, ...] = ("le", "f1", "pointing", "area")
    limit: int | None = None
    batch: int = 8
    device: str = "cpu"

    def settings(self) -> Settings:
        return Settings(batch=self.batch)

    def measures(self, classifier: mw.Classifier) -> dict[str, Metric]:
        return {name: metric(name, classifier) for name in self.metrics}


def part_of(picture: str, parts: int) -> int:
    """Which part a picture belongs to, by its id: the same on every machine and in every run."""
    return zlib.crc32(picture.encode()) % parts


def pictures(work: Work) -> Any:
    """The data set, or ``limit`` pictures evenly spread over it, as `maskwise evaluate --limit` takes them."""
    data = read_data(work.data)
    return data.subset(evenly_spread(len(data), work.limit))


def rows_of(work: Work, part: int, parts: int) -> list[Row]:
    """A row of each picture of one part: its key, and the statistics of each metric, NaN where it has no such truth."""
    data = pictures(work).filter(lambda record: part_of(record.id, parts) == part)
    if not len(data):
        return []
    classifier = mw.load_classifier(work.classifier).to(work.device)
    contender = Contender.of(work.method, mw.explainer(work.method, classifier))
    measured = measure([contender], classifier, [data], work.measures(classifier), work.settings())
    (keys,) = measured.pictures.values()
    columns = {name: values.tolist() for (_, _, name), values in measured.statistics.items()}
    return [{"picture": key, **{name: values[i] for name, values in columns.items()}} for i, key in enumerate(keys)]


def together(work: Work, rows: Iterable[Mapping[str, Any]]) -> Leaderboard:
    """The table of rows from all parts, in the order of the listing, as one process would have made it."""
    place = {record.id: i for i, record in enumerate(pictures(work).records)}
    ordered = sorted(rows, key=lambda row: place[row["picture"].rpartition("#")[0]])
    if len(ordered) != len(place):
        raise SystemExit(f"{len(ordered)} rows of {len(place)} pictures: some parts are missing")
    classifier = mw.load_classifier(work.classifier)
    contender = Contender.of(work.method, mw.explainer(work.method, classifier))
    measured = Measured(classifier.name, work.measures(classifier), work.settings(), [contender])
    measured.pictures[work.data] = [row["picture"] for row in ordered]
    for name in ordered[0].keys() - {"picture"}:
        measured.statistics[work.data, work.method, name] = _table([row[name] for row in ordered])
    return leaderboard(measured)


def _table(rows: Sequence[Sequence[float]]) -> torch.Tensor:
    """(N,D) float64; a part in which nobody had such truth does not know how many numbers there are."""
    width = max(map(len, rows))
    return torch.tensor([row if len(row) == width else [float("nan")] * width for row in rows], dtype=torch.float64)


def write_part(work: Work, out: Path, part: int, parts: int) -> int:
    """Writes the rows of a part, unless they are there; returns how many it computed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = out / f"rows-{part:05}-of-{parts:05}.parquet"
    if path.is_file():
        return 0
    torch.set_num_threads(1)  # the workers share the machine's cores
    rows = rows_of(work, part, parts)
    columns = ["picture", *work.metrics, "seconds", "megabytes"]
    kinds = [pa.string(), *[pa.list_(pa.float64())] * (len(columns) - 1)]
    with atomic_write(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, pa.schema(list(zip(columns, kinds, strict=True)))), temporary)
    return len(rows)


def read_rows(out: Path, parts: int) -> list[Row]:
    import pyarrow.parquet as pq

    return [
        row for path in sorted(out.glob(f"rows-*-of-{parts:05}.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--method", default=Work.method)
    parser.add_argument("--classifier", default=Work.classifier)
    parser.add_argument("--metrics", default=",".join(Work.metrics))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--out", type=Path, required=True, help="a folder that all workers see")
    parser.add_argument("--parts", type=int, default=8, help="a few for each worker: the last ones end together")
    parser.add_argument("--workers", type=int, help="on this machine; without it, all of the cluster's")
    parser.add_argument("--gpus", type=float, default=0, help="of each task; it then runs on cuda")
    given = parser.parse_args()

    import ray

    device = "cuda" if given.gpus else "cpu"
    work = Work(given.data, given.method, given.classifier, tuple(given.metrics.split(",")), given.limit, device=device)
    out = given.out.absolute()
    ray.init(num_cpus=given.workers, include_dashboard=False, log_to_driver=False)
    task = ray.remote(num_cpus=1, num_gpus=given.gpus, max_retries=3)(write_part)
    waiting = [task.remote(work, out, part, given.parts) for part in range(given.parts)]
    done = 0
    while waiting:
        ready, waiting = ray.wait(waiting)
        done += sum(ray.get(ready))
        print(f"\r{given.parts - len(waiting)} of {given.parts} parts, {done} pictures", end="", flush=True)
    print()
    ray.shutdown()
    for line in together(work, read_rows(out, given.parts)).lines:
        values = ", ".join(
            f"{name} {cell.value:.4f} [{cell.low:.4f}, {cell.high:.4f}]" for name, cell in line.cells.items()
        )
        print(f"{line.method} on {line.pictures} pictures: {values}")


if __name__ == "__main__":
    main()

"""Trains a candidate for a packaged masker, measures it on held-out pictures, and files a row in a table of trials.

python scripts/train_packaged.py distilled_lite0 --data imagenet1000_samples.zip --data nips2017.zip \
    --val ilsvrc1275.zip@val --minutes 10 --out runs/distilled
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from maskwise.classifiers import load_classifier
from maskwise.core.allocator import keep_freed_memory
from maskwise.core.devices import device_of
from maskwise.core.files import atomic_write
from maskwise.evaluation import Contender, Settings, measure
from maskwise.explainers import explainer
from maskwise.maskers import read_header
from maskwise.measures import interval, metric
from maskwise.training import Callback, TrainingState, recipes, train

METRICS = ("le", "f1", "max_box_acc_v2", "area")
SPENT = "spent.json"  # seconds of the runs so far, of the clock and of all cores
LOOK = 20  # steps between two writings of it


class Clock(Callback):
    """What a training has cost so far, over all its runs; with a budget it ends the training, its rate at 0.

    Args:
        out: the run's folder.
        minutes: of the clock, labels and all; None is as many as the recipe's steps take.
    """

    def __init__(self, out: Path, minutes: float | None) -> None:
        self.path, self.minutes = out / SPENT, minutes
        self.before = {"seconds": 0.0, "core_seconds": 0.0}
        if self.path.is_file():
            self.before = json.loads(self.path.read_text(encoding="utf-8"))
        self.began, self.cores = time.monotonic(), time.process_time()
        self.first = self.before.get("before_the_first_step")

    def spent(self) -> dict[str, float]:
        now = {"seconds": time.monotonic() - self.began, "core_seconds": time.process_time() - self.cores}
        spent = {key: self.before[key] + value for key, value in now.items()}
        return spent if self.first is None else {**spent, "before_the_first_step": self.first}

    def on_step(self, state: TrainingState) -> None:
        """Cosine decay from the first step to the budget's end; labels are made before it."""
        seconds = self.spent()["seconds"]
        self.first = seconds if self.first is None else self.first
        if state.step % LOOK == 0:
            self.write()
        if self.minutes is None:
            return
        left = max(60 * self.minutes - self.first, 1e-9)
        done = min(max((seconds - self.first) / left, 0.0), 1.0)
        state.trainer.rate = 0.5 * (1 + math.cos(math.pi * done))
        if done >= 1:
            state.end("the minutes are over")

    def on_end(self, state: TrainingState) -> None:
        self.write()

    def write(self) -> None:
        with atomic_write(self.path) as temporary:
            temporary.write_text(json.dumps(self.spent()), encoding="utf-8")


def measured(path: Path, val: Sequence[str], device: str, limit: int | None) -> dict[str, dict[str, list[float]]]:
    """By data set and metric: value and ends of its 95% interval over pictures, of the predicted class."""
    classifier = load_classifier(read_header(path)["classifier"]).to(device_of(device))
    network = read_header(path)["network"]
    made = explainer("dabkowski_gal" if network == "unet" else "casm", classifier, masker=str(path))
    metrics = {name: metric(name) for name in METRICS}
    found: dict[str, dict[str, list[float]]] = {}
    for source in val:
        rows = measure([Contender.of("it", made)], classifier, [source], metrics, Settings(limit=limit))
        (name,) = rows.pictures
        found[name] = {}
        for key, asked in metrics.items():
            statistics = rows.statistics[name, "it", key]
            known = statistics[~statistics.isnan().any(1)].double()
            value = float(asked.value(known.sum(0), torch.tensor(len(known), dtype=torch.float64)))
            found[name][key] = [round(x, 2) for x in (value, *interval(asked, statistics))]
    return found


def candidate(given: argparse.Namespace) -> dict[str, Any]:
    """Trains it, unless it is done, and measures it; what the table says of it."""
    own = [*given.set, *(["lr_decay=none"] if given.minutes else [])]
    if given.minutes:
        own.append(f"steps={10**9}")
    recipe = recipes.load(given.recipe, own)
    out = Path(given.out)
    clock = Clock(out, given.minutes)
    path = out / "masker.safetensors"
    if not path.is_file():
        path = train(
            recipe, given.data, out=out, resume=given.resume, device=given.device, precision=given.precision,
            checkpoint_every=given.checkpoint_every, half_encoder=True, progress=given.progress, callbacks=[clock],
        )  # fmt: skip
    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    spent = clock.before if not clock.path.is_file() else json.loads(clock.path.read_text(encoding="utf-8"))
    return {
        "name": given.name or out.name,
        "recipe": str(given.recipe),
        "settings": given.set,
        "data": [Path(str(source)).name for source in given.data],
        "steps": len(lines),
        "pictures_seen": len(lines) * recipe.batch_size,
        "minutes": round(spent["seconds"] / 60, 1),
        "core_minutes": round(spent["core_seconds"] / 60, 1),
        "device": str(device_of(given.device)),
        "megabytes": round(path.stat().st_size / 1e6, 2),
        "val": measured(path, given.val, given.device, given.limit),
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a recipe's name or a .yaml file")
    parser.add_argument("--data", action="append", required=True, help="to train on; may be given again")
    parser.add_argument("--val", action="append", required=True, help="to measure on, with boxes; may be given again")
    parser.add_argument("--set", action="append", default=[], help="key=value, overrides the recipe")
    parser.add_argument("--minutes", type=float, default=None, help="of the clock, instead of the recipe's steps")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    parser.add_argument("--out", default="runs/candidate", help="folder of the run")
    parser.add_argument("--table", default="runs/trials.jsonl", help="a line of JSON for every trial is added to it")
    parser.add_argument("--name", default=None, help="of the trial; the folder's where none is given")
    parser.add_argument("--limit", type=int, default=None, help="measure on so many pictures of each set")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16"])
    parser.add_argument("--checkpoint-every", type=int, default=None)
    parser.add_argument("--progress", action="store_true")
    given = parser.parse_args(arguments)
    keep_freed_memory()
    row = candidate(given)
    table = Path(given.table)
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row, indent=1))
    return row


if __name__ == "__main__":
    main()

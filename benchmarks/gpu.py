"""Everything worth knowing from one short stay at a GPU, in one command that ends by itself.

    python benchmarks/gpu.py --data ilsvrc1275.zip@train --minutes 9 --out gpu
    python benchmarks/gpu.py --smoke --out smoke      # all kinds of rows, tiny, on the CPU

Rows come by priority. One that would not end in time, by what it is reckoned to take and what rows of its kind took so
far, is left out, and smaller ones after it are still done. ``results.json`` and ``table.md`` are rewritten after each.

Of a training, ``loader`` is the share of its time in which it waits for pictures and the device has nothing to do: it
is seen in a second part, in which every step is waited for; steps a second are those of a first part that runs as it
likes. No decoded picture is kept, as where there are too many (``--cache-gib``). Memory is the most that was in use: of
a GPU what was allocated, of a CPU the whole process's.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import maskwise as mw
from maskwise.checks.pictures import pictures
from maskwise.checks.rows import as_float
from maskwise.classifiers import Classifier
from maskwise.core.allocator import keep_freed_memory
from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write, writable_folder
from maskwise.core.precision import Precision
from maskwise.data import read_data
from maskwise.explainers import methods
from maskwise.explainers.masker import packaged_masker
from maskwise.planning.skeleton import skeleton
from maskwise.sess import SESS
from maskwise.studies.tiny import tiny_classifier
from maskwise.training import Callback, TrainingState, train
from maskwise.training.fitting import SETTINGS as FIT

Facts = dict[str, Any]
now = time.perf_counter
RECIPES = {"fit": ("phang/fix", FIT), "casm": ("casm", ()), "ca": ("phang/ca", ()), "fix": ("phang/fix", ())}
MODES: dict[str, tuple[Precision, str | None]] = {
    "fp32": ("fp32", None), "bf16": ("bf16", None), "compiled": ("bf16", "inductor")
}  # fmt: skip
SLOW = ("augmented_grad_cam", "score_cam", "xrai")  # beside those that search by many forwards
RATIOS = (0.0, 0.5, 0.99)
SHAPES = "shapes:n=24,size=40,labels=own"
WARM = 3  # steps that do not count


class OutOfTimeError(Exception):
    """The row was ended, since the time is up."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        kind: rows of one kind have the same columns.
        facts: what is measured.
        rank: lower ones come first.
        seconds: that it is reckoned to take on a large GPU, all in all.
        run: does it.
    """

    kind: str
    facts: Facts
    rank: int
    seconds: float
    run: Callable[[], Facts]


@dataclass
class Bench:
    """What the rows share: where, on what and for how long each is measured."""

    device: torch.device
    data: list[str]
    weights: str | None = None
    smoke: bool = False
    seconds: float = 6.0
    batch: int = 32
    rise: int = 8000
    scales: int = 12
    cache_gib: float = 0.0
    networks: dict[str, Classifier] = field(default_factory=dict)

    def network(self, name: str) -> Classifier:
        """A classifier by its short name; ResNet-50's weights are random where no file of them is named."""
        if name not in self.networks:
            if name == "tiny":
                made = tiny_classifier()
            elif name == "resnet50":
                full = "torchvision/resnet50"
                made = mw.load_classifier(full, self.weights) if self.weights else skeleton(full)
            else:
                made = mw.load_classifier(name)
            self.networks[name] = made.to(self.device)
        return self.networks[name]

    def images(self, count: int, size: int) -> Tensor:
        """Pictures (N,3,S,S) in [0,1] of the data, each as often as it takes."""
        found = pictures(self.data[:1], size, count)
        return as_float(found[[i % len(found) for i in range(count)]]).to(self.device)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Watch(Callback):
    """Ends a training after some seconds: first its steps run as they like, then each is waited for."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.began = bench, 0.0
        self.marks = list[tuple[float, int, float]]()  # of both parts' ends: the clock, the step, seconds waited

    def on_look(self, state: TrainingState) -> None:
        self.began = self.began or now()  # the first one comes right before the first step

    def on_step(self, state: TrainingState) -> None:
        done, seconds = len(self.marks), self.bench.seconds
        if done == 3:
            return  # the training ends when it next reads its numbers
        clock, step, _ = self.marks[-1] if done else (0.0, WARM - 1, 0.0)
        due = state.step > step and now() - clock >= (0, seconds, seconds / 2)[done]
        if due or done == 2:
            self.bench.wait()
        if due:
            self.marks.append((now(), state.step, state.waited * (now() - self.began)))
        if len(self.marks) == 1:
            forget_peak(self.bench.device)
        if len(self.marks) == 3:
            self.batch = state.trainer.recipe.batch_size
            self.peak = peak(self.bench.device)
            state.end("it was measured")

    def facts(self) -> Facts:
        (first, from_step, _), (second, to_step, waited), (third, _, waited_then) = self.marks
        rate = (to_step - from_step) / (second - first)
        loader = (waited_then - waited) / (third - second)
        return {"ms a step": 1000 / rate, "steps/s": rate, "pictures/s": self.batch * rate, "loader": loader,
                "GiB": self.peak}  # fmt: skip


def training(bench: Bench, name: str, network: str, size: int, mode: str) -> Facts:
    """A training of a recipe until it was watched for long enough; what it wrote is thrown away."""
    recipe, own = RECIPES[name]
    precision, compiler = MODES[mode]
    settings = [*own, "steps=1000000", "fraction=1.0", f"input_size={size}"]
    if bench.smoke:
        settings += ["batch_size=4", "crop_area=[0.5,1.0]"]
        compiler = compiler and "eager"
    watch = Watch(bench)
    with tempfile.TemporaryDirectory() as folder:
        train(
            recipe, bench.data, classifier=bench.network(network), out=Path(folder) / "run", overrides=settings,
            device=bench.device.type, precision=precision, compiler=compiler, cache_gib=bench.cache_gib,
            callbacks=[watch], page=False,
        )  # fmt: skip
    return watch.facts()


def maps(bench: Bench, make: Callable[[Classifier], Any], network: str, count: int) -> Facts:
    """Maps of ``count`` pictures at once, over and over: the median of calls."""
    classifier = bench.network(network)
    explain, images = make(classifier), bench.images(count, classifier.input_size)
    explain(images)
    bench.wait()
    forget_peak(bench.device)
    times, began = list[float](), now()
    while not times or (now() - began < bench.seconds / 3 and len(times) < 100):
        start = now()
        explain(images)
        bench.wait()
        times.append(now() - start)
    seconds = statistics.median(times) / count
    return {"ms a map": 1000 * seconds, "maps/s": 1 / seconds, "calls": len(times), "GiB": peak(bench.device)}


def named(maskers: bool) -> list[str]:
    """The maskers, or else the methods that are not a search, and not as slow as one."""
    if maskers:
        family = [name for name, facts in methods.items() if facts["family"] == "maskers"]
        return [name for name in family if packaged_masker(name).is_file()]
    left = ("perturbation", "maskers", "attention")  # the network has no attention
    return [name for name, facts in methods.items() if facts["family"] not in left and name not in SLOW]


def rows_of(bench: Bench) -> list[Row]:
    """All rows, those of highest priority first."""
    nets, sizes = ("lite0", "resnet50"), (160, 224)
    if bench.smoke:
        cells = [(n, "tiny", 32, m) for n, m in zip(RECIPES, ("fp32", "fp32", "bf16", "compiled"), strict=True)]
    else:
        cells = [(n, net, size, mode) for mode in MODES for net in nets for size in sizes for n in RECIPES]
    rows = []
    for name, net, size, mode in cells:
        network = "efficientnet_lite0" if net == "lite0" else net
        # The classifier's usual size first; compilers take a minute.
        usual = size == (224 if net == "resnet50" else 160)
        rank = (0 if usual else 40) + (30 if mode == "compiled" else 10 if net == "resnet50" else 0)
        facts = {"training": name, "classifier": net, "px": size, "mode": mode}
        seconds = bench.seconds + (75 if mode == "compiled" else 10)
        rows.append(
            Row("training", facts, rank, seconds, functools.partial(training, bench, name, network, size, mode))
        )
    main, heavy = ("tiny", "tiny") if bench.smoke else ("efficientnet_lite0", "resnet50")
    for network, rank in ((main, 5), (heavy, 50)) if main != heavy else ((main, 5),):
        rows += [_maps(bench, name, network, rank, name) for name in named(False)]
    rows += [_maps(bench, name, "efficientnet_lite0", 6, name) for name in named(True)]
    rows.append(_maps(bench, f"RISE-{bench.rise}", heavy, 20, "rise", count=1, seconds=15, masks=bench.rise))
    rows += [_sess(bench, f"SESS-{bench.scales}, r = {ratio:g}", heavy, 21, ratio) for ratio in RATIOS]
    return sorted(rows, key=lambda row: row.rank)


def _maps(
    bench: Bench, title: str, network: str, rank: int, name: str, count: int = 0, seconds: float = 4, **options: int
) -> Row:
    def make(classifier: Classifier) -> Any:
        return mw.explainer(name, classifier, **options)

    count = count or bench.batch
    facts = {"method": title, "classifier": network, "pictures": count}
    return Row("maps", facts, rank, seconds, functools.partial(maps, bench, make, network, count))


def _sess(bench: Bench, title: str, network: str, rank: int, ratio: float) -> Row:
    def make(classifier: Classifier) -> Any:
        return SESS(mw.explainer("grad_cam", classifier), classifier, scales=bench.scales, prefilter=ratio)

    facts = {"method": f"{title} (Grad-CAM)", "classifier": network, "pictures": 1}
    return Row("maps", facts, rank, 6, functools.partial(maps, bench, make, network, 1))


def run(rows: Sequence[Row], bench: Bench, minutes: float, out: Path, began: float) -> list[Facts]:
    """Does the rows that end in time, by priority; writes what is known after each.

    Args:
        minutes: from ``began`` on.
        out: folder of ``results.json`` and ``table.md``.
    """
    deadline, done, left = began + 60 * minutes, list[Facts](), list[Facts]()
    took: dict[str, list[float]] = {}
    write(out, bench, done, left, began)
    for row in rows:
        expected = row.seconds * statistics.median(took.get(row.kind, [1.0]))
        facts = {"kind": row.kind, **row.facts}
        if now() + expected > deadline:
            left.append({**facts, "needs seconds": expected})
            write(out, bench, done, left, began)
            continue
        start = now()
        try:
            with ending(deadline - start):
                facts |= row.run()
        except OutOfTimeError:
            facts["error"] = "the time was up"
        except Exception as error:  # whatever it is, the other rows are done
            facts["error"] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        facts["seconds"] = now() - start
        took.setdefault(row.kind, []).append(facts["seconds"] / row.seconds)
        done.append(facts)
        write(out, bench, done, left, began)
        print(", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{v}" for k, v in facts.items()), flush=True)
    return done


@contextmanager
def ending(seconds: float) -> Iterator[None]:
    """Raises ``OutOfTimeError`` in what runs longer; only where there are alarms, and between two calls into C."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: object) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def forget_peak(device: torch.device) -> None:
    """From now on ``peak`` is of what comes."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # not Linux, or not allowed: then it is the whole process's
            Path("/proc/self/clear_refs").write_text("5")


def peak(device: torch.device) -> float | None:
    """GiB that were in use at most; None where that can't be known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**20
    return None


def write(out: Path, bench: Bench, done: Sequence[Facts], left: Sequence[Facts], began: float) -> None:
    """``results.json`` and ``table.md``, each whole at any time."""
    cuda = bench.device.type == "cuda"
    machine = {
        "device": torch.cuda.get_device_name(bench.device) if cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(), "torch": torch.__version__, "maskwise": mw.__version__,
        "data": [Path(source).name for source in bench.data], "seconds a row": bench.seconds,
        "cache GiB": bench.cache_gib, "resnet50": Path(bench.weights).name if bench.weights else "random weights",
    }  # fmt: skip
    found = {"machine": machine, "rows": list(done), "left_out": list(left), "seconds": now() - began}
    for name, text in (("results.json", json.dumps(found, indent=2) + "\n"), ("table.md", table(found))):
        with atomic_write(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def table(found: Facts) -> str:
    """Markdown: a table a kind, then what went wrong and what was left out."""
    parts = ["; ".join(f"{key}: {value}" for key, value in found["machine"].items()) + "\n"]
    good = [row for row in found["rows"] if "error" not in row]
    for kind in dict.fromkeys(row["kind"] for row in good):
        own = [row for row in good if row["kind"] == kind]
        columns = [key for key in own[0] if key not in ("kind", "seconds")]
        lines = [columns, ["---"] * len(columns), *([_cell(key, row[key]) for key in columns] for row in own)]
        parts.append("\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n")
    failed = [f"- {_who(row)}: {row['error']}" for row in found["rows"] if "error" in row]
    left = [f"- {_who(row)}: needs {row['needs seconds']:.0f} s" for row in found["left_out"]]
    for title, items in (("Failed:", failed), ("Left out, since the time would not have been enough:", left)):
        if items:
            parts.append("\n".join([title, "", *items]) + "\n")
    return "\n".join(parts)


def _cell(key: str, value: object) -> str:
    number = f"{value:.0%}" if key == "loader" else f"{value:,.4g}" if isinstance(value, float) else str(value)
    return "" if value is None else number


def _who(row: Facts) -> str:
    return ", ".join(str(v) for key, v in row.items() if key not in ("seconds", "error", "needs seconds", "kind"))


def main(arguments: Sequence[str] | None = None) -> None:
    began = now()
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", nargs="+", help="sources of pictures, as `maskwise train` takes them")
    options.add_argument("--minutes", type=float, default=9.0, help="that all of it may take")
    options.add_argument("--out", type=Path, default=Path("gpu"), help="folder of results.json and table.md")
    options.add_argument("--device", default=None, help="cuda where there is one")
    options.add_argument("--weights", default=None, help="of torchvision's resnet50; without it they are random")
    options.add_argument("--seconds", type=float, default=6.0, help="that a training is watched")
    options.add_argument("--cache-gib", type=float, default=0.0, help="of decoded pictures that a training keeps")
    options.add_argument("--only", default="", help="rows whose facts hold this text, such as compiled or grad_cam")
    options.add_argument("--smoke", action="store_true", help="all kinds of rows, tiny, on drawn shapes")
    given = options.parse_args(arguments)
    if not given.data and not given.smoke:
        options.error("name the pictures: --data SOURCE")
    keep_freed_memory()
    device = torch.device(given.device or ("cuda" if torch.cuda.is_available() and not given.smoke else "cpu"))
    bench = Bench(
        device,
        given.data or ["shapes:n=24,size=40,labels=own"],
        given.weights,
        seconds=given.seconds,
        cache_gib=given.cache_gib,
    )
    if given.smoke:
        bench.smoke, bench.seconds, bench.batch, bench.rise, bench.scales = True, 0.2, 2, 16, 2
    try:
        folder = writable_folder(given.out)
        for source in bench.data:
            read_data(source)  # what is wrong with it is said once, and not by every row
        rows = [row for row in rows_of(bench) if given.only in " ".join(map(str, row.facts.values()))]
        done = run(rows, bench, given.minutes, folder, began)
    except InputError as error:
        options.exit(2, f"gpu.py: {error}\n")
    print(f"{len(done)} rows of {len(rows)} in {now() - began:.0f} s: {given.out / 'table.md'}")
    if any("error" in row for row in done):
        options.exit(1, "gpu.py: some rows failed\n")


if __name__ == "__main__":
    main()

"""More pictures than fit in memory: the checks read them when needed, and find the same bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from checks.toys import SIDE, toy_net, toy_set
from conftest import tiny_net
from torch import Tensor

from maskwise.checks import (
    Labelled,
    SmallTraining,
    drt,
    labelled,
    map_store,
    mprt,
    roar,
    similarity,
    trained_masker,
)
from maskwise.checks.feeding import colours
from maskwise.checks.intervals import mean_of
from maskwise.checks.map_store import MapFiles, MethodMaps, stored_maps
from maskwise.checks.maskers import LabelledSet
from maskwise.checks.pictures import pictures, split
from maskwise.checks.removal import Noise, Removed, random_maps, removed
from maskwise.checks.results import RANDOM_REMOVAL
from maskwise.checks.rows import LazyRows, Picked, ahead, parts_of
from maskwise.checks.small_training import accuracies, train_classifier
from maskwise.checks.subject import Subject, top_classes
from maskwise.classifiers import Classifier
from maskwise.core import bootstrap
from maskwise.core.errors import InputError
from maskwise.explainers import explainer

SOURCE = "shapes:n=40,size=40,seed=2"
QUICK = SmallTraining(epochs=2, batch_size=9, lr=0.01, augment=True)


class Later(LazyRows):
    """A tensor that is read row by row, and by whom and how much at once is noted."""

    def __init__(self, values: Tensor) -> None:
        self.values, self.shape, self.most = values, tuple(values.shape), 0
        self.threads: set[int] = set()

    def __getitem__(self, rows: Tensor) -> Tensor:  # type: ignore[override]
        self.threads.add(threading.get_ident())
        self.most = max(self.most, len(rows))
        return self.values[rows]


def later(data: Labelled) -> Labelled:
    return Labelled(Later(data.images), data.labels, data.classes)  # type: ignore[arg-type]


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(tiny_net(classes=3), input_size=SIDE, name="tiny")


def test_pictures_that_do_not_fit_are_the_same_pictures() -> None:
    kept, streamed = labelled(SOURCE, 32), labelled(SOURCE, 32, cache_gib=0)
    assert isinstance(kept.images, Tensor) and isinstance(streamed.images, LazyRows)
    assert kept.images.shape == streamed.images.shape and len(streamed) == 40
    assert torch.equal(streamed.images[[3, 0, 39]], kept.images[[3, 0, 39]])
    assert torch.equal(torch.cat(list(streamed.images.split(7))), kept.images)
    assert torch.equal(streamed.floats(), kept.floats())
    assert streamed.checksum() == kept.checksum() != labelled(SOURCE, 24).checksum()
    assert all(map(torch.equal, colours(streamed.images), colours(kept.images)))
    assert streamed.shrunk(20).checksum() == kept.shrunk(20).checksum()
    assert streamed.shrunk(32) is streamed
    for ours, theirs in zip(split(streamed.shrunk(20), 0.4), split(kept.shrunk(20), 0.4), strict=True):
        assert isinstance(ours.images, LazyRows) and ours.checksum() == theirs.checksum()
    assert torch.equal(torch.cat(list(pictures([SOURCE] * 2, 16, 5, 0).split(4))), pictures([SOURCE] * 2, 16, 5))


def test_what_fits_is_decided_by_its_bytes() -> None:
    size = 40 * 3 * 16 * 16 / 2**30
    assert isinstance(pictures([SOURCE], 16, cache_gib=size), Tensor)
    assert isinstance(pictures([SOURCE], 16, cache_gib=0.999 * size), LazyRows)
    with pytest.raises(InputError, match="0 GiB or more"):
        pictures([SOURCE], 16, cache_gib=-1)


def test_reading_ahead_keeps_order_and_is_bounded() -> None:
    begun: list[int] = []

    def read(job: int) -> int:
        begun.append(job)
        time.sleep(0.002 * (job % 3))
        return job * job

    made = ahead(read, range(20), 3)
    for i, value in enumerate(made):
        assert value == i * i and len(begun) <= i + 5
    made = ahead(read, range(1000), 2)
    next(made)
    made.close()  # type: ignore[attr-defined]
    assert len(begun) < 40

    def breaks(job: int) -> int:
        if job == 2:
            raise InputError("damaged")
        return job

    with pytest.raises(InputError, match="damaged"):
        list(ahead(breaks, range(9), 2))


def test_picked_rows_are_those_of_a_tensor() -> None:
    values = torch.rand(9, 2)
    rows = Picked(Later(values), torch.tensor([8, 1, 1, 4]))
    assert rows.shape == (4, 2) and torch.equal(rows[[3, 0]], values[[4, 8]])
    order = [torch.tensor([2, 0]), torch.tensor([1])]
    assert all(map(torch.equal, parts_of(rows, order), (values[[1, 8]], values[[1]])))


@pytest.mark.parametrize("until", [None, 0.9])
def test_a_training_does_not_know_where_its_pictures_are(until: float | None) -> None:
    data = toy_set(30, 0)
    settings = QUICK.model_copy(update={"until": until, "epochs": 6})
    whole, read = train_classifier(toy_net, data, settings), train_classifier(toy_net, later(data), settings)
    assert whole.epochs == read.epochs and whole.accuracy == read.accuracy
    for ours, theirs in zip(whole.classifier.state_dict().values(), read.classifier.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    test = toy_set(30, 1)
    assert accuracies(whole.classifier, test, (1, 2)) == accuracies(whole.classifier, later(test), (1, 2))
    assert torch.equal(*(top_classes(whole.classifier, d.images, 7) for d in (test, later(test))))


def test_roar_finds_the_same(classifier: Classifier, tmp_path: Path) -> None:
    sets = toy_set(30, 0), toy_set(20, 1)

    def run(train: Labelled, test: Labelled, **more: object) -> object:
        return roar(
            {"gradient": explainer("gradient", classifier)}, classifier, train, test, network=toy_net, settings=QUICK,
            fractions=[20, 60], repeats=2, size=16, batch=7, **more,
        ).plain()  # type: ignore[arg-type]  # fmt: skip

    whole = run(*sets)
    streams = later(sets[0]), later(sets[1])
    assert run(*streams, cache_gib=0) == whole
    assert run(*streams, cache_gib=0, out=tmp_path) == whole
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "maps").iterdir()}
    assert len(files) == 5 + 3
    for path in tmp_path.glob("*.jsonl"):
        path.unlink()
    assert run(*sets, out=tmp_path) == whole  # and takes the maps that are there
    assert files == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "maps").iterdir()}
    assert min(len(data.images.threads) for data in streams) > 1  # type: ignore[union-attr]


def test_mprt_and_drt_find_the_same(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the pictures are compared in several parts, the last one smaller."""
    train, test = toy_set(24, 0), toy_set(25, 1)
    gradient = explainer("gradient", classifier)
    methods = {"gradient": lambda known, *_: explainer("gradient", known)}

    def both(test: Labelled, images: Tensor | LazyRows) -> tuple[object, ...]:
        a = mprt(gradient, classifier, images, batch=4, examples=4)
        b = drt(methods, train, test, network=toy_net, settings=QUICK, batch=4)
        looks = [a.examples, *a.maps.values(), b.examples, *b.maps["gradient"].values()]
        return a.plain(), b.plain(), [look.tolist() for look in looks]

    whole = both(test, test.floats())
    assert both(later(test), later(test).images) == whole
    monkeypatch.setattr(similarity, "AT_ONCE", 9)  # two batches of four
    assert [len(part) for part in similarity.chunks(test.images, 4)] == [8, 8, 8, 1]
    assert both(later(test), later(test).images) == whole
    targets = torch.arange(25) % 3
    given = [mprt(gradient, classifier, images, batch=4, targets=targets).plain() for images in (test.images,)]
    monkeypatch.undo()
    assert given == [mprt(gradient, classifier, test.floats(), batch=4, targets=targets).plain()]


def test_stages_are_counted_over_all_parts(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "AT_ONCE", 8)
    seen: list[tuple[int, int]] = []
    mprt(explainer("edges", classifier), classifier, toy_set(9, 0).images, batch=4, modes=["cascading"],
         progress=lambda done, total: seen.append((done, total)))  # fmt: skip
    assert seen == [(i, 14) for i in range(1, 15)]


def test_maps_stay_on_disk(classifier: Classifier, tmp_path: Path) -> None:
    data = toy_set(11, 0)
    subject = Subject.of(explainer("gradient", classifier), classifier)
    targets = torch.zeros(11, dtype=torch.int64)
    whole = stored_maps(subject, data.images, targets, 12, None, 4)
    kept = MapFiles(subject, later(data).images, targets, 12, tmp_path, 4)
    assert kept.shape == (11, 12, 12) and len(list(tmp_path.iterdir())) == 3
    order = torch.tensor([10, 3, 3, 4, 0, 9])
    assert torch.equal(kept[order], whole[order]) and torch.equal(torch.cat(list(kept.split(5))), whole)


def test_removal_when_pictures_are_read() -> None:
    data = toy_set(8, 0)
    maps, colour = torch.rand(8, SIDE, SIDE), torch.tensor([0.2, 0.4, 0.6])
    whole = removed(data.images, maps, 30, colour)
    for images, saliency in ((Later(data.images), maps), (data.images, Later(maps))):
        rows = Removed(images, saliency, 30, colour)
        assert rows.shape == data.images.shape and torch.equal(torch.cat(list(rows.split(3))), whole)


def test_noise_of_many_pictures_is_each_ones_own(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Noise(1000, 8, 0, 1)
    assert torch.equal(noise[[7, 500]][1:], noise[[500]]) and not torch.equal(noise[[7]], noise[[8]])
    assert not torch.equal(noise[[7]], Noise(1000, 8, 1, 1)[[7]])
    assert noise[list(range(1000))].mean().item() == pytest.approx(0.5, abs=0.01)
    sets = toy_set(20, 0), toy_set(10, 1)

    def drawn(cache_gib: float) -> tuple[Tensor | LazyRows, ...]:
        return MethodMaps({}, classifier, sets, 8, 0, None, 4, cache_gib).of(RANDOM_REMOVAL, 3)

    few = drawn(0)
    assert torch.equal(few[0], random_maps(20, 8, 0, 3, 0)) and torch.equal(few[1], random_maps(10, 8, 0, 3, 1))  # type: ignore[arg-type]
    monkeypatch.setattr(map_store, "NOISE_BYTES", 4 * 15 * 64)
    many = drawn(4)
    assert isinstance(many[0], Noise) and isinstance(many[1], Tensor)
    assert torch.equal(many[0][[5]], random_maps(1, 8, 0, 3, 0, 5))


def test_intervals_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.rand(50, generator=torch.Generator().manual_seed(0))
    whole = mean_of(values, seed=2)
    drawn = torch.randint(50, (2000, 50), generator=torch.Generator().manual_seed(2))
    assert whole.low == pytest.approx(values.double()[drawn].mean(1).quantile(0.025).item())
    for cells in (1, 50 * 300):
        monkeypatch.setattr(bootstrap, "CELLS", cells)
        assert mean_of(values, seed=2) == whole


def test_a_masker_is_trained_on_pictures_that_are_read(tmp_path: Path) -> None:
    data = later(toy_set(24, 0).shrunk(32))
    stored = LabelledSet.of(data)
    assert torch.equal(torch.stack([sample.image for sample in stored]), data.floats())
    assert [record.label for record in stored.records] == data.labels.tolist()
    overrides = ["epochs=1", "fraction=1.0", "batch_size=8", "taps=null", "crop_area=[0.9, 1.0]"]
    files = []
    for which, pictured in (("read", data), ("kept", toy_set(24, 0).shrunk(32))):
        make = trained_masker("casm_baseline", overrides=overrides, device="cpu")
        classifier = Classifier(tiny_net(classes=3), input_size=32, name="tiny")
        make(classifier, pictured, tmp_path / which)
        files.append((tmp_path / which / "masker" / "log.jsonl").read_text().splitlines())
    assert not (tmp_path / "read" / "pictures").exists() and (tmp_path / "kept" / "pictures").is_dir()
    losses = [[line.partition('"seconds')[0] for line in lines] for lines in files]
    assert losses[0] == losses[1] and len(losses[0]) == 3


MANY = """
import resource, sys, torch
sys.path.insert(0, sys.argv[1])
from maskwise.checks import Labelled, Similarity, SmallTraining, drt, map_store, mprt, roar, similarity
from maskwise.checks.streamed import Streamed
from maskwise.classifiers import Classifier
from maskwise.data import DataSet, Record

torch.set_num_threads(1)
similarity.AT_ONCE, map_store.NOISE_BYTES, SIDE = 32, 2**20, 64

class Many(DataSet):
    def image(self, record):
        return torch.full((3, 1, 1), int(record.id) % 255 / 255).expand(3, SIDE, SIDE)

class Same(Similarity):
    def describe(self, maps):
        return maps
    def compare(self, a, b):
        return (a == b).flatten(1).double().mean(1)

def many(count):
    data = Many("many", [Record(str(i)) for i in range(count)])
    return Labelled(Streamed([(data, r) for r in data.records], SIDE), torch.arange(count) % 3, ("a", "b", "c"))

def net(classes):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, 4, 1), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3, 2, 1), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, classes),
    )

def bright(images, targets=None):
    return images.mean(1)

def run(count):
    train, test, same = many(count), many(count), {"same": Same()}
    network = Classifier(net(3), taps=[], input_size=32, name="toy")
    quick = SmallTraining(epochs=1, batch_size=64)
    mprt(bright, network, test.images, modes=["cascading"], measures=same)
    drt({"bright": lambda *_: bright}, train, test, network=net, settings=quick, again=False, measures=same)
    roar({"bright": bright}, network, train, test, network=net, settings=quick, fractions=[50], repeats=1, batch=128,
         size=32, cache_gib=0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

few = run(1000)  # what a run takes, however long it is: with 300 what is read ahead is not yet all that it may be
print(run(int(sys.argv[2])) - few)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_pictures() -> None:
    """2,200 more of 64 pixels: each of two sets takes 26 MiB as uint8, 103 as floats, and its maps 34."""
    tests = str(Path(__file__).parents[1])
    plain = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back: the peak is what was in use
    done = subprocess.run(
        [sys.executable, "-c", MANY, tests, "3200"], env=plain, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 20

"""A disk that is full, and folders that can't be written: one clear sentence, and what was good stays good."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_net

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.files import writable_folder
from maskwise.evaluation.maps import MapFolder
from maskwise.evaluation.store import Rows
from maskwise.maskers import Masker, load_masker, save_masker
from maskwise.training import Callback, Recipe, TrainingState, train
from maskwise.training.checkpoint import read_sealed, write_sealed
from maskwise.training.log import Log

FULL = "No space left|disk is full|File too large"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> None:
    with pytest.raises(OSError), (disk / "ballast").open("wb", 0) as file:
        while True:
            file.write(bytes(4096))


def writers(disk: Path) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """By name: what writes over a good file, and what reads the good one."""
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    masker = Masker.build(classifier, width=4)
    draws = torch.Generator().manual_seed(0)
    state = {"weights": torch.rand(30_000, generator=draws)}
    saliency, folder, rows = torch.rand(150, 150, generator=draws), MapFolder(disk), Rows(disk)
    noise = [("metric", f"picture {i}", torch.rand(2000, generator=draws)) for i in range(10)]
    log = Log(disk / "log.jsonl").__enter__()
    return {
        "checkpoint": (
            lambda: write_sealed(disk / "checkpoint.pt", state),
            lambda: read_sealed(disk / "checkpoint.pt"),
        ),
        "masker": (
            lambda: save_masker(disk / "m.safetensors", masker, classifier, {"width": 4}),
            lambda: load_masker(disk / "m.safetensors", classifier),
        ),
        "map": (lambda: folder.write("run", "a", saliency), lambda: folder.read("run", "a").shape),  # type: ignore[union-attr]
        "rows": (
            lambda: rows.write("run", noise),
            lambda: rows.read("run", "metric", ["picture 0"]).shape == (1, 2000) or pytest.fail("no row"),
        ),
        "log": (lambda: log.write({"step": 1, "text": "x" * 5000}), lambda: log.path.read_text().splitlines()[0]),
    }


def test_full(small_disk: Path) -> None:
    for name, (write, read) in writers(small_disk).items():
        write()
        read()
        fill(small_disk)
        with pytest.raises(InputError, match=FULL):
            for _ in range(50):
                write()
        read()
        assert not [p for p in small_disk.rglob(".*") if p.is_file()], f"{name}: half of a file is left"
        (small_disk / "ballast").unlink()
        write()
        read()


LIMITED = """
import resource, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from faults.test_disk import writers
from maskwise.core.errors import InputError
disk = Path({disk!r})
found = writers(disk)
for name in ("checkpoint", "masker", "map", "rows"):
    found[name][0](), found[name][1]()
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
for name in ("checkpoint", "masker", "map", "rows"):
    try:
        found[name][0]()
        print(name, "was written")
    except InputError as error:
        print(name, "refused:", error)
    found[name][1]()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits on a file's size")
def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """The same without the right to mount: files may have 2000 bytes."""
    paths = [str(Path(__file__).parents[1])]
    script = LIMITED.format(paths=paths, disk=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "refused" in line]
    assert [line.split()[0] for line in lines] == ["checkpoint", "masker", "map", "rows"], done.stdout


def test_training_on_a_full_disk_keeps_the_last_good_checkpoint(small_disk: Path) -> None:
    """It fills up after the second checkpoint; the run says so, and goes on from there once there is config."""
    recipe = Recipe(epochs=8, fraction=1.0, batch_size=4, input_size=32, thinning="F", seed=3)

    def run(*callbacks: Callback, **more: Any) -> Path:
        classifier = Classifier(tiny_net(classes=8), input_size=32, name="tiny")
        out = more.pop("out", small_disk / "run")
        return train(
            recipe, "shapes:n=12,size=40,labels=own", classifier=classifier, out=out, checkpoint_every=2,
            device="cpu", callbacks=callbacks, **more,
        )  # fmt: skip

    class FullAtFive(Callback):
        def on_step(self, state: TrainingState) -> None:
            if state.step == 5:
                fill(small_disk)

    with pytest.raises(InputError, match=FULL):
        run(FullAtFive())
    stored, _ = read_sealed(small_disk / "run" / "checkpoint.pt")
    assert stored["trainer"]["steps"] == 4
    (small_disk / "ballast").unlink()
    resumed = run(resume=True)
    assert resumed.read_bytes() == run(out=small_disk.parent / "straight").read_bytes()


def test_a_read_only_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so the system's answer is given by hand."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    for attempt in (
        lambda: writable_folder(tmp_path), lambda: Rows(tmp_path),
        lambda: MapFolder(tmp_path).write("run", "a", torch.rand(2, 2)),
        lambda: write_sealed(tmp_path / "c.pt", {}),
    ):  # fmt: skip
        with pytest.raises(InputError, match="Read-only file system; name another place"):
            attempt()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_in_the_folder_s_place(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    for attempt in (lambda: Rows(tmp_path / "out"), lambda: Log(tmp_path / "out" / "log.jsonl").__enter__()):
        with pytest.raises(InputError, match="can't write"):
            attempt()
    assert (tmp_path / "out").read_text() == "mine"


def test_maps_that_can_t_be_read_are_made_again(tmp_path: Path) -> None:
    folder = MapFolder(tmp_path)
    folder.write("run", "a", torch.rand(4, 4))
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:-20])
    assert folder.read("run", "a") is None

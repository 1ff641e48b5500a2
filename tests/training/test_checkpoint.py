"""Checkpoints: snapshots written once, what is no longer needed removed, and runs that were stopped on purpose."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import end_at, tiny_net
from training.test_run import SMALL, lines, trainer

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.training import Callback, Recipe, TrainingState, train
from maskwise.training.checkpoint import Checkpoints, read_sealed, write_sealed
from maskwise.training.pool import SnapshotPool

PICTURES = "shapes:n=12,size=40,labels=own"
RECIPE = Recipe(steps=8, fraction=1.0, batch_size=4, input_size=32, seed=3, crop_area=(0.5, 1.0), p_history=0.7)


def run(out: Path, **options: Any) -> Path:
    classifier = Classifier(tiny_net(classes=8), input_size=32, name="tiny")
    settings: dict[str, Any] = {"recipe": RECIPE, "data": PICTURES, "device": "cpu", "checkpoint_every": 2, **options}
    return train(settings.pop("recipe"), settings.pop("data"), classifier=classifier, out=out, **settings)


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that keeps the classifier of every step."""
    monkeypatch.setattr(SnapshotPool, "wants", lambda self, step: True)


@pytest.mark.usefixtures("every_step")
def test_a_snapshot_is_written_once_and_goes_with_the_last_checkpoint_that_needs_it(tmp_path: Path) -> None:
    t = trainer(SMALL.model_copy(update={"pool_size": 3, "p_history": 1.0}))
    checkpoints = Checkpoints(tmp_path, {"who": "a"})
    written: dict[str, int] = {}
    for step in range(6):
        images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        t.step(images, torch.zeros(4, dtype=torch.long))
        checkpoints.save(t)
        there = {path.stem: path.stat().st_mtime_ns for path in (tmp_path / "snapshots").iterdir()}
        assert there.keys() == t.pool.snapshots().keys() and len(there) == min(step + 1, 3)
        assert all(written.get(name, time) == time for name, time in there.items()), "none is written again"
        written = there
    other = trainer(SMALL.model_copy(update={"pool_size": 3, "p_history": 1.0}), seed=1)
    Checkpoints(tmp_path, {"who": "a"}).restore(other)
    assert other.pool.kept_at == t.pool.kept_at and other.steps == 6
    for mine, theirs in zip(other.pool.entries, t.pool.entries, strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


@pytest.mark.usefixtures("every_step")
def test_a_snapshot_that_is_another_or_gone_is_refused(tmp_path: Path) -> None:
    t = trainer()
    t.step(torch.rand(4, 3, 32, 32), torch.zeros(4, dtype=torch.long))
    Checkpoints(tmp_path, {}).save(t)
    (path,) = (tmp_path / "snapshots").iterdir()
    state, _ = read_sealed(path)
    write_sealed(path, {key: value + 1 for key, value in state.items()})
    with pytest.raises(InputError, match="is not the one that"):
        Checkpoints(tmp_path, {}).restore(trainer())
    path.unlink()
    with pytest.raises(InputError, match="can't be read"):
        Checkpoints(tmp_path, {}).restore(trainer())


def test_the_digest_of_what_is_written_is_that_of_the_file(tmp_path: Path) -> None:
    """Hashed on the way to the disk; the reader hashes the file."""
    content = {"weights": torch.rand(70_000), "words": ["a", "b"]}
    digest = write_sealed(tmp_path / "c.pt", content)
    found, theirs = read_sealed(tmp_path / "c.pt")
    assert theirs == digest and torch.equal(found["weights"], content["weights"]) and found["words"] == ["a", "b"]


class Signal(Callback):
    """Sends one at a step, as a user or the system would."""

    def __init__(self, step: int, number: int) -> None:
        self.at, self.number = step, number

    def on_step(self, state: TrainingState) -> None:
        if state.step == self.at:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_saved_and_gone_on_with(number: int, tmp_path: Path) -> None:
    """Without a checkpoint every so many steps: the signal itself has one written, at the step that it came in."""
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt, match="after step 5, which is saved: go on with `resume=True`"):
        run(tmp_path / "b", checkpoint_every=None, callbacks=[Signal(5, number)])
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not (tmp_path / "b" / "masker.safetensors").exists() and len(lines(tmp_path / "b")) == 5
    straight, resumed = run(tmp_path / "a"), run(tmp_path / "b", resume=True)
    assert straight.read_bytes() == resumed.read_bytes() and lines(tmp_path / "a") == lines(tmp_path / "b")


def test_checkpoints_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    save = Checkpoints.save
    monkeypatch.setattr(Checkpoints, "save", lambda self, t: saved.append(t.steps) or save(self, t))
    run(tmp_path / "a", checkpoint_every=None, checkpoint_minutes=0)
    assert saved == list(range(1, 9))
    saved.clear()
    run(tmp_path / "b", checkpoint_every=None)
    assert saved == [8], "five minutes were not over, and the last one is always written"


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"precision": "bf16"}, "precision"),
        ({"data": "shapes:n=12,size=40,seed=1,labels=own"}, "names and labels"),
        ({"data": "shapes:n=16,size=40,labels=own"}, "pictures"),
        ({"recipe": RECIPE.model_copy(update={"seed": 4})}, "recipe"),
    ],
)
def test_what_another_run_is(change: dict[str, Any], differs: str, tmp_path: Path) -> None:
    run(tmp_path / "a")
    with pytest.raises(InputError, match=f"belongs to another run .*{differs}.* differ"):
        run(tmp_path / "a", resume=True, **change)


def test_pictures_that_changed_under_their_names_are_another_run(picture_folder: Path, tmp_path: Path) -> None:
    """The same names, labels and number; a run that is resumed on the old ones again goes on."""
    from PIL import Image

    recipe = RECIPE.model_copy(update={"steps": 2})
    run(tmp_path / "a", data=picture_folder, recipe=recipe)
    path = picture_folder / "images" / "03.png"
    before = path.read_bytes()
    Image.new("RGB", (48, 40)).save(path)
    with pytest.raises(InputError, match=r"another run \(content of the pictures differ\)"):
        run(tmp_path / "a", data=picture_folder, recipe=recipe, resume=True)
    path.write_bytes(before)
    run(tmp_path / "a", data=picture_folder, recipe=recipe, resume=True)


def test_what_differs_is_said_with_both_values(tmp_path: Path) -> None:
    run(tmp_path / "a")
    with pytest.raises(InputError, match=r"\(precision differ: precision 32-true there, bf16-mixed here\)"):
        run(tmp_path / "a", resume=True, precision="bf16")
    with pytest.raises(InputError, match=r"\(recipe differ: seed 3 there, 4 here\)"):
        run(tmp_path / "a", resume=True, recipe=RECIPE.model_copy(update={"seed": 4}))


class Counting(Callback):
    def __init__(self) -> None:
        self.steps: list[int] = []
        self.looks = 0
        self.ends: list[int] = []

    def state_dict(self) -> dict[str, Any]:
        return {"steps": list(self.steps)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = list(state["steps"])

    def on_step(self, state: TrainingState) -> None:
        assert state.logged["step"] == state.step <= state.total == 8
        self.steps.append(state.step)

    def on_look(self, state: TrainingState) -> None:
        self.looks += 1

    def on_end(self, state: TrainingState) -> None:
        self.ends.append(state.step)


def test_callbacks_are_called_remember_and_end_a_training(tmp_path: Path) -> None:
    first = Counting()
    path = run(tmp_path / "a", callbacks=[first, end_at(3)], look_minutes=0)
    assert (first.steps, first.looks, first.ends) == ([1, 2, 3], 4, [3]) and path.is_file()
    second = Counting()
    run(tmp_path / "a", callbacks=[second], resume=True)
    assert second.steps == list(range(1, 9)) and second.ends == [8] and second.looks == 1


def test_a_callback_that_raises_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    class Broken(Callback):
        def on_step(self, state: TrainingState) -> None:
            if state.step == 5:
                raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run(tmp_path / "b", callbacks=[Broken()])
    assert run(tmp_path / "b", resume=True).read_bytes() == run(tmp_path / "a").read_bytes()

"""Trainings that pass over damaged pictures: the line that counts them, two processes, resume, the held-out ones."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from calling import call, refused
from conftest import cut_off, end_at, tiny_net
from safetensors.torch import load_file
from training.test_distributed import RUN, port, run, same_run

from maskwise.classifiers import Classifier
from maskwise.commands import plain
from maskwise.core.errors import InputError
from maskwise.training import train
from maskwise.training.fitting import fit
from maskwise.training.validation import Validation

CUT = ("02.png", "07.png", "08.png", "13.png")
ALL = r"4 pictures could not be read and were passed over: 02\.png, 07\.png, 08\.png and 1 more \(.*02\.png: the pic"
RECIPE = RUN.model_copy(update={"per_class": None})


@pytest.fixture
def cut(picture_folder: Path) -> Path:
    """Twenty pictures; of four the ends are missing, and one of these ``fit`` holds out."""
    return cut_off(picture_folder, CUT)


def tiny() -> Classifier:
    return Classifier(tiny_net(), input_size=32, name="tiny")


def trained(data: Path, out: Path, **more: Any) -> Path:
    return train(RECIPE, data, classifier=tiny(), out=out, device="cpu", skip_damaged=True, page=False, **more)


def test_a_resumed_training_is_the_one_never_stopped(cut: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=ALL) as told:
        whole = trained(cut, tmp_path / "a")
    assert sum("passed over" in str(w.message) for w in told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained(cut, tmp_path / "b", callbacks=[end_at(3)])
    (tmp_path / "b" / "masker.safetensors").unlink()
    with pytest.warns(UserWarning, match="passed over"):
        resumed = trained(cut, tmp_path / "b", resume=True)
    assert whole.read_bytes() == resumed.read_bytes()


def two_processes(rank: int, folder: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trained(folder / "set", folder / "two", devices=2)
    lines = [str(w.message) for w in told if "passed over" in str(w.message)]
    torch.save(lines, folder / f"lines-{rank}")
    torch.save(None, folder / f"done-{rank}")


def test_two_processes_train_the_same_and_one_of_them_names_what_both_passed_over(cut: Path, tmp_path: Path) -> None:
    mp.spawn(run, args=(port(), two_processes, tmp_path), nprocs=2)
    lines = [torch.load(tmp_path / f"lines-{rank}") for rank in (0, 1)]
    assert len(lines[0]) == 1 and re.match(ALL, lines[0][0]) and lines[1] == []
    with pytest.warns(UserWarning, match=ALL):
        trained(cut, tmp_path / "one")
    same_run(tmp_path / "two", tmp_path / "one")


def test_pictures_of_one_name_in_two_sets_are_two(cut: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "images"
    other.mkdir(parents=True)
    for path in (cut / "images").iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    with pytest.warns(UserWarning, match="8 pictures could not be read"):
        train(
            RECIPE, [cut, tmp_path / "other"], classifier=tiny(), out=tmp_path / "a", device="cpu", skip_damaged=True,
            page=False,
        )  # fmt: skip


def test_fit_leaves_damaged_pictures_out_of_those_it_judges_by(
    cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[list[str]] = []
    make = Validation.__init__

    def noted(self: Validation, pictures: Any, *more: Any) -> None:
        judged.append([record.id for _, record in pictures])
        make(self, pictures, *more)

    monkeypatch.setattr(Validation, "__init__", noted)
    options: dict[str, Any] = {"max_steps": 12, "device": "cpu", "overrides": ["batch_size=4"], "page": False}
    with pytest.raises(InputError, match=r"\.png: .*`skip_damaged=True` passes over such pictures"):
        fit(cut, tiny(), out=tmp_path / "a", **options)
    judged.clear()
    with pytest.warns(UserWarning) as told:
        fitted = fit(cut, tiny(), out=tmp_path / "a", skip_damaged=True, **options)
    lines = [str(w.message) for w in told if "passed over" in str(w.message)]
    (held_out,) = judged
    assert len(held_out) == 1 and held_out[0] not in CUT and fitted.pictures == (18, 1)
    assert len(lines) == 2 and lines[0].startswith("of the held-out pictures 1 picture could not be read")
    missing = re.search(r"over: (\d+\.png)", lines[0])
    assert missing is not None and missing[1] in CUT
    assert lines[1].startswith("3 pictures could not be read") and missing[1] not in lines[1]


@pytest.mark.parametrize("command", ["fit", "train"])
def test_the_commands_end_with_one_plain_line(
    command: str, cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("maskwise.classifiers.load_classifier", "maskwise.training.run.load_classifier"):
        monkeypatch.setattr(place, lambda *_, **__: tiny())
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back at the end
    plain.warn_plainly()
    source = ("fit", cut) if command == "fit" else ("train", "casm_lite0", "--data", cut, "--set", "taps=null")
    steps = "--max-steps" if command == "fit" else "--steps"
    given = (*source, steps, 12, "--set", "batch_size=4", "--set", "input_size=32", "--device", "cpu", "--no-page",
             "--out", tmp_path / "out")  # fmt: skip
    refused(call(*given), ".png: the picture is damaged", "; --skip-damaged passes over such pictures and counts them")
    done = call(*given, "--skip-damaged", "--resume")  # a training has begun its folder before it met the picture
    assert done.exit_code == 0, done.output
    lines = done.stderr.splitlines()
    found = "3 pictures" if command == "fit" else "4 pictures"
    assert lines[-1].startswith(f"maskwise: warning: {found} could not be read and were passed over: ")
    assert all(line.startswith("maskwise: warning: ") for line in lines), "no line of code beside it"
    assert load_file(tmp_path / "out" / "masker.safetensors")

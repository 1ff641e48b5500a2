"""Sanity checks and studies of data in which a picture can't be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from calling import call, refused
from conftest import cut_off

from maskwise.checks.pictures import labelled, pictures
from maskwise.classifiers import Classifier
from maskwise.commands.groups import Model
from maskwise.core.errors import InputError
from maskwise.studies import SCALES, run_study, studies
from maskwise.studies.run_config import RunConfig

CUT = ("03.png", "11.png")
LEFT = [i for i in range(20) if i not in (3, 11)]


@pytest.fixture
def cut(picture_folder: Path) -> Path:
    return cut_off(picture_folder, CUT)


@pytest.mark.parametrize("cache_gib", [4.0, 0.0])
def test_pictures_and_labels_of_the_others(picture_folder: Path, cache_gib: float) -> None:
    everything = labelled(str(picture_folder), 32)
    for name in CUT:
        (picture_folder / "images" / name).write_bytes(b"")
    source = str(picture_folder)
    for read in (lambda skip: pictures([source], 32, skip_damaged=skip, cache_gib=cache_gib),
                 lambda skip: labelled(source, 32, skip_damaged=skip, cache_gib=cache_gib)):  # fmt: skip
        with pytest.raises(InputError, match=r"03\.png: .*`skip_damaged=True` passes over such pictures"):
            found = read(False)
            list(getattr(found, "images", found).split(64))
        with pytest.warns(UserWarning, match=r"2 pictures could not be read and were passed over: 03\.png, 11\.png"):
            found = read(True)
        images = torch.cat(list(getattr(found, "images", found).split(64)))
        assert torch.equal(images, everything.images[LEFT])
        assert not hasattr(found, "labels") or torch.equal(found.labels, everything.labels[LEFT])


@pytest.mark.parametrize("check", ["mprt", "drt", "roar"])
def test_the_commands(check: str, cut: Path, tiny: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "load", lambda self: tiny.to(self.on()))
    given = ["check", check, "--data", cut, "--method", "edges", "--out", tmp_path / "out"]
    if check != "mprt":
        given += ["--size", 32, "--train-set", "epochs=1"]
    refused(call(*given), "03.png: the picture is damaged", "--skip-damaged passes over such pictures")
    if check == "mprt":  # the others would train for a while
        with pytest.warns(UserWarning, match="2 pictures could not be read"):
            done = call(*given, "--skip-damaged", "--mode", "independent")
        assert done.exit_code == 0, done.output


def test_a_study_tries_the_pictures_first_and_knows_what_it_left_out(cut: Path, tmp_path: Path) -> None:
    smoke, source = SCALES["smoke"], str(cut)
    config = RunConfig(smoke, (source,), (source,), {"tiny": None}, (), smoke.limit)
    with pytest.warns(UserWarning, match="2 pictures could not be read") as told:
        sound = config.without_damaged()
    assert len(told) == 1, "trained and measured on alike: tried once"
    assert sound.damaged == {source: CUT} and config.damaged == {}
    (data,) = sound.sets(sound.test)
    assert [record.id for record in data.records] == [f"{i:02}.png" for i in LEFT]
    assert sound.identity(sound.test)[0]["pictures"] == 18 and sound.identity(sound.test) != config.identity(
        config.test
    )
    study = studies.get("casm-statistics")
    only = [study.cells(smoke)[0].row]
    with pytest.raises(InputError, match=r"\.png: the picture is damaged .*`skip_damaged=True`"):
        run_study(study, replace(config, limit=None), tmp_path / "a", only=only)
    found = run_study(study, replace(sound, limit=None), tmp_path / "b", only=only)
    assert found.failures == {} and found.protocol()["damaged"] == {source: list(CUT)}

"""Seen and unseen classes apart."""

from pathlib import Path

import pytest
from conftest import tiny_net
from typer.testing import CliRunner

from maskwise.classifiers import Classifier
from maskwise.cli import app
from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.evaluation.apart import apart, seen_classes
from maskwise.training import train


@pytest.fixture
def masker(picture_folder: Path, tmp_path: Path) -> Path:
    overrides = ["classes=[1, 3]", "steps=1", "batch_size=4", "input_size=32", "taps=[-1]"]
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    return train("casm", picture_folder, overrides=overrides, out=tmp_path / "m", device="cpu", classifier=classifier)


def test_the_parts_are_the_whole(picture_folder: Path, masker: Path) -> None:
    data = read_data(picture_folder)
    seen, unseen = apart(data, seen_classes(masker))
    assert {r.label for r in seen.records} == {1, 3} and {r.label for r in unseen.records} == {0, 2, 4}
    assert sorted(r.id for part in (seen, unseen) for r in part.records) == [r.id for r in data.records]
    assert seen.name.endswith("(seen)") and unseen.name.endswith("(unseen)")
    assert [part.name for part in apart(data, range(5))] == [f"{data.name} (seen)"]


def test_what_can_t_be_taken_apart(picture_folder: Path, tmp_path: Path) -> None:
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    overrides = ["steps=1", "batch_size=4", "input_size=32"]
    every = train("casm", picture_folder, overrides=overrides, out=tmp_path / "e", device="cpu", classifier=classifier)
    with pytest.raises(InputError, match="all classes"):
        seen_classes(every)
    (picture_folder / "labels.csv").unlink()
    with pytest.raises(InputError, match="labels"):
        apart(read_data(picture_folder), [1])


def test_the_command_shows_both(
    picture_folder: Path, masker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Classifier(tiny_net(), input_size=32, name="tiny")
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda *given, **named: small)
    call = [
        "evaluate",
        "--data",
        str(picture_folder),
        "--method",
        "casm",
        "--masker",
        str(masker),
        "--metrics",
        "le,area",
    ]
    result = CliRunner().invoke(app, [*call, "--apart", str(masker), "--json"])
    assert result.exit_code == 0, result.output
    assert "(seen)" in result.stdout and "(unseen)" in result.stdout

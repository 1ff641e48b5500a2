"""``maskwise train``: what it writes, and one clear line for bad input."""

from __future__ import annotations

from pathlib import Path

import pytest
from calling import call, refused

from maskwise.classifiers import Classifier


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["casmm"], "casm"),
        (["casm", "--set", "epochs"], "key=value"),
        (["casm", "--set", "epochs=none"], "epochs"),
        (["casm", "--set", "nonsense=1"], "nonsense"),
        (["casm", "--device", "abacus"], "abacus"),
        (["casm", "--classifier", "efficientnet_light0"], "efficientnet_lite0"),
    ],
)
def test_bad_trainings(picture_folder: Path, tmp_path: Path, arguments: list[str], word: str) -> None:
    refused(call("train", *arguments, "--data", picture_folder, "--out", tmp_path / "run"), word)
    assert not (tmp_path / "run").exists()


def test_training_on_what_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    for data in ("none", "missing"):
        refused(call("train", "casm", "--data", tmp_path / data, "--out", tmp_path / "run"), data)
    assert not (tmp_path / "run").exists()


def test_train_writes_a_masker_that_explain_takes(
    small: Classifier, picture_folder: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskwise.training.run.load_classifier", lambda name, weights: small)
    settings = ["--set", "epochs=1", "--set", "batch_size=4", "--set", "width=4", "--device", "cpu"]
    result = call("train", "casm", "--data", picture_folder, *settings, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert {"masker.safetensors", "recipe.yaml", "log.jsonl"} <= {p.name for p in (tmp_path / "run").iterdir()}
    refused(call("train", "casm", "--data", picture_folder, *settings, "--out", tmp_path / "run"), "--resume")
    masker = tmp_path / "run" / "masker.safetensors"
    shown = call("explain", picture, "--masker", masker, "--out", tmp_path / "out")
    assert shown.exit_code == 0, shown.output

"""Checks of networks whose pictures are not square get pictures of their shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from calling import call
from conftest import tiny_net
from torch import Tensor

from maskwise.audit import sanity, shortcut
from maskwise.audit.sanity import stability
from maskwise.audit.subject import collect
from maskwise.checks.pictures import classified, object_boxes, pictures
from maskwise.checks.streamed import squashed
from maskwise.classifiers import Classifier
from maskwise.data import read_data
from maskwise.explainers import explainer
from maskwise.images import resize

SIZE = (48, 32)


@pytest.fixture
def oblong() -> Classifier:
    return Classifier(tiny_net(), input_size=SIZE, name="oblong")


def test_pictures_are_squashed_once(picture_folder: Path, oblong: Classifier) -> None:
    """To the shape that the network takes, not to a square first."""
    data = read_data(picture_folder)
    found = classified([data], oblong).images
    whole = torch.cat([resize(data.image(record)[None], SIZE) for record in data.records])
    assert tuple(found.shape) == (20, 3, *SIZE)
    assert (torch.as_tensor(found[torch.arange(20)]).float() / 255 - whole).abs().max() <= 1 / 255
    cover = object_boxes([data], SIZE)
    assert cover.shape == (20, *SIZE)
    height, width = SIZE[0] / 40, SIZE[1] / 48  # the pictures have 48x40 pixels, the first box is 4,5,30,25
    assert cover[0].sum() == pytest.approx((30 - 4) * width * (25 - 5) * height, rel=0.15)


def test_a_square_of_one_side_is_not_the_other_shape() -> None:
    """Of 48x32 pictures one side is 32: they are still to be squashed."""
    images = torch.randint(0, 255, (2, 3, *SIZE), dtype=torch.uint8)
    assert squashed(images, 32).shape == (2, 3, 32, 32)
    assert squashed(images[..., :32, :], 32) is not None and torch.equal(
        squashed(images[:, :, :32], 32), images[:, :, :32]
    )


@pytest.mark.parametrize("check", ["mprt", "max-sensitivity", "f-fidelity"])
def test_commands_say_so(
    check: str, picture_folder: Path, oblong: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda name, weights=None: oblong)
    given = ["--data", picture_folder, "--method", "grad_cam", "--limit", 4, "--out", tmp_path, "--json"]
    if check == "f-fidelity":
        given += ["--train-data", picture_folder, "--train-set", "epochs=1", "--train-set", "batch_size=4"]
    found = call("check", check, *given)
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["protocol"]["size"] == list(SIZE)


def test_an_audit_s_maps_have_the_network_s_shape(picture_folder: Path, oblong: Classifier, tmp_path: Path) -> None:
    shapes = set()

    def watched(images: Tensor, targets: Any = None) -> Tensor:
        shapes.add(tuple(images.shape[-2:]))
        return images.mean(1)

    audited = collect(oblong, watched, "watched", [read_data(picture_folder)], tmp_path)
    stability(audited)
    assert shapes == {SIZE}
    assert pictures([read_data(picture_folder)], 32, 2).shape == (2, 3, 32, 32)


def test_every_part_of_an_audit_gets_them(
    picture_folder: Path, oblong: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights, small changes, and the planted shortcut."""
    shapes = []

    def watched(*args: Any, **options: Any) -> Any:
        found = pictures(*args, **options)
        shapes.append(tuple(found.shape[-2:]))
        return found

    for part in (sanity, shortcut):
        monkeypatch.setattr(part, "pictures", watched)
    monkeypatch.setattr(shortcut, "LEAST", 8)
    audited = collect(oblong, explainer("grad_cam", oblong), "grad_cam", [read_data(picture_folder)], tmp_path)
    sanity.sanity_section(audited)
    shortcut.planted(audited)
    assert shapes == [SIZE] * 3

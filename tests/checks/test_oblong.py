"""Checks of networks whose pictures are not square get pictures of their shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from calling import call
from conftest import tiny_net
from torch import Tensor, nn

from maskwise.audit import sanity, shortcut, subject
from maskwise.audit.sanity import stability
from maskwise.audit.subject import collect
from maskwise.checks import Labelled, SmallTraining, f_fidelity, robust_judge, used_to_holes
from maskwise.checks.area_controls import random_blobs
from maskwise.checks.feeding import flipped_and_cropped
from maskwise.checks.pictures import classified, grouped_pictures, object_boxes, pictures
from maskwise.checks.robust_judge import random_keeps
from maskwise.checks.streamed import squashed
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
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


def test_the_leak_check_is_of_its_shape(
    picture_folder: Path, oblong: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The robust judge sees smaller pictures of the same shape, and so do the masks that it is compared on."""
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda name, weights=None: oblong)
    given = ["--data", picture_folder, "--test-data", picture_folder, "--method", "grad_cam", "--judge-size", 24]
    quick = ["--train-set", "epochs=1", "--no-probe", "--out", tmp_path, "--json"]
    found = call("check", "leak", *given, *quick)
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["protocol"]["robust_judge_size"] == [24, 16]


def test_holes_of_an_oblong_picture() -> None:
    draws = [torch.Generator().manual_seed(0) for _ in range(2)]
    keeps = random_keeps(64, SIZE, draws[0]) > 0
    assert keeps.shape == (64, *SIZE) and 0.3 < keeps.float().mean() < 0.7
    assert torch.equal(random_keeps(8, 32, draws[1]), random_keeps(8, (32, 32), torch.Generator().manual_seed(0)))
    images = torch.rand(64, 3, *SIZE, generator=draws[0])
    assert torch.equal(random_blobs(keeps, images, 0).sum((1, 2)), keeps.sum((1, 2)))


@pytest.mark.parametrize("size", [(48, 32), (24, 40), (16, 16)])
def test_flips_and_crops_keep_the_shape(size: tuple[int, int]) -> None:
    """Each is the mirrored or upright picture, moved; a wide one lost its right side, and a tall one failed."""
    images = torch.rand(12, 3, *size, generator=torch.Generator().manual_seed(0))
    made = flipped_and_cropped(images, torch.Generator().manual_seed(1))
    assert made.shape == images.shape
    reach = min(size) // 8
    for own, changed in zip(images, made, strict=True):
        ways = [
            torch.nn.functional.pad(way[None], (reach,) * 4, mode="reflect")[0, :, y : y + size[0], x : x + size[1]]
            for way in (own, own.flip(2))
            for y in range(2 * reach + 1)
            for x in range(2 * reach + 1)
        ]
        assert any(torch.equal(changed, way) for way in ways)


def test_a_judge_of_another_size_than_the_network_takes_is_refused_by_its_size() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 24 * 16, 5))
    strict = Classifier(net, input_size=SIZE, name="strict")
    data = Labelled(torch.zeros(4, 3, *SIZE, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]), tuple("abcde"))
    with pytest.raises(InputError, match="pictures of 96x64 pixels, since strict doesn't.*longer side.* 48$"):
        robust_judge(strict, data, size=96)


def test_no_judge_is_trained_of_what_has_no_weights() -> None:
    """It failed with torch's own words, after all maps were made."""
    box = Classifier(lambda images: images.mean((2, 3)).softmax(1), input_size=16, name="box", activation="softmax")
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    data = Labelled((images * 255).byte(), torch.tensor([0, 1, 0, 1]), tuple("abc"))
    with pytest.raises(InputError, match="no judge can be made of it"):
        f_fidelity({"rise": explainer("rise", box, masks=4)}, box, images, images)
    with pytest.raises(InputError, match="no judge can be made of it"):
        robust_judge(box, data)


def test_a_grey_network_s_judge_learns_from_rgb_pictures() -> None:
    """Those of data sets are RGB: the training failed in torch's own words."""
    net = tiny_net()
    net[0] = nn.Conv2d(1, 8, 3, padding=1)  # type: ignore[operator]
    grey = Classifier(net, mean=[0.5], std=[0.25], input_size=16)
    images = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    quick = SmallTraining(epochs=2, optimiser="sgd", lr=1e-2)
    judges = [used_to_holes(grey, given, settings=quick) for given in (images, images.expand(-1, 3, -1, -1))]
    assert judges[0].fingerprint() == judges[1].fingerprint() != grey.fingerprint()


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
        found = grouped_pictures(*args, **options)
        shapes.append(tuple(found[0].shape[-2:]))
        return found

    monkeypatch.setattr(subject, "grouped_pictures", watched)
    monkeypatch.setattr(shortcut, "LEAST", 8)
    audited = collect(oblong, explainer("grad_cam", oblong), "grad_cam", [read_data(picture_folder)], tmp_path)
    sanity.sanity_section(audited)
    shortcut.planted(audited)
    assert shapes == [SIZE] * 3

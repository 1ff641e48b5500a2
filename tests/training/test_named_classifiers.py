"""Which network a recipe names, and what a training writes down of the one that it took."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import tiny_net
from safetensors.torch import save_file
from typer.testing import CliRunner

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.cli import app
from maskwise.core.errors import InputError
from maskwise.maskers.store import read_header
from maskwise.studies import SCALES
from maskwise.studies.jobs import Train
from maskwise.training import recipes, train

V1 = "torchvision/resnet50@IMAGENET1K_V1"
LITE = "efficientnet_lite0"
OWN = {"dabkowski_gal_cifar": "cifar_resnet18", "infiller": LITE, "best": LITE, "distilled": LITE,
       "black_box": LITE,
       "ladder_vit": "vit_tiny_distilled", "shapley_vit": "vit_tiny_distilled",
       "shapley": "timm/vit_base_patch16_224"}  # fmt: skip
SETTINGS = ["steps=1", "batch_size=2", "fraction=1", "input_size=64", "width=4", "taps=[-1]"]


@pytest.mark.parametrize("name", recipes.names())
def test_published_recipes_name_the_published_network(name: str) -> None:
    expected = OWN.get(name, "efficientnet_lite0" if name.endswith("_lite0") else V1)
    assert recipes.load(name).classifier == expected


@pytest.mark.parametrize(("scale", "name"), [("small", "efficientnet_lite0"), ("full", V1)])
def test_a_study_s_recipe_names_the_scale_s_network(scale: str, name: str) -> None:
    for job in (Train("casm"), Train("phang/ca"), Train("dabkowski_gal")):
        assert job.settings(SCALES[scale]).classifier == name
    assert SCALES["full"].classifiers["second"] == "torchvision/vgg16@IMAGENET1K_V1"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    from torchvision import models

    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(models.squeezenet1_1(num_classes=5).state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_weights_are_the_named_classifier_s(picture_folder: Path, weights: Path, tmp_path: Path) -> None:
    expected = mw.load_classifier("torchvision/squeezenet1_1", weights).fingerprint()
    name = "torchvision/squeezenet1_1@IMAGENET1K_V1"
    ours = train(
        "casm", picture_folder, classifier=name, weights=weights, out=tmp_path / "a", overrides=SETTINGS, device="cpu"
    )
    by_recipe = [*SETTINGS, f"classifier={name}"]
    theirs = train("casm", picture_folder, weights=weights, out=tmp_path / "b", overrides=by_recipe, device="cpu")
    for path in (ours, theirs):
        header = read_header(path)
        assert header["fingerprint"] == expected
        assert header["classifier"] == "torchvision/squeezenet1_1", "no tag for weights of one's own"
        assert recipes.load(path.with_name("recipe.yaml")).classifier == "torchvision/squeezenet1_1"


def test_the_command_takes_weights(picture_folder: Path, weights: Path, tmp_path: Path) -> None:
    arguments = ["train", "casm", "--data", picture_folder, "--classifier", "torchvision/squeezenet1_1"]
    arguments += [part for setting in SETTINGS for part in ("--set", setting)]
    done = CliRunner().invoke(
        app, [str(a) for a in (*arguments, "--weights", weights, "--out", tmp_path / "r", "--device", "cpu")]
    )
    assert done.exit_code == 0, done.output
    missing = [*arguments, "--weights", tmp_path / "nowhere.pth", "--out", tmp_path / "s"]
    assert "nowhere.pth" in CliRunner().invoke(app, list(map(str, missing))).stderr


def test_a_loaded_classifier_has_its_weights(picture_folder: Path, weights: Path, tmp_path: Path) -> None:
    tiny = Classifier(tiny_net(), input_size=32, name="tiny")
    with pytest.raises(InputError, match="loaded already"):
        train("casm", picture_folder, classifier=tiny, weights=weights, out=tmp_path / "r", device="cpu")
    path = train(
        "casm", picture_folder, classifier=tiny, out=tmp_path / "r", device="cpu",
        overrides=["steps=1", "batch_size=2", "width=4"],
    )  # fmt: skip
    assert recipes.load(path.with_name("recipe.yaml")).classifier == "tiny", "not the recipe's, which was not taken"
    assert recipes.load(path.with_name("recipe.yaml")).thinning == "L100"


def test_what_can_not_be_fetched_says_what_to_give(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(InputError, match=f"{V1} can't be fetched.*`weights`.*classifier efficientnet_lite0"):
        train("casm", picture_folder, out=tmp_path / "r", device="cpu")
    assert not (tmp_path / "r").exists()

"""A training's pictures are of a size that the network knows, or it is said that they are not."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.data import DataSet, Record
from maskwise.training import fit, train
from maskwise.training.crop_size import own_size, same_answers
from maskwise.training.recipes import load


class Stripes(nn.Module):
    """Knows one thing by its size in pixels: stripes of one pixel, which a smaller picture does not show."""

    def __init__(self) -> None:
        super().__init__()
        self.edge = nn.Conv2d(3, 2, 3, padding=1, bias=False)
        with torch.no_grad():
            self.edge.weight.zero_()
            self.edge.weight[0, :, 1] = torch.tensor([-0.5, 1.0, -0.5])
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[8.0, 0.0], [-8.0, 0.0]]))
            self.head.bias.copy_(torch.tensor([-6.0, 6.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.edge(x)).mean((2, 3)))


def striped(side: int, activation: str = "softmax") -> Classifier:
    return Classifier(
        Stripes(), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=side, name="stripes", activation=activation
    )  # type: ignore[arg-type]


def stripes(side: int) -> Tensor:
    return (torch.arange(side) % 2).float().expand(1, 3, side, side)


def folder(tmp_path: Path, side: int) -> Path:
    (tmp_path / "p" / "images").mkdir(parents=True)
    pixels = (stripes(side)[0].permute(1, 2, 0) * 255).byte().numpy()
    for i in range(12):
        Image.fromarray(pixels).save(tmp_path / "p" / "images" / f"{i}.png")
    return tmp_path / "p"


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_what_is_said_of_smaller_pictures(activation: str) -> None:
    classifier = striped(64, activation)
    flat = torch.full((1, 3, 64, 64), 0.5)
    assert same_answers(classifier, [stripes(64), flat], (64, 64)) == 1
    assert same_answers(classifier, [stripes(64), flat, stripes(64), stripes(64)], (32, 32)) == 0.25


def test_a_recipe_for_another_network_is_no_larger_than_that_one_takes() -> None:
    small = striped(28)
    with pytest.warns(UserWarning, match="144 pixels are larger than stripes takes: it trains at 28"):
        assert own_size(load("casm_lite0", []), small).input_size == 28
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert own_size(load("casm_lite0", ["input_size=96"]), small, ["input_size=96"]).input_size == 96
        assert own_size(load("casm_lite0", ["input_size=null"]), small, ["input_size=null"]).input_size is None
        assert own_size(load("casm_lite0", []), striped(224)).input_size == 144


def test_train(tmp_path: Path) -> None:
    short = ["steps=1", "batch_size=2", "taps=null"]
    pictures = folder(tmp_path, 64)
    with pytest.warns(UserWarning, match="it trains at 28") as told:
        train(
            "casm_lite0",
            pictures,
            classifier=striped(28),
            overrides=short,
            out=tmp_path / "a",
            device="cpu",
            page=False,
        )
    assert yaml.safe_load((tmp_path / "a" / "recipe.yaml").read_text())["input_size"] == 28
    where = [Path(one.filename).name for one in told if "it trains at 28" in str(one.message)]
    assert where == ["run.py"], "the command line says our own warnings in one line"
    with pytest.warns(UserWarning, match=r"32 pixels stripes says the same as at its own size in 0% only"):
        train("casm_lite0", pictures, classifier=striped(64), overrides=[*short, "input_size=32"], out=tmp_path / "b",
              device="cpu", page=False)  # fmt: skip


@pytest.mark.parametrize("teacher", ["none", "grad_cam"])
def test_fit(tmp_path: Path, teacher: str) -> None:
    """At 160 pixels the stripes are gone, so it trains at the network's own 320."""
    short = ["batch_size=2", "taps=null"]
    with pytest.warns(UserWarning, match="in 0% only: it trains at 320"):
        fit(folder(tmp_path, 320), striped(320), teacher=teacher, max_steps=1, overrides=short, out=tmp_path / "a",
            device="cpu", page=False)  # fmt: skip
    assert yaml.safe_load((tmp_path / "a" / "recipe.yaml").read_text())["input_size"] == 320


class ForTraining(DataSet):
    """Pictures without truth: all that a training asks for."""

    def image(self, record: Record) -> Tensor:
        return stripes(64)[0]


def test_pictures_for_training_alone(tmp_path: Path) -> None:
    """They have no ``sample``, and need none: before the first step, too, only the picture is read."""
    data = ForTraining("own", [Record(str(i), label=i % 2) for i in range(6)])
    with pytest.warns(UserWarning, match="in 0% only"):
        file = train(
            "casm_lite0", data, classifier=striped(64), out=tmp_path / "a", device="cpu", page=False,
            overrides=["steps=1", "batch_size=2", "taps=null", "input_size=32"],
        )  # fmt: skip
    assert file.is_file()

"""Labels that say another class than the names of their classes do, where a classifier names its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from conftest import tiny_net
from PIL import Image
from torch import Tensor

import maskwise as mw
from maskwise.checks.pictures import classified
from maskwise.classifiers import Classifier
from maskwise.data import read_data
from maskwise.data.class_order import other_order
from maskwise.evaluation.items import class_among
from maskwise.labels import Labels
from maskwise.training import Recipe, train

NUMBERS = tuple(map(str, range(12)))


def folders(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        (root / "images" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (20 * i, 90, 0)).save(root / "images" / name / "a.png")
    boxes = "".join(f"{name}/a.png,0,0,8,8\n" for name in names)
    (root / "boxes.csv").write_text("file,x0,y0,x1,y1\n" + boxes)
    return root


@pytest.mark.parametrize(
    ("names", "labels", "said"),
    [
        (("bird", "cat", "dog"), ("dog", "cat", "bird"), "2 of 3 classes .* 'bird' has 0, which is 'dog' .* class 2"),
        (("bird", "cat", "dog"), ("bird", "cat", "dog", "cow"), None),
        (("bird", "cat"), ("Vogel", "Katze"), None),  # nothing speaks against it
        (("bird", "cat"), ("tench", "shark", "ray"), "none of whose names is among the 3"),
        (("1", "2", "10"), ("1", "2", "10"), "2 of 3 classes .* '10' has 1, which is '2' there, and is class 2"),
        (("1", "2", "10"), NUMBERS, "'10' is class 1, and '2' class 2.* call folders '02'"),
        (("1", "2", "3"), NUMBERS, None),  # in order, of a network that names no class
        (("1", "2", "10"), tuple("abcdefghijk"), "2 of 3 classes .* '1' has 0, which is 'a' there, and is class 1"),
    ],
)
def test_places_of_class_folders_as_labels(
    names: tuple[str, ...], labels: tuple[str, ...], said: str | None, tmp_path: Path
) -> None:
    data = read_data(f"{folders(tmp_path, *names)}@labels=own")
    line = other_order(data, Labels(labels), "net")
    assert line is None if said is None else re.search(said, str(line)), line


def test_a_table_of_another_classifiers_numbers(tmp_path: Path) -> None:
    root = folders(tmp_path, "bird", "cat")
    (root / "labels.csv").write_text("file,label\nbird/a.png,1\ncat/a.png,0\n")
    data = read_data(root)
    assert other_order(data, Labels(("cat", "bird")), "net") is None
    assert "2 of 2 classes" in str(other_order(data, Labels(("bird", "cat")), "net"))


def maps_of(images: Tensor, targets: Tensor) -> Tensor:
    return torch.ones(len(images), *images.shape[-2:])


def test_the_numbers_are_said_to_be_wrong(tmp_path: Path) -> None:
    judge = Classifier(tiny_net(classes=3), input_size=32, labels=["dog", "cat", "bird"], name="tiny")
    source = f"{folders(tmp_path, 'bird', 'cat', 'dog')}@labels=own"
    board = mw.compare({"f": maps_of}, source, judge, ["om"])
    assert any("'bird' has 0, which is 'dog' there" in line for line in board.plain()["warnings"])
    with pytest.warns(UserWarning, match="2 of 3 classes have another label than tiny"):
        classified([source], judge)
    recipe = Recipe(steps=1, fraction=1.0, batch_size=3, input_size=32)
    with pytest.warns(UserWarning, match="2 of 3 classes have another label than tiny"):
        train(recipe, source, classifier=judge, out=tmp_path / "trained", device="cpu")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(("1", "2", "10"), [0, 2, 1]), (NUMBERS, [0, 1, 2]), (("10", "x", "2", "1"), [3, 0, 2])],
)
def test_classes_that_are_called_by_numbers_are_found_by_them(
    labels: tuple[str, ...], expected: list[int], tmp_path: Path
) -> None:
    """Folders stand as 1, 10, 2; a network without names is taken to have that order."""
    data = read_data(folders(tmp_path, "1", "2", "10"))
    assert [class_among(own, data, Labels(labels)) for own in range(3)] == expected


def test_numbers_of_several_lists_of_classes_are_said(tmp_path: Path) -> None:
    """Class 0 of one folder is a bird and of the other a cow; the mean over classes is over numbers."""
    birds, cows = folders(tmp_path / "one", "bird", "cat"), folders(tmp_path / "two", "cow", "dog")
    judge, games = Classifier(tiny_net(classes=3), input_size=32), {"pointing": mw.metric("pointing", tolerance=3)}

    def said(*sources: Path) -> list[str]:
        board = mw.compare({"f": maps_of}, list(map(str, sources)), judge, games)
        return [line for line in board.warnings if "told apart by their numbers" in line]

    assert not said(birds) and not said(birds, folders(tmp_path / "three", "bird", "cat"))
    [line] = said(birds, cows)
    assert line.startswith("pointing: ") and "2 lists (classes of one, classes of two)" in line
    (birds / "labels.csv").write_text("file,label\nbird/a.png,1\n")
    assert "2 lists (labels, classes of one)" in said(birds)[0], "a table of some pictures' labels"
    assert not [
        line for line in mw.compare({"f": maps_of}, [str(birds), str(cows)], judge, ["le"]).warnings if "lists" in line
    ]

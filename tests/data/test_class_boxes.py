"""A class for each box, in a folder and in a zip alike: by number, by number and name, by name alone."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from conftest import tiny_net
from PIL import Image
from torch import Tensor

import maskwise as mw
from maskwise.core.errors import InputError
from maskwise.data import read_data

ROWS = (("a.png", 1, "ring"), ("a.png", 0, "disc"), ("b.png", 1, "ring"))
TABLES = {
    "class,name": [f"{number},{name}" for _, number, name in ROWS],
    "class": [name for _, _, name in ROWS],
    "name": [name for _, _, name in ROWS],
}


def written(root: Path, header: str, values: list[str], kind: str, below: str = "") -> str:
    files = [file for file, *_ in ROWS]
    top = "" if kind == "folder" else "images/"
    lines = [f"file,x0,y0,x1,y1,{header}"]
    lines += [f"{top}{below}{f},{4 + i},4,20,20,{v}" for i, (f, v) in enumerate(zip(files, values, strict=True))]
    (root / "top" / "images" / below).mkdir(parents=True)
    for file in {*files, "none.png"}:
        Image.new("L", (32, 32), 90).save(root / "top" / "images" / below / file)
    (root / "top" / "boxes.csv").write_text("\n".join(lines))
    if kind == "folder":
        return str(root / "top")
    (root / "top" / "images.csv").write_text("file\nimages/a.png\nimages/b.png\nimages/none.png\n")
    with zipfile.ZipFile(root / "z.zip", "w") as archive:
        for path in sorted((root / "top").rglob("*.*")):
            archive.write(path, path.relative_to(root))
    return str(root / "z.zip")


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("header", TABLES)
def test_boxes_of_classes(tmp_path: Path, header: str, kind: str) -> None:
    data = read_data(written(tmp_path, header, TABLES[header], kind))
    assert data.classes == ("disc", "ring")
    first, second, none = (data[i] for i in range(3))
    assert first.box_classes.tolist() == [1, 0] and second.box_classes.tolist() == [1]
    assert first.boxes_of(0).tolist() == [[5, 4, 20, 20]] and len(none.boxes) == 0
    assert set(first.regions()) == {0, 1}


def test_each_finding_is_measured(tmp_path: Path) -> None:
    source = written(tmp_path, "class", TABLES["class"], "folder")
    judge = mw.Classifier(tiny_net(classes=3), input_size=32, labels=["ring", "other", "disc"], activation="sigmoid")
    asked: list[int] = []

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        asked.extend(targets.tolist())
        return images.mean(1)

    board = mw.compare({"mine": explain}, source, judge, ["le"], target="each")
    assert sorted(asked) == [0, 0, 2], "two rings and a disc, by name"
    assert sum(board.protocol["data"].values()) == 3


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 3: the class of 'a.png' is 'disc', which is not a class index"):
        read_data(written(tmp_path / "a", "class", ["1", "disc", "1"], "folder"))
    with pytest.raises(InputError, match="some boxes of 'a.png' have no class"):
        read_data(written(tmp_path / "b", "class", ["ring", "", "ring"], "folder"))
    with pytest.raises(InputError, match="two names"):
        read_data(written(tmp_path / "c", "class,name", ["1,ring", "0,disc", "1,rung"], "folder"))


def test_in_class_folders_boxes_are_of_the_folder_s_class(tmp_path: Path) -> None:
    data = read_data(written(tmp_path, "class", TABLES["class"], "folder", below="cats/"))
    assert data.classes == ("cats",) and data[0].box_classes is None and len(data[0].boxes) == 2

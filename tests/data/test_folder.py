"""Folders of one's own: every file that may lie beside images/, and every way in which one may be wrong."""

from pathlib import Path

import pytest
import torch
from data.making import mask, picture, text
from PIL import Image

from maskwise.core.errors import InputError
from maskwise.data import read_data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of 8x6 pictures; the first has everything."""
    picture(tmp_path / "images" / "cat" / "a.png")
    picture(tmp_path / "images" / "dog" / "b.jpg", 4, 4)
    text(tmp_path / "labels.csv", "file,label", "cat/a.png,281")
    text(tmp_path / "boxes.csv", "file,x0,y0,x1,y1", "cat/a.png,1,2,5,6", "cat/a.png,0,0,8,0.5")
    mask(tmp_path / "masks" / "cat" / "a.png", [[0] * 8] * 3 + [[0, 1, 255, 0, 0, 0, 0, 0]] * 3)
    mask(tmp_path / "ignore" / "cat" / "a.png", [[0] * 8] * 5 + [[9] * 8])
    return tmp_path


def test_everything_a_folder_can_hold(root: Path) -> None:
    data = read_data(root)
    assert (len(data), data.classes) == (2, ("cat", "dog"))
    first, second = data.records
    assert (first.id, first.label, first.category, first.has_boxes, first.has_mask) == ("cat/a.png", 281, 0, True, True)
    assert (second.id, second.label, second.category, second.has_boxes, second.has_mask) == (
        "dog/b.jpg", None, 1, False, False,
    )  # fmt: skip
    sample = data[0]
    assert sample.image.shape == (3, 6, 8) and sample.image[0, 0, 0] == pytest.approx(100 / 255)
    assert sample.boxes.tolist() == [[1, 2, 5, 6], [0, 0, 8, 0.5]] and sample.boxes.dtype == torch.float64
    assert sample.mask.int().tolist() == [[0] * 8] * 3 + [[0, 1, 1, 0, 0, 0, 0, 0]] * 3
    assert sample.ignore.int().tolist() == [[0] * 8] * 5 + [[1, 0, 0, 1, 1, 1, 1, 1]], "foreground is not ignored"
    assert data[1].boxes.shape == (0, 4) and data[1].mask is None and data[1].ignore is None


def test_only_pictures_are_listed(root: Path) -> None:
    """Not what systems leave behind, such as macOS's ._ files, nor other files."""
    picture(root / "images" / "dog" / "._b.jpg")
    text(root / "images" / "dog" / "notes.txt", "x")
    assert len(read_data(root)) == 2


def test_own_labels(root: Path) -> None:
    assert [r.label for r in read_data(f"{root}@labels=own").records] == [0, 1]
    flat = root / "flat"
    picture(flat / "images" / "a.png")
    with pytest.raises(InputError, match="no classes of its own"):
        read_data(f"{flat}@labels=own")


def test_class_folders_named_by_wordnet_ids_are_labels(tmp_path: Path) -> None:
    for wnid in ("n01440764", "n02102040"):
        picture(tmp_path / "images" / wnid / "a.png")
    assert [(r.label, r.category) for r in read_data(tmp_path).records] == [(0, 0), (217, 1)]


def test_truth_turns_with_an_exif_orientation(tmp_path: Path) -> None:
    """Stored 8x6 and to be shown turned clockwise: 6x8, and what was at the left is at the top."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "images" / "a.jpg", exif=exif)
    text(tmp_path / "boxes.csv", "file,x0,y0,x1,y1", "a.jpg,0,0,2,1")
    mask(tmp_path / "masks" / "a.png", [[1] * 2 + [0] * 6] + [[0] * 8] * 5)
    sample = read_data(tmp_path)[0]
    assert sample.image.shape == (3, 8, 6)
    assert sample.boxes.tolist() == [[5, 0, 6, 2]]
    assert sample.mask.nonzero().tolist() == [[0, 5], [1, 5]]


def test_listing_opens_no_picture(root: Path) -> None:
    for file in ("a.png", "b.jpg"):
        for path in root.rglob(file):
            path.write_bytes(b"not a picture")
    data = read_data(root)
    assert len(data) == 2
    with pytest.raises(InputError, match=r"cat.a\.png: not a picture"):
        data.image(data.records[0])


@pytest.mark.parametrize(
    ("table", "line", "match"),
    [
        ("boxes.csv", "cat/a.png,a,1,2,3", r"boxes\.csv: the box of 'cat/a\.png' is not four numbers"),
        ("boxes.csv", "cat/a.png,nan,1,2,3", "is not four numbers"),
        ("boxes.csv", "cat/a.png,5,1,5,3", "the box 5,1,5,3 of 'cat/a.png' is empty"),
        ("boxes.csv", "cat/a.png,5,1", "line 2 has fewer fields"),
        ("boxes.csv", "images/cat/a.png,1,1,2,2", "no picture of images/; paths begin there"),
        ("labels.csv", "cat/a.png,dog", "is 'dog', which is not a class index"),
        ("labels.csv", "cat/a.png,-1", "not a class index"),
        ("labels.csv", "cat/a.png,1.5", "not a class index"),
    ],
)
def test_broken_tables(root: Path, table: str, line: str, match: str) -> None:
    header = {"boxes.csv": "file,x0,y0,x1,y1", "labels.csv": "file,label"}[table]
    text(root / table, header, line)
    with pytest.raises(InputError, match=match):
        read_data(root)


def test_tables_of_another_kind(root: Path) -> None:
    text(root / "boxes.csv", "file,x0", "cat/a.png,1")
    with pytest.raises(InputError, match="needs the columns file, x0, y0, x1, y1"):
        read_data(root)
    (root / "boxes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_data(root)


def test_truth_that_does_not_fit(root: Path) -> None:
    text(root / "boxes.csv", "file,x0,y0,x1,y1", "cat/a.png,1,2,12,6")
    with pytest.raises(InputError, match=r"a\.png: the box 1,2,12,6 is not within the picture, 8x6"):
        read_data(root)[0]
    text(root / "boxes.csv", "file,x0,y0,x1,y1", "cat/a.png,1,2,9,6")
    assert read_data(root)[0].boxes.tolist() == [[1, 2, 8, 6]], "one pixel over the border is cut off"
    mask(root / "masks" / "cat" / "a.png", [[0] * 4] * 4)
    with pytest.raises(InputError, match=r"masks.cat.a\.png: mask and picture differ in size \(4x4 and 8x6"):
        read_data(root)[0]
    (root / "masks" / "cat" / "a.png").write_bytes(b"no")
    with pytest.raises(InputError, match="not a mask picture"):
        read_data(root)[0]


def test_places_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a folder nor a zip"):
        read_data(tmp_path / "none")
    with pytest.raises(InputError, match="no folder images/"):
        read_data(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        read_data(tmp_path)
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(InputError, match="split 'train'; it has no splits"):
        read_data(f"{tmp_path}@train")

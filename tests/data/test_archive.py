"""Zip archives: labels, splits, boxes in either place, masks, trimaps, class maps."""

import zipfile
from pathlib import Path

import pytest
import torch
from data.making import mask, picture

from maskwise.core.errors import InputError
from maskwise.data import read_data

IMAGES = "file,split,imagenet_index\npictures/a.png,train,7\npictures/b.png,test,9\n"
BOXES = "file,kind,x0,y0,x1,y1\npictures/b.png,head,0,0,1,1\npictures/b.png,body_from_trimap,2,3,8,5\n"


def archive(path: Path, top: str = "top", **members: str | list[list[int]]) -> Path:
    """A zip with two 8x6 pictures; a member's ``__`` is a slash, lists of rows become mask pictures."""
    with zipfile.ZipFile(path, "w") as z:
        for name, content in members.items():
            name = name.replace("__", "/")
            if isinstance(content, str):
                z.writestr(f"{top}/{name}.csv", content)
            else:
                z.write(mask(path.parent / "m.png", content), f"{top}/{name}.png")
        for name in ("a", "b"):
            z.write(picture(path.parent / "p.png"), f"{top}/pictures/{name}.png")
    return path


def test_labels_boxes_and_splits(tmp_path: Path) -> None:
    path = archive(tmp_path / "set.zip", images=IMAGES, boxes=BOXES)
    assert len(read_data(path)) == 2
    data = read_data(f"{path}@test")
    [record] = data.records
    assert (record.id, record.label, record.category, record.boxes) == ("pictures/b.png", 9, None, ((2, 3, 8, 5),))
    assert data.image(record).shape == (3, 6, 8)
    assert data[0].boxes.tolist() == [[2, 3, 8, 5]]
    with pytest.raises(InputError, match="split 'val'; its splits are test, train"):
        read_data(f"{path}@val")


def test_own_classes_are_no_labels(tmp_path: Path) -> None:
    """A number in column label is the set's own class; only imagenet_index and class_index are the classifier's."""
    rows = "file,label,class,x0,y0,x1,y1\npictures/a.png,1,crow,0,0,8,6\npictures/b.png,0,ani,1,1,2,2\n"
    data = read_data(archive(tmp_path / "set.zip", images=rows))
    assert [(r.label, r.category) for r in data.records] == [(None, 1), (None, 0)]
    assert data.classes == ("ani", "crow")
    assert data[0].boxes.tolist() == [[0, 0, 8, 6]]
    named = read_data(archive(tmp_path / "n.zip", images="file,label\npictures/a.png,yak\npictures/b.png,bee\n"))
    assert (named.classes, [r.category for r in named.records]) == (("bee", "yak"), [1, 0])
    listed = archive(
        tmp_path / "c.zip", images="file,label\npictures/a.png,1\npictures/b.png,0\n", classes="label,name\n0,x\n1,y\n"
    )
    assert read_data(listed).classes == ("x", "y")
    assert [r.label for r in read_data(f"{listed}@labels=own").records] == [1, 0]


def test_tiny_imagenet_s_boxes_name_the_last_pixel(tmp_path: Path) -> None:
    rows = "file,x0,y0,x1,y1\npictures/a.png,0,0,7,5\npictures/b.png,7,2,7,3\n"
    assert read_data(archive(tmp_path / "t.zip", "tiny_imagenet", images=rows))[1].boxes.tolist() == [[7, 2, 8, 4]]
    with pytest.raises(InputError, match="is empty"):
        read_data(archive(tmp_path / "u.zip", images=rows))


def test_trimaps(tmp_path: Path) -> None:
    rows = "file,mask\npictures/a.png,trimaps/a.png\npictures/b.png,\n"
    trimap = [[2] * 8] * 2 + [[2, 3, 1, 1, 1, 3, 2, 2]] * 4
    data = read_data(archive(tmp_path / "set.zip", images=rows, trimaps__a=trimap))
    assert data[0].mask.int().tolist() == [[0] * 8] * 2 + [[0, 0, 1, 1, 1, 0, 0, 0]] * 4
    assert data[0].ignore.int().tolist() == [[0] * 8] * 2 + [[0, 1, 0, 0, 0, 1, 0, 0]] * 4
    assert data[1].mask is None and [r.has_mask for r in data.records] == [True, False]


def test_plain_masks(tmp_path: Path) -> None:
    rows = "file,mask\npictures/a.png,masks/a.png\n"
    data = read_data(archive(tmp_path / "set.zip", images=rows, masks__a=[[0] * 8] * 5 + [[200] * 8]))
    assert data[0].mask.sum() == 8 and data[0].ignore is None


def test_class_maps_match_the_boxes_classes_by_name(tmp_path: Path) -> None:
    """Box classes 0 cat and 2 dog; map values 17 cat, 18 dog, 90 sky, which no box has: the next class, no object."""
    data = read_data(
        archive(
            tmp_path / "set.zip",
            images="file,mask\npictures/a.png,masks/a.png\n",
            boxes="file,class,name,x0,y0,x1,y1\npictures/a.png,2,dog,0,0,4,2\npictures/a.png,0,cat,4,0,8,2\n",
            mask_classes="mask_value,name\n0,unlabeled\n17,cat\n18,dog\n90,sky\n",
            masks__a=[[18, 18, 0, 0, 17, 17, 17, 17], [0] * 8, [90] * 8, [90] * 8, [90] * 8, [0] * 8],
        )
    )
    assert data.classes == ("cat", "class 1", "dog", "sky")
    sample = data[0]
    assert sample.box_classes.tolist() == [2, 0] and sample.label is None
    assert sample.class_map[0].tolist() == [2, 2, -1, -1, 0, 0, 0, 0] and set(sample.class_map[2].tolist()) == {3}
    assert sample.mask.sum() == 6
    assert {c: int(r.sum()) for c, r in sample.regions().items()} == {0: 4, 2: 2}


def test_without_boxes_there_are_no_classes_of_boxes_and_with_them_all_have_one(tmp_path: Path) -> None:
    images, boxes = "file\npictures/a.png\npictures/b.png\n", "file,class,x0,y0,x1,y1\npictures/a.png,2,0,0,4,2\n"
    data = read_data(archive(tmp_path / "set.zip", images=images, boxes=boxes))
    assert data[1].box_classes.tolist() == [] and data[1].regions() == {}
    with pytest.raises(InputError, match="some boxes of 'pictures/a.png' have no class"):
        read_data(archive(tmp_path / "s.zip", images=images, boxes=boxes + "pictures/a.png,,0,0,4,2\n"))


def test_a_value_without_a_class(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "set.zip",
        images="file,mask\npictures/a.png,masks/a.png\n",
        mask_classes="mask_value,name\n1,cat\n",
        masks__a=[[3] * 8] * 6,
    )
    with pytest.raises(InputError, match="value 3 is not in mask_classes.csv"):
        read_data(path)[0]


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ({}, "expected one images.csv inside, found 0"),
        ({"images": "name\nx\n"}, "needs the columns file"),
        ({"images": "file\n"}, "holds no pictures"),
        ({"images": "file,imagenet_index\npictures/a.png,x\n"}, "'x', which is not a class index"),
        ({"images": "file\npictures/a.png\n", "boxes": "file,x0\na,1\n"}, "needs the columns"),
        ({"images": "file\npictures/a.png\n", "mask_classes": "value\n1\n"}, "needs the columns mask_value, name"),
    ],
)
def test_broken_archives(tmp_path: Path, members: dict[str, str], match: str) -> None:
    with pytest.raises(InputError, match=match):
        read_data(archive(tmp_path / "set.zip", **members))


def test_missing_and_damaged_members(tmp_path: Path) -> None:
    data = read_data(archive(tmp_path / "set.zip", images="file\npictures/none.png\n"))
    with pytest.raises(InputError, match=r"set\.zip:pictures/none\.png: no such file in the archive"):
        data[0]
    (tmp_path / "half.zip").write_bytes((tmp_path / "set.zip").read_bytes()[:200])
    with pytest.raises(InputError, match="neither a folder nor a zip"):
        read_data(tmp_path / "half.zip")


def test_a_damaged_byte_is_noticed(tmp_path: Path) -> None:
    path = archive(tmp_path / "set.zip", images=IMAGES)
    raw = bytearray(path.read_bytes())
    at = raw.find(b"\x89PNG") + 50
    raw[at] ^= 255
    path.write_bytes(raw)
    data = read_data(path)
    with pytest.raises(InputError, match=r"pictures/a\.png"):
        data.image(data.records[0])
    assert torch.is_tensor(data.image(data.records[1]))


@pytest.mark.parametrize(
    ("tables", "match"),
    [
        (
            {"images": "file\npictures/a.png\npictures/a.png\n"},
            r"line 2 and line 3 list 'pictures/a.png' twice; keep one",
        ),
        (
            {"images": "file,label\npictures/a.png,0\n", "classes": "label,name\n0,x\n0,y\n"},
            r"classes.csv: line 2 and line 3 give '0' two names, x and y",
        ),
        (
            {"images": "file,label,class\npictures/a.png,0,x\npictures/b.png,0,y\n"},
            "line 2 and line 3 give '0' two names",
        ),
        ({"images": "file,class_index\npictures/a.png,1\n\npictures/b.png,x\n"}, "images.csv: line 4: the label of"),
        (
            {"images": IMAGES, "boxes": BOXES + "pictures/a.png,body_from_trimap,1,2,x,4\n"},
            "boxes.csv: line 4: the box of",
        ),
    ],
)
def test_what_a_table_says_twice_or_wrongly_names_the_lines(tables: dict[str, str], match: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=match):
        read_data(archive(tmp_path / "set.zip", **tables))


def test_boxes_of_no_picture_are_said(tmp_path: Path) -> None:
    """Those of another split are of pictures that there are."""
    path = archive(tmp_path / "set.zip", images=IMAGES, boxes=BOXES + "pictures/B.png,body_from_trimap,1,2,3,4\n")
    with pytest.warns(
        UserWarning, match=r"1 of 2 names in .*boxes.csv fits no picture: pictures/B.png \(did you mean pict"
    ):
        read_data(f"{path}@train")


def test_boxes_of_a_name_whose_accents_are_written_otherwise(tmp_path: Path) -> None:
    box = ",body_from_trimap,1,2,3,4\n"
    said = "pictures/e\N{COMBINING ACUTE ACCENT}.png"
    images = "file\npictures/\N{LATIN SMALL LETTER E WITH ACUTE}.png\n"
    path = archive(tmp_path / "set.zip", images=images, boxes=BOXES.partition("\n")[0] + f"\n{said}{box}")
    assert [record.has_boxes for record in read_data(path).records] == [True]


def test_a_picture_may_be_in_two_splits(tmp_path: Path) -> None:
    rows = "file,split\npictures/a.png,train\npictures/a.png,test\n"
    assert len(read_data(f"{archive(tmp_path / 'set.zip', images=rows)}@test")) == 1


def test_class_0_of_the_boxes_is_a_class(tmp_path: Path) -> None:
    boxes = "file;x0;y0;x1;y1;class;name\npictures/a.png;0;0;4;4;0;dog\npictures/a.png;1;1;4;4;1.0;cat\n"
    data = read_data(archive(tmp_path / "set.zip", images="file\npictures/a.png\n", boxes=boxes))
    assert (data.classes, data.records[0].box_classes) == (("dog", "cat"), (0, 1))

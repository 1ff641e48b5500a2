"""ImageNet's layouts and tables, with values worked by hand."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from data.making import picture, text, xml
from scipy.io import savemat

from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.data.dataset import Record
from maskwise.data.imagenet_splits import train_part

TENCH, SPANIEL = "n01440764", "n02102040"  # 0 and 217


@pytest.fixture
def official(tmp_path: Path) -> Path:
    data, notes = tmp_path / "ILSVRC/Data/CLS-LOC", tmp_path / "ILSVRC/Annotations/CLS-LOC"
    picture(data / "train" / TENCH / f"{TENCH}_1.JPEG")
    picture(data / "train" / SPANIEL / f"{SPANIEL}_7.JPEG")
    xml(notes / "train" / SPANIEL / f"{SPANIEL}_7.xml", (SPANIEL, 1, 2, 4, 5, 0), (SPANIEL, 0, 0, 7, 5, 0))
    picture(data / "val" / "ILSVRC2012_val_00000001.JPEG")
    picture(data / "val" / "ILSVRC2012_val_00000002.JPEG")
    xml(notes / "val" / "ILSVRC2012_val_00000001.xml", (SPANIEL, 2, 1, 6, 3, 0))
    xml(notes / "val" / "ILSVRC2012_val_00000002.xml", (TENCH, 0, 0, 3, 3, 0), ("n09999999", 0, 0, 1, 1, 0))
    return tmp_path


def test_the_official_layout(official: Path) -> None:
    train = read_data(f"imagenet:{official}@train")
    assert [(r.label, r.category, r.has_boxes) for r in train.records] == [(0, 0, False), (217, 217, True)]
    assert train[1].boxes.tolist() == [[1, 2, 4, 5], [0, 0, 7, 5]]
    assert train[0].boxes.shape == (0, 4) and train[0].image.shape == (3, 6, 8)
    val = read_data(f"imagenet:{official}@val")
    assert [r.label for r in val.records] == [217, 0], "from the XML, for want of anything quicker"
    assert val[1].boxes.tolist() == [[0, 0, 3, 3]], "an object of another class is none of the label's"
    assert val.classes is not None and len(val.classes) == 1000
    assert val.classes[217] == "English springer, English springer spaniel"
    assert len(read_data(f"imagenet:{official}")) == 4
    with pytest.raises(InputError, match="split 'test'; its splits are train, train_train, train_val, val"):
        read_data(f"imagenet:{official}@test")


def test_exact_edges_count_the_last_pixel_in(official: Path) -> None:
    data = read_data(f"imagenet:{official}@train,edges=exact")
    assert data[1].boxes.tolist() == [[1, 2, 5, 6], [0, 0, 8, 6]]
    with pytest.raises(InputError, match="edges is as_released or exact"):
        read_data(f"imagenet:{official}@train,edges=odd")


def test_folders_alone(tmp_path: Path) -> None:
    picture(tmp_path / "train" / TENCH / "a.JPEG")
    picture(tmp_path / "val" / SPANIEL / "ILSVRC2012_val_00000003.JPEG")
    assert [r.label for r in read_data(f"imagenet:{tmp_path}").records] == [0, 217]


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    for i in (1, 2):
        picture(tmp_path / "val" / f"ILSVRC2012_val_0000000{i}.JPEG")
    return tmp_path


def test_kaggle_s_table(flat: Path) -> None:
    text(
        flat / "LOC_val_solution.csv",
        "ImageId,PredictionString",
        f"ILSVRC2012_val_00000002,{SPANIEL} 1 0 4 3 {SPANIEL} 0 0 7 5 ",
        f"ILSVRC2012_val_00000001,{TENCH} 2 2 3 3 ",
    )
    data = read_data(f"imagenet:{flat}@val")
    assert [r.label for r in data.records] == [0, 217]
    assert data[1].boxes.tolist() == [[1, 0, 4, 3], [0, 0, 7, 5]]
    assert read_data(f"imagenet:{flat}@val,edges=exact")[0].boxes.tolist() == [[2, 2, 4, 4]]
    text(flat / "LOC_val_solution.csv", "ImageId,PredictionString", f"ILSVRC2012_val_00000002,{SPANIEL} 1 0 4")
    with pytest.raises(InputError, match="'ILSVRC2012_val_00000002' are not `wnid x0 y0 x1 y1`"):
        read_data(f"imagenet:{flat}@val")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_table_of_boxes(flat: Path, zipped: bool) -> None:
    table = "file,class_index,width,height,x0,y0,x1,y1\nILSVRC2012_val_00000002.JPEG,5,8,6,1,1,5,4\n"
    name = flat / "ilsvrc2012_val_boxes.csv"
    if zipped:
        name.with_suffix(".csv.gz").write_bytes(gzip.compress(table.encode()))
    else:
        name.write_text(table)
    data = read_data(f"imagenet:{flat}@val")
    assert [(r.label, r.boxes) for r in data.records] == [(None, ()), (5, ((1, 1, 5, 4),))]


def test_a_damaged_table_of_boxes(flat: Path) -> None:
    (flat / "ilsvrc2012_val_boxes.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="ilsvrc2012_val_boxes.csv.gz: can't be read"):
        read_data(f"imagenet:{flat}@val")


def test_the_development_kit_has_its_own_numbers(flat: Path) -> None:
    kit = flat / "ILSVRC2012_devkit_t12" / "data"
    text(kit / "ILSVRC2012_validation_ground_truth.txt", "2", "1")
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")]
    synsets = np.array([(1, SPANIEL, 0), (2, TENCH, 0), (3, "n00000001", 2)], dtype=fields)
    savemat(kit / "meta.mat", {"synsets": synsets})
    assert [r.label for r in read_data(f"imagenet:{flat}@val").records] == [0, 217]
    text(kit / "ILSVRC2012_validation_ground_truth.txt", "2", "4")
    with pytest.raises(InputError, match="line 2 is 4, which meta.mat does not have"):
        read_data(f"imagenet:{flat}@val")
    (kit / "meta.mat").unlink()
    with pytest.raises(InputError, match="meta.mat: can't be read"):
        read_data(f"imagenet:{flat}@val")


BOMB = '<!DOCTYPE x [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><annotation><object><name>&c;</name></object></annotation>'


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("<annotation><object>", r"\.xml: broken XML"),
        (BOMB, "DTD or entities is not read"),
        ('<!DOCTYPE annotation SYSTEM "file:///etc/hostname"><annotation/>', "DTD or entities is not read"),
        ("<annotation><object><name>n02102040</name></object></annotation>", "no name or no bndbox"),
        (
            "<annotation><object><name>n02102040</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>x</xmax>"
            "<ymax>4</ymax></bndbox></object></annotation>",
            "not four numbers",
        ),
        (
            "<annotation><object><name>n02102040</name><bndbox><xmin>3</xmin><ymin>1</ymin><xmax>3</xmax>"
            "<ymax>4</ymax></bndbox></object></annotation>",
            r"the box 3,1,3,4 of 'n02102040' is empty",
        ),
    ],
)
def test_bad_annotations(official: Path, content: str, match: str) -> None:
    """The picture is named only when it is asked for: a listing reads no annotation that it does not need."""
    text(official / "ILSVRC/Annotations/CLS-LOC/train" / SPANIEL / f"{SPANIEL}_7.xml", content)
    data = read_data(f"imagenet:{official}@train")
    with pytest.raises(InputError, match=match):
        data[1]


class TestTrainValidation:
    """50 a class of the training pictures with boxes, by a digest of seed and name; all others are train_train."""

    RECORDS = tuple(
        Record(f"train/{w}/{w}_{i}.JPEG", label, label, boxes=((0, 0, 1, 1),) if i % 4 else ())
        for label, w in ((0, TENCH), (217, SPANIEL))
        for i in range(100)
    )

    def test_the_smallest_digests_of_each_class(self) -> None:
        held = train_part(self.RECORDS, "train_val", "x")
        for w, label in ((TENCH, 0), (SPANIEL, 217)):
            boxed = [f"{w}_{i}.JPEG" for i in range(100) if i % 4]
            first = sorted(boxed, key=lambda name: hashlib.sha256(b"1234/" + name.encode()).digest())[:50]
            assert {r.id for r in held if r.label == label} == {f"train/{w}/{name}" for name in first}

    def test_both_parts_are_the_whole(self) -> None:
        held, rest = (train_part(self.RECORDS, part, "x") for part in ("train_val", "train_train"))
        assert len(held) == 100 and all(r.boxes for r in held)
        assert [r for r in self.RECORDS if r in held] == held and [r for r in self.RECORDS if r not in held] == rest

    def test_another_order_other_classes_and_other_pictures_change_nothing(self) -> None:
        def ids(records: list[Record]) -> set[str]:
            return {r.id for r in train_part(records, "train_val", "x")}

        whole = ids(list(self.RECORDS))
        assert ids(list(self.RECORDS)[::-1]) == whole
        assert ids([r for r in self.RECORDS if r.label == 0]) == {i for i in whole if TENCH in i}
        gone = sorted(whole)[0]
        assert whole - ids([r for r in self.RECORDS if r.id != gone]) == {gone}

    def test_every_picture_is_as_likely_as_any_other(self) -> None:
        """Over 200 seeds each of 75 is drawn 2/3 of the time: 4 standard deviations are .13."""
        one = [r for r in self.RECORDS if r.label == 0]
        draws = [{r.id for r in train_part(one, "train_val", "x", seed=seed)} for seed in range(200)]
        shares = [sum(r.id in drawn for drawn in draws) / 200 for r in one if r.boxes]
        assert len(shares) == 75 and all(abs(share - 2 / 3) < 0.14 for share in shares)

    def test_from_a_folder(self, official: Path) -> None:
        """One of two training pictures has an annotation."""
        held, rest = (read_data(f"imagenet:{official}@{part}") for part in ("train_val", "train_train"))
        assert [r.label for r in held.records] == [217] and held[0].boxes.shape == (2, 4)
        assert [r.label for r in rest.records] == [0]
        assert len(read_data(f"imagenet:{official}")) == 4, "they are parts of train, which is read once"

    def test_without_boxes_there_is_none(self, tmp_path: Path) -> None:
        picture(tmp_path / "train" / TENCH / "a.JPEG")
        for part in ("train_val", "train_train"):
            with pytest.raises(InputError, match=f"{part} is drawn among training pictures with boxes.*LOC_train_sol"):
                read_data(f"imagenet:{tmp_path}@{part}")
        picture(tmp_path / "else" / "val" / "b.JPEG")
        with pytest.raises(InputError, match="no pictures of split 'train_val'; its splits are val"):
            read_data(f"imagenet:{tmp_path / 'else'}@train_val")

"""CUB-200-2011, Oxford Pets, VOC, OpenImages and Tiny ImageNet in their own layouts, with values worked by hand."""

from pathlib import Path

import pytest
from data.making import mask, picture, text, xml

from maskwise.core.errors import InputError
from maskwise.data import read_data


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    root = tmp_path / "CUB_200_2011"
    for name in ("001.Ani/Ani_1.jpg", "002.Crow/Crow_9.jpg", "002.Crow/Crow_1.jpg"):
        picture(root / "images" / name)
    text(root / "images.txt", "1 001.Ani/Ani_1.jpg", "2 002.Crow/Crow_9.jpg", "10 002.Crow/Crow_1.jpg")
    text(root / "image_class_labels.txt", "1 1", "2 2", "10 2")
    text(root / "classes.txt", "1 001.Ani", "2 002.Crow")
    text(root / "train_test_split.txt", "1 1", "2 0", "10 1")
    text(root / "bounding_boxes.txt", "1 1.0 2.0 3.0 4.0", "2 0.0 0.0 8.0 6.0", "10 5.0 1.0 4.0 5.0")
    mask(tmp_path / "segmentations" / "001.Ani" / "Ani_1.png", [[0] * 8] * 5 + [[0, 51, 102, 153, 204, 255, 0, 0]])
    return tmp_path


def test_cub(cub: Path) -> None:
    for place in (cub, cub / "CUB_200_2011"):
        data = read_data(f"cub:{place}")
        assert (len(data), data.classes) == (3, ("001.Ani", "002.Crow"))
    assert [(r.id, r.label, r.category, r.has_mask) for r in read_data(f"cub:{cub}@train").records] == [
        ("001.Ani/Ani_1.jpg", None, 0, True),
        ("002.Crow/Crow_1.jpg", None, 1, False),
    ]
    assert [r.id for r in read_data(f"cub:{cub}@test").records] == ["002.Crow/Crow_9.jpg"]
    assert data[0].boxes.tolist() == [[1, 2, 4, 6]]
    assert data[0].mask.nonzero().tolist() == [[5, 3], [5, 4], [5, 5]], "most of the five annotators"
    assert data[2].boxes.tolist() == [[5, 1, 8, 6]], "an end one pixel after the picture is cut off"


def test_cub_s_tables_must_agree(cub: Path) -> None:
    text(cub / "CUB_200_2011" / "train_test_split.txt", "1 1")
    with pytest.raises(InputError, match="image 2 of images.txt is not in every other table"):
        read_data(f"cub:{cub}")
    text(cub / "CUB_200_2011" / "train_test_split.txt", "1")
    with pytest.raises(InputError, match="line 1 has fewer than 2 fields"):
        read_data(f"cub:{cub}")
    (cub / "CUB_200_2011" / "train_test_split.txt").unlink()
    with pytest.raises(InputError, match="train_test_split.txt: no such file"):
        read_data(f"cub:{cub}")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    notes = tmp_path / "annotations"
    for name in ("Bengal_1", "pug_2", "pug_10"):
        picture(tmp_path / "images" / f"{name}.jpg")
        mask(notes / "trimaps" / f"{name}.png", [[2] * 8] * 3 + [[2, 3, 1, 1, 3, 2, 2, 2]] * 2 + [[2] * 8])
    text(notes / "trainval.txt", "# name class species breed", "Bengal_1 1 1 1", "pug_2 2 2 1")
    text(notes / "test.txt", "pug_10 2 2 1")
    xml(notes / "xmls" / "pug_2.xml", ("dog", 3, 2, 5, 3, 0))
    return tmp_path


def test_pets(pets: Path) -> None:
    data = read_data(f"pets:{pets}@trainval")
    assert [(r.id, r.label, r.category, r.has_boxes, r.has_mask) for r in data.records] == [
        ("Bengal_1.jpg", None, 0, True, True),
        ("pug_2.jpg", None, 1, True, True),
    ]
    assert data.classes == ("Bengal", "pug")
    assert data[0].boxes.tolist() == [[2, 3, 4, 5]]
    assert data[0].mask.sum() == 4 and data[0].ignore.nonzero().tolist() == [[3, 1], [3, 4], [4, 1], [4, 4]]
    heads = read_data(f"pets:{pets}@trainval,boxes=head")
    assert [r.has_boxes for r in heads.records] == [False, True]
    assert heads[1].boxes.tolist() == [[2, 1, 5, 3]], "pixels from 1, the last counted in"
    assert heads[0].boxes.shape == (0, 4)
    assert [r.id for r in read_data(f"pets:{pets}@test").records] == ["pug_10.jpg"]
    assert len(read_data(f"pets:{pets}")) == 3


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "VOCdevkit" / "VOC2007"
    for name in ("000001", "000002"):
        picture(root / "JPEGImages" / f"{name}.jpg")
        xml(root / "Annotations" / f"{name}.xml", ("dog", 1, 1, 4, 3, 0), ("person", 5, 2, 8, 6, 1))
    text(root / "ImageSets" / "Main" / "train.txt", "000001")
    text(root / "ImageSets" / "Main" / "trainval.txt", "000001")
    text(root / "ImageSets" / "Main" / "test.txt", "000001", "000002")
    text(root / "ImageSets" / "Segmentation" / "test.txt", "000002")
    rows = [[12, 12, 255, 0, 0, 15, 15, 15]] + [[0] * 8] * 5
    mask(root / "SegmentationClass" / "000002.png", rows, mode="P")
    return tmp_path


def test_voc(voc: Path) -> None:
    for place in (voc, voc / "VOCdevkit", voc / "VOCdevkit" / "VOC2007"):
        data = read_data(f"voc:{place}@test")
        assert (len(data), len(data.classes or ())) == (2, 20)
    sample = data[0]
    assert (sample.label, sample.boxes.tolist()) == (None, [[0, 0, 4, 3], [4, 1, 8, 6]])
    assert sample.box_classes.tolist() == [11, 14] and sample.difficult.tolist() == [False, True]
    assert {c: int(r.sum()) for c, r in sample.regions().items()} == {11: 12}
    assert {c: int(r.sum()) for c, r in sample.regions(difficult=True).items()} == {11: 12, 14: 20}
    assert sample.class_map is None and sample.mask is None
    assert len(read_data(f"voc:{voc}")) == 2, "a picture of several lists is read once"


def test_voc_s_class_maps(voc: Path) -> None:
    data = read_data(f"voc:{voc}@test,truth=maps")
    assert [r.id for r in data.records] == ["000002.jpg"]
    sample = data[0]
    assert sample.class_map[0].tolist() == [11, 11, -1, -1, -1, 14, 14, 14]
    assert sample.mask.sum() == 5 and sample.ignore.nonzero().tolist() == [[0, 2]]
    assert {c: int(r.sum()) for c, r in sample.regions(difficult=True).items()} == {11: 2, 14: 3}


def test_voc_s_faults(voc: Path) -> None:
    root = voc / "VOCdevkit" / "VOC2007"
    with pytest.raises(InputError, match="split 'val'; its splits are test, train, trainval"):
        read_data(f"voc:{voc}@val")
    xml(root / "Annotations" / "000001.xml", ("unicorn", 1, 1, 4, 3, 0))
    with pytest.raises(InputError, match=r"000001\.xml: 'unicorn' is not one of VOC's 20 classes"):
        read_data(f"voc:{voc}@train")[0]
    xml(root / "Annotations" / "000001.xml", ("dog", 1, 1, 40, 3, 0))
    with pytest.raises(InputError, match=r"000001\.jpg: the box 0,0,40,3 is not within the picture"):
        read_data(f"voc:{voc}@train")[0]
    (root / "Annotations" / "000001.xml").unlink()
    with pytest.raises(InputError, match=r"000001\.xml: no such file"):
        read_data(f"voc:{voc}@train")[0]
    mask(root / "SegmentationClass" / "000002.png", [[30] * 8] * 6)
    with pytest.raises(InputError, match="values must be 0…20 or 255"):
        read_data(f"voc:{voc}@test,truth=maps")[0]


@pytest.fixture
def openimages(tmp_path: Path) -> Path:
    tables = tmp_path / "metadata" / "OpenImages"
    picture(tmp_path / "dataset/OpenImages/val/012/a.jpg")
    picture(tmp_path / "dataset/OpenImages/val/0bt/b.jpg")
    text(tables / "val" / "image_ids.txt", "val/012/a.jpg", "val/0bt/b.jpg")
    text(tables / "val" / "class_labels.txt", "val/012/a.jpg,0", "val/0bt/b.jpg,1")
    text(
        tables / "val" / "localization.txt",
        "val/012/a.jpg,val/012/a_m1.png,val/012/a_ignore.png",
        "val/012/a.jpg,val/012/a_m2.png,",
        "val/0bt/b.jpg,val/0bt/b_m1.png,",
    )
    rows = tmp_path / "dataset/OpenImages/val"
    mask(rows / "012/a_m1.png", [[255] * 2 + [0] * 6] * 2 + [[0] * 8] * 4)
    mask(rows / "012/a_m2.png", [[0] * 7 + [255]] * 6)
    mask(rows / "012/a_ignore.png", [[255] * 8] + [[0] * 8] * 5)
    mask(rows / "0bt/b_m1.png", [[0, 0, 0, 255], [0, 0, 0, 0], [0, 0, 0, 0]])
    picture(tmp_path / "dataset/OpenImages/train/012/c.jpg")
    text(tables / "train" / "image_ids.txt", "train/012/c.jpg")
    text(tables / "train" / "class_labels.txt", "train/012/c.jpg,0")
    return tmp_path


def test_openimages(openimages: Path) -> None:
    data = read_data(f"openimages:{openimages}@val")
    assert [(r.label, r.category, r.has_boxes, r.has_mask) for r in data.records] == [
        (None, 0, False, True),
        (None, 1, False, True),
    ]
    assert data.classes == ("012", "0bt")
    assert data[0].mask.int().tolist() == [[1, 1, 0, 0, 0, 0, 0, 1]] * 2 + [[0] * 7 + [1]] * 4
    assert data[0].ignore.int().tolist() == [[0, 0, 1, 1, 1, 1, 1, 0]] + [[0] * 8] * 5
    assert data[1].mask.nonzero().tolist() == [[0, 6], [0, 7], [1, 6], [1, 7]], "a mask of half the size"
    assert data[1].ignore is None
    train = read_data(f"openimages:{openimages}@train")
    assert train[0].mask is None and not train.records[0].has_mask
    assert len(read_data(f"openimages:{openimages}")) == 3


def test_openimages_faults(openimages: Path) -> None:
    (openimages / "dataset/OpenImages/val/012/a_ignore.png").unlink()
    with pytest.raises(InputError, match=r"a_ignore\.png: no such file"):
        read_data(f"openimages:{openimages}@val")[0]
    text(openimages / "metadata/OpenImages/val/class_labels.txt", "val/012/a.jpg,0")
    with pytest.raises(InputError, match=r"has no class for val/0bt/b\.jpg"):
        read_data(f"openimages:{openimages}@val")


@pytest.fixture
def tiny_imagenet(tmp_path: Path) -> Path:
    root = tmp_path / "tiny-imagenet-200"
    text(root / "wnids.txt", "n02102040", "n01440764")
    for wnid in ("n02102040", "n01440764"):
        picture(root / "train" / wnid / "images" / f"{wnid}_0.JPEG", 64, 64)
        text(root / "train" / wnid / f"{wnid}_boxes.txt", f"{wnid}_0.JPEG\t0\t10\t63\t58")
    picture(root / "val" / "images" / "val_0.JPEG", 64, 64)
    text(root / "val" / "val_annotations.txt", "val_0.JPEG\tn01440764\t63\t5\t63\t9")
    return tmp_path


def test_tiny_imagenet(tiny_imagenet: Path) -> None:
    data = read_data(f"tiny_imagenet:{tiny_imagenet}@train")
    assert [(r.id, r.label, r.category) for r in data.records] == [
        ("train/n02102040/images/n02102040_0.JPEG", 217, 0),
        ("train/n01440764/images/n01440764_0.JPEG", 0, 1),
    ]
    assert data[0].boxes.tolist() == [[0, 10, 64, 59]]
    val = read_data(f"tiny_imagenet:{tiny_imagenet}@val")
    assert (val.records[0].label, val[0].boxes.tolist()) == (0, [[63, 5, 64, 10]])
    assert (val.classes or ())[1] == "tench, Tinca tinca"
    text(tiny_imagenet / "tiny-imagenet-200" / "wnids.txt", "n00000000")
    with pytest.raises(InputError, match="'n00000000' is not a class of ImageNet-1k"):
        read_data(f"tiny_imagenet:{tiny_imagenet}")

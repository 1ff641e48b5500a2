"""COCO: annotation files, polygons against exact rectangles and areas, run lengths against a packer."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.making import picture
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.data.coco_masks import segmentation_mask, unpacked


def packed(counts: list[int]) -> str:
    """COCO's text for run lengths, written from its description: the inverse of what is tested."""
    text = ""
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            done = value == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if done else 32))
            if done:
                break
    return text


def run_lengths(mask: np.ndarray) -> list[int]:
    """Of background and foreground in turn, down the columns, pixel by pixel."""
    counts, now = [0], False
    for pixel in mask.T.ravel():
        if pixel != now:
            counts.append(0)
            now = not now
        counts[-1] += 1
    return counts


@given(arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 12))))
@settings(deadline=None)
def test_run_lengths_of_any_mask(mask: np.ndarray) -> None:
    counts, (height, width) = run_lengths(mask), mask.shape
    for form in (counts, packed(counts)):
        found = segmentation_mask({"size": [height, width], "counts": form}, height, width, "x")
        assert np.array_equal(found, mask)


@given(st.lists(st.integers(0, 200_000), max_size=12))
def test_packed_text_of_any_counts(counts: list[int]) -> None:
    assert unpacked(packed(counts)) == counts


@given(arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 12))))
@settings(deadline=None)
def test_packed_text_of_pycocotools(mask: np.ndarray) -> None:
    height, width = mask.shape
    text = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert np.array_equal(segmentation_mask({"size": [height, width], "counts": text}, height, width, "x"), mask)


def even_odd(corners: list[tuple[float, float]], x: float, y: float) -> bool:
    """Is the point inside? By the edges that a ray to the right crosses."""
    inside = False
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
    return inside


def away(corners: list[tuple[float, float]], x: float, y: float) -> float:
    """The distance of a point to the outline."""
    least = math.inf
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        dx, dy = x1 - x0, y1 - y0
        t = min(1.0, max(0.0, ((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-12)))
        least = min(least, math.hypot(x - x0 - t * dx, y - y0 - t * dy))
    return least


@given(st.lists(st.tuples(st.floats(-3, 15), st.floats(-3, 13)), min_size=3, max_size=3))
@settings(deadline=None, max_examples=50)
def test_a_triangle_s_pixels_one_by_one(corners: list[tuple[float, float]]) -> None:
    """Pixels whose centre is a pixel's width or more away from the outline; nearer ones are COCO's to decide."""
    found = segmentation_mask([[float(v) for corner in corners for v in corner]], 10, 12, "x")
    for row in range(10):
        for column in range(12):
            x, y = column + 0.5, row + 0.5
            if away(corners, x, y) > 1:
                assert found[row, column] == even_odd(corners, x, y), (row, column)


def test_polygons_unite_and_lines_cover_nothing() -> None:
    left, right = [0, 0, 2, 0, 2, 4, 0, 4], [1, 0, 5, 0, 5, 4, 1, 4]
    both = segmentation_mask([left, right, [0, 0, 6, 4]], 4, 6, "x")
    assert both.tolist() == [[True] * 5 + [False]] * 4
    assert not segmentation_mask([], 4, 6, "x").any() and not segmentation_mask([[0, 0, 6, 4]], 4, 6, "x").any()


@given(st.data())
@settings(deadline=None)
def test_a_rectangle_s_polygon_is_its_box(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(2, 12)), data.draw(st.integers(2, 12))
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    expected = np.zeros((height, width), bool)
    expected[y0:y1, x0:x1] = True
    found = segmentation_mask([[x0, y0, x1, y0, x1, y1, x0, y1]], height, width, "x")
    assert np.array_equal(found, expected)


def test_a_polygon_s_area_and_place() -> None:
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    points = np.stack([60 + 30 * np.cos(angles), 50 + 20 * np.sin(angles)], 1).ravel().tolist()
    mask = segmentation_mask([points], 100, 120, "x")
    assert mask.sum() == pytest.approx(math.pi * 30 * 20, rel=0.01)
    rows, columns = mask.nonzero()
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((60, 50), abs=0.05)


@pytest.mark.parametrize(
    ("segmentation", "match"),
    [
        ({"size": [9, 9], "counts": [81]}, r"run lengths are for \[9, 9\], the picture 4x6"),
        ({"size": [4, 6], "counts": [3]}, "cover 3 of 24 pixels"),
        ({"size": [4, 6]}, "neither polygons nor run lengths"),
        ({"size": [4, 6], "counts": ""}, "cover 0 of 24 pixels"),
        ({"size": [4, 6], "counts": "P"}, "cover 0 of 24 pixels"),
        ({"size": [4, 6], "counts": [-1, 25]}, "neither polygons nor run lengths"),
        ([[1, 2, 3]], "neither polygons nor run lengths"),
        ([[0, 0, 5, 0, 5, math.nan]], "corners must be finite and near the picture"),
        ([[0, 0, 1e12, 0, 5, 5]], "corners must be finite and near the picture"),
        ([[0, 0, 1e6, 1e6] * 9], "corners must be finite and near the picture"),
        (7, "neither polygons nor run lengths"),
    ],
)
def test_broken_segmentations(segmentation: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        segmentation_mask(segmentation, 4, 6, "x")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Of four 8x6 pictures: two overlapping objects of ids 3 and 90; a crowd; nothing; an object without height."""
    for i in range(4):
        picture(tmp_path / "val2017" / f"{i}.jpg")
    square = [2, 1, 6, 1, 6, 4, 2, 4]
    crowd = run_lengths(np.array([[1] * 8] * 3 + [[0] * 8] * 3, bool))
    table = {
        "images": [{"id": 10 + i, "file_name": f"{i}.jpg", "width": 8, "height": 6} for i in range(4)],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}],
        "annotations": [
            {"image_id": 10, "category_id": 90, "bbox": [2, 1, 4, 3], "segmentation": [square], "iscrowd": 0},
            {"image_id": 10, "category_id": 3, "bbox": [0, 0, 3, 6], "iscrowd": 0,
             "segmentation": [[0, 0, 3, 0, 3, 6, 0, 6]]},
            {"image_id": 11, "category_id": 3, "bbox": [0, 0, 8, 3], "iscrowd": 1,
             "segmentation": {"size": [6, 8], "counts": crowd}},
            {"image_id": 11, "category_id": 3, "bbox": [2, 1, 4, 3], "segmentation": [square], "iscrowd": 0},
            {"image_id": 13, "category_id": 3, "bbox": [2, 1, 4, 0], "segmentation": [square], "iscrowd": 0},
        ],
    }  # fmt: skip
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(table))
    return tmp_path


def test_objects_crowds_and_nothing(root: Path) -> None:
    data = read_data(f"coco:{root}@val2017")
    assert data.classes == ("car", "toothbrush")
    assert [(r.id, r.label, r.has_boxes) for r in data.records] == [
        ("val2017/0.jpg", None, True), ("val2017/1.jpg", None, True),
        ("val2017/2.jpg", None, False), ("val2017/3.jpg", None, False),
    ]  # fmt: skip
    both = data[0]
    assert both.boxes.tolist() == [[2, 1, 6, 4], [0, 0, 3, 6]] and both.box_classes.tolist() == [1, 0]
    assert {c: int(r.sum()) for c, r in both.regions().items()} == {0: 18, 1: 12}, "overlapping pixels are of both"
    assert both.mask.sum() == 27 and both.ignore is None
    crowd = data[1]
    assert crowd.boxes.tolist() == [[2, 1, 6, 4]]
    assert crowd.ignore.sum() == 24 - 8 and not (crowd.ignore & crowd.mask).any()
    assert data[2].boxes.shape == (0, 4) and data[2].mask is None and data[2].regions() == {}
    assert len(data[3].boxes) == 0


def test_pictures_below_images(root: Path) -> None:
    (root / "images").mkdir()
    (root / "val2017").rename(root / "images" / "val2017")
    assert read_data(f"coco:{root}")[0].id == "images/val2017/0.jpg"


def test_faults(root: Path) -> None:
    with pytest.raises(InputError, match="split 'train2017'; its splits are val2017"):
        read_data(f"coco:{root}@train2017")
    table = root / "annotations" / "instances_val2017.json"
    whole = table.read_text()
    for content, match in [
        (whole[:99], "not COCO's instances"),
        ("{}", "KeyError: 'categories'"),
        ("[]", "not COCO's"),
    ]:
        table.write_text(content)
        with pytest.raises(InputError, match=match):
            read_data(f"coco:{root}")
    table.write_text(whole.replace('"category_id": 90', '"category_id": 4'))
    with pytest.raises(InputError, match="KeyError: 4"):
        read_data(f"coco:{root}")
    table.unlink()
    with pytest.raises(InputError, match="has no instances_….json"):
        read_data(f"coco:{root}")


def _listed(root: Path, *annotations: dict[str, Any]) -> Path:
    """One 40x30 picture, with annotations of class 3."""
    picture(root / "val" / "a.png", 40, 30)
    table = {
        "categories": [{"id": 3, "name": "dog"}],
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": 1, "category_id": 3, **annotation} for annotation in annotations],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_val.json").write_text(json.dumps(table))
    return root


SQUARE = [[2, 2, 12, 2, 12, 12, 2, 12]]


@pytest.mark.parametrize("said", [{}, {"segmentation": []}, {"segmentation": None}, {"segmentation": [[]]},
                                  {"segmentation": [[5, 5, 25, 25]]}])  # fmt: skip
def test_boxes_alone(said: dict[str, Any], tmp_path: Path) -> None:
    """As CVAT, Roboflow and others write them: no mask is no mask, and regions are the boxes."""
    data = read_data(f"coco:{_listed(tmp_path, {'bbox': [5, 5, 20, 10], **said})}")
    sample = data[0]
    assert (data.records[0].has_boxes, data.records[0].has_mask) == (True, False)
    assert sample.boxes.tolist() == [[5, 5, 25, 15]]
    assert sample.mask is None and sample.box_masks is None and sample.ignore is None
    assert sample.regions()[0].sum() == 200


def test_one_object_without_pixels_leaves_the_picture_without_a_mask(tmp_path: Path) -> None:
    """Else its pixels would be background."""
    root = _listed(tmp_path, {"bbox": [2, 2, 10, 10], "segmentation": SQUARE}, {"bbox": [20, 0, 10, 10]})
    sample = read_data(f"coco:{root}")[0]
    assert len(sample.boxes) == 2 and sample.mask is None and sample.box_masks is None
    assert sample.regions()[0].sum() == 200


def test_a_crowd_without_pixels_is_ignored_by_its_box(tmp_path: Path) -> None:
    crowd = {"bbox": [20, 0, 10, 10], "iscrowd": 1}
    sample = read_data(f"coco:{_listed(tmp_path / 'a', {'bbox': [2, 2, 10, 10], 'segmentation': SQUARE}, crowd)}")[0]
    assert sample.mask is not None and sample.mask.sum() == 100
    assert (
        sample.ignore is not None and sample.ignore.nonzero().amin(0).tolist() == [0, 20] and sample.ignore.sum() == 100
    )
    boxes_alone = read_data(f"coco:{_listed(tmp_path / 'b', {'bbox': [2, 2, 10, 10]}, crowd)}")[0]
    assert boxes_alone.mask is None and boxes_alone.ignore is not None and boxes_alone.ignore.sum() == 100


def test_annotations_of_no_picture_are_said(tmp_path: Path) -> None:
    root = _listed(tmp_path, {"bbox": [2, 2, 10, 10]}, {"bbox": [2, 2, 10, 10], "image_id": 17})
    with pytest.warns(
        UserWarning, match="1 of 2 names in the annotations of .*instances_val.json fits no picture: 17$"
    ):
        assert len(read_data(f"coco:{root}")[0].boxes) == 1

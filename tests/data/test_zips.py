"""The archives of ../shared/data: that all they hold is read, and that their parts agree with one another."""

import csv
import gzip
from collections import Counter, defaultdict

import pytest
import torch
from conftest import DATA

from maskwise.box import tight_boxes
from maskwise.data import Record, read_data
from maskwise.labels import imagenet_labels
from maskwise.measures import localisation_error

pytestmark = pytest.mark.data

# Pictures, those with an ImageNet label, with a class of the set's own, with boxes, with masks; boxes; own classes.
HELD = {
    "imagenette224.zip@train": (3000, 3000, 3000, 0, 0, 0, 10),
    "imagenette224.zip@test": (250, 250, 250, 250, 0, 406, 10),
    "nips2017.zip": (1000, 1000, 0, 0, 0, 0, 0),
    "caltech101.zip": (2650, 0, 2650, 0, 0, 0, 101),
    "tiny_imagenet.zip@train": (15000, 15000, 15000, 15000, 0, 15000, 50),
    "tiny_imagenet.zip@val": (2500, 2500, 2500, 2500, 0, 2500, 50),
    "pets3.zip@train": (300, 0, 300, 300, 300, 300, 3),
    "pets3.zip@test": (299, 0, 299, 299, 299, 299, 3),
    "cub10.zip@train": (300, 0, 300, 300, 0, 300, 10),
    "cub10.zip@test": (243, 0, 243, 243, 0, 243, 10),
    "coco256.zip": (256, 0, 0, 254, 200, 1827, 133),
    "imagenet1000_samples.zip": (1000, 1000, 0, 0, 0, 0, 0),
}


@pytest.mark.parametrize("source", HELD)
def test_what_they_hold(source: str) -> None:
    data = read_data(DATA / source)
    records = data.records
    assert (
        len(data),
        sum(r.label is not None for r in records),
        sum(r.category is not None for r in records),
        sum(r.has_boxes for r in records),
        sum(r.has_mask for r in records),
        sum(len(r.boxes) for r in records),
        len(data.classes or ()),
    ) == HELD[source]
    for record in records[:: max(len(data) // 40, 1)]:
        sample = data.sample(record)
        assert sample.image.ndim == 3 and 0 <= sample.image.min() < sample.image.max() <= 1
        assert len(sample.boxes) == len(record.boxes) and (sample.mask is not None) == record.has_mask
        if record.boxes:  # cut at the border by less than a pixel, if at all
            assert (sample.boxes - torch.tensor(record.boxes, dtype=torch.float64)).abs().max() < 1


def test_labels_are_imagenet_s_where_the_name_says_the_class() -> None:
    wnids = imagenet_labels().wnids or ()

    def wnid(record: Record) -> str:
        return next(
            part for part in record.id.replace("_", "/").replace(".", "/").split("/") if part[:2] in ("n0", "n1")
        )

    for source in ("imagenette224.zip", "imagenet1000_samples.zip", "tiny_imagenet.zip@train"):
        assert all(wnids[r.label] == wnid(r) for r in read_data(DATA / source).records)  # type: ignore[index]


def test_pets_masks_agree_with_their_boxes() -> None:
    data = read_data(DATA / "pets3.zip")
    off = []
    for sample in data:
        assert not (sample.mask & sample.ignore).any() and sample.ignore.any()
        beyond = tight_boxes(sample.mask[None])[0] - sample.boxes[0]
        assert (beyond[:2] > -1).all() and (beyond[2:] < 1).all()
        off.append(float(beyond.abs().max()))
    # Boxes are of the full-size trimap, whose stray pixels are lost in the stored one.
    assert sum(error < 1 for error in off) > 0.9 * len(off)


def test_coco_s_class_maps_agree_with_their_boxes() -> None:
    """An object's pixels of its class lie in boxes of that class: nearly all, for crowds have no box."""
    data = read_data(DATA / "coco256.zip").filter(lambda record: record.has_mask)
    inside = outside = 0
    for sample in data:
        assert (sample.box_classes < 80).all() and (sample.class_map < 133).all()
        for kind, pixels in sample.regions().items():
            rows, columns = ((pixels.nonzero() + 0.5).double()).unbind(1)
            x0, y0, x1, y1 = sample.boxes_of(kind)[:, :, None].unbind(1)
            held = ((columns > x0 - 1) & (columns < x1 + 1) & (rows > y0 - 1) & (rows < y1 + 1)).any(0)
            inside, outside = inside + int(held.sum()), outside + int((~held).sum())
    assert outside / (inside + outside) < 0.02


def test_the_official_boxes_are_imagenette_s() -> None:
    """Scaled by 224/width and 224/height, to the hundredth: so both take the official numbers as they are."""
    official = defaultdict(list)
    with gzip.open(DATA / "ilsvrc2012_val_boxes.csv.gz", "rt") as table:
        for row in csv.DictReader(table):
            scale = [224 / float(row["width"]), 224 / float(row["height"])] * 2
            official[row["file"]].append(
                [float(row[e]) * s for e, s in zip(("x0", "y0", "x1", "y1"), scale, strict=True)]
            )
    for record in read_data(DATA / "imagenette224.zip@test").records:
        expected = sorted(official[record.id.rsplit("/", 1)[-1]])
        assert torch.allclose(torch.tensor(sorted(record.boxes)), torch.tensor(expected), atol=0.02)


def test_official_imagenet_numbers_count_from_zero() -> None:
    """Of 80,477 boxes many begin at 0 and none reaches the width, so the numbers name pixels 0 to width-1."""
    starts, ends = Counter[int](), Counter[int]()
    with gzip.open(DATA / "ilsvrc2012_val_boxes.csv.gz", "rt") as table:
        for row in csv.DictReader(table):
            starts[int(row["x0"])] += 1
            ends[int(row["width"]) - int(row["x1"])] += 1
    assert min(starts) == 0 and starts[0] > 7000
    assert min(ends) == 1 and ends[1] > 6000


TEST_SETS = {"imagenette224.zip@test": 250, "cub10.zip@test": 243, "pets3.zip@test": 299}


def test_trivial_boxes_on_the_real_test_pictures() -> None:
    """Whole picture and centre box (33 px off each side): numbers known from an independent program."""
    errors = {}
    for source, count in TEST_SETS.items():
        truth = [sample.resized(224).boxes for sample in read_data(DATA / source)]
        assert len(truth) == count
        for box in ([0, 0, 224, 224], [33, 33, 191, 191]):
            errors[source[:4], box[0]] = localisation_error(torch.tensor([box] * count), truth)
    expected = {("imag", 0): 62.0, ("imag", 33): 48.8, ("cub1", 0): 78.6, ("cub1", 33): 39.5}
    expected |= {("pets", 0): 46.5, ("pets", 33): 21.7}
    assert errors == pytest.approx(expected, abs=0.05)

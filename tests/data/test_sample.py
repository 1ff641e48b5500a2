"""Truth follows its picture: against exact fractions, filled rectangles, torchvision and Pillow."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from maskwise.core.errors import InputError
from maskwise.data.sample import ORIENTATIONS, Sample, filled

FIELDS = ("image", "boxes", "box_classes", "mask", "ignore", "class_map", "difficult", "box_masks")


@st.composite
def samples(draw: Any) -> Sample:
    """A picture with some whole-pixel boxes, each the exact rectangle of its mask."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    boxes = []
    for _ in range(draw(st.integers(0, 3))):
        x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        boxes.append([x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))])
    g = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return Sample(
        "p",
        torch.rand(3, height, width, generator=g),
        boxes=torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4),
        box_classes=torch.randint(4, (len(boxes),), generator=g),
        mask=masks.any(0),
        ignore=torch.rand(height, width, generator=g) < 0.3,
        class_map=torch.randint(-1, 4, (height, width), generator=g),
        difficult=torch.rand(len(boxes), generator=g) < 0.5,
        box_masks=masks,
    )


def same(a: Sample, b: Sample) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


@given(samples())
@settings(deadline=None)
def test_flipping_and_transposing_twice_change_nothing(sample: Sample) -> None:
    assert same(sample.flipped().flipped(), sample)
    assert same(sample.transposed().transposed(), sample)


@given(samples())
@settings(deadline=None)
def test_boxes_stay_their_masks_rectangles_through_flips(sample: Sample) -> None:
    for moved in (sample.flipped(), sample.transposed()):
        for box, mask in zip(moved.boxes, moved.box_masks, strict=True):  # type: ignore[arg-type]
            assert torch.equal(filled(box[None], moved.height, moved.width), mask)
    assert torch.equal(sample.flipped().mask, torch.tensor([row[::-1] for row in sample.mask.tolist()]))


@given(samples(), st.integers(1, 25), st.integers(1, 25))
@settings(deadline=None)
def test_a_resized_mask_is_what_exact_fractions_say(sample: Sample, height: int, width: int) -> None:
    """A new pixel has the value at its centre; a rectangle's mask is its box wherever no centre is on the edge."""
    small = sample.resized((height, width))
    assert small.image.shape == (3, height, width)
    scale_x, scale_y = Fraction(width, sample.width), Fraction(height, sample.height)
    for i in range(height):
        for j in range(width):
            x, y = (j + Fraction(1, 2)) / scale_x, (i + Fraction(1, 2)) / scale_y
            assert small.class_map[i, j] == sample.class_map[int(y), int(x)]
            for k, (x0, y0, x1, y1) in enumerate(sample.boxes.int().tolist()):
                assert small.box_masks[k, i, j] == (x0 <= x < x1 and y0 <= y < y1)
                if x not in (x0, x1) and y not in (y0, y1):
                    assert filled(small.boxes[k : k + 1], height, width)[i, j] == small.box_masks[k, i, j]
    exact = [[x0 * scale_x, y0 * scale_y, x1 * scale_x, y1 * scale_y] for x0, y0, x1, y1 in sample.boxes.int().tolist()]
    assert torch.allclose(small.boxes, torch.tensor([[float(e) for e in box] for box in exact]).double().reshape(-1, 4))


@given(samples(), st.data())
@settings(deadline=None)
def test_crops(sample: Sample, data: st.DataObject) -> None:
    """Pixels are slices; boxes are their pixels; those cut away go with all they have. Unclipped, all stay."""
    x0, y0 = data.draw(st.integers(0, sample.width - 1)), data.draw(st.integers(0, sample.height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, sample.width)), data.draw(st.integers(y0 + 1, sample.height))
    crop, whole = sample.cropped(x0, y0, x1, y1), sample.cropped(x0, y0, x1, y1, clip=False)
    assert torch.equal(crop.image, sample.image[:, y0:y1, x0:x1])
    assert torch.equal(crop.ignore, sample.ignore[y0:y1, x0:x1])
    left = [k for k, mask in enumerate(sample.box_masks) if mask[y0:y1, x0:x1].any()]
    assert crop.box_classes.tolist() == sample.box_classes[left].tolist()
    assert crop.difficult.tolist() == sample.difficult[left].tolist()
    for k, old in enumerate(left):
        pixels = sample.box_masks[old, y0:y1, x0:x1]
        assert torch.equal(filled(crop.boxes[k : k + 1], y1 - y0, x1 - x0), pixels)
        assert torch.equal(crop.box_masks[k], pixels)
    assert torch.equal(whole.boxes + torch.tensor([x0, y0, x0, y0]), sample.boxes)
    assert torch.equal(whole.box_masks, sample.box_masks[:, y0:y1, x0:x1])


@given(samples(), st.integers(1, 12), st.integers(0, 5))
@settings(deadline=None)
def test_shorter_side_crop_is_torchvision_s(sample: Sample, size: int, more: int) -> None:
    crop = sample.shorter_side_crop(size, size + more)
    image = tv.center_crop(tv.resize(sample.image, [size + more], antialias=True), [size, size])
    assert torch.allclose(crop.image, image.clamp(0, 1), atol=1e-6)
    nearest = tv.resize(sample.class_map[None], [size + more], interpolation=InterpolationMode.NEAREST_EXACT)
    # A centre that falls on an edge of old pixels is a tie, which torch decides by float32's rounding.
    rows, columns = (
        (2 * torch.arange(new) + 1) * old % (2 * new) != 0
        for new, old in zip(nearest.shape[1:], sample.class_map.shape, strict=True)
    )
    clear = tv.center_crop((rows[:, None] & columns)[None], [size, size])[0]
    assert torch.equal(crop.class_map[clear], tv.center_crop(nearest, [size, size])[0][clear])


def test_shorter_side_crop_by_hand() -> None:
    """400x200 to 200x100, of which [50,150): a box of x 80…120 becomes 40…60, less 50; unclipped it keeps its area."""
    box = torch.tensor([[80.0, 20, 120, 60]]).double()
    sample = Sample("p", torch.rand(3, 200, 400), boxes=box)
    assert sample.shorter_side_crop(100).boxes.tolist() == [[0, 10, 10, 30]]
    assert sample.shorter_side_crop(100, clip=False).boxes.tolist() == [[-10, 10, 10, 30]]
    assert sample.shorter_side_crop(50, 100).boxes.tolist() == []
    assert sample.shorter_side_crop(50, 100, clip=False).boxes.tolist() == [[-35, -15, -15, 5]]


def test_a_bright_rectangle_is_where_its_box_says_after_every_step() -> None:
    image = torch.zeros(3, 40, 60)
    image[:, 10:30, 20:50] = 1
    sample = Sample("p", image, boxes=torch.tensor([[20.0, 10, 50, 30]]).double())
    moved = sample.flipped().cropped(5, 5, 55, 40).resized((70, 100)).shorter_side_crop(70)
    inside = filled(moved.boxes, 70, 70)
    assert moved.image[0][inside].mean() > 0.95
    assert moved.image[0][~inside].mean() < 0.05


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_is_pillow_s(orientation: int) -> None:
    pixels = np.arange(15, dtype=np.uint8).reshape(3, 5)
    picture = Image.fromarray(pixels)
    picture.getexif()[0x0112] = orientation
    expected = torch.from_numpy(np.array(ImageOps.exif_transpose(picture)).astype(np.int64))
    sample = Sample("p", torch.zeros(3, 3, 5), class_map=torch.from_numpy(pixels.astype(np.int64)))
    turned = sample.turned(orientation)
    assert torch.equal(turned.class_map, expected)
    assert torch.equal(turned.turned(orientation, back=True).class_map, sample.class_map)
    assert orientation in ORIENTATIONS or orientation == 1


def test_regions_by_hand() -> None:
    image = torch.zeros(3, 2, 4)
    boxes = torch.tensor([[0.0, 0, 1, 2], [2, 0, 3, 1], [3, 1, 4, 2]]).double()
    kinds, hard = torch.tensor([5, 5, 7]), torch.tensor([True, False, True])
    sample = Sample("p", image, boxes=boxes, box_classes=kinds, difficult=hard)
    assert {c: r.int().tolist() for c, r in sample.regions().items()} == {5: [[1, 0, 1, 0], [1, 0, 0, 0]]}
    assert list(sample.regions(difficult=True)) == [5, 7], "a class of difficult objects only is left out by default"
    pixels = torch.zeros(3, 2, 4, dtype=torch.bool)
    pixels[0, 0, 0] = True
    exact = Sample("p", image, boxes=boxes, box_classes=kinds, box_masks=pixels).regions()
    assert list(exact) == [5] and exact[5].sum() == 1, "no pixel of 7 is to be seen"
    mapped = torch.tensor([[-1, 5, 5, 2], [0, 0, 0, 0]])
    assert {c: int(r.sum()) for c, r in Sample("p", image, class_map=mapped).regions().items()} == {0: 4, 2: 1, 5: 2}
    both = Sample("p", image, boxes=boxes, box_classes=kinds, class_map=mapped).regions()
    assert (int(both[5].sum()), int(both[7].sum())) == (2, 1), "7 is not in the map, so its box counts"
    assert Sample("p", image, label=3, boxes=boxes).regions()[3].sum() == 4
    assert Sample("p", image, category=4, mask=mapped == 0).regions()[4].sum() == 4
    assert Sample("p", image, label=3).regions() == {}


def test_boxes_of_a_class() -> None:
    boxes = torch.tensor([[0.0, 0, 1, 2], [2, 0, 3, 1]]).double()
    sample = Sample("p", torch.zeros(3, 2, 4), boxes=boxes, box_classes=torch.tensor([5, 7]))
    assert sample.boxes_of(7).tolist() == [[2, 0, 3, 1]]
    assert len(Sample("p", torch.zeros(3, 2, 4), boxes=boxes).boxes_of(1)) == 2


def test_impossible_moves_are_refused() -> None:
    sample = Sample("p", torch.zeros(3, 4, 4))
    with pytest.raises(InputError, match="not within 4x4"):
        sample.cropped(0, 0, 5, 4)
    with pytest.raises(InputError, match="not within"):
        sample.cropped(2, 0, 2, 4)
    with pytest.raises(InputError, match="can't be resized"):
        sample.resized(0)
    with pytest.raises(InputError, match="smaller than the crop"):
        sample.shorter_side_crop(4, 3)


def test_a_line_is_not_blown_up_to_be_cut() -> None:
    """Its shorter side brought to 224 a line of 65,535 would be 14 million pixels long."""
    with pytest.raises(InputError, match="thin: 65535x1 pixels are too thin to cut a square out; squash it"):
        Sample("thin", torch.zeros(3, 1, 65_535)).shorter_side_crop(224)

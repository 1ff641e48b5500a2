"""Drawn scenes and twins: what depends on what, and truth against the pixels themselves."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from maskwise.core.errors import InputError
from maskwise.data import Sample, read_data
from maskwise.data.sample import filled
from maskwise.data.scene import SHAPES, draw_scene
from maskwise.data.twins import doubled


def test_settings() -> None:
    data = read_data("shapes:N=5,size=64,seed=3,objects=2")
    assert (len(data), data[0].image.shape, data.records[4].id) == (5, (3, 64, 64), "shapes/3/4")
    default = read_data("shapes")
    assert (len(default), default[0].image.shape) == (200, (3, 224, 224))
    for rest, match in [
        ("colour=3", "no option 'colour'; it has n, size, seed, objects"),
        ("n=0", "n is a whole number from 1"),
        ("size=9", "size is a whole number from 32 to 2048, not '9'"),
        ("seed=-1", "seed is a whole number"),
        ("n=many", "not 'many'"),
        ("n", "options are key=value"),
    ]:
        with pytest.raises(InputError, match=match):
            read_data(f"shapes:{rest}")


def test_a_picture_depends_on_seed_and_index_alone() -> None:
    few, many = read_data("shapes:n=9,size=48"), read_data("shapes:n=30,size=48")
    assert torch.equal(few[7].image, many[7].image)
    assert torch.equal(few[7].image, few.image(few.records[7]))
    assert torch.equal(few.subset([7])[0].image, few[7].image)
    assert not torch.equal(few[0].image, few[8].image), "of one class, not one picture"
    assert not torch.equal(few[7].image, read_data("shapes:n=9,size=48,seed=1")[7].image)


@pytest.fixture(scope="module")
def scenes() -> list[Sample]:
    return list(read_data("shapes:n=64,size=112,objects=5"))


def test_classes_are_balanced_and_the_target_leads(scenes: list[Sample]) -> None:
    assert [s.category for s in scenes] == list(range(8)) * 8
    assert {s.label for s in scenes} == {None}, "a classifier of other things must not take them as its classes"
    assert [r.label for r in read_data("shapes:n=9,labels=own").records] == [*range(8), 0]
    for s in scenes:
        assert s.box_classes[0] == s.category and (s.box_classes[1:] != s.category).all(), (
            "distractors are of other classes"
        )
        assert torch.equal(s.mask, s.box_masks[0]) and s.ignore is None
        sides = (s.boxes[:, 2:] - s.boxes[:, :2]).amax(1)
        assert sides[0] == sides.max(), "the target is the largest"
        assert s.boxes_of(s.category).tolist() == s.boxes[:1].tolist()
    counts = {len(s.boxes) for s in scenes}
    assert counts == {3, 4, 5}


def test_boxes_are_exact_and_objects_do_not_share_pixels(scenes: list[Sample]) -> None:
    for s in scenes:
        for box, mask in zip(s.boxes, s.box_masks, strict=True):
            rows, columns = mask.nonzero().unbind(1)
            edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box.tolist() == [float(edge) for edge in edges]
        assert s.box_masks.sum(0).max() == 1
        for kind, region in s.regions().items():
            assert torch.equal(region, s.class_map == kind)
        assert torch.equal(s.class_map >= 0, s.box_masks.any(0))


def test_nothing_hides_the_target() -> None:
    """A circle among many: its pixels are a whole circle's, but for a small one's jagged edge."""
    for index in range(0, 400, 8):
        mask = read_data("shapes:n=400,size=96,objects=12,seed=5").subset([index])[0].mask
        rows, columns = mask.nonzero().unbind(1)
        box = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert mask.sum() / box == pytest.approx(math.pi / 4, rel=0.08)


def test_every_object_of_the_smallest_pictures_can_be_seen() -> None:
    for sample in read_data("shapes:n=40,size=32,objects=12"):
        assert sample.box_masks.any((1, 2)).all() and (sample.boxes[:, 2:] > sample.boxes[:, :2]).all()
        assert sample.box_classes[0] == sample.category


def test_sizes_differ_widely(scenes: list[Sample]) -> None:
    areas = torch.tensor([float(s.mask.float().mean()) for s in scenes])
    assert areas.min() < 0.02 and areas.max() > 0.2


def test_colours_stand_out_where_the_mask_ends(scenes: list[Sample]) -> None:
    """Between the target's own pixels and a frame around its box, nearly always a clear difference of mean colour."""
    clear = 0
    for s in scenes:
        around = filled(s.boxes[:1] + torch.tensor([-4, -4, 4, 4]), s.height, s.width) & ~s.box_masks.any(0)
        clear += float((s.image[:, s.mask].mean(1) - s.image[:, around].mean(1)).norm()) > 0.25
    assert clear >= 0.9 * len(scenes)


# Area where the circumscribed circle has radius 1, from each shape's definition.
AREAS = {
    "circle": math.pi * 0.95**2,
    "square": 1.4**2,
    "triangle": 3 * math.sqrt(3) / 4,
    "star": 5 * 0.42 * math.sin(math.pi / 5),
    "cross": 2 * 1.84 * 0.56 - 0.56**2,
    "ring": math.pi * (0.96**2 - 0.5**2),
}


@pytest.mark.parametrize("name", AREAS)
def test_areas_are_those_of_geometry(name: str) -> None:
    """Pixels counted, against the formula, relative to the size that the box of the same angle implies."""
    grid = (np.arange(800) + 0.5) / 400 - 1
    u, v = np.meshgrid(grid, grid)
    assert SHAPES[name](u, v).mean() * 4 == pytest.approx(AREAS[name], rel=0.01)


@pytest.mark.parametrize("kind", range(8))
def test_every_shape_fits_its_circle_and_is_of_one_piece(kind: int) -> None:
    grid = np.linspace(-1.2, 1.2, 601)
    u, v = np.meshgrid(grid, grid)
    inside = list(SHAPES.values())[kind](u, v)
    parts, _ = ndimage.label(inside)
    assert np.bincount(parts.ravel())[1:].max() >= 0.999 * inside.sum(), "but for pixels at a crescent's tips"
    assert np.hypot(u, v)[inside].max() <= 1
    scene = draw_scene(kind, 96, 1, np.random.default_rng(0))
    assert scene.kinds == [kind] and scene.image.min() >= 0 and scene.image.max() <= 1


def test_twins_by_hand() -> None:
    sample = Sample(
        "p", torch.rand(3, 2, 4), 3,
        boxes=torch.tensor([[1.0, 0, 3, 2]]).double(), box_classes=torch.tensor([3]), difficult=torch.tensor([True]),
        mask=torch.tensor([[0, 1, 1, 0]] * 2).bool(), class_map=torch.tensor([[0, 3, 3, 0]] * 2),
        ignore=torch.tensor([[1, 0, 0, 0]] * 2).bool(), box_masks=torch.tensor([[[0, 1, 1, 0]] * 2]).bool(),
    )  # fmt: skip
    twin = doubled(sample)
    assert torch.equal(twin.image[..., :4], sample.image) and torch.equal(twin.image[..., 4:], sample.image)
    assert twin.boxes.tolist() == [[1, 0, 3, 2], [5, 0, 7, 2]]
    assert twin.box_classes.tolist() == [3, 3] and twin.difficult.tolist() == [True, True] and twin.label == 3
    assert twin.mask.int().tolist() == [[0, 1, 1, 0, 0, 1, 1, 0]] * 2
    assert twin.ignore.int().tolist() == [[1, 0, 0, 0, 1, 0, 0, 0]] * 2
    assert twin.class_map.tolist() == [[0, 3, 3, 0, 0, 3, 3, 0]] * 2
    assert twin.box_masks.int().tolist() == [[[0, 1, 1, 0, 0, 0, 0, 0]] * 2, [[0, 0, 0, 0, 0, 1, 1, 0]] * 2]


def test_twins_of_a_source() -> None:
    twins, single = read_data("twins:shapes:n=3,size=40"), read_data("shapes:n=3,size=40")
    assert (len(twins), twins.classes, twins.name) == (3, single.classes, "twins:shapes:n=3,size=40")
    assert twins[1].image.shape == (3, 40, 80)
    assert torch.equal(twins.image(twins.records[1]), twins[1].image)
    assert torch.equal(twins[1].regions()[1], torch.cat([single[1].mask] * 2, 1))
    assert len(read_data("twins")) == 200
    with pytest.raises(InputError, match="neither a folder nor a zip"):
        read_data("twins:nowhere")

"""The energy-based pointing game pixel by pixel, and where its value is known."""

import pytest
import torch

from maskwise.core.errors import InputError
from maskwise.measures import metric
from maskwise.measures.base import metrics
from maskwise.measures.energy import box_cover

DRAWS = torch.Generator().manual_seed(4)
MAPS = torch.rand(4, 20, 30, generator=DRAWS) ** 2
BOXES = [
    torch.tensor(own).double()
    for own in ([[2, 3, 9, 12]], [[0, 0, 30, 20]], [[1, 1, 5, 5], [3, 3, 8, 9]], [[25, 15, 40, 40]])
]


def inside(boxes: torch.Tensor) -> torch.Tensor:
    """Pixel by pixel whether its middle lies in a box, x across and y down."""
    mask = torch.zeros(20, 30, dtype=torch.bool)
    for y in range(20):
        for x in range(30):
            mask[y, x] = any(x0 < x + 0.5 < x1 and y0 < y + 0.5 < y1 for x0, y0, x1, y1 in boxes.tolist())
    return mask


def value(name: str, maps: torch.Tensor, **truth: object) -> float:
    made = metric(name)
    made.update(maps, **truth)
    return float(made.compute())


def test_the_share_inside_is_counted_pixel_by_pixel() -> None:
    masks = torch.stack([inside(own) for own in BOXES])
    shares = [float(m[mask].double().sum() / m.double().sum()) for m, mask in zip(MAPS, masks, strict=True)]
    mean = sum(shares) / len(shares)
    assert value("energy_pointing", MAPS, boxes=BOXES) == pytest.approx(100 * mean, abs=1e-9)
    assert value("relevance_mass", MAPS, masks=masks) == pytest.approx(100 * mean, abs=1e-9)
    assert value("energy_lift", MAPS, boxes=BOXES) == pytest.approx(mean / float(masks.double().mean()), abs=1e-9)


def test_a_map_that_is_the_same_everywhere_has_lift_1_and_the_area_of_the_boxes() -> None:
    flat = torch.full((4, 20, 30), 0.3)
    area = sum(float(inside(own).double().mean()) for own in BOXES) / 4
    assert value("energy_lift", flat, boxes=BOXES) == pytest.approx(1)
    assert value("energy_pointing", flat, boxes=BOXES) == pytest.approx(100 * area)


def test_a_map_of_zeros_has_nothing_inside_and_a_picture_without_truth_does_not_count() -> None:
    assert value("energy_pointing", torch.zeros(4, 20, 30), boxes=BOXES) == 0
    assert metric("energy_lift").per_image(MAPS, boxes=[*BOXES[:3], torch.zeros(0, 4)]).isnan().all(1).tolist() == [
        False, False, False, True,
    ]  # fmt: skip
    masks = torch.zeros(4, 20, 30, dtype=torch.bool)
    assert metric("relevance_mass").per_image(MAPS, masks=masks).isnan().all()
    with pytest.raises(InputError, match="4 maps but the boxes of 3"):
        metric("energy_lift").per_image(MAPS, boxes=BOXES[:3])


def test_edges_within_a_pixel_count_in_proportion() -> None:
    covered = box_cover([torch.tensor([[0.5, 1.0, 2.0, 1.25]])], 3, 3)[0]
    assert covered.tolist() == [[0, 0, 0], [0.125, 0.25, 0], [0, 0, 0]]


def test_what_is_not_counted_has_no_share() -> None:
    """Neither inside nor outside; foreground counts even where it is marked so."""
    masks = torch.stack([inside(own) for own in BOXES])
    ignore = torch.rand(masks.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    counted = masks | ~ignore
    shares = [
        float(m[mask].double().sum() / m[of].double().sum()) for m, mask, of in zip(MAPS, masks, counted, strict=True)
    ]
    assert value("relevance_mass", MAPS, masks=masks, ignore=ignore) == pytest.approx(25 * sum(shares), abs=1e-9)
    flat = torch.ones_like(MAPS)
    assert value("relevance_mass", flat, masks=masks, ignore=~masks) == 100
    with pytest.raises(InputError):
        metric("relevance_mass").per_image(flat.masked_fill(~masks, torch.nan), masks=masks, ignore=~masks)


def test_every_metric_of_masks_knows_what_is_not_counted() -> None:
    assert [
        name
        for name in metrics.names()
        if "masks" in metrics.get(name).needs and "ignore" not in metrics.get(name).takes
    ] == []

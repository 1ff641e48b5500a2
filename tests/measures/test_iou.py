"""IoU at chosen thresholds against all thresholds tried one by one."""

import numpy as np
import pytest
import torch

from maskwise.box import above_otsu
from maskwise.core.errors import InputError
from maskwise.measures import metric

DRAWS = torch.Generator().manual_seed(6)
MASKS = torch.rand(5, 12, 14, generator=DRAWS) < 0.4
MAPS = 0.3 * MASKS + 0.7 * torch.rand(5, 12, 14, generator=DRAWS)  # no threshold parts them whole
IGNORED = torch.rand(5, 12, 14, generator=DRAWS) < 0.2


def iou(kept: torch.Tensor, mask: torch.Tensor, counted: torch.Tensor) -> float:
    return float((kept & mask & counted).sum() / ((kept | mask) & counted).sum())


def value(name: str, ignore: torch.Tensor | None = None, **options: object) -> float:
    made = metric(name, **options)
    made.update(MAPS, masks=MASKS, ignore=ignore)
    return float(made.compute())


@pytest.mark.parametrize("with_ignored", [False, True])
def test_the_four_rules_equal_a_loop_over_thresholds(with_ignored: bool) -> None:
    ignore = IGNORED if with_ignored else None
    counted = MASKS | ~IGNORED if with_ignored else torch.ones_like(MASKS)
    table = np.array(
        [[iou(m >= t / 50, k, c) for t in range(51)] for m, k, c in zip(MAPS.double(), MASKS, counted, strict=True)]
    )
    assert value("iou_oracle", ignore, bins=50) == pytest.approx(100 * table.max(1).mean(), abs=1e-6)
    assert value("iou_dataset", ignore, bins=50) == pytest.approx(100 * table.mean(0).max(), abs=1e-6)
    assert value("iou_oracle", ignore) > value("iou_dataset", ignore), "an upper bound of every one threshold"
    rule = [iou(m >= m.double().mean(), k, c) for m, k, c in zip(MAPS, MASKS, counted, strict=True)]
    assert value("iou_mean_rule", ignore) == pytest.approx(100 * np.mean(rule), abs=1e-6)


def test_otsu_splits_two_groups_of_values_and_keeps_nothing_of_one() -> None:
    """Any threshold between the groups divides them alike, and the one that is least spread lies between."""
    maps = torch.where(MASKS, 0.8, 0.2) + 0.1 * torch.rand(5, 12, 14, generator=DRAWS)
    assert torch.equal(above_otsu(maps), MASKS)
    made = metric("iou_otsu")
    made.update(maps, masks=MASKS)
    assert float(made.compute()) == 100
    assert not above_otsu(torch.full((1, 4, 4), 0.7)).any()


def test_otsu_is_the_split_of_least_spread_among_all() -> None:
    maps = (MAPS * 12).round() / 12
    for m, found in zip(maps.double(), above_otsu(maps), strict=True):
        splits = [m > t for t in m.unique()[:-1]]
        spread = [float(m[up].var(correction=0) * up.sum() + m[~up].var(correction=0) * (~up).sum()) for up in splits]
        assert torch.equal(found, splits[int(np.argmin(spread))])


def test_a_picture_without_foreground_does_not_count() -> None:
    masks = MASKS.clone()
    masks[2] = False
    for name in ("iou_oracle", "iou_dataset", "iou_mean_rule", "iou_otsu"):
        rows = metric(name).per_image(MAPS, masks=masks)
        assert rows.isnan().all(1).tolist() == [False, False, True, False, False]
    with pytest.raises(InputError, match="bins must be"):
        metric("iou_oracle", bins=0)

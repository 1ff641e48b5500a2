"""Random resized crops against torchvision's, and the batched way of an accelerator against the single one."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from maskwise.training.crops import MOST, Crop, PackedCrops, random_crop, resize_weights, resized
from maskwise.training.draws import generator


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=draws)


@pytest.mark.parametrize(("height", "width"), [(10, 400), (400, 10), (300, 299), (7, 9)])
def test_what_does_not_fit_in_is_the_largest_part_in_the_middle(height: int, width: int) -> None:
    """An area of more than the picture never fits, so both fall back; torchvision says on what."""
    area = (1.5, 1.6)
    i, j, h, w = RandomResizedCrop.get_params(picture(height, width), scale=list(area), ratio=[3 / 4, 4 / 3])
    found = random_crop(height, width, area, generator(0))
    assert (found.y, found.x, found.height, found.width) == (i, j, h, w)


def test_crops_have_the_area_and_ratio_that_were_asked_for() -> None:
    crops = [random_crop(300, 400, (0.2, 0.5), generator(0, k)) for k in range(400)]
    areas = torch.tensor([crop.width * crop.height / 120_000 for crop in crops])
    ratios = torch.tensor([crop.width / crop.height for crop in crops])
    assert areas.min() > 0.195 and areas.max() < 0.505 and abs(areas.mean() - 0.35) < 0.02
    assert ratios.min() > 0.74 and ratios.max() < 1.35 and abs(ratios.log().mean()) < 0.03
    assert all(0 <= c.x <= 400 - c.width and 0 <= c.y <= 300 - c.height for c in crops)
    assert 0.4 < sum(crop.flip for crop in crops) / 400 < 0.6


def test_a_crop_is_keyed() -> None:
    assert random_crop(90, 80, (0.1, 1), generator(1, 2, 3)) == random_crop(90, 80, (0.1, 1), generator(1, 2, 3))
    assert random_crop(90, 80, (0.1, 1), generator(1, 2, 3)) != random_crop(90, 80, (0.1, 1), generator(1, 2, 4))


@pytest.mark.parametrize(("length", "size"), [(50, 20), (20, 50), (33, 33), (1, 8), (100, 7)])
def test_weights_are_those_of_antialiased_bilinear_resizing(length: int, size: int) -> None:
    line = torch.rand(1, 1, 1, length, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(line, (1, size), mode="bilinear", antialias=True)[0, 0, 0]
    weights = resize_weights(torch.tensor([length]), size, length + 2)[0]
    assert not weights[:, length:].any()
    torch.testing.assert_close(weights[:, :length] @ line[0, 0, 0], expected, atol=1e-5, rtol=0)


def test_packed_pictures_of_many_sizes_are_the_single_ones() -> None:
    pictures = [picture(40, 60), picture(97, 31, 1), picture(20, 20, 2)]
    crops = [Crop(5, 3, 41, 30, True), Crop(0, 10, 31, 80, False), Crop(1, 2, 9, 8, True)]
    expected = torch.stack([resized(p, crop, 24) for p, crop in zip(pictures, crops, strict=True)])
    found = PackedCrops.of(pictures, crops, 24).on(torch.device("cpu"))
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    assert torch.equal(resized(picture(8, 8), Crop(0, 0, 8, 8, True), 8), picture(8, 8).flip(-1) / 255)


def test_a_large_region_travels_small() -> None:
    """It is resized before, and rounded to bytes: off by half a byte at most."""
    size = 16
    side = int((MOST * size * size) ** 0.5) + 5
    large, crop = picture(side, side), Crop(0, 0, side, side, False)
    packed = PackedCrops.of([large], [crop], size)
    assert packed.pixels.shape == (1, 3, size, size)
    off = (packed.on(torch.device("cpu"))[0] - resized(large, crop, size)).abs().max()
    assert off <= 0.5 / 255 + 1e-5

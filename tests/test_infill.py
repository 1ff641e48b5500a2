"""Infillers beyond tests/test_small_rooms.py: every one's contract, and Telea where it has nothing to go by."""

import pytest
import torch

from maskwise.infill import infillers

COLOUR = torch.tensor([0.2, 0.4, 0.6])


@pytest.mark.parametrize("name", infillers.names())
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_fill_is_pictures_like_the_images(name: str, count: int) -> None:
    images, holes = torch.rand(count, 3, 12, 14), torch.zeros(count, 12, 14)
    holes[:, 3:6, 4:9] = 1
    before = images.clone()
    fill = infillers.get(name)(images, holes, COLOUR)
    assert fill.shape == images.shape and fill.dtype == images.dtype
    assert torch.equal(images, before), "the images are left alone"
    assert ((fill >= 0) & (fill <= 1)).all()


@pytest.mark.parametrize("name", infillers.names())
def test_nothing_of_a_picture_that_is_all_hole_shows(name: str) -> None:
    images = torch.rand(2, 3, 12, 14)
    fill = infillers.get(name)(images, torch.ones(2, 12, 14), COLOUR)
    assert torch.allclose(fill, COLOUR.reshape(1, 3, 1, 1).expand_as(images))


def test_what_telea_paints_does_not_depend_on_what_the_hole_hid() -> None:
    images, holes = torch.rand(1, 3, 20, 20), torch.zeros(1, 20, 20)
    holes[:, :8, :] = 1  # to the picture's edge
    other = torch.where(holes[:, None] > 0, torch.rand(1, 3, 20, 20), images)
    telea = infillers.get("telea")
    assert torch.equal(telea(images, holes, COLOUR), telea(other, holes, COLOUR))


def test_telea_cuts_soft_holes_above_a_half_and_takes_bool() -> None:
    images, holes = torch.rand(1, 3, 20, 20), torch.full((1, 20, 20), 0.5)
    telea = infillers.get("telea")
    assert torch.equal(telea(images, holes, COLOUR), images)
    holes[:, 5:9, 5:9] = 0.51
    assert torch.equal(telea(images, holes, COLOUR), telea(images, holes > 0.5, COLOUR))

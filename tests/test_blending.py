"""Blending beyond tests/test_small_rooms.py: hard masks, filled pictures, the two being each other's reverse."""

import torch

from maskwise.blending import masked_in, masked_out


def test_worked_by_hand() -> None:
    image = torch.full((1, 3, 1, 2), 0.8)
    grey = torch.full((1, 3, 1, 1), 0.4)
    m = torch.tensor([[[0.25, 1.0]]])
    assert torch.allclose(masked_in(image, m, grey)[0, 0, 0], torch.tensor([0.5, 0.8]))
    assert torch.allclose(masked_out(image, m, grey)[0, 0, 0], torch.tensor([0.7, 0.4]))


def test_out_is_in_with_the_mask_turned_over() -> None:
    images, fill, m = torch.rand(2, 3, 5, 6), torch.rand(2, 3, 5, 6), torch.rand(2, 5, 6)
    assert torch.allclose(masked_out(images, m, fill), masked_in(images, 1 - m, fill), atol=1e-6)


def test_a_hard_mask_picks_pixels_unchanged() -> None:
    images, fill, m = torch.rand(2, 3, 5, 6), torch.rand(2, 3, 5, 6), torch.rand(2, 5, 6) > 0.5
    assert torch.equal(masked_in(images, m, fill), torch.where(m[:, None], images, fill))
    assert torch.equal(masked_out(images, m, fill), torch.where(m[:, None], fill, images))


def test_gradients_reach_the_mask() -> None:
    m = torch.rand(1, 4, 4, requires_grad=True)
    images = torch.rand(1, 3, 4, 4)
    (gradient,) = torch.autograd.grad(masked_out(images, m, torch.zeros(1, 3, 1, 1)).sum(), m)
    assert torch.allclose(gradient, -images.sum(1))

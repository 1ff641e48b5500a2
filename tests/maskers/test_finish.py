"""Gumbel masks and superpixel averages."""

import pytest
import torch

from maskwise.maskers.finish import Finish, averaged, superpixels
from maskwise.maskers.gumbel import binary_concrete


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("h", [-1.5, 0.0, 2.0])
def test_a_cold_sample_is_a_coin_of_the_sigmoid(h: float, hard: bool) -> None:
    """P(h + logistic noise > 0) = sigmoid(h)."""
    torch.manual_seed(0)
    sample = binary_concrete(torch.full((200_000,), h), 0.01, hard)
    assert sample.mean().item() == pytest.approx(torch.tensor(h).sigmoid().item(), abs=5e-3)
    assert ((sample < 0.01) | (sample > 0.99)).float().mean() > 0.97


def test_the_hard_sample_is_binary_and_has_the_soft_one_s_gradient() -> None:
    gradients = {}
    for hard in (False, True):
        logits = torch.linspace(-2, 2, 50, requires_grad=True)
        torch.manual_seed(1)
        sample = binary_concrete(logits, 0.5, hard)
        assert not hard or set(sample.tolist()) == {0.0, 1.0}
        (gradients[hard],) = torch.autograd.grad((sample * torch.arange(50)).sum(), logits)
    assert torch.allclose(gradients[True], gradients[False]) and gradients[True].abs().sum() > 0


def test_after_training_a_gumbel_mask_is_the_sign_of_its_logits() -> None:
    logits = torch.tensor([[[-0.3, 0.2], [0.0, 5.0]]])
    mask = Finish("soft", 0.5).mask(logits, (4, 4), training=False)
    assert mask[0, ::2, ::2].tolist() == [[0, 1], [0, 1]] and torch.equal(mask[0, 1::2], mask[0, ::2])
    assert torch.equal(Finish().mask(logits, (2, 2), training=True), logits.sigmoid())


def test_averages_over_segments_equal_the_loop() -> None:
    draws = torch.Generator().manual_seed(0)
    masks, segments = torch.rand(2, 5, 7, generator=draws), torch.randint(4, (2, 5, 7), generator=draws)
    result = averaged(masks, segments)
    for mask, part, mean in zip(masks, segments, result, strict=True):
        for y in range(5):
            for x in range(7):
                assert mean[y, x].item() == pytest.approx(mask[part == part[y, x]].mean().item(), abs=1e-6)


def test_superpixels_follow_an_edge() -> None:
    image = torch.zeros(1, 3, 32, 32)
    image[..., 16:] = 1
    mask = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    smooth = Finish(superpixels=4).averaged(mask, image)
    labels = superpixels(image, 4)
    assert not set(labels[0, :, :15].flatten().tolist()) & set(labels[0, :, 17:].flatten().tolist())
    assert smooth.unique().numel() == labels.unique().numel() < 10

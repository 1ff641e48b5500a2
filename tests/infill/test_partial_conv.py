"""Partial convolutions against the paper's equations in plain loops; the smooth fill; the packaged network."""

import numpy as np
import pytest
import torch

from maskwise.images import load_image, packaged_pictures, resize
from maskwise.infill import infiller
from maskwise.infill.holes import blobs
from maskwise.infill.partial_conv import PACKAGED, PartialConv, PartialConvNet
from maskwise.infill.pyramid import smooth_fill

GREY = torch.full((3,), 0.5)


def by_the_paper(x: np.ndarray, mask: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> tuple:
    """Liu et al., Eq. 1 and 2, x and mask (C,H,W), one window after another; what lies outside is masked."""
    out_channels, channels, k, _ = weight.shape
    pad = k // 2
    x, mask = (np.pad(a, ((0, 0), (pad, pad), (pad, pad))) for a in (x, mask))
    rows, columns = range(0, x.shape[1] - k + 1, stride), range(0, x.shape[2] - k + 1, stride)
    out, known = np.zeros((out_channels, len(rows), len(columns))), np.zeros((len(rows), len(columns)))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            window = np.s_[:, top : top + k, left : left + k]
            seen = mask[window].sum()
            if seen > 0:
                out[:, i, j] = (weight * x[window] * mask[window]).sum((1, 2, 3)) * channels * k * k / seen + bias
                known[i, j] = 1
    return out, known


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 2)])
def test_a_partial_convolution_is_the_paper_s(kernel: int, stride: int) -> None:
    g = torch.Generator().manual_seed(kernel)
    layer = PartialConv((2, 3), 4, kernel, stride)
    layer.bias.data.normal_(generator=g)
    x = torch.randn(1, 5, 9, 8, generator=g)
    first, second = ((torch.rand(1, 1, 9, 8, generator=g) < share).float() for share in (0.1, 0.05))
    out, known = layer((x[:, :2], first), (x[:, 2:], second))
    mask = torch.cat([first.expand(-1, 2, -1, -1), second.expand(-1, 3, -1, -1)], 1)
    arrays = [a.detach()[0].double().numpy() for a in (x, mask)]
    weight, bias = layer.conv.weight.detach().double().numpy(), layer.bias.detach().double().numpy()[:, 0, 0]
    expected, expected_known = by_the_paper(*arrays, weight, bias, stride)
    assert torch.equal(known[0, 0], torch.from_numpy(expected_known).float())
    assert 0 < expected_known.mean() < 1
    np.testing.assert_allclose((out * known).detach()[0].numpy(), expected, atol=1e-4)


def test_smooth_fill_keeps_the_known_and_goes_between_them() -> None:
    g = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 21, 13, generator=g)
    valid = (torch.rand(2, 1, 21, 13, generator=g) < 0.2).float()
    fill = smooth_fill(images * valid, valid, GREY.reshape(1, 3, 1, 1))
    seen = valid.expand_as(images) > 0
    assert torch.equal(fill[seen], images[seen])
    for picture, known, filled in zip(images, valid, fill, strict=True):
        values = picture[:, known[0] > 0]
        assert (filled.amax((1, 2)) <= values.amax(1) + 1e-6).all() and (
            filled.amin((1, 2)) >= values.amin(1) - 1e-6
        ).all()


def test_an_untrained_network_gives_the_smooth_fill() -> None:
    images, valid = torch.rand(1, 3, 37, 50), (torch.rand(1, 1, 37, 50) < 0.5).float()
    colour = GREY.reshape(1, 3, 1, 1)
    assert torch.equal(PartialConvNet().eval()(images, valid, colour), smooth_fill(images, valid, colour))


@pytest.mark.parametrize("side", [96, 150, 224])
def test_the_packaged_network_paints_better_than_a_colour_and_a_smooth_fill(side: int) -> None:
    images = torch.cat([resize(load_image(path)[None], side) for path in packaged_pictures()])
    holes = blobs(len(images), side, torch.Generator().manual_seed(0), (0.2, 0.4), soft=0.0)
    missing = holes[:, None].expand_as(images) > 0
    errors = {
        name: (fill - images)[missing].abs().mean().item()
        for name, fill in {
            "mean": infiller("mean")(images, holes, GREY),
            "smooth": smooth_fill(images, 1 - holes[:, None], GREY.reshape(1, 3, 1, 1)),
            "network": infiller("partial_conv")(images, holes, GREY),
        }.items()
    }
    assert errors["network"] < errors["smooth"] < 0.6 * errors["mean"]


def test_a_soft_hole_hides_in_proportion() -> None:
    """A pixel's influence on its neighbours' fill falls with its hole, and is none at 1."""
    images = torch.rand(1, 3, 32, 32)
    changed = images.clone()
    changed[..., 10:22, 10] = 1 - changed[..., 10:22, 10]
    influence = []
    for softness in (0.0, 0.9, 0.99, 1.0):
        holes = torch.zeros(1, 32, 32)
        holes[:, 8:24, 11:20] = 1
        holes[:, 10:22, 10] = softness
        before, after = (infiller("partial_conv")(x, holes, GREY) for x in (images, changed))
        influence.append((before - after)[..., 8:24, 11:20].abs().mean().item())
    assert influence == sorted(influence, reverse=True) and influence[0] > 0.01 and influence[-1] == 0


def test_the_packaged_file_is_small_and_named_weights_equal_it() -> None:
    assert PACKAGED.stat().st_size < 2.5e6
    images, holes = torch.rand(1, 3, 32, 32), (torch.rand(1, 32, 32) < 0.5).float()
    named = infiller("partial_conv", weights=str(PACKAGED))
    assert torch.equal(named(images, holes, GREY), infiller("partial_conv")(images, holes, GREY))

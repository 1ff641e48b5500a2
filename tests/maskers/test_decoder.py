"""The decoder as it computes against the decoder as it is written."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.maskers import Decoder


def as_written(decoder: Decoder, taps: list[Tensor], grid: tuple[int, int]) -> Tensor:
    """Project, enlarge, concatenate, convolve (CASM's supplement)."""
    read = []
    for tap, project in zip(taps, decoder.projections, strict=True):
        while tap.shape[-2] >= 2 * grid[0] and tap.shape[-1] >= 2 * grid[1]:
            tap = F.max_pool2d(tap, 3, stride=2, padding=1)
        read.append(F.interpolate(project(tap), grid, mode="bilinear", align_corners=False))
    return decoder.head(torch.cat(read, 1))[:, 0]


@pytest.mark.parametrize("first", ["projected", "raw"])
@pytest.mark.parametrize("training", [False, True])
def test_spreading_the_convolution_changes_nothing(first: str, training: bool) -> None:
    torch.manual_seed(0)
    decoder = Decoder([5, 8, 12], first, width=7).double().train(training)  # type: ignore[arg-type]
    taps = [torch.randn(2, c, h, w, dtype=torch.float64) for c, h, w in ((5, 20, 26), (8, 10, 13), (12, 4, 5))]
    expected = as_written(decoder, taps, (10, 13))
    expected_gradients = torch.autograd.grad(expected.square().sum(), list(decoder.parameters()))
    result = decoder(taps, (40, 52))
    assert torch.allclose(result, expected, atol=1e-12)
    gradients = torch.autograd.grad(result.square().sum(), list(decoder.parameters()))
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(gradients, expected_gradients, strict=True))

"""Gaussian blur against SciPy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d, gaussian_filter

from maskwise.core.blur import Border, gaussian_blur

IMAGES = torch.rand(2, 3, 40, 52, generator=torch.Generator().manual_seed(0))


def twin(images: torch.Tensor, size: int, sigma: float) -> np.ndarray:
    kernel = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
    out = images.double().numpy()
    for axis in (2, 3):
        out = correlate1d(out, kernel / kernel.sum(), axis=axis, mode="mirror")
    return out


@pytest.mark.parametrize(("size", "sigma"), [(3, 0.8), (15, 4.0), (51, 50.0)])
def test_equals_scipy(size: int, sigma: float) -> None:
    assert np.allclose(
        gaussian_blur(IMAGES, sigma, "mirror", reach=size // 2).numpy(), twin(IMAGES, size, sigma), atol=1e-5
    )


def test_a_small_picture_repeats_its_border() -> None:
    row = torch.zeros(1, 1, 9, 2)
    row[..., 1] = 1.0
    ends = gaussian_blur(row, 1e6, "mirror", reach=2)  # flat: two pixels beside each, so column 0 sees 0 0 0 1 1
    assert torch.allclose(ends, torch.tensor([0.4, 0.6]).expand(1, 1, 9, 2), atol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_autocast_changes_nothing(layout: torch.memory_format) -> None:
    images = IMAGES.to(memory_format=layout)
    with torch.autocast("cpu", torch.bfloat16):
        rough = gaussian_blur(images, 50.0, "mirror", reach=25)
    assert rough.dtype == torch.float32
    assert torch.allclose(rough, gaussian_blur(images, 50.0, "mirror", reach=25), atol=1e-6)


def test_the_type_stays() -> None:
    half = gaussian_blur(IMAGES.bfloat16(), 4.0, "mirror", reach=7)
    assert half.dtype == torch.bfloat16
    assert np.allclose(half.double().numpy(), twin(IMAGES.bfloat16(), 15, 4.0), atol=2**-8)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.7, 20.0])
@pytest.mark.parametrize(("border", "mode"), [("edge", "nearest"), ("zero", "constant")])
def test_blur_is_scipys(sigma: float, border: Border, mode: str) -> None:
    images = torch.rand(2, 3, 20, 33)
    expected = gaussian_filter(images.numpy(), sigma, axes=(2, 3), mode=mode)  # type: ignore[call-overload]
    assert np.allclose(gaussian_blur(images, sigma, border).numpy(), expected, atol=1e-5)


def test_a_tiny_deviation_blurs_nothing() -> None:
    """Its square is zero in float64, and 0/0 was a picture of NaN."""
    images = torch.rand(1, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    for sigma in (1e-30, 1e-200, 1e-300):
        assert torch.equal(gaussian_blur(images, sigma, reach=3), images)

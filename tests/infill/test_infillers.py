"""What holds for every infiller that works without a file, how they are named, and the small ones in detail."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from maskwise.blending import masked_in, masked_out
from maskwise.core.errors import InputError
from maskwise.infill import Infiller, infiller, infillers

COLOUR = torch.tensor([0.2, 0.4, 0.6])
OFFLINE = [name for name, facts in infillers.items() if not facts["needs_weights"]]
HIDING = [name for name in OFFLINE if not infillers.facts(name)["reads_hole"] and not infillers.facts(name)["random"]]


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_fill_is_pictures_like_the_images(name: str, count: int) -> None:
    images, holes = torch.rand(count, 3, 12, 14), torch.zeros(count, 12, 14)
    holes[:, 3:6, 4:9] = 1
    before = images.clone()
    fill = infiller(name)(images, holes, COLOUR)
    assert fill.shape == images.shape and fill.dtype == images.dtype
    assert torch.equal(images, before), "the images are left alone"
    assert ((fill >= 0) & (fill <= 1)).all()


@pytest.mark.parametrize("name", OFFLINE)
@settings(max_examples=8)
@given(seed=st.integers(0, 1000), height=st.integers(1, 20), width=st.integers(1, 20))
def test_blending_keeps_kept_pixels_bit_equal(name: str, seed: int, height: int, width: int) -> None:
    g = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, height, width, generator=g)
    mask = torch.rand(2, height, width, generator=g) < torch.rand(2, 1, 1, generator=g)
    kept = mask[:, None].expand_as(images)
    outside = masked_out(images, mask, infiller(name)(images, mask, COLOUR))
    inside = masked_in(images, mask, infiller(name)(images, ~mask, COLOUR))
    assert torch.equal(outside[~kept], images[~kept])
    assert torch.equal(inside[kept], images[kept])


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_pictures_of_other_channels(name: str, channels: int) -> None:
    """They are filled as RGB of these channels is, or refused by a network that paints RGB alone."""
    images, holes = torch.rand(2, 3, 12, 14), torch.zeros(2, 12, 14)
    holes[:, 3:6, 4:9] = 1
    picked = [0, 1, 2, 0][:channels]
    made, network = infiller(name), infillers.facts(name)["network"]
    if network and channels > 1:
        with pytest.raises(InputError, match=f"paints RGB and grey pictures, not such of {channels} channels"):
            made(images[:, picked], holes, COLOUR[picked])
        return
    if network:  # grey goes through it as RGB
        images, luma = images[:, :1].expand(-1, 3, -1, -1), torch.tensor([0.299, 0.587, 0.114])
        expected = (made(images, holes, COLOUR[:1].expand(3)) * luma[:, None, None]).sum(1, keepdim=True)
    else:
        torch.manual_seed(0)
        expected = made(images, holes, COLOUR)[:, picked]
    torch.manual_seed(0)
    found = made(images[:, picked], holes, COLOUR[picked])
    assert found.shape == (2, channels, 12, 14) and found.isfinite().all()
    if not infillers.facts(name)["random"]:
        assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", HIDING)
def test_nothing_of_a_picture_that_is_all_hole_shows(name: str) -> None:
    images = torch.rand(2, 3, 12, 14)
    fill = infiller(name)(images, torch.ones(2, 12, 14), COLOUR)
    colour = torch.zeros(3) if name == "black" else COLOUR
    assert torch.allclose(fill, colour.reshape(1, 3, 1, 1).expand_as(images))


@pytest.mark.parametrize("name", HIDING)
@pytest.mark.parametrize("side", [20, 300])  # the second is more than what the network works at
def test_the_fill_does_not_depend_on_what_the_hole_hid(name: str, side: int) -> None:
    images, holes = torch.rand(1, 3, side, side), torch.zeros(1, side, side)
    holes[:, : side // 3] = 1  # to the picture's edge
    other = torch.where(holes[:, None] > 0, torch.rand(1, 3, side, side), images)
    fill, again = (infiller(name)(x, holes, COLOUR) for x in (images, other))
    assert torch.equal(fill, again)


@pytest.mark.parametrize("name", OFFLINE)
def test_no_gradient_and_full_precision_under_autocast(name: str) -> None:
    images, holes = torch.rand(1, 3, 16, 16, requires_grad=True), torch.rand(1, 16, 16, requires_grad=True)
    torch.manual_seed(0)
    fill = infiller(name)(images, holes, COLOUR)
    assert not fill.requires_grad
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(infiller(name)(images, holes, COLOUR), fill)


@pytest.mark.parametrize("name", [name for name in OFFLINE if not infillers.facts(name)["random"]])
def test_a_batch_is_its_pictures(name: str) -> None:
    images, holes = torch.rand(3, 3, 24, 20), (torch.rand(3, 24, 20) < 0.4).float()
    together = infiller(name)(images, holes, COLOUR)
    for i in range(3):
        alone = infiller(name)(images[i : i + 1], holes[i : i + 1], COLOUR)
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=0)


def test_names_options_and_their_errors() -> None:
    assert infiller("telea") == infiller("telea")
    assert infiller("blur:sigma=5,reach=7") == infiller({"name": "blur", "sigma": 5}, reach=7)
    assert isinstance(infiller("blur"), Infiller)
    for wrong, why in (
        ("blurr", "did you mean blur"),
        ("blur:sigma", "key=value"),
        ("blur:size=3", "has no option 'size'; it has sigma, reach"),
        ("mean:size=3", "it has none"),
        ({"sigma": 3}, "unknown infiller"),
        ("blur:sigma=wide", "sigma must be a finite number, not 'wide'"),
        ("blur:sigma=.nan", "sigma must be a finite number, not nan"),
        ("blur:sigma=0", "sigma must be a number above 0 and at most 1000"),
        ("telea:radius=0", "radius must be a number from 1 to 100"),
        ("telea:radius=101", "radius must be a number from 1 to 100"),
        ("blur:sigma=1001", "sigma must be"),
        ("blur:reach=4001", "reach must be"),
        ("colour_noise:noise=-1", "noise must be a number of at least 0"),
        ("dfnet:size=300", "multiple of 256"),
        ("partial_conv:weights=none.safetensors", "does not exist"),
    ):
        with pytest.raises(InputError, match=why):
            infiller(wrong)  # type: ignore[arg-type]


def test_holes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="N,H,W"):
        infiller("mean")(torch.rand(2, 3, 8, 8), torch.zeros(2, 1, 8, 8), COLOUR)


@pytest.mark.parametrize("size", [(30, 41), (200, 24)])
def test_blur_is_scipy_s_on_the_normalised_picture(size: tuple[int, int]) -> None:
    std = np.array([0.229, 0.224, 0.225])
    images = torch.rand(1, 3, *size)
    normalised = (images[0].double().numpy() - COLOUR.double().numpy()[:, None, None]) / std[:, None, None]
    blurred = np.stack([gaussian_filter(x, 20, mode="constant", cval=0, truncate=4) for x in normalised])
    expected = blurred * std[:, None, None] + COLOUR.double().numpy()[:, None, None]
    fill = infiller("blur")(images, torch.ones(1, *size), COLOUR)[0]
    np.testing.assert_allclose(fill.numpy(), expected, atol=2e-6)


def test_colour_noise_has_the_released_code_s_distribution_and_fresh_draws() -> None:
    """In [-1,1]: colours U(-.33,.33), noise N(0,.11)."""
    images, holes = torch.zeros(400, 3, 24, 24), torch.ones(400, 24, 24)
    fill_in = infiller("colour_noise", generator=torch.Generator().manual_seed(0))
    x = 2 * fill_in(images, holes, COLOUR) - 1
    shades = x.mean((2, 3))
    assert shades.abs().max() < 0.33 + 0.03 and abs(shades.mean()) < 0.02
    assert shades.std().item() == pytest.approx(0.33 / 3**0.5, rel=0.05), "a uniform distribution's"
    assert (x - shades[..., None, None]).std().item() == pytest.approx(0.11, rel=0.02)
    assert np.corrcoef(shades.T.numpy())[0, 1] == pytest.approx(0, abs=0.15), "each channel its own"
    assert not torch.equal(2 * fill_in(images, holes, COLOUR) - 1, x)
    again = infiller("colour_noise", generator=torch.Generator().manual_seed(0))
    assert torch.equal(2 * again(images, holes, COLOUR) - 1, x)


def test_telea_cuts_soft_holes_above_a_half_and_takes_bool() -> None:
    images, holes = torch.rand(1, 3, 20, 20), torch.full((1, 20, 20), 0.5)
    telea = infiller("telea")
    assert torch.equal(telea(images, holes, COLOUR), images)
    holes[:, 5:9, 5:9] = 0.51
    assert torch.equal(telea(images, holes, COLOUR), telea(images, holes > 0.5, COLOUR))

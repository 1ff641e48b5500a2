"""Patches back onto the picture: against resizing whole canvases."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwise.sess.enhancer import smoothed
from maskwise.sess.fusion import Axis, Fusion
from maskwise.sess.windows import Window, tiling


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_axis_is_bilinear_interpolation(source: int, target: int) -> None:
    line = torch.rand(source, generator=torch.Generator().manual_seed(source))
    span, weights = Axis(source, target, torch.device("cpu")).part(0, source)
    expected = F.interpolate(line.double()[None, None], target, mode="linear", align_corners=False)[0, 0].float()
    assert span == slice(0, target)
    assert torch.allclose(line if weights is None else weights @ line, expected, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(5, 40), st.integers(5, 40), st.integers(5, 30), st.integers(5, 30), st.data())
def test_a_patch_is_its_canvas_resized(height: int, width: int, h: int, w: int, data: st.DataObject) -> None:
    """Larger and smaller pictures than the scale; a part of the canvas, zeros around it."""
    side = data.draw(st.integers(1, 5))
    y, x = data.draw(st.integers(0, h - side)), data.draw(st.integers(0, w - side))
    patch = torch.rand(side, side, generator=torch.Generator().manual_seed(h * w)) + 0.1
    canvas = np.zeros((h, w), np.float32)
    canvas[y : y + side, x : x + side] = patch
    expected = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_LINEAR)
    fusion = Fusion((1, 1), (height, width), [(h, w)], (side, side), 0.0, "mean", torch.device("cpu"))
    fusion.add(Window(0, y, x), slice(0, 1), patch[None, None])
    assert np.allclose(fusion.result()[0, 0].numpy(), expected, atol=1e-5)


def test_a_window_that_no_pixel_reads_adds_nothing() -> None:
    """25 columns on 5: the centres are 2, 7, 12, ...; the window of columns 0 and 1 lies before all of them."""
    fusion = Fusion((1, 1), (5, 5), [(5, 25)], (2, 2), 0.0, "mean", torch.device("cpu"))
    fusion.add(Window(0, 0, 0), slice(0, 1), torch.ones(1, 1, 2, 2))
    assert not fusion.result().any()


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("theta", [0.0, 0.3])
def test_what_exceeds_theta_is_pooled(pool: str, theta: float) -> None:
    sizes = [(6, 6), (9, 9)]
    tiles = tiling(sizes, (6, 6), (3, 3))
    draws = torch.Generator().manual_seed(0)
    patches = {tile: torch.rand(2, 1, 6, 6, generator=draws).sub(0.4).relu() for tile in tiles}
    fusion = Fusion((2, 1), (12, 12), sizes, (6, 6), theta, pool, torch.device("cpu"))  # type: ignore[arg-type]
    layers = []
    for tile, patch in patches.items():
        fusion.add(tile, slice(0, 2), patch)
        canvas = torch.zeros(2, 1, *sizes[tile.scale])
        canvas[..., tile.y : tile.y + 6, tile.x : tile.x + 6] = patch
        layers.append(F.interpolate(canvas, (12, 12), mode="bilinear", align_corners=False))
    stack = torch.stack(layers)
    hit = stack > theta
    if pool == "mean":
        expected = (stack * hit).sum(0) / hit.sum(0).clamp(min=1)
    else:
        expected = (stack * hit).amax(0)
    assert torch.allclose(fusion.result(), expected, atol=1e-5)


def test_some_pictures_only() -> None:
    fusion = Fusion((3, 1), (4, 4), [(4, 4)], (4, 4), 0.0, "mean", torch.device("cpu"))
    fusion.add(Window(0, 0, 0), torch.tensor([0, 2]), torch.ones(2, 1, 4, 4))
    assert fusion.result().mean((1, 2, 3)).tolist() == [1, 0, 1]


def test_accumulators_are_all_there_is() -> None:
    """A map at the pictures' size is made once, whatever number of patches comes."""
    fusion = Fusion((1, 1), (50, 60), [(30, 36)], (6, 6), 0.0, "mean", torch.device("cpu"))
    held = (fusion.total.data_ptr(), fusion.count.data_ptr())  # type: ignore[union-attr]
    for tile in tiling([(30, 36)], (6, 6), (2, 2)):
        fusion.add(tile, slice(0, 1), torch.rand(1, 1, 6, 6))
    result = fusion.result()
    assert (result.data_ptr(), fusion.count.data_ptr()) == held  # type: ignore[union-attr]


def test_smoothing_is_opencvs_gaussian() -> None:
    maps = torch.rand(2, 1, 20, 31, generator=torch.Generator().manual_seed(0))
    for ours, theirs in zip(smoothed(maps)[:, 0], maps[:, 0], strict=True):
        assert np.allclose(ours.numpy(), cv2.GaussianBlur(theirs.numpy(), (11, 11), 5), atol=1e-5)


def test_more_windows_than_a_short_integer_counts() -> None:
    """A stride of one pixel at a few scales lays so many over each other."""
    fusion = Fusion((1, 1), (1, 1), [(1, 1)] * 40_000, (1, 1), 0.0, "mean", torch.device("cpu"))
    for scale in range(40_000):
        fusion.add(Window(scale, 0, 0), slice(0, 1), torch.full((1, 1, 1, 1), 0.5))
    assert fusion.result().item() == 0.5

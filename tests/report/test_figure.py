"""The panel and the overlay, checked on their pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskwise.core.errors import InputError
from maskwise.drawing import overlay
from maskwise.explain import Panels
from maskwise.report.figure import COLUMNS, TITLE, fig2

GREEN = np.array([0x00, 0xE5, 0xA0])


def row(height: int, width: int, box: tuple[int, int, int, int] = (0, 0, 0, 0), caption: str = "dog 90%") -> Panels:
    red = torch.zeros(3, height, width)
    red[0] = 1
    return Panels(red, torch.rand(height, width), red, red, red, box, caption)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def span(mask: np.ndarray, axis: int) -> tuple[int, int]:
    used = np.flatnonzero(mask.any(axis))
    return used[0], used[-1] + 1


@pytest.mark.parametrize("size", [(60, 90), (1200, 1800)])
def test_the_box_is_drawn_where_it_is(tmp_path: Path, size: tuple[int, int]) -> None:
    height, width = size
    box = (width // 3, height // 4, width * 2 // 3, height * 3 // 4)
    fig2([row(height, width, box)], tmp_path / "f.png")
    page = pixels(tmp_path / "f.png")
    last = page[:, page.shape[1] * (len(COLUMNS) - 1) // len(COLUMNS) :]
    frame = np.abs(last - GREEN).sum(-1) < 30
    cell = frame | (np.abs(last - [255, 0, 0]).sum(-1) < 30)
    for axis, length, low, high in ((0, width, box[0], box[2]), (1, height, box[1], box[3])):
        first, end = span(cell, axis)
        found = (np.array(span(frame, axis)) - first) / (end - first)
        assert np.allclose(found, [low / length, high / length], atol=4 / (end - first)), "but for the line's width"


def test_rows_stand_below_each_other_and_an_empty_box_is_not_drawn(tmp_path: Path) -> None:
    for count in (1, 3):
        fig2([row(40, 50)] * count, tmp_path / f"{count}.png")
    one, three = pixels(tmp_path / "1.png"), pixels(tmp_path / "3.png")
    assert three.shape[1] == one.shape[1] and three.shape[0] - TITLE == 3 * (one.shape[0] - TITLE) > 3 * 170
    assert not (np.abs(three - GREEN).sum(-1) < 30).any()


@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 3000), (7, 900)])
def test_any_shape_gives_a_page_that_can_be_looked_at(tmp_path: Path, size: tuple[int, int]) -> None:
    fig2([row(*size, box=(0, 0, size[1], size[0]), caption="a $ sign, $_{\nand more")], tmp_path / "f.png")
    height, width, _ = pixels(tmp_path / "f.png").shape
    assert 30 < height < 800 and 1000 < width < 2000


def test_a_tiny_picture_has_sharp_pixels(tmp_path: Path) -> None:
    corners = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    image = corners.expand(3, 2, 2)
    fig2([Panels(image, corners, image, image, image, (0, 0, 0, 0), "")], tmp_path / "f.png")
    page = pixels(tmp_path / "f.png")
    first = page[:, : page.shape[1] // len(COLUMNS)]
    across = first[first.shape[0] // 3]  # a line through the upper half: white margin, black half, white half, margin
    assert (across == 0).all(-1).sum() * 2 == (first[:, first.shape[1] // 4] == 0).all(-1).sum() * 2 == 230
    assert ((across == 0) | (across == 255)).all(), "nothing between black and white"


def test_the_overlay_greys_the_picture_and_colours_the_map() -> None:
    saliency = torch.zeros(20, 30)
    saliency[:, 15:] = 1
    image = torch.rand(3, 20, 30)
    mixed = overlay(image, saliency)
    assert mixed.shape == (20, 30, 3) and mixed.dtype == np.uint8
    cold, hot = mixed[:, :15].astype(int), mixed[:, 15:].astype(int)
    assert np.ptp(cold, axis=-1).max() <= 3, "grey where nothing is salient"
    assert hot.mean() > cold.mean() + 50


def test_a_figure_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can't write"):
        fig2([row(10, 10)], tmp_path / "file" / "f.png")


def test_small_panels_are_the_panels_with_fewer_pixels() -> None:
    from maskwise.explain import Panels
    from maskwise.report.figure import LONGEST, small_panels

    image, saliency = torch.rand(3, 960, 2 * LONGEST), torch.rand(960, 2 * LONGEST)
    small = small_panels(Panels(image, saliency, image, image, image, (100, 200, 300, 481), "dog"))
    assert small.image.shape == (3, 480, LONGEST) and small.map.shape == (480, LONGEST)
    assert small.box == (50, 100, 150, 240) and small.caption == "dog"

"""``mw.show``: what a notebook gets."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import maskwise as mw

EVIL = "<img src=x onerror=alert(1)>$x$"


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    saliency = torch.zeros(2, 40, 60)
    saliency[:, 10:30, 15:45] = 1
    return torch.full((2, 3, 40, 60), 0.5), saliency


def test_html_holds_the_pictures_and_the_boxes() -> None:
    images, maps = pictures()
    text = mw.show(images, {"casm": maps, "rise": maps}, ["one", "two"])._repr_html_()
    found = re.findall(r'src="data:image/webp;base64,([^"]+)"', text)
    assert len(found) == 2 * (1 + 2 * 2)
    heat = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[2]))))
    assert heat.shape == (40, 60, 3) and heat[20, 30].astype(int).sum() > 450 > 60 > heat[2, 2].astype(int).sum()
    assert text.count("left:25.00%;top:25.00%;width:50.00%;height:50.00%") == 4


def test_png_and_file(tmp_path: Path) -> None:
    images, maps = pictures()
    figure = mw.show(images[0], maps[0], strength=1.0, boxes=False)
    figure.save(tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes() == figure._repr_png_()
    drawn = np.asarray(Image.open(tmp_path / "f.png").convert("RGB"))
    assert (drawn == [252, 255, 164]).all(-1).any(), "the brightest colour of the heat map"
    assert not (drawn == [0, 229, 160]).all(-1).any()
    boxed = np.asarray(Image.open(io.BytesIO(mw.show(images, maps)._repr_png_())).convert("RGB"))
    assert (boxed == [0, 229, 160]).all(-1).any()


def test_no_title_becomes_html_or_maths() -> None:
    images, maps = pictures()
    shown = mw.show(images, {EVIL: maps}, [EVIL, "$\\bad"])
    assert "<img src=x" not in shown._repr_html_() and shown._repr_png_()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("images", "maps", "titles", "word"),
    [
        (torch.rand(2, 1, 8, 8), torch.rand(2, 8, 8), None, "images"),
        (torch.rand(2, 3, 8, 8), torch.rand(2, 8, 9), None, "fit"),
        (torch.rand(2, 3, 8, 8), torch.rand(1, 8, 8), None, "fit"),
        (torch.rand(2, 3, 8, 8), torch.full((2, 8, 8), torch.nan), None, "NaN"),
        (torch.rand(2, 3, 8, 8), torch.rand(2, 8, 8), ["a"], "titles"),
    ],
)
def test_refuses(images: torch.Tensor, maps: torch.Tensor, titles: list[str] | None, word: str) -> None:
    with pytest.raises(mw.InputError, match=word):
        mw.show(images, maps, titles)


def test_boxes_stays_the_function() -> None:
    import maskwise.box
    import maskwise.measures

    assert callable(maskwise.boxes) and maskwise.boxes(torch.ones(1, 4, 4)).tolist() == [[0, 0, 4, 4]]

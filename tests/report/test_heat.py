"""Which value gets which colour, and figures as files of every kind."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.drawing import heat_scale, overlay, save_figure
from maskwise.drawing.colour_bar import css_gradient
from maskwise.drawing.heat import RAW, HeatScale
from maskwise.explain import Panels, explain_picture
from maskwise.explainers import explainer
from maskwise.images import resize, resize_maps
from maskwise.report.contact import Tile, contact_sheet
from maskwise.report.curves import curve_figure
from maskwise.report.explained import write_explanation
from maskwise.report.figure import fig2, small_panels
from maskwise.report.page_cards import Answer, card
from maskwise.report.page_explained import picture_curve

INFERNO_END, INFERNO_BEGIN = (252, 255, 164), (0, 0, 4)
MAGIC = {"png": b"\x89PNG", "pdf": b"%PDF-", "svg": b"<?xml", "jpg": b"\xff\xd8\xff"}


def bright(share: float, height: int = 100, width: int = 100) -> torch.Tensor:
    """A map that rises from 0 to 0.2, but for a share of ones."""
    values = torch.linspace(0, 0.2, height * width)
    values[: round(share * len(values))] = 1
    return values[torch.randperm(len(values), generator=torch.Generator().manual_seed(0))].reshape(height, width)


class TestScale:
    def test_a_map_of_few_bright_pixels_is_stretched_to_its_percentile(self) -> None:
        thin = bright(0.002)
        scale = heat_scale(thin)
        assert scale.high == pytest.approx(np.percentile(thin.numpy(), 99)) and scale.why == "99th percentile"
        drawn = scale.shares(thin)
        assert 0.0099 <= (drawn == 1).mean() <= 0.0101, "what lies above the percentile is at the end of the scale"
        assert (drawn > 0.25).mean() > 0.7 > 0.01 > (thin > 0.25).float().mean(), "and the rest can be seen"

    @pytest.mark.parametrize(("share", "stretched"), [(0.039, True), (0.041, False)])
    def test_auto_leaves_maps_alone_that_can_be_seen(self, share: float, stretched: bool) -> None:
        # A value that is 1 in so many pixels leaves the 99th percentile at the end of the scale: nothing to do.
        assert heat_scale(bright(share)) == RAW
        low = bright(share).clamp(max=0.26)
        assert (heat_scale(low).high == pytest.approx(0.26)) is stretched and (heat_scale(low) == RAW) is not stretched

    def test_raw_is_raw(self) -> None:
        thin = bright(0.002)
        assert heat_scale(thin, "raw") == RAW and np.allclose(RAW.shares(thin), thin.numpy())
        assert heat_scale(thin, "percentile 50").high == pytest.approx(float(thin.median()), abs=1e-4)

    def test_a_flat_map_and_a_single_pixel(self) -> None:
        assert heat_scale(torch.zeros(9, 9)) == RAW
        one = torch.zeros(30, 30)
        one[3, 4] = 0.01
        assert heat_scale(one).why == "highest value" and heat_scale(one).shares(one)[3, 4] == 1

    def test_signs_get_two_colours_and_nothing_at_zero(self) -> None:
        signed = torch.tensor([[-0.8, 0.0], [0.4, 0.8]])
        scale = heat_scale(signed)
        assert (
            scale.signed
            and scale.ends == ("-1", "1")
            and scale.shares(signed).tolist()
            == [
                [pytest.approx(0.1), 0.5],
                [pytest.approx(0.7), pytest.approx(0.9)],
            ]
        )
        low, zero, _, high = (255 * scale.colours(signed)).reshape(4, 3)
        assert low[2] > low[0] + 60 and high[0] > high[2] + 60 and np.ptp(zero) < 3, "blue, white and red"
        few = torch.zeros(40, 40)
        few[0] = torch.linspace(-1, 1, 40)
        assert heat_scale(few).signed and heat_scale(few).high == pytest.approx(np.percentile(few.abs(), 99))

    @pytest.mark.parametrize("wrong", ["", "percentile", "percentile 0", "percentile 101", "99", "percentile nan"])
    def test_what_is_no_display_is_refused(self, wrong: str) -> None:
        with pytest.raises(mw.InputError, match="`display` is auto, raw or"):
            heat_scale(torch.rand(3, 3), wrong)

    def test_ordinals(self) -> None:
        said = [heat_scale(bright(0.002), f"percentile {p}").why for p in ("91", "92", "93", "99.5", "90")]
        assert [text.split()[0] for text in said] == ["91st", "92nd", "93rd", "99.5th", "90th"]

    def test_the_overlay_takes_the_scale(self) -> None:
        image, thin = torch.full((3, 10, 10), 0.5), torch.full((10, 10), 0.1)
        assert overlay(image, thin, 1.0, HeatScale(0.1))[0, 0].tolist() == list(INFERNO_END)
        assert overlay(image, thin * 0, 1.0)[0, 0].tolist() == list(INFERNO_BEGIN)

    def test_a_style_sheet_has_both_ends(self) -> None:
        text = css_gradient(RAW)
        assert "rgb(0 0 4)" in text and "rgb(252 255 164)" in text


def row() -> Panels:
    red = torch.zeros(3, 50, 60)
    red[0] = 1
    thin = bright(0.002, 50, 60)
    return Panels(red, thin, red, red, red, (5, 5, 30, 40), "a tabby cat 90%", ("it is dim",), heat_scale(thin))


@pytest.mark.parametrize("ending", ["png", "pdf", "svg", "jpg", "jpeg", "PNG"])
def test_every_figure_is_what_its_name_says(ending: str, tmp_path: Path) -> None:
    kind = ending.lower().replace("jpeg", "jpg")
    images, maps = torch.rand(1, 3, 30, 40), torch.rand(1, 30, 40)
    files = {name: tmp_path / f"{name}.{ending}" for name in ("shown", "fig2", "sheet", "curves")}
    mw.show(images, {"casm": maps}, ["a tabby cat"]).save(files["shown"])
    fig2([row()], files["fig2"])
    contact_sheet(images[0], [Tile("casm", maps[0], "LE 20")], files["sheet"])
    curve_figure({"casm": torch.rand(3, 5)}, files["curves"])
    for path in files.values():
        assert path.read_bytes().startswith(MAGIC[kind]), path
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in files.values())
    if kind == "svg":
        words = {"shown": "a tabby cat", "fig2": "masked-in", "sheet": "LE 20", "curves": "pixels inserted"}
        for name, word in words.items():
            assert word in " ".join(re.findall(r"<text[^>]*>([^<]*)", files[name].read_text())), "text stays text"
        assert "it is dim" in files["fig2"].read_text() and "99th percentile" in files["fig2"].read_text()


def test_a_vector_figure_stands_as_the_pixels_do(tmp_path: Path) -> None:
    """The green frame lies at the same place of the page, as svg and as png."""
    fig2([row()], tmp_path / "a.png", dpi=200)
    fig2([row()], tmp_path / "a.svg")
    page = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    rows, columns = np.nonzero(np.abs(page - [0x00, 0xE5, 0xA0]).sum(-1) < 10)
    path = r'<path d="M ([^z"]*)z\s*"[^>]* style="fill: none; stroke: #00e5a0'
    drawn = re.search(path, (tmp_path / "a.svg").read_text())
    assert drawn is not None
    points = np.array([float(v) for v in re.findall(r"-?[\d.]+", drawn[1])]).reshape(-1, 2)
    middle = 3 / 2  # the path runs along the middle of a line of three hundredths of an inch
    edges = points.min(0) / 0.72 - middle, points.max(0) / 0.72 + middle
    assert np.allclose([columns.min() / 2, rows.min() / 2], edges[0], atol=1)
    assert np.allclose([(columns.max() + 1) / 2, (rows.max() + 1) / 2], edges[1], atol=1)


def test_dots_an_inch(tmp_path: Path) -> None:
    for dpi in (100, 300):
        fig2([row()], tmp_path / f"{dpi}.png", dpi=dpi)
        mw.show(torch.rand(1, 3, 30, 40), torch.rand(1, 30, 40)).save(tmp_path / f"s{dpi}.png", dpi=dpi)
    for kind in ("", "s"):
        small, large = (Image.open(tmp_path / f"{kind}{dpi}.png") for dpi in (100, 300))
        assert large.width == pytest.approx(3 * small.width, abs=3) and large.height == pytest.approx(
            3 * small.height, abs=3
        )


@pytest.mark.parametrize("name", ["a.gif", "a", "a.png.zip"])
def test_other_endings_are_refused_and_leave_nothing(name: str, tmp_path: Path) -> None:
    for write in (
        lambda path: mw.show(torch.rand(1, 3, 8, 8), torch.rand(1, 8, 8)).save(path),
        lambda path: fig2([row()], path),
        lambda path: save_figure(Figure(), path),
    ):
        with pytest.raises(mw.InputError, match=r"a figure's name ends in \.png, \.pdf, \.svg or \.jpg"):
            write(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    for ending in ("pdf", "svg"):
        curve_figure({"casm": torch.linspace(0, 1, 5)[None]}, tmp_path / f"a.{ending}")
        curve_figure({"casm": torch.linspace(0, 1, 5)[None]}, tmp_path / f"b.{ending}")
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_show_says_its_scale_and_keeps_the_maps() -> None:
    images, thin = torch.full((1, 3, 100, 100), 0.5), bright(0.002)[None]
    kept = thin.clone()
    text = mw.show(images, {"gradient": thin})._repr_html_()
    assert "(99th percentile)" in text and torch.equal(thin, kept)
    assert "(99th percentile)" not in mw.show(images, {"gradient": thin}, display="raw")._repr_html_()
    with pytest.raises(mw.InputError, match="display"):
        mw.show(images, thin, display="bright")


def test_show_boxes_what_is_positive_of_a_signed_map() -> None:
    signed = torch.zeros(1, 20, 20)
    signed[0, 2:6, 2:6], signed[0, 10:18, 10:18] = 1, -1
    shown = mw.show(torch.rand(1, 3, 20, 20), signed)
    assert shown.boxes["heat map"] == [[2, 2, 6, 6]] and shown.scales["heat map"][0].signed


# Maps with signs, of pictures that are shrunk to be drawn: all below 0 was drawn as 0.


def two_halves(side: int) -> torch.Tensor:
    """-0.8 above, 0.4 below."""
    signed = torch.full((side, side), -0.8)
    signed[side // 2 :] = 0.4
    return signed


@pytest.mark.parametrize("side", [40, 700])
def test_a_figure_of_a_signed_map_has_both_signs(tmp_path: Path, side: int) -> None:
    signed, image = two_halves(side), torch.rand(3, side, side)
    row = Panels(image, signed, image, image, image, (0, 0, 5, 5), "", scale=heat_scale(signed))
    for shown in (row, small_panels(row)):
        fig2([shown], tmp_path / "figure.png")
        drawn = np.asarray(Image.open(tmp_path / "figure.png")).astype(float)
        above, below = (drawn[24 + y, 5 + 235 + 115] for y in (57, 172))  # of the second column's cell, 230 wide
        colours = 255 * heat_scale(signed).colours(torch.tensor([-0.8, 0.4]))
        assert np.abs(above - colours[0]).max() <= 1 and np.abs(below - colours[1]).max() <= 1, "blue above red"


@pytest.mark.parametrize("side", [40, 700])
def test_a_page_of_a_signed_map_has_both_signs(side: int) -> None:
    signed = two_halves(side)
    answer = Answer("fast_shap", signed, signed > 0, (0, 0, 5, 5))
    (said,) = card("dog.png", torch.rand(3, side, side), [answer])["answers"]
    shares = np.asarray(Image.open(io.BytesIO(base64.b64decode(said["map"].partition(",")[2]))).convert("L"))
    assert said["scale"][3] and abs(shares[3].mean() / 255 - 0.1) < 0.02 and abs(shares[-3].mean() / 255 - 0.7) < 0.02


def test_curves_of_a_signed_map_take_its_least_pixels_last(tiny: Classifier) -> None:
    """All below 0 was alike to them, and then the first in reading order went first."""
    image, signed = torch.rand(3, 64, 64), torch.linspace(-1, 0, 64 * 64).reshape(64, 64)
    whole = picture_curve(tiny, image, signed, 1, "deletion")
    assert whole == pytest.approx(picture_curve(tiny, image, signed + 1, 1, "deletion"), abs=1e-5)


def test_the_grey_picture_of_a_signed_map_has_black_for_what_speaks_against(tmp_path: Path, tiny: Classifier) -> None:
    """-0.8 was stored as 52, brighter than 0."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)).save(tmp_path / "dog.png")
    explanation, panels = explain_picture(tmp_path / "dog.png", explainer("grad_cam", tiny), tiny, "grad_cam", "1")
    signed = two_halves(24)
    write_explanation(explanation, replace(panels, map=signed), tmp_path / "out")
    grey = np.asarray(Image.open(tmp_path / "out" / "map.png"))
    assert (grey[:12] == 0).all() and (grey[12:] == 102).all()
    assert np.array_equal(np.load(tmp_path / "out" / "map.npy"), signed.numpy())


@pytest.mark.parametrize("size", [16, (48, 20)])
def test_resized_maps_keep_their_signs_and_their_range(size: int | tuple[int, int]) -> None:
    maps = torch.stack([two_halves(32), two_halves(32) * 5, two_halves(32).clamp(min=0)])
    resized = resize_maps(maps, size)
    for one, other in zip(maps, resized, strict=True):
        assert other.min() == one.min() and other.max() == one.max()
        assert float(other.mean()) == pytest.approx(float(one.mean()), abs=0.05)
        assert torch.equal(resize_maps(one, size), other)
    assert torch.allclose(resize(maps[2:, None], size)[0, 0], resized[2], atol=1e-6)

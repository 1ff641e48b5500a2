"""The page in a real browser with the real onnxruntime-web: maps as an explainer's, classes, errors in a sentence.

Skipped where there is no Chromium, or no runtime: in node_modules beside this checkout (`npm install onnxruntime-web`),
or in the folder that the environment variable ONNXRUNTIME_WEB names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import opened
from PIL import Image
from static_files import served

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import Explainer
from maskwise.images import load_image, packaged_pictures
from maskwise.maskers import ClassMasker, save_masker
from maskwise.static_page import export_page
from maskwise.static_page.runtime import find_runtime

ROOT = Path(__file__).parents[2]
SLOW = 120_000  # ms, for a machine that others use, too


@pytest.fixture(scope="module")
def runtime() -> Path:
    folder = Path(os.environ.get("ONNXRUNTIME_WEB", ROOT / "node_modules" / "onnxruntime-web" / "dist"))
    try:
        find_runtime(folder)
    except InputError:
        pytest.skip("no onnxruntime-web here")
    return folder


@pytest.fixture(scope="module")
def tiny() -> Classifier:
    from conftest import tiny_net

    return Classifier(tiny_net(), input_size=32, name="tiny", labels=["ant", "bee", "cat", "dog", "eel"])


@pytest.fixture(scope="module")
def page(runtime: Path, tiny: Classifier, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Explainer]:
    """The page of a masker that is told the class, and the explainer that it stands for."""
    home = tmp_path_factory.mktemp("page")
    with torch.random.fork_rng():
        torch.manual_seed(2)
        save_masker(home / "m.safetensors", ClassMasker.build(tiny, (16, 8)), tiny, {})
    explain = mw.explainer("dabkowski_gal", tiny, masker=home / "m.safetensors")
    return export_page(explain, home / "page", tiny, runtime=runtime).folder, explain


@pytest.fixture
def tab(page: tuple[Path, Explainer]) -> Iterator[Any]:
    with served(page[0]) as url, opened(url) as tab:
        said(tab, "Ready.")
        yield tab


def said(tab: Any, text: str) -> None:
    tab.locator("#status", has_text=text).wait_for(timeout=SLOW)


def downloaded(tab: Any) -> np.ndarray:
    with tab.expect_download(timeout=SLOW) as download:
        tab.click("#npy")
    found: np.ndarray = np.load(download.value.path())
    return found


def pictures(folder: Path) -> list[Path]:
    """A photograph, one that EXIF turns, a transparent one, one smaller than the input, and a large one of noise."""
    draws = np.random.default_rng(0)
    source = Image.open(packaged_pictures()[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    source.save(folder / "turned.jpg", exif=exif, quality=95)
    source.save(folder / "cat.png")
    source.resize((21, 13)).save(folder / "small.png")
    veil = source.convert("RGBA")
    veil.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, veil.width).astype(np.uint8), (veil.height, 1))))
    veil.save(folder / "veil.png")
    Image.fromarray(draws.integers(0, 256, (1100, 1500, 3), dtype=np.uint8)).save(folder / "large.png")
    return sorted(folder.glob("*.*g"))


def test_maps_boxes_and_classes_are_the_explainers(
    tab: Any, page: tuple[Path, Explainer], tiny: Classifier, tmp_path: Path
) -> None:
    explain = page[1]
    for path in pictures(tmp_path):
        tab.set_input_files("#file", str(path))
        said(tab, f"{path.name}: explained")
        image = load_image(path)[None]
        expected = explain(image)
        got = downloaded(tab)
        assert got.shape == expected.shape[1:]
        assert np.abs(got - expected[0].numpy()).max() < 0.01, path.name
        box = [int(v) for v in tab.inner_text("#facts dd >> nth=0").partition("(")[0].split(",")]
        assert box == mw.boxes(torch.from_numpy(got)[None])[0].tolist()
        (top,) = tiny.probabilities(tiny.logits(tiny.prepare(image))).max(1).values.tolist()
        assert tab.inner_text("#top [aria-current] b") == f"{100 * top:.1f}%"


def test_another_class_and_the_views(tab: Any, page: tuple[Path, Explainer], tiny: Classifier) -> None:
    tab.click("button[aria-label='Example: cat']")
    said(tab, "cat.jpg: explained")
    image = load_image(packaged_pictures()[0])[None]
    for typed, index in (("Bee", 1), ("4", 4)):
        tab.fill("#search", typed)
        tab.press("#search", "Enter")
        tab.locator("#caption", has_text=f"for {tiny.labels.name(index)}.").wait_for(timeout=SLOW)
        assert np.abs(downloaded(tab) - page[1](image, index)[0].numpy()).max() < 0.01
    tab.fill("#search", "wolf")
    tab.press("#search", "Enter")
    said(tab, "wolf: not a class")
    tab.focus("#top button >> nth=0")
    tab.keyboard.press("Enter")
    said(tab, "cat.jpg: explained")
    for view, layers in (("in", 1), ("out", 1), ("plain", 1), ("heat", 2)):
        tab.check(f"input[value={view}]")
        # What was drawn before has layers, too, so the bar, which is drawn with them, is waited for.
        tab.locator("#heatbar").wait_for(state="visible" if view == "heat" else "hidden", timeout=SLOW)
        tab.locator(f"#stage > :not(.box) >> nth={layers - 1}").wait_for()
    with tab.expect_download(timeout=SLOW) as download:
        tab.click("#png")
    assert download.value.suggested_filename == "cat.heat.png"
    assert Image.open(download.value.path()).size == Image.open(packaged_pictures()[0]).size


def test_the_parts_are_judged_as_blending_does(tab: Any, page: tuple[Path, Explainer], tiny: Classifier) -> None:
    tab.click("button[aria-label='Example: temple']")
    said(tab, "temple.jpg: explained")
    image = mw.load_images(next(p for p in packaged_pictures() if p.stem == "temple"), size=32)
    keep = mw.binarise(page[1](image))
    colour = tiny.mean[None, :, None, None]
    whole = tiny.probabilities(tiny.logits(image))
    best = int(whole.argmax())
    for place, kept in ((2, keep), (3, ~keep)):
        part = torch.where(kept[:, None], image, colour)
        p = float(tiny.probabilities(tiny.logits(part)).detach()[0, best])
        shown = float(tab.inner_text(f"#parts dd >> nth={place}").rstrip("%"))
        assert shown == pytest.approx(100 * p, abs=1.5)  # a pixel at the threshold may fall on the other side


def test_errors_are_a_sentence_and_no_old_map_stays(tab: Any, tmp_path: Path) -> None:
    tab.click("button[aria-label='Example: flower']")
    said(tab, "flower.jpg: explained")
    assert tab.locator("#result").is_visible()
    (tmp_path / "notes.png").write_text("no picture")
    tab.set_input_files("#file", str(tmp_path / "notes.png"))
    said(tab, "notes.png: this browser can't read it as a picture")
    assert not tab.locator("#result").is_visible()
    assert tab.get_attribute("#status", "role") == "alert"
    tab.click("button[aria-label='Example: flower']")
    said(tab, "flower.jpg: explained")


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("runtime/ort.wasm.bundle.min.mjs", 'run "npm install onnxruntime-web"'),
        ("runtime/ort-wasm-simd-threaded.wasm", "is ort-wasm-simd-threaded.wasm in runtime/"),
        ("model.onnx", "model.onnx is not beside this page"),
        ("model.json", "model.json is not beside this page"),
    ],
)
def test_a_file_that_is_missing_is_named(
    missing: str, sentence: str, page: tuple[Path, Explainer], tmp_path: Path
) -> None:
    copy = shutil.copytree(page[0], tmp_path / "page")
    (copy / missing).unlink()
    with served(copy) as url, opened(url) as tab:
        said(tab, sentence)


def test_a_narrow_screen_and_a_page_opened_as_a_file(page: tuple[Path, Explainer]) -> None:
    with served(page[0]) as url, opened(url, 390, 844) as tab:
        said(tab, "Ready.")
        tab.click("button[aria-label='Example: coffee']")
        said(tab, "coffee.jpg: explained")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    with opened((page[0] / "index.html").as_uri()) as tab:
        assert "python -m http.server" in tab.inner_text("#status")

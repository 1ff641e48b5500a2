"""The page as visitors use it, in a real browser: names, settings, what is of the past, downloads, narrow screens."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from browser import drop, opened
from PIL import Image
from serving import Served

from maskwise.classifiers import load_classifier
from maskwise.explainers import explainer
from maskwise.images import load_image, packaged_pictures

OLD = "document.querySelector('#answers').hasAttribute('data-old')"


def chosen(tab: Any) -> list[str]:
    """The methods in the form."""
    found: list[str] = [text.strip() for text in tab.locator("#methods .token").all_inner_texts()]
    return found


def example(tab: Any, index: int) -> None:
    tab.wait_for_selector("#examples button img")
    tab.locator("#examples button img").nth(index).click()
    tab.wait_for_selector(f"#preview .mw-name:has-text('{packaged_pictures()[index].name}')")


def pressed(tab: Any, count: int) -> None:
    """Presses Explain and waits for so many answers and the download."""
    tab.locator("#go").click()
    tab.wait_for_selector(f"#result section:nth-of-type({count})", timeout=90_000)
    tab.wait_for_selector("#result .mw-zip", timeout=90_000)


def typed(tab: Any, field: str, text: str) -> None:
    """What is in a field, replaced by hand, and Enter."""
    tab.locator(f"{field} input").first.click()
    tab.keyboard.press("ControlOrMeta+a")
    tab.keyboard.type(text)
    tab.keyboard.press("Enter")


def test_enter_takes_the_exact_name(server: Served) -> None:
    with opened(f"{server.address}/?methods=rise") as tab:
        example(tab, 0)
        for name in ("gradient", "cam", "grad_cam"):  # each is a part of names that come before it
            typed(tab, "#methods", name)
            tab.wait_for_selector(f"#methods .token:has-text('{name}')")
        assert chosen(tab) == ["rise", "gradient", "cam", "grad_cam"]
        tab.keyboard.press("Escape")
        typed(tab, "#class", "tiger")  # tiger cat is among the five that are offered
        tab.wait_for_url("**class=tiger")
        assert tab.locator("#class input").input_value() == "tiger"
        typed(tab, "#class", "tabby")
        tab.wait_for_url("**class=tabby")
        # Who goes through the list with the arrows gets what is marked there.
        tab.locator("#class input").click()
        tab.keyboard.press("ControlOrMeta+a")
        tab.keyboard.type("tig")
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**class=tiger+cat")


def test_what_is_of_the_past_is_greyed_or_gone(server: Served, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n" + b"nonsense" * 20)
    with opened(f"{server.address}/?methods=gradient") as tab:
        example(tab, 0)
        pressed(tab, 1)
        of = tab.locator("#result .mw-of").inner_text()
        assert "cat.jpg" in of and "451 × 300" in of and "efficientnet_lite0" in of and "the top class" in of
        stale = tab.locator("#result .mw-stale")
        assert not tab.evaluate(OLD) and not stale.is_visible()
        typed(tab, "#class", "tabby")
        tab.wait_for_function(OLD)
        assert stale.is_visible()
        picture = tab.locator("#result img").first
        assert float(picture.evaluate("e => getComputedStyle(e).opacity")) < 0.5
        pressed(tab, 1)
        tab.wait_for_selector("#result .mw-of:has-text('class tabby')")
        assert not tab.evaluate(OLD) and not stale.is_visible()
        example(tab, 1)
        tab.wait_for_selector("#result section", state="detached")
        pressed(tab, 1)
        typed(tab, "#class", "elefant")
        tab.locator("#go").click()
        tab.wait_for_selector("#status [role=alert]:has-text('unknown class')")
        assert tab.locator("#result section").count() == 0, "no old map beside an error"
        typed(tab, "#class", "cup")
        pressed(tab, 1)
        drop(tab, bad)
        tab.wait_for_selector("#status [role=alert]:has-text('bad.png')")
        assert tab.locator("#result section").count() == 0 and tab.locator("#preview img").count() == 0


def test_a_picture_that_comes_while_another_is_at_work(server: Served) -> None:
    """The work on the one before ends; its maps never stand beside the new one."""
    with opened(f"{server.address}/?methods=rise&sess=1&prefilter=0&scales=12") as tab:
        example(tab, 0)
        tab.locator("#go").click()
        tab.wait_for_selector("#status:has(progress):has-text('done in about')")
        example(tab, 1)
        tab.wait_for_selector("#status progress", state="detached")
        tab.wait_for_timeout(1500)
        assert tab.locator("#result section").count() == 0


def test_the_address_keeps_the_settings_and_not_the_picture(server: Served) -> None:
    with opened(server.address) as tab:
        example(tab, 0)
        tab.locator("#sess input").check()
        tab.locator("#scales input[type=number]").fill("3")
        tab.locator("#curves input").check()
        typed(tab, "#class", "tabby")
        tab.locator("#options textarea, #options input").fill("grad_cam.layer=blocks.5")
        typed(tab, "#methods", "gradient")
        tab.wait_for_url("**methods=distilled%2Cgrad_cam%2Cgradient**")
        tab.wait_for_url("**options=**")
        assert "cat" not in tab.url.partition("?")[2].replace("grad_cam", "")
        tab.reload()
        tab.wait_for_selector("#methods .token:has-text('gradient')")
        assert chosen(tab) == ["distilled", "grad_cam", "gradient"]
        assert tab.locator("#class input").input_value() == "tabby" and tab.locator("#preview img").count() == 0
        assert tab.locator("#sess input").is_checked() and tab.locator("#curves input").is_checked()
        assert tab.locator("#scales input[type=number]").input_value() == "3"
        assert tab.locator("#options textarea, #options input").input_value() == "grad_cam.layer=blocks.5"
        assert "grad_cam.layer" in tab.locator("#option-help").inner_text()
        example(tab, 1)
        assert tab.locator("#class input").input_value() == "tabby", "a class that was asked for stays"


def test_an_address_of_nonsense_is_as_usual(server: Served) -> None:
    nonsense = (
        "?methods=nope,<b>,rise,rise&classifier=evil&scales=1e9&prefilter=x&sess=maybe&curves=&options=%3Cscript%3E"
    )
    with opened(f"{server.address}/{nonsense}") as tab:
        tab.wait_for_selector("#methods .token:has-text('rise')")  # the form is there before the address is read
        assert chosen(tab) == ["rise"]
        assert tab.locator("#classifier input").input_value() == "efficientnet_lite0"
        assert not tab.locator("#sess input").is_checked() and not tab.locator("#curves input").is_checked()
        example(tab, 0)
        tab.locator("#go").click()
        tab.wait_for_selector("#status [role=alert]:has-text('METHOD.option=value')")


def test_the_numbers_and_the_download(server: Served, tmp_path: Path) -> None:
    """Of two visitors with the same picture each has a zip of its own, which the other can't have."""
    cat = tmp_path / "my cat.png"
    Image.open(packaged_pictures()[0]).resize((2254, 1500)).save(cat)
    with opened(f"{server.address}/?methods=gradient") as tab:
        drop(tab, cat)
        tab.wait_for_selector("#preview li")
        assert "my cat.png · 2254 × 1500 pixels" in tab.locator("#preview").inner_text()
        pressed(tab, 1)
        with tab.expect_download() as waited:
            tab.locator("#result .mw-zip").click()
        assert waited.value.suggested_filename.endswith(".zip")
        with zipfile.ZipFile(waited.value.path()) as archive:
            facts = json.loads(archive.read("result.json"))
            saliency = np.load(io.BytesIO(archive.read("gradient/map.npy")))
        said = facts["answers"][0]
        assert facts["picture"] == "my cat.png" and facts["size"] == [2254, 1500] and saliency.shape[1] == 1024
        text = tab.locator("#result section").inner_text()
        assert "box " + ", ".join(map(str, said["box"])) in text and said["box"][2] > 1024
        for name in ("masked_in", "masked_out", "inpainted"):
            assert f"{name.replace('_', '-')}: {said['probabilities'][name]:.1%}" in text
        address = tab.locator("#result .mw-zip").evaluate("e => e.href")
        other = tab.context.browser.new_context().new_page()
        other.goto(f"{server.address}/?methods=gradient")
        drop(other, cat)
        other.wait_for_selector("#preview li")
        pressed(other, 1)
        assert other.locator("#result .mw-zip").evaluate("e => e.href") != address
        assert other.evaluate("async url => (await fetch(url)).status", address) == 410
        assert (
            other.evaluate("async url => (await fetch(url)).status", other.locator(".mw-zip").evaluate("e => e.href"))
            == 200
        )
        assert tab.evaluate("async url => (await fetch(url)).status", address) == 200
    assert httpx.get(address).status_code == 410
    assert httpx.get(f"{server.address}/result/../../etc/passwd").status_code == 404


def test_options_reach_the_method(server: Served) -> None:
    classifier = load_classifier("efficientnet_lite0")
    with opened(f"{server.address}/?methods=grad_cam&options=grad_cam.layer%3Dblocks.3") as tab:
        example(tab, 0)
        pressed(tab, 1)
        assert "grad_cam.layer=blocks.3" in tab.locator("#result .mw-of").inner_text()
        with tab.expect_download() as waited:
            tab.locator("#result .mw-zip").click()
        with zipfile.ZipFile(waited.value.path()) as archive:
            saliency = np.load(io.BytesIO(archive.read("grad_cam/map.npy")))
    image = load_image(packaged_pictures()[0])[None]
    own = explainer("grad_cam", classifier, layer="blocks.3")(image)[0].numpy()
    assert np.abs(own - saliency).max() < 1e-3


def test_a_second_press_takes_the_place_of_the_first(server: Served) -> None:
    """With what the form says by then; the first one, still at work, neither answers nor says that it was cancelled."""
    with opened(f"{server.address}/?methods=rise&sess=1&scales=12&prefilter=0") as tab:
        example(tab, 0)
        tab.locator("#go").click()
        tab.wait_for_selector("#status progress")
        tab.locator("#methods .token-remove").first.click()
        typed(tab, "#methods", "gradient")
        tab.locator("#sess input").uncheck()
        pressed(tab, 1)
        assert "gradient" in tab.locator("#result section").inner_text()
        tab.wait_for_timeout(1500)
        assert "cancelled" not in tab.locator("#status").inner_text()
        assert tab.locator("#result section").count() == 1 and tab.locator("#result .mw-zip").count() == 1


@pytest.mark.parametrize(("width", "columns"), [(1280, 4), (390, 1)])
def test_side_by_side_and_on_a_telephone(server: Served, width: int, columns: int) -> None:
    with opened(f"{server.address}/?methods=gradient,grad_cam,distilled,cam", width, 844) as tab:
        example(tab, 0)
        box = tab.locator("#go").bounding_box()
        assert box["y"] + box["height"] <= 844 and box["x"] + box["width"] <= width, "Explain is above the fold"
        edges = tab.locator("#examples").bounding_box()
        for picture in tab.locator("#examples button img").all():
            seen = picture.bounding_box()
            assert edges["x"] <= seen["x"] and seen["x"] + seen["width"] <= edges["x"] + edges["width"]
        pressed(tab, 4)
        lefts = {round(section.bounding_box()["x"]) for section in tab.locator("#result section").all()}
        assert len(lefts) == columns
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        # Like stands beside like, however long the words above and beneath.
        place = "e => Math.round(e.getBoundingClientRect().y)"
        places = f"all => all.map(s => [...s.querySelectorAll('.mw-stage')].map({place}))"
        rows = tab.locator("#result section").evaluate_all(places)
        assert all(len(row) == 5 for row in rows) and len(set(map(tuple, rows))) == (1 if columns == 4 else 4), rows
        if width == 390:
            tab.wait_for_function("document.querySelector('#result section').getBoundingClientRect().top < 600")


def test_maps_unstretched_at_a_tick(server: Served) -> None:
    """Of the gradient, whose map looks black as it is; Grad-CAM's is never stretched."""
    with opened(f"{server.address}/?methods=gradient,grad_cam") as tab:
        example(tab, 0)
        pressed(tab, 2)
        scales = tab.locator("#result .mw-scale:visible, #result .mw-scale.mw-raw:visible")
        assert tab.locator("#result .mw-heat").count() == 3 and tab.locator("#result .mw-heat:visible").count() == 2
        assert "99th percentile" in scales.first.inner_text()
        stretched = tab.locator("#result .mw-heat:visible").first.get_attribute("src")
        tab.get_by_label("heat maps unstretched").check()
        assert tab.locator("#result .mw-heat:visible").count() == 2
        assert tab.locator("#result .mw-heat:visible").first.get_attribute("src") != stretched
        assert scales.count() == 2 and all(text.split() == ["0", "1"] for text in scales.all_inner_texts())
    with opened(f"{server.address}/?methods=grad_cam") as tab:
        example(tab, 0)
        pressed(tab, 1)
        assert tab.locator(".mw-switch").count() == 0, "nothing is stretched"

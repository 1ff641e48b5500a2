"""The report: what is in the file, and what a real browser makes of it."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import opened
from PIL import Image
from typer.testing import CliRunner

from maskwise.classifiers import Classifier
from maskwise.cli import app
from maskwise.images import load_image
from maskwise.report import page
from maskwise.report.leaderboard import short_number

EVIL = "</script><img src=x onerror=alert(1)>&amp;'\".jpg"


def shown(
    name: str, seed: int = 0, methods: tuple[str, ...] = ("casm",), iou: float | None = None, **facts: Any
) -> Any:
    draws = torch.Generator().manual_seed(seed)
    saliency = torch.rand(30, 40, generator=draws)
    answers = [
        page.Answer(m, saliency, saliency > 0.5, (10, 6, 30, 24), torch.rand(3, 30, 40), "cat", iou, 0.01 * (i + 1))
        for i, m in enumerate(methods)
    ]
    return page.card(name, torch.rand(3, 30, 40, generator=draws), answers, **facts)


def island(path: Path) -> Any:
    found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.S)
    assert len(found) == 1
    return json.loads(found[0])


def pixels(uri: str) -> np.ndarray:
    kind, data = uri.split(",", 1)
    assert kind in ("data:image/webp;base64", "data:image/png;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_what_a_card_holds() -> None:
    image = torch.full((3, 300, 600), 0.25)
    saliency = torch.zeros(300, 600)
    saliency[:150, :300] = 1
    answer = page.Answer("casm", saliency, saliency > 0.5, (0, 0, 300, 150), insertion=[0, 0.5, 1.0])
    card = page.card("dog.jpg", image, [answer], [("dog", 0.75)], truth=[(60, 30, 600, 300)])
    (said,) = card["answers"]
    assert card["size"] == [600, 300] and card["truth"] == [[0.1, 0.1, 1, 1]]
    assert said["box"] == [0, 0, 0.5, 0.5] and said["pixels"] == [0, 0, 300, 150] and said["area"] == 0.25
    assert said["insertion"] == [0, 0.5, 1] and said["deletion"] is None and said["inpainted"] is None
    assert pixels(card["image"]).shape == (128, 256, 3)
    assert np.abs(pixels(card["image"]).astype(int) - 64).max() <= 2
    keep = pixels(said["keep"])
    assert keep[:64, :128].all() and keep.sum() == 64 * 128


def test_no_name_becomes_html(tmp_path: Path) -> None:
    cards = [shown(EVIL, top=[(EVIL, 0.5)], label=EVIL)]
    page.write(cards, tmp_path / "r.html", EVIL, board=[{"method": EVIL, "le": float("nan")}], protocol={EVIL: EVIL})
    text = (tmp_path / "r.html").read_text()
    assert "<img src=x" not in text and text.count("</script>") == 2
    data = island(tmp_path / "r.html")
    assert data["cards"][0]["name"] == EVIL and data["board"] == [{"method": EVIL, "le": None}]


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    page.write([shown("dog\udcff.jpg")], tmp_path / "r.html")
    assert island(tmp_path / "r.html")["cards"][0]["name"] == "dog?.jpg"


def test_the_page_may_reach_nothing(tmp_path: Path) -> None:
    page.write([shown("a.jpg")], tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "default-src 'none'" in text
    assert set(re.findall(r"https?://[^\"' )]+", text)) == {"http://www.w3.org/2000/svg"}


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    draws = np.random.default_rng(0)
    paths = [tmp_path / "in" / name for name in ("a.png", "b.png")]
    paths[0].parent.mkdir()
    for path in paths:
        Image.fromarray(draws.integers(0, 255, (50, 70, 3), dtype=np.uint8)).save(path)
    return paths


def test_explain_writes_the_report(
    tiny: Classifier, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda name, weights=None: tiny)
    ask = ["explain", *map(str, pictures), "--method", "grad_cam", "--target", "3", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*ask, "--curves", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    cards = island(tmp_path / "out" / "report.html")["cards"]
    for card, fact in zip(cards, facts, strict=True):
        (answer,) = card["answers"]
        assert card["name"] == fact["picture"] and answer["pixels"] == fact["box"] and answer["target"] == "3"
        assert card["top"] == [[name, round(p, 4)] for name, p in fact["top"]]
        image = load_image(fact["picture"])[None]
        with torch.no_grad():
            clean = tiny.logits(tiny.prepare(image)).softmax(1)[0, 3].item()
        assert answer["insertion"][-1] == pytest.approx(clean, abs=1e-4) == answer["deletion"][0]
        assert len(answer["insertion"]) == len(answer["deletion"]) > 20
    plain = CliRunner().invoke(app, [*ask[:-1], str(tmp_path / "plain")])
    assert plain.exit_code == 0 and not (tmp_path / "plain" / "report.html").exists()


def test_compare_writes_the_report(
    tiny: Classifier, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda *a, **k: tiny)
    ask = ["compare", "--data", str(picture_folder), "--methods", "grad_cam,gradient", "--metrics", "le,area"]
    done = CliRunner().invoke(app, [*ask, "--limit", "6", "--report", "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    data, text = island(tmp_path / "report.html"), (tmp_path / "report.html").read_text()
    board = {row["method"]: row for row in json.loads(done.stdout)["rows"]}
    lines = re.findall(r'<tr><th scope="row">(\w+)</th>(.*?)</tr>', text, re.S)
    assert [name for name, _ in lines] == ["grad_cam", "gradient"]
    for name, line in lines:
        cells = board[name]["metrics"]
        shown = re.findall(r'<td data-value="([^"]+)"[^>]*>([^<]*)(?:<small>([^<]*)</small>)?', line)
        for metric, (exact, value, interval) in zip(("le", "area"), shown, strict=False):
            found = cells[metric]
            assert float(exact) == found["value"] and value == short_number(found["value"])
            assert interval == f"[{short_number(found['low'])}, {short_number(found['high'])}]", (
                "as the terminal has it"
            )
        mine = [a for card in data["cards"] for a in card["answers"] if a["method"] == name]
        # The error in percent is that of boxes with IoU < 0.5: the pictures say the same as the number.
        assert len(mine) == 6 and cells["le"]["value"] == pytest.approx(100 * np.mean([a["iou"] < 0.5 for a in mine]))
    best = min(board, key=lambda name: board[name]["metrics"]["le"]["value"])
    value = f"{short_number(board[best]['metrics']['le']['value'])}%"
    assert f"le {value}, as {best} has it, means that in {value} of the pictures" in text
    assert (tmp_path / "leaderboard.html").read_text().count("means that") == text.count("means that") == 2
    labels = [card["label"] for card in data["cards"]]
    assert len(set(labels)) > 1 and set(labels) <= set("01234") and all(card["truth"] for card in data["cards"])


@pytest.fixture
def report(tmp_path: Path) -> Iterator[Any]:
    methods = ("casm", "grad_cam")
    cards = [
        shown(f"{i:03}.jpg", i, methods, iou=i / 100, top=[(f"class {i % 3}", 0.9 - i / 200)], truth=[(1, 2, 20, 20)])
        for i in range(100)
    ]
    cards.append(shown(EVIL, 7, methods, iou=0.9, top=[("class 0", 0.1)]))
    board = [{"method": m, "le": v} for m, v in (("casm", 31.5), ("grad_cam", 9.25), ("rise", None))]
    page.write(cards, tmp_path / "r.html", board=board, protocol={"resize": "squash"})
    with opened((tmp_path / "r.html").as_uri()) as tab:
        yield tab


def test_in_a_browser(report: Any) -> None:
    report.wait_for_selector("article canvas")
    assert report.locator("article").count() == 101
    assert 0 < report.locator("article:has(canvas)").count() < 20, "only what is near the window is drawn"
    assert report.locator("#count").inner_text() == "101 pictures"
    heat = report.locator("canvas.heat").first
    before = float(heat.evaluate("e => getComputedStyle(e).opacity"))
    report.locator("#strength").fill("25")
    assert before == 0.6 and float(heat.evaluate("e => getComputedStyle(e).opacity")) == 0.25
    assert heat.get_attribute("aria-label") == "Heat map of casm on 000.jpg"

    report.locator("#fail").check()
    assert report.locator("#count").inner_text() == "50 of 101 pictures"
    report.locator("#class").select_option("class 1")
    assert report.locator("#count").inner_text() == "17 of 101 pictures"
    report.locator("#order").select_option("p")
    assert report.locator("article").first.get_attribute("aria-label") == "049.jpg"
    report.locator("#fail").uncheck()
    report.locator("#class").select_option("")
    assert report.locator("article").first.get_attribute("aria-label") == EVIL
    report.wait_for_selector("article canvas")
    assert report.locator("img[src=x]").count() == 0
    assert report.locator("h2").first.inner_text() == EVIL.rsplit("/", 1)[-1]


def test_keys_and_headings(report: Any) -> None:
    report.wait_for_selector("article canvas")
    focused = "document.activeElement.getAttribute('aria-label')"
    seen = []
    for key in ("j", "j", "ArrowRight", "k", "ArrowLeft"):
        report.keyboard.press(key)
        seen.append(report.evaluate(focused))
    assert seen == ["000.jpg", "001.jpg", "002.jpg", "001.jpg", "000.jpg"]
    report.keyboard.press("f")
    assert report.locator("#count").inner_text() == "50 of 101 pictures"
    names = report.locator("#board td:first-child")
    heading = report.locator("#board button", has_text="le")
    heading.click()
    assert names.all_inner_texts() == ["grad_cam", "casm", "rise"]
    heading.click()
    assert names.all_inner_texts() == ["casm", "grad_cam", "rise"], "what is not known comes last both ways"
    report.locator("#methods").get_by_label("grad_cam").uncheck()
    report.wait_for_selector("article canvas")
    assert report.locator("article").first.locator(".method").count() == 1


def test_pictures_are_what_they_say(report: Any) -> None:
    """Masked-in and masked-out share out the picture's pixels, and what is masked is the given colour."""
    report.wait_for_selector("article canvas")
    read = """name => { const c = document.querySelector(`article canvas[aria-label^="${name}"]`);
        return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }"""
    kept, left = (np.array(report.evaluate(read, f"Masked-{way}")).reshape(30, 40, 4)[..., :3] for way in ("in", "out"))
    saliency = torch.rand(30, 40, generator=torch.Generator().manual_seed(0)).numpy()
    assert (kept[saliency <= 0.5] == 128).all() and (left[saliency > 0.5] == 128).all()
    assert (kept[saliency > 0.5] != 128).any(-1).mean() > 0.9

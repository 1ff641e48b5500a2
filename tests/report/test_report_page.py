"""The report: what is in the file, and what a real browser makes of it."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import opened
from conftest import tiny_net
from PIL import Image
from typer.testing import CliRunner

from maskwise.classifiers import Classifier
from maskwise.cli import app
from maskwise.evaluation import Contender, leaderboard, measure
from maskwise.explainers import explainer
from maskwise.images import load_image
from maskwise.measures import metric
from maskwise.report import page
from maskwise.report.leaderboard import short_number, write_html
from maskwise.report.masked_confidence import MaskedConfidence, masked_confidences
from maskwise.report.page_cards import Stored

DRAWN = "article .cells"
EVIL = "</script><img src=x onerror=alert(1)>&amp;'\".jpg"


def shown(
    name: str,
    seed: int = 0,
    methods: tuple[str, ...] = ("casm",),
    iou: float | None = None,
    confidence: MaskedConfidence | None = None,
    **facts: Any,
) -> Any:
    draws = torch.Generator().manual_seed(seed)
    saliency = torch.rand(30, 40, generator=draws)
    answers = [
        page.Answer(
            m, saliency, saliency > 0.5, (10, 6, 30, 24), torch.rand(3, 30, 40), "cat", iou, 0.01 * (i + 1),
            confidence=confidence,
        )
        for i, m in enumerate(methods)
    ]  # fmt: skip
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
        for name_of, (exact, value, interval) in zip(("le", "area"), shown, strict=False):
            found = cells[name_of]
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
        shown(f"{i:03}.jpg", i, methods, i / 100, top=[(f"class {i % 3}", 0.9 - i / 200)], truth=[(1, 2, 20, 20)])
        for i in range(100)
    ]
    cards.append(shown(EVIL, 7, methods, iou=0.9, top=[("class 0", 0.1)]))
    board = [{"method": m, "le": v} for m, v in (("casm", 31.5), ("grad_cam", 9.25), ("rise", None))]
    page.write(cards, tmp_path / "r.html", board=board, protocol={"resize": "squash"})
    with opened((tmp_path / "r.html").as_uri()) as tab:
        yield tab


def test_in_a_browser(report: Any) -> None:
    report.wait_for_selector(DRAWN)
    assert report.locator("article").count() == 101
    assert report.locator("#count").inner_text() == "101 pictures"
    heat = report.locator(".heat").first
    before = float(heat.evaluate("e => getComputedStyle(e).opacity"))
    report.locator("#strength").fill("25")
    assert before == 0.6 and float(heat.evaluate("e => getComputedStyle(e).opacity")) == 0.25
    assert heat.locator("img").get_attribute("alt") == "Heat map of casm on 000.jpg"

    report.locator("#fail").check()
    assert report.locator("#count").inner_text() == "50 of 101 pictures"
    report.locator("#class").select_option("class 1")
    assert report.locator("#count").inner_text() == "17 of 101 pictures"
    report.locator("#order").select_option("p")
    assert report.locator("article").first.get_attribute("aria-label") == "049.jpg"
    report.locator("#fail").uncheck()
    report.locator("#class").select_option("")
    assert report.locator("article").first.get_attribute("aria-label") == EVIL
    report.wait_for_selector(DRAWN)
    assert report.locator("img[src=x]").count() == 0
    assert report.locator("h2").first.inner_text() == EVIL.rsplit("/", 1)[-1]


@pytest.mark.parametrize(
    ("scores", "top", "whole"),
    [((0.9, 0.05, 0.4, 0.5), ["90.0%", "5.0%"], "Probability of cat: 90.0%"),
     ((-2.014, -31.5, -1.5, -2.5), ["-2.014", "-31.50"], "Score of cat: -2.014 on the whole picture; in brackets the "
      "change by masking.")],
)  # fmt: skip
def test_scores_that_are_no_probabilities_are_no_percentages(
    scores: tuple[float, float, float, float], top: list[str], whole: str, tmp_path: Path
) -> None:
    """Of a network whose answers are neither softmax nor sigmoid; of those the page would print -201.4%."""
    first, second, masked_in, masked_out = scores
    confidence = MaskedConfidence("cat", first, masked_in, masked_out, masked_in)
    picture = shown("a.jpg", confidence=confidence, top=[("cat", first), ("dog", second)])
    page.write([picture], tmp_path / "r.html")
    with opened((tmp_path / "r.html").as_uri()) as tab:
        tab.wait_for_selector(DRAWN)
        assert tab.locator("ol b").all_inner_texts() == top
        assert whole in tab.locator(".of").inner_text()
        wide = tab.locator("ol i").first.evaluate("e => e.getBoundingClientRect().width")
        assert (wide > 0) is (first > 0)
        captions, board = (" ".join(tab.locator(one).all_inner_texts()) for one in ("figcaption", "#board td"))
        assert (": 40.0% (\N{MINUS SIGN}50.0)" if first > 0 else ": -1.500 (+0.514)") in captions
        assert (" -50 " if first > 0 else " 0.5140 ") in board
        headings = " ".join(tab.locator("#board button").all_inner_texts())
        assert ("change masked-in, points" in headings) is (first > 0) and "change masked-in" in headings


def test_a_leaderboard_sorts_what_says_nothing_last(tmp_path: Path) -> None:
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    contenders = [Contender.of(name, explainer(name, classifier)) for name in ("center", "grad_cam", "uniform")]
    board = leaderboard(measure(contenders, classifier, ["shapes:n=4,size=32"], {"area": metric("area")}))
    lines = [
        replace(line, cells={"area": replace(line.cells["area"], value=value)})
        for line, value in zip(board.lines, (2.0, math.nan, 1.0), strict=True)
    ]
    names = [line.method for line in lines]
    write_html(replace(board, lines=lines), tmp_path / "b.html")
    with opened((tmp_path / "b.html").as_uri()) as tab:
        heading = tab.locator("th button", has_text="area").first
        for order in ([2, 0, 1], [0, 2, 1]):
            heading.click()
            shown_first = tab.locator("tbody tr").evaluate_all("rows => rows.map(row => row.cells[0].textContent)")
            assert [name.strip() for name in shown_first] == [names[i] for i in order]


def test_keys_and_headings(report: Any) -> None:
    report.wait_for_selector(DRAWN)
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
    report.wait_for_selector(DRAWN)
    assert report.locator("article").first.locator(".method").count() == 1


def test_pictures_are_what_they_say(report: Any) -> None:
    """Masked-in and masked-out share out the picture's pixels, and what is masked is the given colour."""
    report.wait_for_selector(DRAWN)
    kept, left, whole = (stage(report, text) for text in ("Masked-in picture", "Masked-out picture", "Original"))
    saliency = torch.rand(30, 40, generator=torch.Generator().manual_seed(0)).numpy()
    assert (kept[saliency <= 0.5] == 128).all() and (left[saliency > 0.5] == 128).all()
    assert (kept[saliency > 0.5] == whole[saliency > 0.5]).all() and (
        left[saliency <= 0.5] == whole[saliency <= 0.5]
    ).all()
    assert (kept[saliency > 0.5] != 128).any(-1).mean() > 0.9


ALONE = "position: fixed; inset: auto; left: 0; top: 0; width: 40px; height: 30px; z-index: 9; border-radius: 0"


def stage(tab: Any, alt: str) -> np.ndarray:
    """(30,40,3), what a reader sees, pixel for pixel, of the first card's picture with such a text."""
    node = tab.locator(f'article .stage:has(img[alt^="{alt}"])').first
    node.evaluate("(node, style) => { node.style.cssText = style; }", ALONE)
    seen = np.asarray(Image.open(io.BytesIO(node.screenshot())).convert("RGB"))
    node.evaluate("node => { node.style.visibility = 'hidden'; }")
    return seen


@pytest.fixture
def printed(tmp_path: Path) -> Iterator[Any]:
    """A report of 30 pictures with labels; which of them is which can be told from its size."""
    cards = []
    for i in range(30):
        draws = torch.Generator().manual_seed(i)
        image, saliency = torch.rand(3, 40 + i, 60, generator=draws), torch.rand(40 + i, 60, generator=draws)
        confidence = MaskedConfidence("cat", 0.9, 0.8, (7 * i % 30) / 40, 0.5)
        answer = page.Answer("casm", saliency, saliency > 0.5, (1, 1, 9, 9), image, confidence=confidence)
        label = "cat" if i % 3 else "dog"
        cards.append(page.card(f"shot{i:02}.jpg", image, [answer], [("cat", 0.9), ("tabby", 0.1)], label=label))
    page.write(cards, tmp_path / "r.html")
    with opened((tmp_path / "r.html").as_uri()) as tab:
        yield tab


def test_all_pictures_are_printed(printed: Any) -> None:
    """At once, before the browser had time for more than the first cards."""
    text = printed.pdf(print_background=False)
    heights = {int(h) for h in re.findall(rb"/Height (\d+)", text)}
    assert heights >= set(range(40, 70)), sorted(set(range(40, 70)) - heights)


def test_every_name_is_there_for_the_browser_s_own_search(printed: Any) -> None:
    assert all(printed.evaluate("name => window.find(name, true)", f"shot{i:02}") for i in (0, 15, 29))
    found = printed.evaluate("[...document.querySelectorAll('article')].map(a => a.innerText)")
    assert len(found) == 30 and all(f"shot{i:02}.jpg" in text and "tabby" in text for i, text in enumerate(found))
    # All are drawn a little later, so that print and search need not wait.
    printed.wait_for_selector("article:last-child .cells", state="attached")
    assert printed.locator("article .cells").count() == 30
    assert printed.locator("article img").count() == 30 * 7


def test_curves_have_axes_and_a_key(tmp_path: Path) -> None:
    saliency = torch.rand(30, 40)
    answer = page.Answer("casm", saliency, saliency > 0.5, (1, 1, 9, 9), insertion=[0.0, 1.0], deletion=[1.0, 0.0])
    page.write([page.card("a.jpg", torch.rand(3, 30, 40), [answer])], tmp_path / "r.html")
    with opened((tmp_path / "r.html").as_uri()) as tab:
        tab.wait_for_selector(".curves")
        assert tab.locator(".curves text").all_text_contents()[-2:] == ["pixels, 0 to 100%", "probability"]
        assert tab.locator(".key").all_inner_texts() == ["insertion 50.0%", "deletion 50.0%"]
        dashes = tab.locator(".key polyline").evaluate_all("all => all.map(e => e.getAttribute('stroke-dasharray'))")
        assert dashes == ["", "4 3"]


def test_search_order_and_mistakes(printed: Any) -> None:
    first, count = printed.locator("article").first, printed.locator("#count")
    printed.locator("#search").fill("SHOT1")
    printed.wait_for_selector("article:nth-child(10):last-child")
    assert count.inner_text() == "10 of 30 pictures"
    printed.keyboard.press("Escape")
    assert count.inner_text() == "30 pictures"
    printed.locator("#order").select_option("drop")
    assert first.get_attribute("aria-label") == "shot00.jpg", "masked-out leaves it 0 of 0.9"
    first.get_by_text("masked-out: ").first.wait_for()  # a card is filled when it comes near the window, a moment later
    assert "masked-out: 0.0% (−90.0)" in first.inner_text() and "masked-in: 80.0% (−10.0)" in first.inner_text()
    printed.locator("#order").select_option("least")
    assert first.get_attribute("aria-label") == "shot17.jpg"  # 7 * 17 = 29 of 30: the most that is left
    printed.locator("#wrong").check()
    assert count.inner_text() == "10 of 30 pictures" and "labelled dog, misclassified" in first.inner_text()


def test_keys_after_a_click(printed: Any) -> None:
    """On the slider, on a box to tick, on a list, and on a card."""
    focused = "document.activeElement.getAttribute('aria-label')"
    printed.locator("#strength").click(position={"x": 30, "y": 8})
    printed.keyboard.press("ArrowRight")
    assert printed.evaluate(focused) == "shot00.jpg"
    printed.locator("#wrong").click()
    printed.keyboard.press("j")
    assert printed.evaluate(focused) == "shot00.jpg"
    printed.keyboard.press("m")
    assert printed.locator("#count").inner_text() == "30 pictures"
    printed.locator("#order").click()
    printed.locator("#order").select_option("name")
    printed.keyboard.press("j")
    assert printed.evaluate(focused) == "shot00.jpg"
    printed.locator("article h2").nth(1).click()
    printed.keyboard.press("j")
    assert printed.evaluate(focused) == "shot02.jpg"
    printed.keyboard.press("/")
    printed.keyboard.type("jk")
    printed.wait_for_selector("article", state="detached")
    assert printed.locator("#search").input_value() == "jk", "letters are letters there"


def test_boxes_are_in_the_stored_picture_s_pixels(tiny: Classifier, tmp_path: Path) -> None:
    """Also where a resized one was explained; against the data set's own way of moving boxes."""
    from maskwise.data import Sample

    truth = torch.tensor([[40.0, 20, 200, 150]], dtype=torch.float64)
    sample = Sample("a", torch.rand(3, 180, 320), boxes=truth)
    for moved, cut in ((sample.resized(48), False), (sample.shorter_side_crop(90, clip=False), True)):
        answer = page.Answer("casm", moved.image[0], moved.image[0] > 0.5, moved.boxes[0].tolist())
        card = page.card("a", moved.image, [answer], stored=Stored(320, 180, cut))
        assert np.abs(np.array(card["answers"][0]["pixels"]) - truth[0].numpy()).max() <= 1
        assert card["size"] == [320, 180] and card["aspect"] == (1 if cut else pytest.approx(320 / 180, abs=1e-4))


def test_what_masking_does_to_a_class(tiny: Classifier) -> None:
    """Against the four pictures made by hand."""
    images, painted = torch.rand(2, 3, 40, 40), torch.rand(2, 3, 40, 40)
    keep = torch.rand(2, 40, 40) > 0.5
    mean = tiny.mean[:, None, None]
    for i, found in enumerate(masked_confidences(tiny, images, keep, painted, [2, 4])):
        inside, outside = torch.where(keep[i], images[i], mean), torch.where(keep[i], mean, images[i])
        with torch.no_grad():
            four = tiny.logits(tiny.prepare(torch.stack([images[i], inside, outside, painted[i]]))).softmax(1)
        assert found.of == tiny.labels.name((2, 4)[i])
        said = (found.whole, found.masked_in, found.masked_out, found.inpainted)
        assert said == pytest.approx(tuple(four[:, (2, 4)[i]].tolist()), abs=1e-5)

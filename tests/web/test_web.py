"""The web page: its parts, and the whole of it in a real browser."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import drop, opened, violations
from conftest import tiny_net
from PIL import Image
from serving import Served, Visitor, form
from typer.testing import CliRunner

import maskwise
from maskwise import formats, picture_headers
from maskwise.classifiers import Classifier
from maskwise.cli import app
from maskwise.core.errors import InputError
from maskwise.explainers import explainer, methods
from maskwise.images import load_image, packaged_pictures, resize, to_bytes
from maskwise.infill import infiller
from maskwise.report.masked_confidence import MaskedConfidence
from maskwise.report.page_cards import Answer, Stored
from maskwise.web import options, panel, pictures
from maskwise.web.job import ExplainJob, check_reads_pictures
from maskwise.web.results import Result, Results, slim, zipped
from maskwise.web.waiting_line import Progress

EVIL = "<img src=x onerror=alert(1)>\"'&"


def save(path: Path, width: int = 40, height: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)
    return path


# What a visitor sends


def test_what_was_sent_is_shrunk_or_refused(tmp_path: Path) -> None:
    sent = save(tmp_path / "dog.png", 2000, 500)
    seen = pictures.open_picture(sent.read_bytes(), "../me/dog\x1b.png")
    assert seen.image.shape == (3, 256, 1024) and seen.name == "dog\\x1b.png"
    assert (seen.stored.width, seen.stored.height) == (2000, 500)
    assert seen.box([0, 0, 1024, 256]) == [0, 0, 2000, 500] and seen.box([512, 0, 768, 64]) == [1000, 0, 1500, 125]
    small = save(tmp_path / "small.png")
    own = pictures.open_picture(small)
    assert torch.equal(pictures.open_picture(small.read_bytes()).image, own.image) and own.box([1, 2, 9, 8]) == [
        1,
        2,
        9,
        8,
    ]
    assert torch.equal(own.unit, load_image(small))
    for bad, why in ((b"no picture", "not a picture"), (b"", "empty"), (sent.read_bytes()[:999], "damaged")):
        with pytest.raises(InputError, match=f"^x.png: .*{why}"):
            pictures.open_picture(bad, "x.png")


def test_a_photograph_of_48_million_pixels(tmp_path: Path) -> None:
    """Turned by its EXIF, as telephones store it: shrunk, upright, its size told as one sees it."""
    small = Image.open(packaged_pictures()[0]).resize((400, 300))
    exif = Image.Exif()
    exif[0x0112] = 6
    small.resize((8000, 6000)).save(tmp_path / "phone.jpg", quality=90, exif=exif)
    seen = pictures.open_picture(tmp_path / "phone.jpg")
    assert (seen.stored.width, seen.stored.height) == (6000, 8000) and seen.image.shape == (3, 1024, 768)
    upright = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 255
    turned = resize(torch.rot90(upright, -1, (2, 3)), (1024, 768))[0]
    assert (seen.unit - turned).abs().mean() < 0.02
    assert seen.box([0, 0, 768, 1024]) == [0, 0, 6000, 8000]


def test_avif_and_heic(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    if "AVIF" in formats.readable_formats():
        Image.new("RGB", (40, 30), "red").save(buffer, "AVIF")
        assert pictures.open_picture(buffer.getvalue(), "a.avif").image.shape == (3, 30, 40)
    if "HEIF" not in formats.readable_formats():
        with pytest.raises(InputError, match="phone.heic: .*pip install pillow-heif.*save it as JPEG"):
            pictures.open_picture(b"\0\0\0\x24ftypheic\0\0\0\0mif1heic", "phone.heic")
    registered: list[bool] = []
    stub = types.ModuleType("pillow_heif")
    stub.register_heif_opener = lambda: registered.append(True)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", stub)
    assert "HEIF" in formats.readable_formats.__wrapped__() and registered


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of pixels is the one of all pictures, with its words."""
    sent = save(tmp_path / "dog.png")
    monkeypatch.setattr(picture_headers, "MAX_PIXELS", 1199)
    for read in (pictures.open_picture, load_image):
        with pytest.raises(InputError, match="dog.png: 40x30 pixels are more than 1,199; shrink it"):
            read(sent)
    monkeypatch.setattr(pictures, "MAX_BYTES", 100)
    for source in (sent, sent.read_bytes()):
        with pytest.raises(InputError, match="MB"):
            pictures.open_picture(source)


# Options


def test_options_that_a_stranger_may_set() -> None:
    read = options.read_options
    assert read("rise.masks=500, rise.keep=0.3;\nlrp.relative=false,lrp.rule=z_plus", ["rise", "lrp"]) == {
        "rise": {"masks": 500, "keep": 0.3},
        "lrp": {"relative": False, "rule": "z_plus"},
    }
    assert read("", ["rise"]) == read(None, ["rise"]) == read("rise.masks=500", ["cam"]) == {}
    for text, why in (
        ("rise.masks=16001", "16000"), ("rise.masks=nan", "whole number"), ("rise.keep=nan", "keep must be"),
        ("rise.masks=-1", "from 0"), ("rise.batch=100000", "no option 'batch'"), ("masks=3", "METHOD.option=value"),
        ("casm.masker=/etc/passwd", "no option 'masker'"), ("fido.infill=dfnet:weights=/x", "no option 'infill'"),
        ("nope.x=1", "unknown method"), ("lrp.rule=x", "rule is"), ("lrp.relative=1", "relative is"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=re.escape(why)):
            read(text, ["rise"])


@pytest.mark.parametrize("method", methods.names())
def test_open_options_are_options_and_their_usual_values_are_allowed(method: str) -> None:
    import inspect

    parameters = inspect.signature(methods.get(method)).parameters
    for name, (_, reader) in options.open_options(method).items():
        usual = parameters[name].default
        if usual is not None:
            text = str(usual).lower() if isinstance(usual, bool) else str(usual)
            assert reader(text) == usual and type(reader(text)) is type(usual)


# Downloads


def test_a_result_is_its_visitor_s_newest_and_short_lived() -> None:
    now = [0.0]
    kept = Results(kept=2, seconds=10, clock=lambda: now[0])
    first, second = object(), object()
    one, two = kept.keep("a", first), kept.keep("b", second)  # type: ignore[arg-type]
    assert kept.find("a", one) is first and kept.find("b", one) is None and kept.find("a", two) is None
    again = kept.keep("a", second)  # type: ignore[arg-type]
    assert kept.find("a", one) is None and kept.find("a", again) is second
    kept.keep("c", first)  # type: ignore[arg-type]
    assert kept.find("b", two) is None, "the oldest goes"
    now[0] = 11
    assert kept.find("a", again) is None


def test_a_zip_holds_what_was_seen(tiny: Classifier) -> None:
    image = torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(0))
    picture = pictures.Picture("dog.png", to_bytes(image), Stored(560, 400))
    job = ExplainJob(picture.unit, tiny, ["grad_cam", "gradient"], "2", {"scales": 2, "prefilter": 0.5})
    answers = list(job.answers(lambda progress: None))
    content = zipped(Result(picture, list(map(slim, answers)), tiny.mean, {"classifier": "tiny"}))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert len(archive.namelist()) == 2 * 3 + 2 and not archive.testzip()
        facts = json.loads(archive.read("result.json"))
        for answer, said in zip(answers, facts["answers"], strict=True):
            folder = answer.method.replace(" + ", "_")
            saliency = np.load(io.BytesIO(archive.read(f"{folder}/map.npy")))
            assert saliency.dtype == np.float32 and np.array_equal(saliency, answer.map.numpy())
            assert said["box"] == [10 * int(v) for v in answer.box]
            assert said["probabilities"]["masked_in"] == answer.confidence.masked_in  # type: ignore[union-attr]
            with Image.open(io.BytesIO(archive.read(f"{folder}/map.png"))) as drawn:
                assert np.array_equal(np.asarray(drawn), (saliency * 255).round().astype(np.uint8))
        assert Image.open(io.BytesIO(archive.read("figure.png"))).width > 1000


# The work


def test_a_job_gives_what_the_explainer_gives(tiny: Classifier) -> None:
    image = torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(0))
    sess = {"scales": 3, "prefilter": 0.5}
    job = ExplainJob(image, tiny, ["grad_cam", "gradient"], "2", sess, with_curves=True)
    told: list[Progress] = []
    answers = list(job.answers(told.append))
    shares = [progress.share for progress in told]
    assert len(shares) > 10 and min(shares) >= 0 and max(shares) <= 1
    assert [a.method for a in answers] == ["grad_cam + SESS", "gradient + SESS"]
    for answer, method in zip(answers, job.methods, strict=True):
        made = maskwise.SESS(maskwise.explainer(method, tiny), **sess)
        assert torch.equal(answer.map, made(image[None], "2")[0]) and answer.target == "2"
        assert list(answer.box) == maskwise.boxes(answer.map[None])[0].tolist()
        with torch.no_grad():
            clean = tiny.logits(tiny.prepare(image[None])).softmax(1)[0, 2].item()
        assert answer.insertion and answer.insertion[-1] == pytest.approx(clean, abs=1e-5)
        assert answer.confidence is not None and answer.confidence.whole == pytest.approx(clean, abs=1e-5)


def test_a_job_takes_options_of_methods(tiny: Classifier) -> None:
    image = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0))
    job = ExplainJob(image, tiny, ["rise", "gradient"], "1", options={"rise": {"masks": 16}})
    first, _ = job.answers(lambda progress: None)
    assert torch.equal(first.map, maskwise.explainer("rise", tiny, masks=16)(image[None], "1")[0])
    assert job.kind("rise") != ExplainJob(image, tiny, ["rise"], "1").kind("rise")


def test_curves_are_of_the_shape_of_the_classifier_s_input() -> None:
    """Of a network that takes oblong pictures, insertion ends at the whole picture, squashed as it takes it."""
    oblong = Classifier(tiny_net(), input_size=(24, 40), name="oblong")
    image = torch.rand(3, 50, 44, generator=torch.Generator().manual_seed(0))
    job = ExplainJob(image, oblong, ["gradient"], "2", with_curves=True)
    (answer,) = job.answers(lambda progress: None)
    with torch.no_grad():
        clean = oblong.logits(resize(image[None], (24, 40))).softmax(1)[0, 2].item()
    assert answer.insertion and answer.insertion[-1] == pytest.approx(clean, abs=1e-5)
    assert answer.deletion and answer.deletion[0] == pytest.approx(clean, abs=1e-5)


@pytest.mark.parametrize("channels", [1, 5])
def test_grey_and_other_channels(channels: int) -> None:
    """A classifier of grey pictures is explained on the colour picture; one of five channels is refused in one line."""
    layers = [torch.nn.Conv2d(channels, 3, 3, stride=4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)]
    net = torch.nn.Sequential(*layers, torch.nn.Flatten())
    grey = Classifier(net.eval(), input_size=24, mean=[0.5] * channels, std=[0.2] * channels, name="grey")
    if channels == 5:
        with pytest.raises(InputError, match="grey takes 5 channels"):
            check_reads_pictures(grey)
        return
    image = torch.rand(3, 40, 44, generator=torch.Generator().manual_seed(0))
    job = ExplainJob(image, check_reads_pictures(grey), ["gradient", "rise"], "1", with_curves=True)
    for answer in job.answers(lambda progress: None):
        assert answer.map.shape == (40, 44) and answer.inpainted is not None and answer.inpainted.shape == (3, 40, 44)
        picture = pictures.Picture("a.png", to_bytes(image), Stored(44, 40))
        shown = panel.answers_panel(picture, [answer], grey.mean, "", 1)
        assert shown.count("<img") == 6 + bool(answer.colours.why) and answer.insertion is not None
    # Even where all of it is salient and the hole has no surroundings: then it takes the mean.
    whole = infiller("telea")(image[None], torch.ones(1, 40, 44), grey.mean.expand(3))
    assert torch.allclose(whole, torch.tensor(0.5))


def test_what_a_method_refuses_is_said(tiny: Classifier) -> None:
    with pytest.raises(InputError, match="elephant"):
        list(ExplainJob(torch.rand(3, 40, 40), tiny, ["grad_cam"], "elephant").answers(lambda progress: None))


def test_no_name_becomes_html(tiny: Classifier) -> None:
    image, saliency = torch.rand(3, 20, 30), torch.rand(20, 30)
    picture = pictures.Picture(EVIL, to_bytes(image), Stored(300, 200))
    confidence = MaskedConfidence(EVIL, 0.5, 0.25, 0.75, 0.5)
    answer = Answer(
        EVIL, saliency, saliency > 0.5, (0, 0, 9, 9), image, EVIL, insertion=[0.0, 1.0], confidence=confidence
    )
    shown = [
        panel.answers_panel(picture, [answer, answer], tiny.mean, EVIL, 2),
        panel.preview(picture, [(EVIL, 0.5)]), panel.status(EVIL, 0.5)
    ]  # fmt: skip
    assert "300 × 200 pixels" in shown[0] and "box 0, 0, 90, 90" in shown[0]
    assert "masked-in: <b>25.0%</b> (−25.0)" in shown[0] and "masked-out: <b>75.0%</b> (+25.0)" in shown[0]
    for text in shown:
        assert "<img src=x" not in text and "&lt;img src=x" in text
    assert shown[0].count("<section") == 2 and "insertion 50.0%" in shown[0]
    assert shown[0].count(">probability</text>") == shown[0].count("0 to 100%</text>") == 2, "axes have names"


def test_scores_that_are_no_probabilities_are_no_percentages() -> None:
    """An age of 46 was 4602.0%, with a bar that long, and one of -14 had a bar of negative width."""
    image, saliency = torch.rand(3, 20, 30), torch.rand(20, 30)
    picture = pictures.Picture("a.png", to_bytes(image), Stored(300, 200))
    top = panel.preview(picture, [("age", 46.02), ("other", -14.571)])
    assert "<b>46.02</b>" in top and "<b>-14.57</b>" in top and top.count("width:0") == 2 and "%" not in top
    confidence = MaskedConfidence("age", 46.02, 44.5, 0.75, 46.02)
    answer = Answer("rise", saliency, saliency > 0.5, (0, 0, 9, 9), image, "age", confidence=confidence)
    shown = panel.answers_panel(picture, [answer], torch.zeros(3), "", 1)
    assert "age: 46.02 on the whole picture; below, the change</p>" in shown
    assert "masked-in: <b>44.5</b> (−1.52)" in shown and "masked-out: <b>0.75</b> (−45.3)" in shown


def test_without_gradio_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "maskwise.web.app", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    refused = CliRunner().invoke(app, ["serve"])
    assert refused.exit_code == 2 and "maskwise[web]" in refused.stderr and "Traceback" not in refused.output


# The page


def sent_files(temporary: Path) -> list[Path]:
    """What visitors sent and is still on the disk; the examples are the page's own."""
    own = {path.name for path in packaged_pictures()}
    return [p for p in temporary.glob("maskwise-*/**/*") if p.is_file() and p.name not in own]


def test_in_a_browser(server: Served, tmp_path: Path) -> None:
    address, temporary = server.address, server.scratch
    cat = tmp_path / "my cat.png"
    Image.open(packaged_pictures()[0]).resize((300, 200)).save(cat)
    for dark, width in ((False, 1400), (True, 1400), (False, 390)):
        with opened(address, width=width, dark=dark) as tab:
            tab.wait_for_selector("#examples button img")
            assert not violations(tab), f"dark={dark}, {width}: {violations(tab)}"
    with opened(address) as tab:
        drop(tab, cat)
        tab.wait_for_selector("#preview li")
        assert "Egyptian cat" in tab.locator("#preview").inner_text()
        tab.wait_for_function("document.querySelector('#drop input[type=file]') !== null")
        assert not sent_files(temporary), "what was sent is in the session's memory only"
        tab.locator("#methods input").first.click()
        tab.get_by_role("option", name="layer_cam", exact=True).click()
        tab.keyboard.press("Escape")
        tab.locator("#sess input").check()
        tab.locator("#scales input[type=number]").fill("3")
        tab.locator("#go").click()
        tab.wait_for_function("document.querySelectorAll('#result section').length == 3", timeout=90_000)
        tab.wait_for_function("document.querySelector('#status').innerText.includes('done')")
        heads = tab.locator("#result h2").all_inner_texts()
        assert heads == ["distilled + SESS", "grad_cam + SESS", "layer_cam + SESS"]
        pictures_shown = tab.locator("#result img")
        assert pictures_shown.count() == 18
        assert all(tab.evaluate("[...document.querySelectorAll('#result img')].map(i => i.naturalWidth > 0)"))
        tab.locator("#result input[type=range]").fill("10")
        heat = tab.locator("#result .mw-heat").first
        assert float(heat.evaluate("e => getComputedStyle(e).opacity")) == 0.1
        where = Path(os.environ.get("MASKWISE_SCREENSHOTS", tmp_path))
        tab.screenshot(path=where / "web.png", full_page=True)
        assert not sent_files(temporary)


def test_a_bad_picture_an_unknown_class_and_cancel(server: Served, tmp_path: Path) -> None:
    address, temporary = server.address, server.scratch
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n" + b"nonsense" * 20)
    with opened(address) as tab:
        tab.wait_for_selector("#go")
        tab.locator("#go").click()
        tab.wait_for_selector("#status [role=alert]")
        assert "Drop a picture first" in tab.locator("#status").inner_text()
        drop(tab, bad)
        tab.wait_for_function("document.querySelector('#status').innerText.includes('picture is damaged') "
                              "|| document.querySelector('#status').innerText.includes('not a picture')")  # fmt: skip
        assert "Traceback" not in tab.content() and not sent_files(temporary)
        tab.locator("#examples button img").nth(1).click()
        tab.wait_for_selector("#preview li")
        assert "espresso" in tab.locator("#preview").inner_text()
        tab.locator("#class input").fill("elefant")
        tab.keyboard.press("Enter")
        tab.locator("#go").click()
        tab.wait_for_function("document.querySelector('#status').innerText.includes('unknown class')")
        tab.locator("#class input").fill("cup")
        tab.keyboard.press("Enter")
        tab.locator("#sess input").check()
        tab.locator("#scales input[type=number]").fill("12")
        tab.locator("#prefilter input[type=number]").fill("0")
        tab.locator("#go").click()
        tab.wait_for_selector("#status progress")
        tab.locator("#stop").click()
        tab.wait_for_function("document.querySelector('#status').innerText.includes('cancelled')")


def test_a_visitor_does_not_see_anothers_picture(server: Served) -> None:
    address = server.address
    with opened(address) as first:
        first.wait_for_selector("#examples button img")
        first.locator("#examples button img").first.click()
        first.wait_for_selector("#preview li")
        second = first.context.browser.new_context().new_page()
        second.goto(address)
        second.wait_for_selector("#go")
        assert second.locator("#preview li").count() == 0
        second.locator("#go").click()
        second.wait_for_selector("#status [role=alert]")
        assert "Drop a picture first" in second.locator("#status").inner_text()


def test_a_visitor_in_line_sees_its_place_and_then_its_progress(server: Served, tmp_path: Path) -> None:
    """Four long requests have the seats; the page says so, Cancel leaves the line, and an answer comes afterwards."""
    others = [Visitor(server, f"before{i}") for i in range(4)]
    where = Path(os.environ.get("MASKWISE_SCREENSHOTS", tmp_path))
    with opened(server.address) as tab:
        tab.wait_for_selector("#examples button img")
        tab.locator("#examples button img").nth(1).click()
        tab.wait_for_selector("#preview li")
        for other in others:
            other.example(0)
            other.join(("go", "click"), form(["rise"], sess=True, scales=12, prefilter=0)).raise_for_status()
        tab.wait_for_timeout(1000)
        tab.locator("#go").click()
        tab.wait_for_function("document.querySelector('#status').innerText.includes('In line: place 1, done in about')")
        tab.screenshot(path=where / "in-line.png")
        tab.locator("#stop").click()
        tab.wait_for_function("document.querySelector('#status').innerText.includes('cancelled')")
        for other in others:
            other.cancel().raise_for_status()
        tab.locator("#go").click()
        tab.wait_for_selector("#status progress")
        tab.screenshot(path=where / "progress.png")
        tab.wait_for_function("document.querySelectorAll('#result section').length == 2", timeout=90_000)
        # A form that the page's own controls would not send is a message on the page, where the visitor looks.
        tab.route(
            "**/queue/join*",
            lambda route: route.continue_(post_data=route.request.post_data.replace("distilled", "nope")),
        )
        tab.locator("#go").click()
        tab.wait_for_function("document.body.innerText.includes('methods must be some of those offered')")


def test_a_picture_of_more_than_8_bits_is_explained_as_its_file_is(tiny: Classifier, tmp_path: Path) -> None:
    """Of 12 bits in a file of 16 bytes would leave sixteen greys."""
    deep = np.random.default_rng(0).integers(0, 4096, (40, 56), np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    with pytest.warns(UserWarning, match="nearly black"):
        seen, stored = pictures.open_picture(tmp_path / "deep.png"), load_image(tmp_path / "deep.png")
    assert torch.equal(seen.unit, stored)
    (answer,) = ExplainJob(seen.unit, tiny, ["gradient"], "2").answers(lambda progress: None)
    assert torch.equal(answer.map, explainer("gradient", tiny)(stored[None], 2)[0])
    Image.fromarray((deep // 16).astype(np.uint8)).save(tmp_path / "plain.png")
    assert pictures.open_picture(tmp_path / "plain.png").image.dtype == torch.uint8, "a quarter of the memory"

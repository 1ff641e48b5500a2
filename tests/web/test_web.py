"""The web page: its parts, and the whole of it in a real browser."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import opened
from conftest import tiny_net
from PIL import Image
from serving import Served, Visitor, form
from typer.testing import CliRunner

import maskwise
from maskwise.classifiers import Classifier
from maskwise.cli import app
from maskwise.core.errors import InputError
from maskwise.images import packaged_pictures, resize
from maskwise.infill import infiller
from maskwise.report.page_cards import Answer
from maskwise.web import panel, pictures
from maskwise.web.job import ExplainJob, check_reads_pictures
from maskwise.web.waiting_line import Progress

EVIL = "<img src=x onerror=alert(1)>\"'&"


def save(path: Path, width: int = 40, height: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)
    return path


# What a visitor sends


def test_what_was_sent_is_shrunk_or_refused(tmp_path: Path) -> None:
    sent = save(tmp_path / "dog.png", 2000, 500)
    assert pictures.open_picture(sent.read_bytes()).shape == (3, 256, 1024)
    small = save(tmp_path / "small.png")
    assert torch.equal(pictures.open_picture(small.read_bytes()), pictures.open_picture(small))
    for bad, why in ((b"no picture", "not a picture"), (b"", "empty"), (sent.read_bytes()[:999], "damaged")):
        with pytest.raises(InputError, match=why):
            pictures.open_picture(bad)


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = save(tmp_path / "dog.png")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1199)
    monkeypatch.setattr(pictures, "load_image", lambda *a: pytest.fail("decoded"))
    with pytest.raises(InputError, match="40 x 30"):
        pictures.open_picture(sent)
    monkeypatch.setattr(pictures, "MAX_BYTES", 100)
    for source in (sent, sent.read_bytes()):
        with pytest.raises(InputError, match="MB"):
            pictures.open_picture(source)


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
        shown = panel.answers_panel(image, [answer], grey.mean)
        assert shown.count("<img") == 6 and answer.insertion is not None
    # Even where all of it is salient and the hole has no surroundings: then it takes the mean.
    whole = infiller("telea")(image[None], torch.ones(1, 40, 44), grey.mean.expand(3))
    assert torch.allclose(whole, torch.tensor(0.5))


def test_what_a_method_refuses_is_said(tiny: Classifier) -> None:
    with pytest.raises(InputError, match="elephant"):
        list(ExplainJob(torch.rand(3, 40, 40), tiny, ["grad_cam"], "elephant").answers(lambda progress: None))


def test_no_name_becomes_html(tiny: Classifier) -> None:
    image, saliency = torch.rand(3, 20, 30), torch.rand(20, 30)
    answer = Answer(EVIL, saliency, saliency > 0.5, (0, 0, 9, 9), image, EVIL, insertion=[0.0, 1.0])
    shown = [
        panel.answers_panel(image, [answer, answer], tiny.mean),
        panel.preview(image, [(EVIL, 0.5)]), panel.status(EVIL, 0.5)
    ]  # fmt: skip
    for text in shown:
        assert "<img src=x" not in text and "&lt;img src=x" in text
    assert shown[0].count("<section") == 2 and "insertion 50.0%" in shown[0]


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


DROP = """async ([node, data, name]) => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, {type: "image/png"}));
  for (const kind of ["dragenter", "dragover", "drop"])
    node.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


def drop(tab: Any, path: Path) -> None:
    """As a hand does it, with a file from another window."""
    import base64

    tab.wait_for_selector("#drop button")
    node = tab.locator("#drop button").first.element_handle()
    tab.evaluate(DROP, [node, base64.b64encode(path.read_bytes()).decode(), path.name])


def test_in_a_browser(server: Served, tmp_path: Path) -> None:
    address, temporary = server.address, server.scratch
    cat = tmp_path / "my cat.png"
    Image.open(packaged_pictures()[0]).resize((300, 200)).save(cat)
    with opened(address) as tab:
        drop(tab, cat)
        tab.wait_for_selector("#preview li")
        assert "Egyptian cat" in tab.locator("#preview").inner_text()
        tab.wait_for_function("document.querySelector('#drop input[type=file]') !== null")
        assert not sent_files(temporary), "what was sent is in the session's memory only"
        tab.locator("#methods input").first.click()
        tab.get_by_role("option", name="layer_cam ·").click()
        tab.keyboard.press("Escape")
        tab.locator("#sess input").check()
        tab.locator("#scales input[type=number]").fill("3")
        tab.locator("#go").click()
        tab.wait_for_function("document.querySelectorAll('#result section').length == 3", timeout=90_000)
        tab.wait_for_function("document.querySelector('#status').innerText.includes('done')")
        heads = tab.locator("#result h3").all_inner_texts()
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
            other.asked(("examples", "select"), ["efficientnet_lite0"], event_data={"index": 0})
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

"""The web page: its parts, and the whole of it in a real browser."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import opened
from conftest import tiny_net
from PIL import Image
from typer.testing import CliRunner

import maskwise
from maskwise.classifiers import Classifier
from maskwise.cli import app
from maskwise.core.errors import InputError
from maskwise.images import packaged_pictures, resize
from maskwise.report.page_cards import Answer
from maskwise.web import panel, pictures
from maskwise.web.job import ExplainJob, JobProgress, Stopped

EVIL = "<img src=x onerror=alert(1)>\"'&"


def save(path: Path, width: int = 40, height: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)
    return path


# What a visitor sends


def test_a_sent_file_is_gone_once_it_is_read(tmp_path: Path) -> None:
    sent = save(tmp_path / "a" / "dog.png", 2000, 500)
    assert pictures.take(sent, tmp_path).shape == (3, 256, 1024)
    assert not sent.exists()
    # Another visitor may be sending an equal picture, which has the same folder; it goes when it is a minute old.
    assert sent.parent.exists()
    os.utime(sent.parent, (0, 0))
    bad = tmp_path / "b" / "dog.png"
    bad.parent.mkdir()
    bad.write_text("no picture")
    with pytest.raises(InputError, match="not a picture"):
        pictures.take(bad, tmp_path)
    assert not bad.exists() and not sent.parent.exists()


def test_a_file_elsewhere_is_neither_read_nor_removed(tmp_path: Path) -> None:
    mine = save(tmp_path / "mine" / "dog.png")
    (tmp_path / "sent").mkdir()
    for path in (mine, tmp_path / "sent" / ".." / "mine" / "dog.png"):
        with pytest.raises(InputError):
            pictures.take(path, tmp_path / "sent")
    assert mine.exists()


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = save(tmp_path / "dog.png")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1199)
    monkeypatch.setattr(pictures, "load_image", lambda *a: pytest.fail("decoded"))
    with pytest.raises(InputError, match="40 x 30"):
        pictures.open_picture(sent)
    monkeypatch.setattr(pictures, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="MB"):
        pictures.open_picture(sent)


# The work


def test_a_job_gives_what_the_explainer_gives(tiny: Classifier) -> None:
    image = torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(0))
    sess = {"scales": 3, "prefilter": 0.5}
    job = ExplainJob(image, tiny, ["grad_cam", "gradient"], "2", sess, with_curves=True)
    items = list(job.run())
    answers = [item for item in items if isinstance(item, Answer)]
    shares = [item.share for item in items if isinstance(item, JobProgress)]
    assert shares == sorted(shares) and shares[0] >= 0 and shares[-1] <= 1
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
    (answer,) = [item for item in job.run() if isinstance(item, Answer)]
    with torch.no_grad():
        clean = oblong.logits(resize(image[None], (24, 40))).softmax(1)[0, 2].item()
    assert answer.insertion and answer.insertion[-1] == pytest.approx(clean, abs=1e-5)
    assert answer.deletion and answer.deletion[0] == pytest.approx(clean, abs=1e-5)


def test_a_job_can_be_stopped_within_a_method(tiny: Classifier) -> None:
    image = torch.rand(3, 40, 40)
    job = ExplainJob(image, tiny, ["smooth_grad", "grad_cam"], sess={"scales": 12, "stride": 1})
    with pytest.raises(Stopped):
        for item in job.run():
            assert isinstance(item, JobProgress), "SESS around SmoothGrad at this stride takes minutes"
            job.stop.set()
    # The next visitor's job begins when the stopped one has let go, and nothing of it is left in the classifier.
    (answer,) = [item for item in ExplainJob(image, tiny, ["gradient"]).run() if isinstance(item, Answer)]
    assert torch.equal(answer.map, maskwise.explainer("gradient", tiny)(image[None])[0])


def test_what_a_method_refuses_is_said(tiny: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="elephant"):
        list(ExplainJob(torch.rand(3, 40, 40), tiny, ["grad_cam"], "elephant").run())
    monkeypatch.setattr("maskwise.web.job.explainer", lambda *a: 1 / 0)
    with pytest.raises(InputError, match="log"):
        list(ExplainJob(torch.rand(3, 40, 40), tiny, ["grad_cam"]).run())


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


def free_port() -> int:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The command itself; its address, and the folder in which its temporary files lie."""
    pytest.importorskip("gradio", reason="gradio is not installed")
    temporary, port = tmp_path_factory.mktemp("web"), free_port()
    log = temporary / "log"
    with log.open("w") as out:
        command = [sys.executable, "-m", "maskwise", "serve", "--port", str(port)]
        environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
        running = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(address, timeout=2).close()
                break
            except OSError:
                assert running.poll() is None, log.read_text()
                time.sleep(0.5)
        yield address, temporary
    finally:
        running.terminate()
        running.wait(20)


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


def test_in_a_browser(server: tuple[str, Path], tmp_path: Path) -> None:
    address, temporary = server
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
        assert heads == ["casm + SESS", "grad_cam + SESS", "layer_cam + SESS"]
        pictures_shown = tab.locator("#result img")
        assert pictures_shown.count() == 18
        assert all(tab.evaluate("[...document.querySelectorAll('#result img')].map(i => i.naturalWidth > 0)"))
        tab.locator("#result input[type=range]").fill("10")
        heat = tab.locator("#result .mw-heat").first
        assert float(heat.evaluate("e => getComputedStyle(e).opacity")) == 0.1
        where = Path(os.environ.get("MASKWISE_SCREENSHOTS", tmp_path))
        tab.screenshot(path=where / "web.png", full_page=True)
        assert not sent_files(temporary)


def test_a_bad_picture_an_unknown_class_and_cancel(server: tuple[str, Path], tmp_path: Path) -> None:
    address, temporary = server
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


def test_a_visitor_does_not_see_anothers_picture(server: tuple[str, Path]) -> None:
    address, _ = server
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

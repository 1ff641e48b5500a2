"""A real browser for the tests that need one; they are skipped where there is none."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


@contextmanager
def started() -> Iterator[Any]:
    """A browser, which several tests of a file may share: each tab has storage and cookies of its own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium here")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(url: str, width: int = 1400, height: int = 1000, dark: bool = False, browser: Any = None) -> Iterator[Any]:
    """A tab at ``url``; afterwards an error of the page, or a request to another host, fails the test.

    In a browser of its own, which takes a second to start, or in ``browser``.
    """
    wrong: list[str] = []
    own = url.split("/")[2]
    with started() if browser is None else nullcontext(browser) as running:
        scheme: Any = "dark" if dark else "light"
        tab = running.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        try:
            tab.on("pageerror", lambda error: wrong.append(str(error)))
            tab.on("request", lambda request: wrong.append(request.url) if _abroad(request.url, own) else None)
            tab.goto(url)
            yield tab
        finally:
            tab.close()
    assert not wrong, wrong


def violations(tab: Any) -> str:
    """What axe-core finds wrong for people who hear or hardly see the page; empty where it finds nothing.

    Of a page at rest: while it loads, the web page's framework lays a notice over it that belongs to no landmark.
    """
    tab.wait_for_function("document.querySelector('.loading') === null")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    found = axe.Axe().run(tab)
    return str(found.generate_report()) if found.response["violations"] else ""


PAPER = 718  # CSS pixels across A4 between margins of 10 mm

LOST = """() => {
  const lost = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (walker.nextNode()) {
    range.selectNodeContents(walker.currentNode);
    const text = walker.currentNode.textContent.trim();
    if (text && [...range.getClientRects()].some(r => r.width && r.right > innerWidth + 1))
      lost.push("cut: " + text.slice(0, 40));
  }
  for (const node of document.querySelectorAll("img, svg, i")) {
    const style = getComputedStyle(node), place = node.getBoundingClientRect();
    if (place.width && place.right > innerWidth + 1) lost.push("cut: " + node.outerHTML.slice(0, 60));
    const painted = style.backgroundImage !== "none" || style.backgroundColor !== "rgba(0, 0, 0, 0)";
    if (node.tagName === "I" && painted && style.printColorAdjust !== "exact")
      lost.push("not painted: " + node.outerHTML.slice(0, 60));
  }
  return lost;
}"""


def lost_on_paper(tab: Any) -> list[str]:
    """What a print of the page would lack: what reaches over the edge, and bars whose colour is a background."""
    size = tab.viewport_size
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.emulate_media(media="print")
    tab.set_viewport_size({"width": PAPER, "height": 1040})
    found = tab.evaluate(LOST)
    tab.emulate_media(media="null")  # as it is for the medium at hand
    tab.set_viewport_size(size)
    return list(found)


def _abroad(url: str, own: str) -> bool:
    return url.split(":")[0] not in ("data", "blob", "file") and url.split("/")[2] != own


DROP = """async ([node, data, name]) => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, {type: "image/png"}));
  for (const kind of ["dragenter", "dragover", "drop"])
    node.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


def drop(tab: Any, path: Path) -> None:
    """Drops a file on the web page, as a hand does it, from another window."""
    tab.wait_for_selector("#drop button")
    node = tab.locator("#drop button").first.element_handle()
    tab.evaluate(DROP, [node, base64.b64encode(path.read_bytes()).decode(), path.name])

"""The documentation's site in a real browser: its look, with a few of its pages, asked by axe-core."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from browser import opened, started, violations
from static_files import served
from test_docs import DOCS, ROOT

PAGES = ("index.md", "checks.md", "command-line.md")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Theme, colours and scripts of the site, without the pages that are made from the library, which take minutes."""
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    home = tmp_path_factory.mktemp("site")
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    config |= {"plugins": ["search"], "nav": list(PAGES), "validation": {}, "hooks": [], "not_in_nav": ""}
    shutil.copytree(DOCS / "theme", home / "docs" / "theme")
    shutil.copytree(DOCS / "images", home / "docs" / "images")
    for page in PAGES:
        shutil.copy(DOCS / page, home / "docs" / page)
    (home / "mkdocs.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "-f", str(home / "mkdocs.yml"), "-d", str(home / "out")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return home / "out"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started() as running:
        yield running


@pytest.mark.parametrize("page", ["", "checks/", "command-line/"])
def test_no_violation(site: Path, page: str, browser: Any) -> None:
    with served(site) as address:
        for dark, width in ((False, 1280), (True, 1280), (False, 390)):
            with opened(f"{address}{page}", width=width, dark=dark, browser=browser) as tab:
                tab.wait_for_load_state("networkidle")
                scheme = tab.evaluate("document.body.getAttribute('data-md-color-scheme')")
                assert scheme == ("slate" if dark else "default")
                assert not violations(tab), f"{page}, dark={dark}, {width}: {violations(tab)}"
                assert tab.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"

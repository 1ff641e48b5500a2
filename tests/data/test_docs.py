"""docs/data.md says what is so."""

import re
from pathlib import Path

import pytest

from maskwise.data import datasets

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()


def test_the_snippet_prints_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = re.search(r"```python\n(from pathlib.*?)```\n\nprints\n\n```\n(.*?)```", PAGE, re.S).groups()  # type: ignore[union-attr]
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out == printed


def test_every_kind_has_its_line() -> None:
    named = {"folder": "`DIR`", "zip": "`FILE.zip`"}
    for name in datasets.names():
        assert f"| {named.get(name, f'`{name}')}" in PAGE


def test_links_lead_to_headings() -> None:
    headings = {line.lstrip("# ").lower().replace(" ", "-") for line in PAGE.splitlines() if line.startswith("##")}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= headings

"""Lists of difficult cases: both kinds, each by hand, and one clear line for what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskwise.core.errors import InputError
from maskwise.data.difficult import DifficultCases

NAMES = ("bird", "cat", "dog")


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_case_a_line(tmp_path: Path) -> None:
    for separator in (" ", ",", "\t"):
        lines = [f"val2014/a.jpg{separator}cat", f"a{separator}0", f"b.png{separator}2", "# a remark", ""]
        cases = DifficultCases.read(written(tmp_path / "list.txt", "\n".join(lines)))
        assert cases.of("images/a.jpg", [0, 1, 2], NAMES) == {0, 1}
        assert cases.of("b.jpg", [1, 2], NAMES) == {2} and cases.of("b.jpg", [0, 1], NAMES) == frozenset()
        assert cases.of("c.jpg", [0, 1], NAMES) == frozenset(), "what is not listed is easy"
        assert cases.of("a.jpg", [0, 1], None) == {0}, "without names only numbers are known"


def test_flags_as_torchray_has_them(tmp_path: Path) -> None:
    cases = DifficultCases.read(written(tmp_path / "voc.txt", "000001\t0\t1\t0\n000002\t0\t0\t0\n"))
    assert cases.of("000001.jpg", [0, 1, 2], NAMES) == {1} and cases.of("000002.jpg", [0, 1], NAMES) == frozenset()
    assert cases.of("000003.jpg", [0, 2], NAMES) == {0, 2}, "there a picture that is not listed is difficult"


def test_the_name_tells_lists_apart(tmp_path: Path) -> None:
    one, two = (DifficultCases.read(written(tmp_path / "list.txt", text)) for text in ("a cat", "a dog"))
    assert one.name != two.name and one.name.startswith("list.txt#")
    assert one.name == DifficultCases.read(written(tmp_path / "list.txt", "a cat")).name


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "lists no"), ("a\n", "fewer than 2"), ("a 0 1\nb 0\n", "entry 2"), ("a 0 1\nb 2 0\n", "entry 2"),
     ("a cat dog", "entry 1")],
)  # fmt: skip
def test_neither(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        DifficultCases.read(written(tmp_path / "list.txt", text))
    with pytest.raises(InputError, match="can't be read"):
        DifficultCases.read(tmp_path / "nowhere")

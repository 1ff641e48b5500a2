"""What the command line says beside its results."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calling import call
from PIL import Image

from maskwise.classifiers import Classifier
from maskwise.commands import plain


def test_our_own_warnings_are_one_line_and_those_of_others_stay_theirs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    others: list[tuple[Any, ...]] = []
    monkeypatch.setattr(warnings, "showwarning", lambda *given: others.append(given))  # and put back at the end
    plain.warn_plainly()
    ours, theirs = UserWarning("masks are\nempty"), UserWarning("theirs")
    warnings.showwarning(ours, UserWarning, str(plain.HOME / "training" / "run.py"), 1)
    warnings.showwarning(theirs, UserWarning, "/elsewhere/torch.py", 7)
    assert capsys.readouterr().err == "maskwise: warning: masks are empty\n"
    assert others == [(theirs, UserWarning, "/elsewhere/torch.py", 7)]


def test_what_thousands_of_pictures_do_is_one_line_and_their_number(
    tmp_path: Path, small: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of 12-bit pictures in files of 16 bits, as many cameras of microscopes make them."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    plain.warn_plainly()
    (tmp_path / "in").mkdir()
    for name in "abc":
        Image.fromarray(np.full((30, 40), 4000, np.uint16)).save(tmp_path / "in" / f"{name}.png")
    done = call("explain", tmp_path / "in", "--method", "center", "--out", tmp_path / "out", "--device", "cpu")
    assert done.exit_code == 0, done.output
    first, last = done.stderr.splitlines()
    assert "a.png: uses only 0 to 4000 of 0 to 65535" in first
    assert last.startswith("maskwise: warning: 3 pictures use less than a tenth of 0 to 65535 (12 bits), of which ")
    assert last.endswith("a.png is the first")
    done = call("explain", tmp_path / "in" / "b.png", "--method", "center", "--out", tmp_path / "o", "--device", "cpu")
    assert [line.partition(": uses only")[0] for line in done.stderr.splitlines()] == [
        f"maskwise: warning: {tmp_path / 'in' / 'b.png'}"
    ]

"""What the command line says beside its results."""

import warnings
from typing import Any

import pytest

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

"""Uploads: in memory, bounded for each visitor and for all, each visitor's own, and short-lived."""

from __future__ import annotations

import pytest

from maskwise.core.errors import InputError
from maskwise.web.uploads import FILES, NoRoomError, Uploads


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def sent(uploads: Uploads, visitor: str, content: bytes) -> str:
    upload = uploads.begin(visitor)
    for at in range(0, len(content), 7):
        uploads.add(upload, content[at : at + 7])
    return upload.token


def test_equal_pictures_of_two_visitors_are_two() -> None:
    """What one has taken is still there for the other, and neither can take the other's."""
    uploads = Uploads()
    mine, yours = sent(uploads, "a", b"the same picture"), sent(uploads, "b", b"the same picture")
    assert mine != yours
    with pytest.raises(InputError, match="drop it again"):
        uploads.take(yours, "a")
    assert uploads.take(mine, "a") == uploads.take(yours, "b") == (b"the same picture", "")
    with pytest.raises(InputError, match="drop it again"):
        uploads.take(mine, "a")
    assert uploads.held() == 0


def test_one_visitor_and_all_together_are_bounded() -> None:
    uploads = Uploads(for_one=100, for_all=250)
    sent(uploads, "a", bytes(60))
    with pytest.raises(NoRoomError, match="you have sent too much"):
        sent(uploads, "a", bytes(60))
    sent(uploads, "b", bytes(100))
    with pytest.raises(NoRoomError, match="too much is being sent"):
        sent(uploads, "c", bytes(100))
    assert uploads.held() <= 250


def test_the_number_of_files_is_bounded() -> None:
    uploads = Uploads()
    for _ in range(FILES):
        uploads.begin("a")
    with pytest.raises(NoRoomError, match="too many files"):
        uploads.begin("a")
    uploads.begin("b")


def test_what_nobody_asked_for_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    uploads = Uploads(seconds=60, clock=clock)
    token, half = sent(uploads, "a", bytes(70)), uploads.begin("a")
    clock.now = 59
    uploads.expire()
    assert uploads.held() == 70
    clock.now = 61
    uploads.expire()
    assert uploads.held() == 0
    with pytest.raises(InputError, match="drop it again"):
        uploads.take(token, "a")
    with pytest.raises(NoRoomError, match="more than 60 s"):
        uploads.add(half, b"late")


def test_one_file_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskwise.web.uploads.MAX_BYTES", 50)
    with pytest.raises(NoRoomError, match="MB"):
        sent(Uploads(), "a", bytes(51))

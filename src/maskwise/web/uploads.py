"""What visitors sent and the page has not read yet: in memory only, bounded for each and for all, and short-lived."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from maskwise.core.errors import InputError
from maskwise.web.pictures import MAX_BYTES, too_many_bytes

FOR_ONE = 2 * MAX_BYTES  # bytes of one visitor, half-sent ones among them
FOR_ALL = 200_000_000
FILES = 8  # of one visitor
FILES_OF_ALL = 256
SECONDS = 60.0  # after which what nobody asked for is dropped; the page asks at once


class NoRoomError(InputError):
    """There is no room for this upload now."""


class TooSlowError(NoRoomError):
    """It took too long to come."""


@dataclass(eq=False)
class Upload:
    """One file on its way in, or there.

    Attributes:
        visitor: whose it is.
        token: its name, which can't be guessed.
        name: of the file, as its visitor has it; it is shown and never opened.
        content: what has come so far.
        since: when it began.
    """

    visitor: str
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    name: str = ""
    content: bytearray = field(default_factory=bytearray)
    since: float = 0.0


class Uploads:
    """Files by token.

    Args:
        for_one, for_all: bytes of one visitor and of all together.
        seconds: that one is kept.
        clock: seconds; tests have their own.
    """

    def __init__(
        self,
        for_one: int = FOR_ONE,
        for_all: int = FOR_ALL,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.for_one, self.for_all, self.seconds, self.clock = for_one, for_all, seconds, clock
        self._kept: dict[str, Upload] = {}
        self._lock = threading.Lock()

    def begin(self, visitor: str) -> Upload:
        """A new upload of a visitor's; nothing has come yet.

        Raises:
            NoRoomError: too many are on their way.
        """
        self.expire()
        upload = Upload(visitor, since=self.clock())
        with self._lock:
            if sum(u.visitor == visitor for u in self._kept.values()) >= FILES or len(self._kept) >= FILES_OF_ALL:
                raise NoRoomError("too many files are being sent at the moment: try again in a minute")
            self._kept[upload.token] = upload
        return upload

    def add(self, upload: Upload, part: bytes) -> None:
        """Takes in what came.

        Raises:
            NoRoomError: it is too large, this visitor or all together have sent too much, or it took too long.
        """
        with self._lock:
            if upload.token not in self._kept:
                raise TooSlowError(f"the upload took more than {self.seconds:g} s")
            every = list(self._kept.values())
            mine = sum(len(u.content) for u in every if u.visitor == upload.visitor)
            if len(upload.content) + len(part) > MAX_BYTES:
                raise NoRoomError(too_many_bytes())
            if mine + len(part) > self.for_one:
                raise NoRoomError("you have sent too much at once: wait a minute")
            if sum(len(u.content) for u in every) + len(part) > self.for_all:
                raise NoRoomError("too much is being sent at the moment: try again in a minute")
            upload.content += part

    def drop(self, upload: Upload) -> None:
        """Forgets one, wherever it stands."""
        with self._lock:
            self._kept.pop(upload.token, None)

    def take(self, token: str, visitor: str) -> tuple[bytes, str]:
        """What a visitor sent, and its file's name; it is gone from here afterwards.

        Raises:
            InputError: it is not there any more, or was never this visitor's.
        """
        self.expire()
        with self._lock:
            found = self._kept.get(token)
            if found is None or found.visitor != visitor:
                raise InputError("that picture is not here any more: drop it again")
            del self._kept[token]
        return bytes(found.content), found.name

    def expire(self) -> None:
        """Drops what is too old."""
        with self._lock:
            now = self.clock()
            for token in [t for t, upload in self._kept.items() if now - upload.since > self.seconds]:
                del self._kept[token]

    def held(self) -> int:
        """Bytes that are here now."""
        with self._lock:
            return sum(len(upload.content) for upload in self._kept.values())

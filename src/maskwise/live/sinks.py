"""Where annotated frames go: a window, a video file, a folder of pictures, or nowhere."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Protocol

import cv2
import numpy as np

from maskwise.core.errors import InputError
from maskwise.core.files import temporary_beside, writable_folder

TITLE = "maskwise live (q or Esc ends it)"

Kind = type[BaseException] | None


class Sink(Protocol):
    """A place for frames (H,W,3) uint8 RGB; ``put`` says whether more are wanted."""

    def __enter__(self) -> Sink: ...
    def __exit__(self, kind: Kind, error: BaseException | None, trace: TracebackType | None) -> None: ...
    def put(self, frame: np.ndarray) -> bool: ...


def has_screen() -> bool:
    """Can a window be opened? Not with OpenCV's headless build, and not without a display."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL)
        cv2.destroyWindow(TITLE)
    except cv2.error:
        return False
    return True


class Nowhere:
    """Counts and forgets: to measure."""

    count = 0

    def __enter__(self) -> Nowhere:
        return self

    def __exit__(self, kind: Kind, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def put(self, frame: np.ndarray) -> bool:
        self.count += 1
        return True


class ScreenWindow(Nowhere):
    """A window; q, Esc or closing it ends the show."""

    def __exit__(self, kind: Kind, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(cv2.error):  # nothing to destroy, once it was closed
            cv2.destroyAllWindows()

    def put(self, frame: np.ndarray) -> bool:
        cv2.imshow(TITLE, frame[..., ::-1])
        key = cv2.waitKey(1) & 0xFF
        return key not in (ord("q"), 27) and self._open()

    @staticmethod
    def _open() -> bool:
        """Did nobody close it? Qt's OpenCV has no answer but an error when its last window is gone."""
        try:
            return bool(cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1)
        except cv2.error:
            return False


class Frames(Nowhere):
    """A folder of pictures, 000000.jpg and on."""

    def __init__(self, path: str | Path) -> None:
        self.path = writable_folder(path)

    def put(self, frame: np.ndarray) -> bool:
        _, jpeg = cv2.imencode(".jpg", frame[..., ::-1])
        (self.path / f"{self.count:06}.jpg").write_bytes(jpeg.tobytes())
        return super().put(frame)


class Video(Nowhere):
    """An .mp4 or .avi file, of the first frame's size; others are scaled to it. It appears when it is whole.

    Raises:
        InputError: another suffix, or a video that OpenCV can't write.
    """

    CODECS: ClassVar = {".mp4": "mp4v", ".avi": "MJPG"}

    def __init__(self, path: str | Path, fps: float) -> None:
        self.path, self.fps = Path(path), fps
        if self.path.suffix not in self.CODECS:
            raise InputError(f"{path}: a video's name ends in {' or '.join(self.CODECS)}; a folder has no suffix")
        writable_folder(self.path.parent)
        self.temporary = temporary_beside(self.path)
        self.writer: cv2.VideoWriter | None = None
        self.size = (0, 0)

    def __exit__(self, kind: Kind, error: BaseException | None, trace: TracebackType | None) -> None:
        """Frames that came before Ctrl-C are a video too; any other error leaves none."""
        if self.writer is not None:
            self.writer.release()
        if self.writer is not None and (kind is None or issubclass(kind, KeyboardInterrupt)):
            self.temporary.replace(self.path)
        self.temporary.unlink(missing_ok=True)

    def put(self, frame: np.ndarray) -> bool:
        if self.writer is None:
            self.size = (frame.shape[1] // 2 * 2, frame.shape[0] // 2 * 2)  # codecs want even sides
            codec = cv2.VideoWriter.fourcc(*self.CODECS[self.path.suffix])
            self.writer = cv2.VideoWriter(str(self.temporary), codec, self.fps, self.size)
            if not self.writer.isOpened():
                raise InputError(f"{self.path}: OpenCV can't write such a video here; try .avi, or a folder")
        if (frame.shape[1], frame.shape[0]) != self.size:
            frame = cv2.resize(frame, self.size, interpolation=cv2.INTER_AREA)
        self.writer.write(np.ascontiguousarray(frame[..., ::-1]))
        return super().put(frame)

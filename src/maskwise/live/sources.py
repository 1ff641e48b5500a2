"""Where frames come from, each a picture (H,W,3) uint8 in RGB."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from maskwise.core.errors import InputError
from maskwise.core.files import is_file, why_no_folder
from maskwise.images import load_image, to_uint8
from maskwise.picture_headers import find_pictures

FPS = 25.0  # of what does not say


@dataclass(frozen=True)
class FrameSource:
    """Frames, and what is known of them beforehand.

    Attributes:
        frames: each is read when it is asked for.
        fps: of the video that could be made of them.
        total: how many there are, where that is known.
    """

    frames: Iterator[np.ndarray]
    fps: float = FPS
    total: int | None = None


def camera(number: int) -> FrameSource:
    """A camera, by its number from 0.

    Raises:
        InputError: there is none, or it gives no picture.
    """
    capture = _opened(number, f"there is no camera {number}; name another `camera`, or a `video` or `folder`")
    return FrameSource(_read(capture), capture.get(cv2.CAP_PROP_FPS) or FPS)


def video(path: str | Path) -> FrameSource:
    """A video file.

    Raises:
        InputError: no such file, or nothing in it that OpenCV can decode.
    """
    if not is_file(path):
        raise InputError(f"{path}: no such file")
    capture = _opened(str(path), f"{path}: not a video that can be read")
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    return FrameSource(_read(capture), capture.get(cv2.CAP_PROP_FPS) or FPS, total if total > 0 else None)


def folder(path: str | Path) -> FrameSource:
    """The pictures below a folder, in the order of their names.

    Raises:
        InputError: no such folder, or no picture in it; and for a damaged one when its turn comes.
    """
    if not Path(path).is_dir():
        raise InputError(f"{path}: {why_no_folder(path)}")
    paths = find_pictures([path])
    return FrameSource((to_uint8(load_image(p)) for p in paths), FPS, len(paths))


def _opened(what: int | str, otherwise: str) -> cv2.VideoCapture:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg would write lines of its own
    quiet = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # the error below says it in one line
    try:
        capture = cv2.VideoCapture(what)
    finally:
        cv2.utils.logging.setLogLevel(quiet)
    if not capture.isOpened():
        raise InputError(otherwise)
    return capture


def _read(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    try:
        while True:
            there, frame = capture.read()
            if not there:
                return
            yield np.ascontiguousarray(frame[..., ::-1])
    finally:
        capture.release()

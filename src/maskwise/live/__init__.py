"""Frames explained as they come: from a camera, a video or a folder, to a window, a video or pictures."""

from maskwise.live.loop import Pace, live
from maskwise.live.sinks import Frames, Nowhere, ScreenWindow, Sink, Video, has_screen
from maskwise.live.sources import camera, folder, video

__all__ = [
    "Frames",
    "Nowhere",
    "Pace",
    "Sink",
    "Video",
    "ScreenWindow",
    "camera",
    "folder",
    "has_screen",
    "live",
    "video",
]

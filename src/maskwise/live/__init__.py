"""Frames explained as they come: from a camera, a video or a folder, to a window, a video or pictures."""

from maskwise.live.loop import Pace, live
from maskwise.live.sinks import Frames, Nowhere, Sink, Video, Window, has_screen
from maskwise.live.sources import camera, folder, video

__all__ = ["Frames", "Nowhere", "Pace", "Sink", "Video", "Window", "camera", "folder", "has_screen", "live", "video"]

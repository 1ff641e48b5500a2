"""One frame after another: classify, explain, draw, show, and count."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from maskwise.core.text import probabilities_said
from maskwise.explainers import Explainer
from maskwise.explainers.targets import parse_targets
from maskwise.live.sinks import Sink
from maskwise.live.sources import FrameSource

COLOURS = ((0, 229, 160), (255, 176, 0), (0, 160, 255), (255, 80, 160))  # of the named classes' contours, RGB
STRENGTH = 0.5  # of the map over the frame
LEVEL = 0.4  # at which outlines run: fixed, so that a class that is not there has none


@dataclass(frozen=True)
class Pace:
    """How fast it went.

    Attributes:
        frames: explained.
        fps: of all: reading, explaining, drawing and showing.
        milliseconds: median of logits and map for one frame, resizing included.
    """

    frames: int
    fps: float
    milliseconds: float


def live(
    source: FrameSource,
    explainer: Explainer,
    sink: Sink,
    targets: Sequence[int] = (),
    limit: int | None = None,
    tell: Callable[[int, float], None] | None = None,
) -> Pace:
    """Explains frames until the source or the viewer ends it.

    Args:
        targets: classes to look for, all of them in one pass; none is each frame's top class.
        limit: of frames.
        tell: called after each frame with its number and the frames per second of the last ones.

    Raises:
        InputError: a frame that can't be read.
    """
    spent: list[float] = []
    recent: deque[float] = deque([time.perf_counter()], maxlen=30)
    began = recent[0]
    with sink:
        for number, frame in enumerate(source.frames, 1):
            started = time.perf_counter()
            maps, logits = explained(frame, explainer, targets)
            spent.append(time.perf_counter() - started)
            fps = len(recent) / max(time.perf_counter() - recent[0], 1e-9)
            wanted = sink.put(annotated(frame, maps, logits, explainer, targets, fps))
            recent.append(time.perf_counter())
            if tell is not None:
                tell(number, fps)
            if not wanted or number == limit:
                break
    seconds = max(time.perf_counter() - began, 1e-9)
    return Pace(len(spent), len(spent) / seconds, 1000 * float(np.median(spent)) if spent else 0.0)


def explained(frame: np.ndarray, explainer: Explainer, targets: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Maps (K,h,w) at the classifier's input size and logits (C,) of one frame, from one pass where the method can."""
    classifier = explainer.classifier
    image = torch.from_numpy(frame).to(classifier.device).permute(2, 0, 1)[None].float() / 255
    parsed = parse_targets([list(targets)] if targets else None, 1, classifier)
    with explainer.calling():
        maps, logits = explainer.low_resolution(image, parsed)
        if logits is None:
            logits = classifier.logits(classifier.prepare(image))
    return maps[0].clamp(0, 1), logits[0]


def annotated(
    frame: np.ndarray, maps: Tensor, logits: Tensor, explainer: Explainer, targets: Sequence[int], fps: float
) -> np.ndarray:
    """The frame with the map in colour, or the contour of each named class's; classes, probabilities and speed."""
    height, width = frame.shape[:2]
    sized = [cv2.resize(m.cpu().numpy(), (width, height), interpolation=cv2.INTER_LINEAR) for m in maps.float()]
    probabilities = explainer.classifier.probabilities(logits, 0)
    shown = list(targets) or [int(logits.argmax())]
    if len(sized) == 1:
        colours = cv2.applyColorMap((sized[0] * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        drawn = cv2.addWeighted(frame, 1 - STRENGTH, np.ascontiguousarray(colours), STRENGTH, 0)
    else:
        drawn = frame.copy()
        for k, values in enumerate(sized):
            inside = (values >= LEVEL).astype(np.uint8)
            outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            cv2.drawContours(drawn, outlines, -1, COLOURS[k % len(COLOURS)], max(width // 200, 1))
    said = probabilities_said(probabilities.tolist(), 0)
    lines = [f"{explainer.classifier.labels.name(c)} {said[c]}" for c in shown]
    for k, text in enumerate([*lines, f"{fps:.1f} frames/s"]):
        colour = COLOURS[k % len(COLOURS)] if len(sized) > 1 and k < len(lines) else (255, 255, 255)
        _write(drawn, text, k, colour)
    return drawn


def _write(picture: np.ndarray, text: str, line: int, colour: tuple[int, int, int]) -> None:
    scale = max(picture.shape[1] / 900, 0.35)
    place = (int(12 * scale) + 2, int(40 * scale * (line + 0.8)))
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, height), below = cv2.getTextSize(text, font, scale, 1)
    low, high = (place[0] - 2, place[1] + below), (place[0] + width + 2, place[1] - height - 2)
    cv2.rectangle(picture, low, high, (0, 0, 0), cv2.FILLED)  # readable on any ground
    cv2.putText(picture, text, place, font, scale, colour, 1, cv2.LINE_AA)

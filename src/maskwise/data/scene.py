"""Drawn scenes: one target shape among smaller distractors on a textured ground, with the exact pixels of each."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maskwise.data.textures import Array, paint

FINE = 4  # each pixel is cut into FINE x FINE points for antialiased edges
FOLD = np.pi / 5

# Inside or not, at coordinates u (right) and v (down); no shape leaves the circle of radius 1.
SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": lambda u, v: np.hypot(u, v) <= 0.95,
    "square": lambda u, v: np.maximum(abs(u), abs(v)) <= 0.7,
    "triangle": lambda u, v: np.maximum(v, abs(u) * np.sqrt(0.75) - v / 2) <= 0.5,
    "star": lambda u, v: _star(np.hypot(u, v), np.arctan2(u, -v)),
    "cross": lambda u, v: (np.minimum(abs(u), abs(v)) <= 0.28) & (np.maximum(abs(u), abs(v)) <= 0.92),
    "ring": lambda u, v: abs(np.hypot(u, v) - 0.73) <= 0.23,
    "heart": lambda u, v: np.hypot(1.36 * u, 0.15 - 1.36 * v - 0.7 * np.sqrt(abs(1.36 * u))) <= 1,
    "crescent": lambda u, v: (np.hypot(u, v) <= 0.95) & (np.hypot(u - 0.42, v) > 0.72),
}


def _star(radius: Array, angle: Array) -> Array:
    """Five points: within one tenth of the turn, the edge is a line from (1, 0°) to (0.42, 36°)."""
    angle = abs((angle + FOLD) % (2 * FOLD) - FOLD)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    inner_x, inner_y = 0.42 * np.cos(FOLD), 0.42 * np.sin(FOLD)
    inside: np.ndarray = inner_y * (1 - x) - (1 - inner_x) * y >= 0
    return inside


@dataclass(frozen=True)
class Scene:
    """A picture (H,W,3) in [0,1] and, of each object, its class and the pixels (H,W) that can be seen; target first."""

    image: Array
    kinds: list[int]
    masks: list[Array]


def draw_scene(kind: int, size: int, objects: int, draws: np.random.Generator) -> Scene:
    """A scene with a target of class ``kind``.

    The target is the largest object and lies on top; distractors are of other classes and at most 0.65 of its width.
    Colours, textures, angles and places are drawn alike for all classes.
    """
    image, ground = paint(size, *_ground_colours(draws), draws)
    count = int(draws.integers((objects + 1) // 2, objects + 1))
    radius = size * draws.choice([draws.uniform(0.2, 0.34), draws.uniform(0.12, 0.2), draws.uniform(0.07, 0.12)])
    placed = [(kind, radius, *draws.uniform(radius, size - radius, 2))]
    for _ in range(30 * count):
        if len(placed) == count:
            break
        other = int((kind + draws.integers(1, len(SHAPES))) % len(SHAPES))
        r = max(radius * draws.uniform(0.35, 0.65), size * 0.035)
        x, y = draws.uniform(r, size - r, 2)
        if all(np.hypot(x - px, y - py) > 0.75 * (r + pr) for _, pr, px, py in placed):
            placed.append((other, r, x, y))
    owner = np.full((size, size), -1)
    for i in reversed(range(len(placed))):  # the target last, so that nothing hides it
        kind, r, x, y = placed[i]
        cover = _coverage(list(SHAPES.values())[kind], size, r, x, y, draws.uniform(0, 2 * np.pi))
        fill, _ = paint(size, *_object_colours(ground, draws), draws)
        image += cover[..., None] * (fill - image)
        owner[cover >= 0.5] = i
    seen = [i for i in range(len(placed)) if (owner == i).any()]  # in a tiny picture one may cover no pixel's half
    return Scene(image.clip(0, 1), [placed[i][0] for i in seen], [owner == i for i in seen])


def _coverage(inside: Callable[[Array, Array], Array], size: int, r: float, x: float, y: float, angle: float) -> Array:
    """(size,size), the part of each pixel that the shape covers."""
    left, top = max(int(x - r) - 1, 0), max(int(y - r) - 1, 0)
    right, bottom = min(int(x + r) + 2, size), min(int(y + r) + 2, size)
    columns, rows = ((np.arange(lo * FINE, hi * FINE) + 0.5) / FINE for lo, hi in ((left, right), (top, bottom)))
    u, v = np.meshgrid((columns - x) / r, (rows - y) / r)
    u, v = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
    cover = np.zeros((size, size))
    cover[top:bottom, left:right] = inside(u, v).reshape(bottom - top, FINE, right - left, FINE).mean((1, 3))
    return cover


def _ground_colours(draws: np.random.Generator) -> tuple[Array, Array]:
    """Two muted colours of neighbouring hues."""
    hue, value = draws.uniform(), draws.uniform(0.25, 0.8)
    first = _rgb(hue, draws.uniform(0.1, 0.45), value)
    return first, _rgb(hue + draws.uniform(-0.12, 0.12), draws.uniform(0.1, 0.45), value + draws.uniform(-0.25, 0.25))


def _object_colours(ground: Array, draws: np.random.Generator) -> tuple[Array, Array]:
    """A colour that stands out from the ground's mean, and a shade of it."""
    for _ in range(20):
        hue, saturation, value = draws.uniform(), draws.uniform(0.35, 0.95), draws.uniform(0.35, 1)
        colour = _rgb(hue, saturation, value)
        if np.linalg.norm(colour - ground) > 0.4:
            break
    return colour, _rgb(hue + draws.uniform(-0.05, 0.05), saturation * 0.8, value * draws.uniform(0.6, 0.85))


def _rgb(hue: float, saturation: float, value: float) -> Array:
    return np.array(colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1)))

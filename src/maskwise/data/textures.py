"""Textures between two colours, for grounds and objects alike."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from scipy import ndimage

Array = np.ndarray


def paint(size: int, first: Array, second: Array, draws: np.random.Generator) -> tuple[Array, Array]:
    """A square (size,size,3) between two colours by a texture drawn at random, lightly grained; and its mean colour."""
    kinds = list(TEXTURES.values())
    amount = kinds[draws.integers(len(kinds))](size, draws)[..., None]
    shade = 1 + 0.12 * (_ramp(size, draws) - 0.5)[..., None]
    image = (first + amount * (second - first)) * shade + draws.normal(0, 0.015, (size, size, 1))
    return image.clip(0, 1), image.mean((0, 1))


def _coordinates(size: int, draws: np.random.Generator) -> tuple[Array, Array]:
    """Coordinates in [0,1] turned by a random angle."""
    v, u = np.mgrid[:size, :size] / size
    angle = draws.uniform(0, np.pi)
    return u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)


def _ramp(size: int, draws: np.random.Generator) -> Array:
    u, _ = _coordinates(size, draws)
    stretched: np.ndarray = (u - u.min()) / (u.max() - u.min())
    return stretched


def _clouds(size: int, draws: np.random.Generator) -> Array:
    """Noise of several scales, each half as strong as the coarser one."""
    total = np.zeros((size, size))
    for octave in range(4):
        grid = draws.uniform(size=(4 * 2**octave,) * 2)
        total += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC) / 2**octave
    return _stretched(total)


def _stripes(size: int, draws: np.random.Generator) -> Array:
    u, v = _coordinates(size, draws)
    bend = 0.03 * np.sin(2 * np.pi * v * draws.uniform(0.5, 2))
    return _soft(np.sin(2 * np.pi * (u + bend) * draws.uniform(4, 14)))


def _checks(size: int, draws: np.random.Generator) -> Array:
    u, v = _coordinates(size, draws)
    frequency = np.pi * draws.uniform(5, 14)
    return _soft(np.sin(u * frequency) * np.sin(v * frequency) * 2)


def _dots(size: int, draws: np.random.Generator) -> Array:
    u, v = _coordinates(size, draws)
    frequency = 2 * np.pi * draws.uniform(5, 12)
    return _soft(np.cos(u * frequency) + np.cos(v * frequency) - 0.9)


def _cells(size: int, draws: np.random.Generator) -> Array:
    """Each point has the value of its nearest seed."""
    seeds = draws.integers(0, size, (int(draws.integers(20, 70)), 2))
    empty = np.ones((size, size), dtype=bool)
    empty[tuple(seeds.T)] = False
    rows, columns = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    cells: np.ndarray = draws.uniform(size=(size, size))[rows, columns]
    return cells


def _soft(wave: Array) -> Array:
    """A wave about 0 as two tones with narrow passages."""
    waves: np.ndarray = 1 / (1 + np.exp(-4 * wave))
    return waves


def _stretched(values: Array) -> Array:
    stretched: np.ndarray = (values - values.min()) / (values.max() - values.min())
    return stretched


TEXTURES: dict[str, Callable[[int, np.random.Generator], Array]] = {
    "ramp": _ramp,
    "clouds": _clouds,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "cells": _cells,
}

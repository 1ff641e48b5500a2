"""Tiny files for tests: pictures, masks, tables."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(path: Path, width: int = 8, height: int = 6, value: int = 100, **options: object) -> Path:
    """A grey RGB picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(path, **options)  # type: ignore[arg-type]
    return path


def mask(path: Path, rows: list[list[int]], mode: str = "L") -> Path:
    """Pixel values as they are; of mode P as palette entries."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.array(rows, np.uint8))
    if mode == "P":
        image.putpalette([i * 7 % 256 for i in range(768)])
    image.save(path)
    return path


def text(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines))
    return path


def xml(path: Path, *objects: tuple[str, int, int, int, int, int]) -> Path:
    """An annotation of objects (name, xmin, ymin, xmax, ymax, difficult)."""
    inner = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><part><name>head</name>"
        f"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
        f"<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1, difficult in objects
    )
    return text(path, f"<annotation><size><width>8</width><height>6</height></size>{inner}</annotation>")

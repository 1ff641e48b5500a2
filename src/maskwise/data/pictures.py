"""Labelled pictures with boxes, read from a folder or a zip archive without unpacking it."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from maskwise.errors import InputError
from maskwise.images import PICTURE_SUFFIXES, load_image

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Sample:
    """One picture of a data set.

    Attributes:
        id: its path within the data set.
        label: class index, or None where the data set has no label of the classifier's classes.
        boxes: ground truth, (x0,y0,x1,y1) in pixels of the stored picture, half open.
    """

    id: str
    label: int | None = None
    boxes: tuple[Box, ...] = ()


@dataclass
class Pictures:
    """A data set: samples and the folder or archive their pictures lie in.

    Example:
        >>> pictures = read_pictures("folder/")          # doctest: +SKIP
        >>> image = pictures.image(pictures.samples[0])  # doctest: +SKIP
    """

    root: Path
    samples: list[Sample]
    prefix: str = ""
    _zip: zipfile.ZipFile | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.samples)

    def image(self, sample: Sample) -> Tensor:
        """The picture (3,H,W), RGB in [0,1]."""
        if self._zip is None:
            return load_image(self.root / self.prefix / sample.id)
        data = io.BytesIO(self._zip.read(self.prefix + sample.id))
        return load_image(data, name=f"{self.root.name}:{sample.id}")


def read_pictures(path: str | Path, split: str | None = None) -> Pictures:
    """A data set from a folder (``images/`` with optional boxes.csv and labels.csv) or a zip with an images.csv.

    Args:
        path: folder or .zip file.
        split: keep only rows whose ``split`` column says so; ``FILE.zip@train`` in ``path`` means the same.

    Raises:
        InputError: nothing there, no pictures, an unknown split, or a csv that can't be read.
    """
    name, at, tail = str(path).rpartition("@")
    if at and split is None and not Path(path).exists():
        path, split = name, tail
    path = Path(path)
    if path.is_dir():
        pictures = _folder(path)
        splits = {""}
    elif zipfile.is_zipfile(path):
        pictures, splits = _archive(path, split)
    else:
        raise InputError(f"{path}: neither a folder nor a zip archive of pictures")
    if not pictures.samples:
        hint = f"; its splits are {', '.join(sorted(splits))}" if split else ""
        raise InputError(f"{path}: holds no pictures" + (f" of split {split!r}" if split else "") + hint)
    return pictures


def _rows(text: str, name: str, needed: Sequence[str]) -> list[dict[str, str]]:
    rows = list(csv.DictReader(io.StringIO(text)))
    if rows and not set(needed) <= set(rows[0]):
        raise InputError(f"{name}: needs the columns {', '.join(needed)}")
    return rows


def _boxes(text: str, name: str) -> dict[str, list[Box]]:
    boxes: dict[str, list[Box]] = defaultdict(list)
    for row in _rows(text, name, ("file", "x0", "y0", "x1", "y1")):
        if row.get("kind", "body_from_trimap") != "body_from_trimap":
            continue  # Oxford Pets' second kind outlines the head only
        boxes[row["file"]].append(_box(row, name))
    return boxes


def _box(row: dict[str, str], name: str) -> Box:
    try:
        return (float(row["x0"]), float(row["y0"]), float(row["x1"]), float(row["y1"]))
    except (TypeError, ValueError):
        raise InputError(f"{name}: the box of {row['file']!r} is not four numbers") from None


def _folder(root: Path) -> Pictures:
    images = root / "images"
    if not images.is_dir():
        raise InputError(f"{root}: has no folder images/")
    files = sorted(p.relative_to(images).as_posix() for p in _walk(images))
    boxes = _boxes(text, "boxes.csv") if (text := _text(root / "boxes.csv")) is not None else {}
    labels: dict[str, int] = {}
    if (text := _text(root / "labels.csv")) is not None:
        for row in _rows(text, "labels.csv", ("file", "label")):
            try:
                labels[row["file"]] = int(row["label"])
            except (TypeError, ValueError):
                raise InputError(f"labels.csv: the label of {row['file']!r} is not a class index") from None
    samples = [Sample(f, labels.get(f), tuple(boxes.get(f, ()))) for f in files]
    return Pictures(root, samples, prefix="images/")


def _walk(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _archive(path: Path, split: str | None) -> tuple[Pictures, set[str]]:
    archive = zipfile.ZipFile(path)
    tables = [n for n in archive.namelist() if n.rsplit("/", 1)[-1] == "images.csv"]
    if len(tables) != 1:
        raise InputError(f"{path}: expected one images.csv inside, found {len(tables)}")
    prefix = tables[0].removesuffix("images.csv")
    rows = _rows(archive.read(tables[0]).decode(), "images.csv", ("file",))
    boxes: dict[str, list[Box]] = {}
    if prefix + "boxes.csv" in archive.namelist():
        boxes = _boxes(archive.read(prefix + "boxes.csv").decode(), "boxes.csv")
    splits = {row.get("split") or "" for row in rows}
    samples = []
    for row in rows:
        if split is not None and row.get("split") != split:
            continue
        label = row.get("imagenet_index") or row.get("class_index")
        own = [_box(row, "images.csv")] if row.get("x0") else boxes.get(row["file"], [])
        samples.append(Sample(row["file"], int(label) if label else None, tuple(own)))
    return Pictures(path, samples, prefix, archive), splits

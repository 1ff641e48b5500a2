"""A zip with an images.csv and, beside it, boxes, masks, trimaps or class maps; it is never unpacked."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from maskwise.core.errors import InputError
from maskwise.data.dataset import Box, DataSet, Record
from maskwise.data.picture_files import PictureFiles
from maskwise.data.place import Place
from maskwise.data.sample import Sample
from maskwise.data.sources import datasets
from maskwise.data.store import Archive
from maskwise.data.tables import AS_IS, BOX_COLUMNS, FROM_ZERO, TableRow, csv_rows, row_box, whole_number
from maskwise.data.trimap import read_trimap

Boxes = dict[str, list[tuple[Box, str | None]]]

INCLUSIVE = ("tiny_imagenet",)  # its boxes name the last pixel: none of 64 pixels' edges passes 63


@datasets.register(
    "zip",
    title="a zip of pictures",
    boxes="boxes.csv, or columns x0,y0,x1,y1 of images.csv",
    masks="column mask of images.csv: masks, trimaps/, or class maps with mask_classes.csv",
    layout="TOP/images.csv: file[,split,mask,imagenet_index or class_index,label,class]; FILE.zip@split",
    licence="that of its pictures",
)
@dataclass(frozen=True, eq=False)
class PictureArchive(PictureFiles):
    """Pictures of a zip archive, listed by its ``images.csv``.

    ``imagenet_index`` or ``class_index`` is the label, ``label`` the data set's own class.

    Attributes:
        map_classes: of class maps, the class that each pixel value stands for.
        things: how many of the classes are objects; the rest is background such as sky.
    """

    map_classes: tuple[int, ...] | None = None
    things: int = 0

    @classmethod
    def read(cls, rest: str) -> DataSet:
        place = Place.parse(rest)
        store = _open(place.path)
        rows = csv_rows(store.text("images.csv"), store.title("images.csv"), ("file",))
        splits = {row["split"] for row in rows if row.get("split")}
        if place.split is not None:
            place.splits(sorted(splits))
            rows = [row for row in rows if row.get("split") == place.split]
        boxes, classes = _boxes(store)
        map_classes, things = None, len(classes)
        if store.exists("mask_classes.csv"):
            classes, map_classes = _map_classes(store, classes)
            things = things or len(classes)
        names = classes or _own_classes(store, rows)
        shift = FROM_ZERO if store.top.rstrip("/") in INCLUSIVE else AS_IS
        multi = any(kind for listed in boxes.values() for _, kind in listed)
        records = [_record(row, names, boxes, multi, store, shift) for row in rows]
        return place.finish(cls(rest, records, names or None, store=store, map_classes=map_classes, things=things))

    def truth(self, sample: Sample, record: Record) -> Sample:
        if record.masks and self.map_classes is not None:
            values = self.pixels(record.masks[0], sample)
            if int(values.max()) >= len(self.map_classes):
                title = self.store.title(record.masks[0])
                raise InputError(f"{title}: value {values.max()} is not in mask_classes.csv")
            classes = torch.tensor(self.map_classes)[values]
            sample = super().truth(sample, replace(record, masks=()))
            return replace(sample, class_map=classes, mask=(classes >= 0) & (classes < self.things))
        if record.masks and "trimaps/" in record.masks[0]:
            mask, ignore = read_trimap(self.pixels(record.masks[0], sample))
            return replace(super().truth(sample, replace(record, masks=())), mask=mask, ignore=ignore)
        return super().truth(sample, record)


def _open(path: Path) -> Archive:
    archive = Archive(path)
    tables = [name for name in archive.names() if name.rsplit("/", 1)[-1] == "images.csv"]
    if len(tables) != 1:
        raise InputError(f"{path}: expected one images.csv inside, found {len(tables)}")
    return Archive(path, tables[0].removesuffix("images.csv"))


def _boxes(store: Archive) -> tuple[Boxes, tuple[str, ...]]:
    """boxes.csv: boxes with their class, if they have one, and the names of those classes."""
    boxes: Boxes = defaultdict(list)
    if not store.exists("boxes.csv"):
        return boxes, ()
    title = store.title("boxes.csv")
    names: dict[int, str] = {}
    for row in csv_rows(store.text("boxes.csv"), title, BOX_COLUMNS):
        if row.get("kind", "body_from_trimap") != "body_from_trimap":
            continue  # Oxford Pets' second kind outlines the head only
        boxes[row["file"]].append((row_box(row, title), row.get("class")))
        if row.get("class"):
            names[whole_number(row["class"], title, f"the class of {row['file']!r}")] = row.get("name") or ""
    return boxes, _in_order(names)


def _map_classes(store: Archive, things: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """mask_classes.csv: the boxes' classes and after them those that only maps have; each pixel value's class."""
    title = store.title("mask_classes.csv")
    rows = csv_rows(store.text("mask_classes.csv"), title, ("mask_value", "name"))
    names = {whole_number(row["mask_value"], title, "a mask_value"): row["name"] for row in rows}
    names.pop(0, None)  # unlabelled
    classes = [*things, *(name for _, name in sorted(names.items()) if name not in things)]
    values = range(max(names, default=0) + 1)
    return tuple(classes), tuple(classes.index(names[v]) if v in names else -1 for v in values)


def _own_classes(store: Archive, rows: list[TableRow]) -> tuple[str, ...]:
    """Names by label: from classes.csv, or the column class, or labels that are names themselves."""
    if store.exists("classes.csv"):
        title = store.title("classes.csv")
        table = csv_rows(store.text("classes.csv"), title, ("label", "name"))
        names = {whole_number(row["label"], title, "a label"): row["name"] for row in table}
    elif rows and {"label", "class"} <= rows[0].keys():
        title = store.title("images.csv")
        names = {whole_number(row["label"], title, f"the label of {row['file']!r}"): row["class"] for row in rows}
    else:
        return tuple(sorted({row["label"] for row in rows if row.get("label") and not row["label"].isdigit()}))
    return _in_order(names)


def _in_order(names: dict[int, str]) -> tuple[str, ...]:
    return tuple(names.get(i) or f"class {i}" for i in range(max(names, default=-1) + 1))


def _record(row: TableRow, classes: tuple[str, ...], boxes: Boxes, multi: bool, store: Archive, shift: Box) -> Record:
    title, file = store.title("images.csv"), row["file"]
    label, own = row.get("imagenet_index") or row.get("class_index"), row.get("label")
    if own in classes:
        own = str(classes.index(own))
    listed = [(row_box(row, title, shift), None)] if row.get("x0") else boxes.get(file, [])
    if multi and not all(kind for _, kind in listed):
        raise InputError(f"{store.title('boxes.csv')}: some boxes of {file!r} have no class")
    return Record(
        file,
        whole_number(label, title, f"the label of {file!r}") if label else None,
        whole_number(own, title, f"the label of {file!r}") if own else None,
        tuple(box for box, _ in listed),
        tuple(int(kind or 0) for _, kind in listed) if multi else None,
        masks=(row["mask"],) if row.get("mask") else (),
    )

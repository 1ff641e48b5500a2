"""A zip with an images.csv and, beside it, boxes, masks, trimaps or class maps; it is never unpacked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from maskwise.core.errors import InputError
from maskwise.data.class_boxes import Boxes, boxes_of, class_boxes, class_names, have_classes, in_order
from maskwise.data.dataset import Box, DataSet, Record
from maskwise.data.picture_files import PictureFiles
from maskwise.data.place import Place
from maskwise.data.sample import Sample
from maskwise.data.sources import datasets
from maskwise.data.store import Archive
from maskwise.data.tables import AS_IS, FROM_ZERO, TableRow, csv_rows, row_box, whole_number
from maskwise.data.trimap import read_trimap
from maskwise.data.unmatched import by_picture, say_unmatched

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
        rows = list(csv_rows(store.text("images.csv"), store.title("images.csv"), ("file",)))
        _once_each(rows)
        listed = {row["file"] for row in rows}
        splits = {row["split"] for row in rows if row.get("split")}
        if place.split is not None:
            place.splits(sorted(splits))
            rows = [row for row in rows if row.get("split") == place.split]
        boxes, classes = class_boxes(store)
        boxes = by_picture(boxes, listed)
        say_unmatched(boxes, listed, store.title("boxes.csv"))
        map_classes, things = None, len(classes)
        if store.exists("mask_classes.csv"):
            classes, map_classes = _map_classes(store, classes)
            things = things or len(classes)
        names = classes or _own_classes(store, rows)
        shift = FROM_ZERO if store.top.rstrip("/") in INCLUSIVE else AS_IS
        multi = have_classes(boxes)
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


def _map_classes(store: Archive, things: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """mask_classes.csv: the boxes' classes and after them those that only maps have; each pixel value's class."""
    rows = list(csv_rows(store.text("mask_classes.csv"), store.title("mask_classes.csv"), ("mask_value", "name")))
    names = class_names(rows, "mask_value", lambda row: row["name"])
    names.pop(0, None)  # unlabelled
    classes = [*things, *(name for _, name in sorted(names.items()) if name not in things)]
    values = range(max(names, default=0) + 1)
    return tuple(classes), tuple(classes.index(names[v]) if v in names else -1 for v in values)


def _own_classes(store: Archive, rows: list[TableRow]) -> tuple[str, ...]:
    """Names by label: from classes.csv, or the column class, or labels that are names themselves."""
    if store.exists("classes.csv"):
        table = list(csv_rows(store.text("classes.csv"), store.title("classes.csv"), ("label", "name")))
        names = class_names(table, "label", lambda row: row["name"])
    elif rows and {"label", "class"} <= rows[0].keys():
        names = class_names(rows, "label", lambda row: row["class"])
    else:
        return tuple(sorted({row["label"] for row in rows if row.get("label") and not row["label"].isdigit()}))
    return in_order(names)


def _once_each(rows: list[TableRow]) -> None:
    """A picture that is listed twice in a split would count twice.

    Raises:
        InputError: there is one; it names both lines.
    """
    seen: dict[tuple[str, str | None], TableRow] = {}
    for row in rows:
        first = seen.setdefault((row["file"], row.get("split")), row)
        if first is not row:
            raise InputError(f"{first.title} and {row.title.rpartition(': ')[2]} list {row['file']!r} twice; keep one")


def _record(row: TableRow, classes: tuple[str, ...], boxes: Boxes, multi: bool, store: Archive, shift: Box) -> Record:
    title, file = row.title, row["file"]
    label, own = row.get("imagenet_index") or row.get("class_index"), row.get("label")
    if own in classes:
        own = str(classes.index(own))
    listed = {file: [(row_box(row, shift), None)]} if row.get("x0") else boxes
    return Record(
        file,
        whole_number(label, title, f"the label of {file!r}") if label else None,
        whole_number(own, title, f"the label of {file!r}") if own else None,
        *boxes_of(listed, file, multi, store),
        masks=(row["mask"],) if row.get("mask") else (),
    )

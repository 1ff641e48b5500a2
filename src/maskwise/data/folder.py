"""Your own pictures: a folder with ``images/`` and whatever is known about them beside it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from maskwise.core.errors import InputError
from maskwise.core.text import few, first_few, how_many
from maskwise.data.class_boxes import boxes_of, class_boxes, have_classes
from maskwise.data.dataset import DataSet, Record
from maskwise.data.findings_table import TABLE, findings_table, shown_in
from maskwise.data.mask_files import mask_files
from maskwise.data.picture_files import PictureFiles
from maskwise.data.place import Place
from maskwise.data.sources import datasets
from maskwise.data.store import Folder
from maskwise.data.tables import TableRow, csv_rows, one_each, whole_number
from maskwise.data.unmatched import by_picture, say_unmatched
from maskwise.formats import AS_JPEG, HEIC_SUFFIXES, NO_IMAGES, PICTURE_SUFFIXES, readable_formats
from maskwise.labels import Labels, imagenet_labels


@datasets.register(
    "folder",
    title="your own pictures",
    boxes="boxes.csv: file,x0,y0,x1,y1[,class,name]",
    masks="masks/ and ignore/, the pictures' names as .png, .tif, .bmp or .gif",
    layout="images/ flat or one folder a class, or the pictures themselves; labels.csv: file,label; "
    "findings.csv: file and a column a finding; subjects.csv: file,subject",
    licence="yours",
)
@dataclass(frozen=True, eq=False)
class PictureFolder(PictureFiles):
    """Pictures below ``images/``; the folders there, if any, are the data set's own classes.

    Without ``images/`` it is the pictures that lie in the folder itself.

    Labels come from ``labels.csv``, or from class folders that are named by WordNet ids of ImageNet-1k.

    Attributes:
        findings: rows of ``findings.csv`` by picture.
    """

    findings: Mapping[str, TableRow] = field(default_factory=dict)

    @classmethod
    def read(cls, rest: str) -> DataSet:
        place = Place.parse(rest)
        place.splits([])
        store = place.store(place.path)
        below = "images/" if (place.path / "images").is_dir() else ""
        files = _pictures(store, below)
        if not below and not files:
            raise InputError(NO_IMAGES.format(place.path))
        boxes, box_classes = class_boxes(store)
        boxes = by_picture(boxes, files)
        labels, findings = by_picture(_labels(store), files), by_picture(findings_table(store), files)
        for table, named in (("boxes.csv", boxes), ("labels.csv", labels), (TABLE, findings)):
            say_unmatched(named, files, store.title(table), below or "the folder")
        classes, by_wnid = _classes(files)
        if place.options["labels"] != "own":
            _say_unlabelled(classes, by_wnid, [file for file in files if file not in labels], store.title(below))
        multi = have_classes(boxes) and not classes  # in class folders all boxes are of the folder's class
        masks, ignores = (mask_files(store, folder, files) for folder in ("masks", "ignore"))
        records = []
        for file in files:
            category = classes.index(file.split("/")[0]) if classes else None
            stem = PurePosixPath(file).with_suffix("").as_posix()
            records.append(
                Record(
                    file,
                    labels.get(file, by_wnid.get(file.split("/")[0])),
                    category,
                    *boxes_of(boxes, file, multi, store),
                    masks=(masks[stem],) if stem in masks else (),
                    ignore=ignores.get(stem),
                )
            )
        found = cls(rest, records, classes or box_classes or None, store=store, below=below, findings=findings)
        return place.finish(found)

    def shows(self, record: Record, finding: int, classes: Labels) -> bool | None:
        return shown_in(self.findings, record.id, finding, classes)


def _pictures(store: Folder, below: str) -> list[str]:
    """Names of the pictures below ``images/``, or of those in the folder itself."""
    # Without images/ what lies deeper is none of it, and is not looked at: the folder may be of all of a user's files.
    found = store.walk(below.rstrip("/"), PICTURE_SUFFIXES + HEIC_SUFFIXES, deep=bool(below))
    if "HEIF" in readable_formats():
        return found
    unread = [name for name in found if name.lower().endswith(HEIC_SUFFIXES)]
    if unread:
        warnings.warn(
            f"{store.path}: {how_many(len(unread), 'HEIC picture')} left out ({few(unread)}): {AS_JPEG}", stacklevel=2
        )
    return [name for name in found if not name.lower().endswith(HEIC_SUFFIXES)]


def _labels(store: Folder) -> dict[str, int]:
    """Of the pictures that have one; a row without says that nobody knows."""
    if not store.exists("labels.csv"):
        return {}
    rows = csv_rows(store.text("labels.csv"), store.title("labels.csv"), ("file", "label"))
    known = (row for row in rows if row["label"])
    return one_each(
        known, "file", lambda row: whole_number(row["label"], row.title, f"the label of {row['file']!r}"), "label"
    )


def _classes(files: list[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """The class folders, sorted, and which of them are ImageNet's."""
    if not files or not all("/" in file for file in files):
        return (), {}
    classes = tuple(sorted({file.split("/")[0] for file in files}))
    if not all(map(_is_wnid, classes)):
        return classes, {}
    wnids = imagenet_labels().wnids or ()
    return classes, {name: wnids.index(name) for name in classes if name in wnids}


def _is_wnid(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdecimal()


def _say_unlabelled(classes: Sequence[str], by_wnid: Mapping[str, int], files: Sequence[str], title: str) -> None:
    """Warns where some class folders are WordNet ids and these pictures still have no label by their folder."""
    without = sorted({file.split("/")[0] for file in files} - set(by_wnid)) if classes else []
    ids = list(filter(_is_wnid, classes))
    if not ids or not without:
        return
    others = [name for name in without if name not in ids]
    if others:
        why = f"and {how_many(len(others), 'other')} not ({first_few(others)}): folders give no picture its label"
    else:
        why = f"of which {len(without)} no class of ImageNet-1k ({first_few(without)}): their pictures have no label"
    warnings.warn(
        f"{title}: {len(ids)} of {len(classes)} class folders are WordNet ids, {why}; leave those out, or write "
        "labels.csv",
        stacklevel=2,
    )

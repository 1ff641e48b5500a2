"""Your own pictures: a folder with ``images/`` and whatever is known about them beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from maskwise.core.errors import InputError
from maskwise.data.dataset import DataSet, Record
from maskwise.data.picture_files import PictureFiles
from maskwise.data.place import Place
from maskwise.data.sources import datasets
from maskwise.data.store import Folder
from maskwise.data.tables import BOX_COLUMNS, boxes_by_file, csv_rows, whole_number
from maskwise.labels import imagenet_labels


@datasets.register(
    "folder",
    title="your own pictures",
    boxes="boxes.csv: file,x0,y0,x1,y1",
    masks="masks/ and ignore/, the pictures' names as .png",
    layout="images/ flat or one folder a class, or the pictures themselves; labels.csv: file,label",
    licence="yours",
)
@dataclass(frozen=True, eq=False)
class PictureFolder(PictureFiles):
    """Pictures below ``images/``; the folders there, if any, are the data set's own classes.

    Without ``images/`` it is the pictures that lie in the folder itself.

    Labels come from ``labels.csv``, or from class folders that are named by WordNet ids of ImageNet-1k.
    """

    @classmethod
    def read(cls, rest: str) -> DataSet:
        place = Place.parse(rest)
        place.splits([])
        store = place.store(place.path)
        below = "images/" if (place.path / "images").is_dir() else ""
        files = store.walk("images") if below else [name for name in store.walk() if "/" not in name]
        if not below and not files:
            raise InputError(f"{place.path}: has no folder images/, and no pictures of its own")
        labels = _labels(store)
        boxes = {}
        if store.exists("boxes.csv"):
            title = store.title("boxes.csv")
            boxes = boxes_by_file(csv_rows(store.text("boxes.csv"), title, BOX_COLUMNS), title)
        for table, named in (("boxes.csv", boxes), ("labels.csv", labels)):
            if named and files and named.keys().isdisjoint(files):
                wrong = next(iter(named))
                where = below or "the folder"
                raise InputError(f"{store.title(table)}: names {wrong!r} but no picture of {where}; paths begin there")
        classes, by_wnid = _classes(files)
        masks, ignores = (set(store.walk(folder, (".png",))) for folder in ("masks", "ignore"))
        records = []
        for file in files:
            category = classes.index(file.split("/")[0]) if classes else None
            mask = PurePosixPath(file).with_suffix(".png").as_posix()
            records.append(
                Record(
                    file,
                    labels.get(file, by_wnid.get(file.split("/")[0])),
                    category,
                    tuple(boxes.get(file, ())),
                    masks=(f"masks/{mask}",) if mask in masks else (),
                    ignore=f"ignore/{mask}" if mask in ignores else None,
                )
            )
        return place.finish(cls(rest, records, classes or None, store=store, below=below))


def _labels(store: Folder) -> dict[str, int]:
    if not store.exists("labels.csv"):
        return {}
    title = store.title("labels.csv")
    rows = csv_rows(store.text("labels.csv"), title, ("file", "label"))
    return {row["file"]: whole_number(row["label"], title, f"the label of {row['file']!r}") for row in rows}


def _classes(files: list[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """The class folders, sorted, and which of them are ImageNet's."""
    if not files or not all("/" in file for file in files):
        return (), {}
    classes = tuple(sorted({file.split("/")[0] for file in files}))
    if not all(name[0] == "n" and name[1:].isdigit() for name in classes):
        return classes, {}
    wnids = imagenet_labels().wnids or ()
    return classes, {name: wnids.index(name) for name in classes if name in wnids}

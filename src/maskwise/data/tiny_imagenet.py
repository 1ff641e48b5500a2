"""Tiny ImageNet (Stanford CS231n): 200 of ImageNet's classes at 64 pixels, one box a picture."""

from __future__ import annotations

from dataclasses import dataclass

from maskwise.core.errors import InputError
from maskwise.data.dataset import DataSet, Record
from maskwise.data.picture_files import PictureFiles
from maskwise.data.place import Place
from maskwise.data.sources import datasets
from maskwise.data.store import Folder
from maskwise.data.tables import FROM_ZERO, fields, make_box
from maskwise.labels import imagenet_labels

SPLITS = ("train", "val")


@datasets.register(
    "tiny_imagenet",
    title="Tiny ImageNet",
    boxes="one a picture",
    masks="none",
    layout="tiny-imagenet-200/: wnids.txt, train/WNID/, val/; @train, @val",
    licence="non-commercial research",
)
@dataclass(frozen=True, eq=False)
class TinyImageNet(PictureFiles):
    """The official archive's files. Boxes name first and last pixel, from 0 to 63."""

    @classmethod
    def read(cls, rest: str) -> DataSet:
        place = Place.parse(rest)
        store = place.store(place.folder("tiny-imagenet-200", marker="wnids.txt"))
        wnids = [wnid for wnid, *_ in fields(store.text("wnids.txt"), store.title("wnids.txt"), 1)]
        imagenet = imagenet_labels().wnids or ()
        unknown = next((wnid for wnid in wnids if wnid not in imagenet), None)
        if unknown is not None:
            raise InputError(f"{store.title('wnids.txt')}: {unknown!r} is not a class of ImageNet-1k")
        labels = {wnid: imagenet.index(wnid) for wnid in wnids}
        records = []
        for split in place.splits([s for s in SPLITS if store.exists(s)]):
            for file, wnid, edges, title in _train(store, wnids) if split == "train" else _val(store):
                if wnid not in labels:
                    raise InputError(f"{title}: the class of {file}, {wnid!r}, is not in wnids.txt")
                box = make_box(edges, title, file, FROM_ZERO)
                records.append(Record(file, labels[wnid], wnids.index(wnid), (box,)))
        classes = tuple(imagenet_labels().names[labels[wnid]] for wnid in wnids)
        return place.finish(cls(rest, records, classes, store=store))


ListedPicture = tuple[str, str, list[str], str]


def _train(store: Folder, wnids: list[str]) -> list[ListedPicture]:
    """Pictures with class, edges and the table that says so."""
    found: list[ListedPicture] = []
    for wnid in wnids:
        table = f"train/{wnid}/{wnid}_boxes.txt"
        for file, *edges in fields(store.text(table), store.title(table), 5):
            found.append((f"train/{wnid}/images/{file}", wnid, edges[:4], store.title(table)))
    return found


def _val(store: Folder) -> list[ListedPicture]:
    table = "val/val_annotations.txt"
    lines = fields(store.text(table), store.title(table), 6)
    return [(f"val/images/{file}", wnid, edges[:4], store.title(table)) for file, wnid, *edges in lines]

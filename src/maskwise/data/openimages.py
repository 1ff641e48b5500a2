"""OpenImages30k as wsolevaluation (Choe et al. 2020) lays it out: one class a picture, masks and ignored regions."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.data.dataset import DataSet, Record
from maskwise.data.picture_files import PictureFiles, pixel_values
from maskwise.data.place import Place
from maskwise.data.sample import Sample, nearest
from maskwise.data.sources import datasets
from maskwise.data.store import Folder
from maskwise.data.tables import fields, whole_number

SPLITS = ("train", "val", "test")
TABLES = ("metadata/OpenImages", "metadata")
PICTURES = ("", "OpenImages/", "dataset/OpenImages/", "images/")


@datasets.register(
    "openimages",
    title="OpenImages30k (wsolevaluation)",
    boxes="none",
    masks="one or more a picture, and a region to ignore; none of train",
    layout="metadata/{train,val,test}/*.txt, {train,val,test}/CLASS/; @train, @val, @test",
    licence="annotations CC BY 4.0, pictures CC BY 2.0",
)
@dataclass(frozen=True, eq=False)
class OpenImages(PictureFiles):
    """wsolevaluation's ``metadata`` and the pictures and masks that it points to.

    The mask is the union of the object masks. What is ignored and not foreground is left out of metrics. Masks of
    another size than their picture, which OpenImages has, are brought to it (nearest).
    """

    @classmethod
    def read(cls, rest: str) -> DataSet:
        place = Place.parse(rest)
        store = place.store(place.folder(marker="metadata"))
        tables = next((t for t in TABLES if any(store.exists(f"{t}/{s}") for s in SPLITS)), TABLES[-1])
        there = [split for split in SPLITS if store.exists(f"{tables}/{split}/image_ids.txt")]
        if not there:
            raise InputError(f"{store.path}: metadata/ has no {{{','.join(SPLITS)}}}/image_ids.txt")
        records, names, below = [], dict[int, str](), ""
        for split in place.splits(there):
            found, named = _records(store, f"{tables}/{split}")
            below = next((p for p in PICTURES if found and store.exists(p + found[0].id)), below)
            records += found
            names |= named
        classes = tuple(names.get(i, f"class {i}") for i in range(max(names, default=-1) + 1))
        return place.finish(cls(rest, records, classes, store=store, below=below))

    def pixels(self, name: str, sample: Sample) -> Tensor:
        name = self.below + name
        values = pixel_values(self.store.read(name), self.store.title(name))
        return nearest(values, sample.height, sample.width)


def _records(store: Folder, folder: str) -> tuple[list[Record], dict[int, str]]:
    """A split's pictures, and its classes' names: OpenImages' ids, after which the folders are called."""

    def lines(table: str, count: int) -> list[list[str]]:
        return list(fields(store.text(f"{folder}/{table}"), store.title(f"{folder}/{table}"), count, ","))

    title = store.title(f"{folder}/class_labels.txt")
    kinds = {file: whole_number(kind, title, f"the class of {file}") for file, kind, *_ in lines("class_labels.txt", 2)}
    masks: dict[str, list[str]] = defaultdict(list)
    ignores: dict[str, str] = {}
    if store.exists(f"{folder}/localization.txt"):
        for file, mask, ignore, *_ in lines("localization.txt", 3):
            masks[file].append(mask)
            if ignore:
                ignores[file] = ignore
    files = [file for file, *_ in lines("image_ids.txt", 1)]
    unlabelled = next((file for file in files if file not in kinds), None)
    if unlabelled is not None:
        raise InputError(f"{title}: has no class for {unlabelled}")
    names = {kinds[file]: file.split("/")[-2] for file in files if "/" in file}
    return [Record(f, None, kinds[f], masks=tuple(masks.get(f, ())), ignore=ignores.get(f)) for f in files], names

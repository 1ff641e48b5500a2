"""PASCAL VOC: 20 classes, several in a picture, boxes with difficult flags and some class maps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from maskwise.core.errors import InputError
from maskwise.data.dataset import DataSet, Record
from maskwise.data.picture_files import PictureFiles, box_tensor
from maskwise.data.place import Place
from maskwise.data.sample import Sample
from maskwise.data.sources import datasets
from maskwise.data.tables import FROM_ONE, fields
from maskwise.data.voc_xml import read_xml

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
SPLITS = ("train", "val", "trainval", "test")
BORDER = 255
LISTS = {"boxes": "Main", "maps": "Segmentation"}


@datasets.register(
    "voc",
    title="PASCAL VOC 2007",
    boxes="XML, of 20 classes, with difficult flags",
    masks="SegmentationClass/, with truth=maps",
    layout="VOCdevkit/VOC2007/: JPEGImages/, Annotations/, ImageSets/; @train, @val, @trainval, @test",
    licence="Flickr terms",
)
@dataclass(frozen=True, eq=False)
class Voc(PictureFiles):
    """The development kit's files; pixel numbers from 1, the last one counted in, become half-open edges.

    Option ``truth``: ``boxes`` reads the pictures of ImageSets/Main, ``maps`` those of ImageSets/Segmentation, and
    their class maps too: the border between objects is to be ignored.

    Attributes:
        maps: are class maps read?
    """

    maps: bool = False

    @classmethod
    def read(cls, rest: str) -> DataSet:
        place = Place.parse(rest, truth=tuple(LISTS))
        years = [f"{kit}VOC{year}" for kit in ("VOCdevkit/", "") for year in (2007, 2012)]
        store = place.store(place.folder(*years, marker="JPEGImages"))
        lists = f"ImageSets/{LISTS[place.options['truth']]}"
        maps = place.options["truth"] == "maps"
        there = [split for split in SPLITS if store.exists(f"{lists}/{split}.txt")]
        if not there:
            raise InputError(f"{store.path}: has no list of pictures in {lists}/")
        names: dict[str, None] = {}  # trainval repeats train and val
        for split in place.splits(there):
            title = store.title(f"{lists}/{split}.txt")
            names |= {name: None for name, *_ in fields(store.text(f"{lists}/{split}.txt"), title, 1)}
        records = [
            Record(
                f"{name}.jpg",
                annotation=f"Annotations/{name}.xml",
                masks=(f"SegmentationClass/{name}.png",) if maps else (),
            )
            for name in names
        ]
        return place.finish(cls(rest, records, CLASSES, store=store, below="JPEGImages/", maps=maps))

    def truth(self, sample: Sample, record: Record) -> Sample:
        name = record.annotation or ""
        marked = read_xml(self.store.read(name), self.store.title(name), FROM_ONE)
        unknown = next((m.name for m in marked if m.name not in CLASSES), None)
        if unknown is not None:
            raise InputError(f"{self.store.title(name)}: {unknown!r} is not one of VOC's 20 classes")
        sample = replace(
            sample,
            boxes=box_tensor([m.box for m in marked]),
            box_classes=torch.tensor([CLASSES.index(m.name) for m in marked], dtype=torch.int64),
            difficult=torch.tensor([m.difficult for m in marked], dtype=torch.bool),
        )
        if not self.maps:
            return sample
        values = self.pixels(record.masks[0], sample)
        ignore = values == BORDER
        if (values[~ignore] > len(CLASSES)).any():
            raise InputError(f"{self.store.title(record.masks[0])}: values must be 0…{len(CLASSES)} or {BORDER}")
        classes = torch.where(ignore, -1, values - 1)
        return replace(sample, class_map=classes, mask=classes >= 0, ignore=ignore)

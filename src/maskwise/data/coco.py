"""COCO: 80 classes, several in a picture, with the pixels of every object."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from maskwise.core.errors import InputError
from maskwise.data.coco_masks import encloses_pixels, segmentation_mask
from maskwise.data.dataset import DataSet, Record
from maskwise.data.object_masks import object_masks
from maskwise.data.picture_files import PictureFiles
from maskwise.data.place import Place
from maskwise.data.sample import Sample
from maskwise.data.sources import datasets
from maskwise.data.store import Folder
from maskwise.data.tables import make_box
from maskwise.data.unmatched import say_unmatched

PREFIX, SUFFIX = "annotations/instances_", ".json"


@datasets.register(
    "coco",
    title="COCO",
    boxes="instances_{split}.json, of 80 classes",
    masks="polygons and run lengths, one an object; crowds are ignored",
    layout="annotations/instances_{split}.json, {split}/ or images/{split}/; @val2017, @val2014, …",
    licence="annotations CC BY 4.0, pictures Flickr terms",
)
@dataclass(frozen=True, eq=False)
class Coco(PictureFiles):
    """Pictures and the instance annotations; classes are COCO's categories in the order of their ids.

    Annotations may be boxes alone: a picture has a mask where all its objects have a segmentation.

    Attributes:
        objects: of each record with a mask, its objects' segmentations in the order of its boxes.
        crowds: the segmentations of its crowds.
    """

    objects: Mapping[str, list[Any]] = field(default_factory=dict)
    crowds: Mapping[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, rest: str) -> DataSet:
        place = Place.parse(rest)
        store = place.store(place.folder(marker="annotations"))
        tables = store.walk("annotations", (SUFFIX,))
        there = [t[len("instances_") : -len(SUFFIX)] for t in tables if t.startswith("instances_")]
        if not there:
            raise InputError(f"{store.path}: annotations/ has no instances_….json")
        records: list[Record] = []
        objects: dict[str, list[Any]] = {}
        crowds: dict[str, list[Any]] = {}
        classes: tuple[str, ...] = ()
        for split in place.splits(there):
            listing = _Listing(store, split)
            records += listing.records
            objects |= listing.objects
            crowds |= listing.crowds
            classes = listing.classes
        return place.finish(cls(rest, records, classes, store=store, objects=objects, crowds=crowds))

    def truth(self, sample: Sample, record: Record) -> Sample:
        size, title = (sample.height, sample.width), self.title(record)
        objects = self.objects.get(record.id, [])
        ignore = None
        for crowd in self.crowds.get(record.id, []):  # one at a time: a listing may have any number
            covered = torch.from_numpy(segmentation_mask(crowd, *size, title))
            ignore = covered if ignore is None else ignore | covered
        sample = super().truth(sample, record)
        if not objects and (len(record.boxes) or ignore is None):
            return replace(sample, ignore=ignore)
        masks = (torch.from_numpy(segmentation_mask(one, *size, title)) for one in objects)
        pixels = object_masks(masks, len(objects), *size, title)
        mask = pixels.any(0)
        return replace(sample, box_masks=pixels, mask=mask, ignore=None if ignore is None else ignore & ~mask)


class _Listing:
    """One annotation file, sorted by picture."""

    def __init__(self, store: Folder, split: str) -> None:
        self.title = store.title(f"{PREFIX}{split}{SUFFIX}")
        folder = next((f for f in (split, f"images/{split}") if store.exists(f)), None)
        if folder is None:
            raise InputError(f"{store.path}: has no folder {split}/ or images/{split}/ for the pictures of that split")
        try:
            self._read(json.loads(store.text(f"{PREFIX}{split}{SUFFIX}")), folder)
        except InputError:
            raise
        except (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{self.title}: not COCO's instances ({type(error).__name__}: {error})") from None

    def _read(self, table: Any, folder: str) -> None:
        categories = sorted(table["categories"], key=lambda category: int(category["id"]))
        index = {category["id"]: i for i, category in enumerate(categories)}
        self.classes = tuple(str(category["name"]) for category in categories)
        annotations: dict[int, list[Any]] = defaultdict(list)
        for annotation in table["annotations"]:
            annotations[annotation["image_id"]].append(annotation)
        there = {image["id"] for image in table["images"]}
        say_unmatched(map(str, annotations), set(map(str, there)), f"the annotations of {self.title}")
        self.records: list[Record] = []
        self.objects: dict[str, list[Any]] = {}
        self.crowds: dict[str, list[Any]] = {}
        for image in table["images"]:
            name, mine = f"{folder}/{image['file_name']}", annotations[image["id"]]
            crowds = [_pixels_of_crowd(a) for a in mine if a.get("iscrowd")]
            # train2017 has boxes without height, of objects without a pixel.
            mine = [a for a in mine if not a.get("iscrowd") and a["bbox"][2] > 0 and a["bbox"][3] > 0]
            boxes = [make_box((x, y, x + w, y + h), self.title, name) for x, y, w, h in (a["bbox"] for a in mine)]
            kinds = tuple(index[a["category_id"]] for a in mine)
            # One object without pixels, and the picture has no mask: what is no foreground would be background.
            drawn = bool(mine) and all(encloses_pixels(a.get("segmentation")) for a in mine)
            self.records.append(Record(name, boxes=tuple(boxes), box_classes=kinds, has_mask=drawn))
            if drawn:
                self.objects[name] = [a["segmentation"] for a in mine]
            if crowds:
                self.crowds[name] = crowds


def _pixels_of_crowd(annotation: Mapping[str, Any]) -> Any:
    """Its segmentation, or its box: what is not counted is better too much than too little."""
    segmentation = annotation.get("segmentation")
    if encloses_pixels(segmentation):
        return segmentation
    x, y, w, h = annotation["bbox"]
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]

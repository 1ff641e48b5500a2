"""Oxford-IIIT Pet: 37 breeds of cats and dogs, trimaps and head boxes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from maskwise.box import tight_boxes
from maskwise.core.errors import InputError
from maskwise.data.dataset import DataSet, Record
from maskwise.data.picture_files import PictureFiles, box_tensor
from maskwise.data.place import Place
from maskwise.data.sample import Sample
from maskwise.data.sources import datasets
from maskwise.data.tables import FROM_ONE, fields, whole_number
from maskwise.data.trimap import read_trimap
from maskwise.data.voc_xml import read_xml

LISTS = {"trainval": "trainval.txt", "test": "test.txt"}


@datasets.register(
    "pets",
    title="Oxford-IIIT Pet",
    boxes="around the trimap's animal (default) or the head, from xmls/",
    masks="trimaps/: 1 is the animal, 3, the border, is ignored",
    layout="images/, annotations/: trainval.txt, test.txt, trimaps/, xmls/; @trainval, @test",
    licence="CC BY-SA 4.0",
)
@dataclass(frozen=True, eq=False)
class Pets(PictureFiles):
    """The official archives' files.

    Option ``boxes``: ``body`` is the box around the trimap's animal, ``head`` the annotated head, where there is one.

    Attributes:
        boxes: the option's value.
    """

    boxes: str = "body"

    @classmethod
    def read(cls, rest: str) -> DataSet:
        place = Place.parse(rest, boxes=("body", "head"))
        store = place.store(place.folder("oxford-iiit-pet", marker="annotations"))
        there = [split for split, name in LISTS.items() if store.exists(f"annotations/{name}")]
        if not there:
            raise InputError(f"{store.path}: annotations/ has neither of {', '.join(LISTS.values())}")
        heads = set(store.walk("annotations/xmls", (".xml",))) if place.options["boxes"] == "head" else set()
        records, classes = [], dict[int, str]()
        for split in place.splits(there):
            title = store.title(f"annotations/{LISTS[split]}")
            for name, kind, *_ in fields(store.text(f"annotations/{LISTS[split]}"), title, 4):
                category = whole_number(kind, title, f"the class of {name}") - 1
                classes[category] = name.rpartition("_")[0]
                annotation = f"annotations/xmls/{name}.xml" if f"{name}.xml" in heads else None
                records.append(
                    Record(
                        f"{name}.jpg",
                        None,
                        category,
                        annotation=annotation,
                        masks=(f"annotations/trimaps/{name}.png",),
                        has_boxes=place.options["boxes"] == "body",
                    )
                )
        names = tuple(classes.get(i, f"breed {i + 1}") for i in range(max(classes, default=-1) + 1))
        return place.finish(cls(rest, records, names, store=store, below="images/", boxes=place.options["boxes"]))

    def truth(self, sample: Sample, record: Record) -> Sample:
        mask, ignore = read_trimap(self.pixels(record.masks[0], sample))
        sample = replace(sample, mask=mask, ignore=ignore)
        if self.boxes == "body":
            return replace(sample, boxes=tight_boxes(mask[None]).double()) if mask.any() else sample
        if record.annotation is None:
            return sample
        marked = read_xml(self.store.read(record.annotation), self.store.title(record.annotation), FROM_ONE)
        return replace(sample, boxes=box_tensor([m.box for m in marked]))

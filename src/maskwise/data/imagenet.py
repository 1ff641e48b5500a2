"""ImageNet-1k (ILSVRC2012 CLS-LOC) as its archives unpack, or as train/ and val/ folders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from maskwise.core.errors import InputError
from maskwise.core.files import why_no_folder
from maskwise.data.dataset import DataSet, Record
from maskwise.data.imagenet_splits import PARTS, train_part
from maskwise.data.imagenet_tables import known
from maskwise.data.picture_files import PictureFiles, box_tensor
from maskwise.data.place import Place
from maskwise.data.sample import Sample
from maskwise.data.sources import datasets
from maskwise.data.store import Folder
from maskwise.data.tables import AS_IS, FROM_ZERO
from maskwise.data.voc_xml import read_xml
from maskwise.labels import imagenet_labels

SPLITS = ("train", "val")
PICTURES = ("ILSVRC/Data/CLS-LOC/{}", "Data/CLS-LOC/{}", "{}")
ANNOTATIONS = ("ILSVRC/Annotations/CLS-LOC/{}", "Annotations/CLS-LOC/{}", "Annotations/{}")
EDGES = {"as_released": AS_IS, "exact": FROM_ZERO}


@datasets.register(
    "imagenet",
    title="ImageNet-1k (ILSVRC2012)",
    boxes="XML, LOC_{split}_solution.csv or ilsvrc2012_val_boxes.csv",
    masks="none",
    layout="ILSVRC/{Data,Annotations}/CLS-LOC/{train,val}, or train/WNID/ and val/[WNID/]; @train, @val, @train_val, "
    "@train_train",
    licence="non-commercial research",
)
@dataclass(frozen=True, eq=False)
class ImageNet(PictureFiles):
    """ImageNet's pictures; the label is the class's place among the sorted WordNet ids.

    Labels of val come from class folders, from a table beside them (see ``imagenet_tables``), or from the XML. XML is
    read together with its picture. ``train_val`` and ``train_train`` are the two parts of train on which Phang et al.
    (2021) measure and train (see ``train_part``).

    Option ``edges``: ``as_released`` takes a box's numbers as they are, which is what CASM's, Phang et al.'s and
    wsolevaluation's code does and what other sources of ImageNet boxes hold; ``exact`` counts the pixels xmax and
    ymax in. The official numbers count from 0 and never reach the width.

    Attributes:
        edges: the option's value.
    """

    edges: str = "as_released"

    @classmethod
    def read(cls, rest: str) -> DataSet:
        place = Place.parse(rest, edges=tuple(EDGES))
        store = place.store(place.path)
        if not place.path.is_dir():
            raise InputError(f"{place.path}: {why_no_folder(place.path)}")
        roots = {s: root for s in SPLITS if (root := _first(place.path, PICTURES, s))}
        if not roots:
            raise InputError(f"{place.path}: has none of {', '.join(p.format('train|val') for p in PICTURES)}")
        edges = place.options["edges"]
        parts = PARTS if "train" in roots and place.split is not None else ()  # of train, so no splits beside it
        records = []
        for split in place.splits([*roots, *parts]):
            whole = "train" if split in PARTS else split
            found = _records(store, whole, roots[whole], edges)
            records += train_part(found, split, str(place.path)) if split in PARTS else found
        return place.finish(cls(rest, records, imagenet_labels().names, store=store, edges=edges))

    def truth(self, sample: Sample, record: Record) -> Sample:
        if record.annotation is None:
            return super().truth(sample, record)
        marked = read_xml(self.store.read(record.annotation), self.store.title(record.annotation), EDGES[self.edges])
        wnid = (imagenet_labels().wnids or ())[record.category] if record.category is not None else None
        return replace(sample, boxes=box_tensor([m.box for m in marked if wnid in (m.name, None)]))


def _first(root: Path, patterns: tuple[str, ...], split: str) -> str | None:
    return next((name for p in patterns if (root / (name := p.format(split))).is_dir()), None)


def _records(store: Folder, split: str, root: str, edges: str) -> list[Record]:
    wnids = {wnid: i for i, wnid in enumerate(imagenet_labels().wnids or ())}
    folder = _first(store.path, ANNOTATIONS, split)
    xml = set(store.walk(folder, (".xml",))) if folder else set()
    table = known(store, split, wnids, EDGES[edges])
    records = []
    for file in store.walk(root):
        parent, _, name = file.rpartition("/")
        stem = name.rsplit(".", 1)[0]
        beside = next((f"{folder}/{f}.xml" for f in (file.rsplit(".", 1)[0], stem) if f"{f}.xml" in xml), None)
        label = wnids.get(parent.rpartition("/")[2], table.labels.get(stem))
        if label is None and beside is not None:
            label = _label_in(store, beside, wnids)
        boxes = () if beside else tuple(table.boxes.get(stem, ()))
        records.append(Record(f"{root}/{file}", label, label, boxes, annotation=beside))
    return records


def _label_in(store: Folder, annotation: str, wnids: dict[str, int]) -> int | None:
    marked = read_xml(store.read(annotation), store.title(annotation), FROM_ZERO)
    return next((wnids[m.name] for m in marked if m.name in wnids), None)

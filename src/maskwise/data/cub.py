"""CUB-200-2011: 200 species of birds, boxes and segmentations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.data.dataset import DataSet, Record
from maskwise.data.picture_files import PictureFiles
from maskwise.data.place import Place
from maskwise.data.sample import Sample
from maskwise.data.sources import datasets
from maskwise.data.store import Folder
from maskwise.data.tables import fields, make_box, whole_number


@datasets.register(
    "cub",
    title="CUB-200-2011",
    boxes="bounding_boxes.txt, one a picture",
    masks="segmentations/, inside or beside the folder",
    layout="CUB_200_2011/: images/, images.txt and its tables; @train, @test",
    licence="non-commercial research and education",
)
@dataclass(frozen=True, eq=False)
class Cub(PictureFiles):
    """The official archives' files; a box x, y, w, h becomes x, y, x+w, y+h."""

    @classmethod
    def read(cls, rest: str) -> DataSet:
        place = Place.parse(rest)
        store = place.store(place.folder("CUB_200_2011", marker="images.txt"), "../segmentations")
        files = _table(store, "images.txt")
        train, kinds = _table(store, "train_test_split.txt"), _table(store, "image_class_labels.txt")
        edges = _table(store, "bounding_boxes.txt", 5)
        named = _table(store, "classes.txt")
        numbers = {whole_number(key, store.title("classes.txt"), "a class"): key for key in named}
        classes = [named[numbers[number]][0] for number in sorted(numbers)]
        segmentations = next((s for s in ("segmentations", "../segmentations") if store.exists(s)), None)
        masks = set(store.walk(segmentations, (".png",))) if segmentations else set()
        splits = place.splits(["train", "test"])
        records = []
        for key, (file, *_) in files.items():
            if any(key not in table for table in (train, kinds, edges)):
                raise InputError(f"{store.path}: image {key} of images.txt is not in every other table")
            if ("train" if train[key][0] == "1" else "test") not in splits:
                continue
            title = store.title("bounding_boxes.txt")
            category = whole_number(kinds[key][0], store.title("image_class_labels.txt"), f"the class of {key}") - 1
            x, y, w, h = (_number(edge, title, file) for edge in edges[key])
            mask = PurePosixPath(file).with_suffix(".png").as_posix()
            box = make_box((x, y, x + w, y + h), title, file)
            masked = (f"{segmentations}/{mask}",) if mask in masks else ()
            records.append(Record(file, None, category, (box,), masks=masked))
        return place.finish(cls(rest, records, tuple(classes), store=store, below="images/"))

    def foreground(self, names: tuple[str, ...], sample: Sample) -> Tensor | None:
        """A grey level is the share of annotators that marked a pixel: foreground is where most of them did."""
        return self.pixels(names[0], sample) > 127 if names else None


def _table(store: Folder, name: str, count: int = 2) -> dict[str, list[str]]:
    """Lines by their first field, the picture's or class's number."""
    return {line[0]: line[1:count] for line in fields(store.text(name), store.title(name), count)}


def _number(text: str, name: str, file: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{name}: the box of {file!r} is not four numbers") from None

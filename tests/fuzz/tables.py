"""Data sets whose listings, annotations or archive are damaged: every layout that is read, each with two pictures."""

from __future__ import annotations

import io
import json
import zipfile
from functools import cache
from pathlib import Path
from random import Random

from fuzz.harness import Target
from fuzz.mutate import as_bytes, damaged, reworded
from fuzz.pictures import seeds

from maskwise.data import read_data
from maskwise.data.difficult import DifficultCases

XML = (
    "<annotation><folder>x</folder><size><width>32</width><height>32</height></size><object><name>{}</name>"
    "<difficult>0</difficult><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object>"
    "</annotation>"
)
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><annotation><object><name>&i;</name></object></annotation>"
)
OUTSIDE = (
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation><object><name>&e;</name></object></annotation>'
)
DEEP = "<annotation>" + "<object>" * 20_000 + "</object>" * 20_000 + "</annotation>"
COCO = {
    "categories": [{"id": 1, "name": "dog"}, {"id": 7, "name": "cat"}],
    "images": [{"id": 5, "file_name": "a.png", "width": 32, "height": 32}, {"id": 6, "file_name": "b.png"}],
    "annotations": [
        {"image_id": 5, "category_id": 7, "bbox": [1, 2, 9, 9], "segmentation": [[1, 2, 9, 2, 9, 9]], "iscrowd": 0},
        {
            "image_id": 6,
            "category_id": 1,
            "bbox": [0, 0, 4, 4],
            "segmentation": {"size": [32, 32], "counts": [9, 1015]},
            "iscrowd": 0,
        },
        {
            "image_id": 6,
            "category_id": 1,
            "bbox": [0, 0, 4, 4],
            "segmentation": {"size": [32, 32], "counts": "0hl0000"},
            "iscrowd": 1,
        },
    ],
}
PICTURE, MASK = "picture", "mask"  # stand for bytes of a PNG
LAYOUTS: dict[str, tuple[str, dict[str, str]]] = {
    "folder": (
        "{}",
        {
            "images/a.png": PICTURE,
            "images/b.png": PICTURE,
            "masks/a.png": MASK,
            "boxes.csv": "file,x0,y0,x1,y1\na.png,1,2,9,10\nb.png,0,0,32,32\n",
            "labels.csv": "file,label\na.png,3\nb.png,4\n",
        },
    ),
    "imagenet": (
        "imagenet:{}@val",
        {
            "val/a.png": PICTURE,
            "val/b.png": PICTURE,
            "LOC_val_solution.csv": "ImageId,PredictionString\na,n01440764 1 2 9 10\nb,n01440764 0 0 8 8\n",
        },
    ),
    "imagenet xml": (
        "imagenet:{}@val",
        {
            "val/n01440764/a.png": PICTURE,
            "val/b.png": PICTURE,
            "Annotations/val/a.xml": XML.format("n01440764"),
            "Annotations/val/b.xml": XML.format("n01440764"),
        },
    ),
    "imagenet boxes": (
        "imagenet:{}@val",
        {
            "val/a.png": PICTURE,
            "ilsvrc2012_val_boxes.csv": "file,class_index,x0,y0,x1,y1\nval/a.png,3,1,2,9,10\n",
        },
    ),
    "voc": (
        "voc:{}",
        {
            "JPEGImages/a.jpg": PICTURE,
            "Annotations/a.xml": XML.format("dog"),
            "ImageSets/Main/val.txt": "a\n",
            "ImageSets/Main/train.txt": "a 1\n",
        },
    ),
    "coco": (
        "coco:{}@val",
        {
            "val/a.png": PICTURE,
            "val/b.png": PICTURE,
            "annotations/instances_val.json": json.dumps(COCO),
        },
    ),
    "cub": (
        "cub:{}",
        {
            "images/1.bird/a.png": PICTURE,
            "segmentations/1.bird/a.png": MASK,
            "images.txt": "1 1.bird/a.png\n",
            "classes.txt": "1 1.bird\n",
            "image_class_labels.txt": "1 1\n",
            "train_test_split.txt": "1 0\n",
            "bounding_boxes.txt": "1 2.0 3.0 10.0 9.0\n",
        },
    ),
    "pets": (
        "pets:{}",
        {
            "images/a_1.jpg": PICTURE,
            "annotations/trimaps/a_1.png": MASK,
            "annotations/trainval.txt": "#Image C S B\na_1 1 1 1\n",
            "annotations/test.txt": "a_1 1 1 1\n",
        },
    ),
    "openimages": (
        "openimages:{}",
        {
            "metadata/val/image_ids.txt": "val/dog/a.png\n",
            "metadata/val/class_labels.txt": "val/dog/a.png,0\n",
            "metadata/val/localization.txt": "val/dog/a.png,val/dog/m.png,\n",
            "val/dog/a.png": PICTURE,
            "val/dog/m.png": MASK,
        },
    ),
}
ZIPPED = {
    "top/images.csv": "file,split,mask,imagenet_index,label,class\na.png,val,m.png,3,0,dog\nb.png,test,,4,1,cat\n",
    "top/boxes.csv": "file,x0,y0,x1,y1,class,name\na.png,1,2,9,10,0,dog\nb.png,0,0,9,9,1,cat\n",
    "top/mask_classes.csv": "mask_value,name\n0,unlabelled\n1,dog\n2,sky\n",
    "top/classes.csv": "label,name\n0,dog\n1,cat\n",
    "top/a.png": PICTURE,
    "top/b.png": PICTURE,
    "top/m.png": MASK,
}


def content(text: str) -> bytes:
    named = {PICTURE: seeds("PNG")[0], MASK: seeds("PNG")[4]}
    return named[text] if text in named else text.encode()


def make_listing(kind: str, random: Random) -> bytes:
    """The damaged file's name, a zero byte, and what it holds now."""
    files = {name: text for name, text in LAYOUTS[kind][1].items() if text not in (PICTURE, MASK)}
    name = random.choice(list(files))
    text = files[name]
    if name.endswith(".xml") and random.random() < 0.05:
        made = as_bytes(random.choice((BOMB, OUTSIDE, DEEP, text)))
    elif name.endswith(".json") and random.random() < 0.5:
        made = as_bytes(json.dumps(shaken(json.loads(text), random)))
    elif random.random() < 0.7:
        made = as_bytes(reworded(text, random, "<>" if name.endswith(".xml") else ',: \n\t"[]{}'))
    else:
        made = damaged(text.encode(), [t.encode() for t in files.values()], random)
    return name.encode() + b"\0" + made


def shaken(value: object, random: Random, depth: int = 0) -> object:
    """A value of a JSON tree becomes another one."""
    odd = (None, True, -1, 0, 1e308, float("nan"), float("inf"), 2**70, -(2**70), "", "a", [], {}, [[]], "`" * 50_000,
           [[1, 2, 3]], {"size": [32, 32], "counts": [2**70, 1024 - 2**70]})  # fmt: skip
    if depth > 1 and random.random() < 0.3:
        return random.choice(odd)
    if isinstance(value, dict) and value:
        key = random.choice(list(value))
        if random.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: shaken(value[key], random, depth + 1)}
    if isinstance(value, list) and value:
        index = random.randrange(len(value))
        return [*value[:index], shaken(value[index], random, depth + 1), *value[index + 1 :]]
    return random.choice(odd)


def read_listing(kind: str, data: bytes, folder: Path) -> None:
    source, files = LAYOUTS[kind]
    root = folder / kind.replace(" ", "-")
    changed, _, made = data.partition(b"\0")
    for name, text in files.items():
        path = root / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(text))
    path = root / changed.decode()
    path.write_bytes(made)
    try:
        for sample in read_data(source.format(root)):
            sample.resized(16)
    finally:
        path.write_bytes(content(files[changed.decode()]))


@cache
def zipped(changed: str = "", made: bytes = b"", method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, text in ZIPPED.items():
            archive.writestr(name, made if name == changed else content(text))
    return buffer.getvalue()


def make_zip(random: Random) -> bytes:
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    if random.random() < 0.5:
        return damaged(zipped(method=random.choice(methods)), [zipped(method=method) for method in methods], random)
    name = random.choice([name for name in ZIPPED if name.endswith(".csv")])
    return zipped.__wrapped__(name, as_bytes(reworded(ZIPPED[name], random, ",\n")))


def read_zip(data: bytes, folder: Path) -> None:
    path = folder / "set.zip"
    path.write_bytes(data)
    for sample in read_data(path):
        sample.resized(16)


def make_difficult(random: Random) -> bytes:
    text = random.choice(("a dog\nb 3\n", "a 0 1 1\nb 1 0 0\n", "a\tdog\nb\tcat\n"))
    return as_bytes(reworded(text, random, " \n\t")) if random.random() < 0.8 else damaged(text.encode(), [], random)


def read_difficult(data: bytes, folder: Path) -> None:
    path = folder / "list.txt"
    path.write_bytes(data)
    DifficultCases.read(path).of("a", [0, 1], ("dog", "cat"))


def _listing(kind: str, share: float) -> Target:
    return Target(
        f"{kind} tables", share, lambda random: make_listing(kind, random), lambda d, f: read_listing(kind, d, f)
    )


SHARES = {"folder": 0.06, "imagenet xml": 0.04, "voc": 0.04, "coco": 0.04}
TARGETS = [
    *(_listing(kind, SHARES.get(kind, 0.015)) for kind in LAYOUTS),
    Target("zip of pictures", 0.06, make_zip, read_zip),
    Target("difficult list", 0.01, make_difficult, read_difficult),
]

"""Tables of ImageNet's labels and boxes that may lie beside its pictures."""

from __future__ import annotations

import gzip
import io
import zlib
from collections import defaultdict
from dataclasses import dataclass, field

from maskwise.core.errors import InputError
from maskwise.data.dataset import Box
from maskwise.data.store import MOST_TEXT, Folder
from maskwise.data.tables import BOX_COLUMNS, csv_rows, fields, make_box, row_box, whole_number

BOXES = "ilsvrc2012_val_boxes.csv"
DEVKIT = "ILSVRC2012_devkit_t12/data"
GROUND_TRUTH = f"{DEVKIT}/ILSVRC2012_validation_ground_truth.txt"


@dataclass
class Known:
    """What tables say about pictures, by their names without suffix."""

    labels: dict[str, int] = field(default_factory=dict)
    boxes: dict[str, list[Box]] = field(default_factory=lambda: defaultdict(list))


def known(store: Folder, split: str, wnids: dict[str, int], shift: Box) -> Known:
    """Labels and boxes of a split, from the first of these tables that is there: LOC_{split}_solution.csv (Kaggle),
    ilsvrc2012_val_boxes.csv or .csv.gz, the development kit's ground truth (labels only).

    Raises:
        InputError: a table that can't be read.
    """
    if store.exists(f"LOC_{split}_solution.csv"):
        return _solution(store, f"LOC_{split}_solution.csv", wnids, shift)
    if split != "val":
        return Known()
    for name in (BOXES, f"{BOXES}.gz"):
        if store.exists(name):
            return _boxes(store, name, shift)
    return _devkit(store, wnids) if store.exists(GROUND_TRUTH) else Known()


def _solution(store: Folder, name: str, wnids: dict[str, int], shift: Box) -> Known:
    """Kaggle's ``ImageId,PredictionString``, the latter being five fields a box: wnid x0 y0 x1 y1."""
    table, title = Known(), store.title(name)
    for row in csv_rows(store.text(name), title, ("imageid", "predictionstring")):
        image, parts = row["imageid"], row["predictionstring"].split()
        if not parts or len(parts) % 5 or parts[0] not in wnids:
            raise InputError(f"{row.title}: the boxes of {image!r} are not `wnid x0 y0 x1 y1` of ImageNet-1k's classes")
        table.labels[image] = wnids[parts[0]]
        table.boxes[image] = [make_box(parts[i + 1 : i + 5], row.title, image, shift) for i in range(0, len(parts), 5)]
    return table


def _boxes(store: Folder, name: str, shift: Box) -> Known:
    """``file,class_index,x0,y0,x1,y1`` in pixels of the original pictures."""
    table, title = Known(), store.title(name)
    try:
        data = store.read(name)
        if name.endswith(".gz"):
            with gzip.open(io.BytesIO(data)) as unpacked:
                data = unpacked.read(MOST_TEXT + 1)
            if len(data) > MOST_TEXT:
                raise InputError(f"{title}: unpacks to more than {MOST_TEXT >> 20} MB")
        text = data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{title}: can't be read ({error})") from None
    for row in csv_rows(text, title, (*BOX_COLUMNS, "class_index")):
        stem = row["file"].rsplit("/", 1)[-1].rsplit(".", 1)[0]
        table.labels[stem] = whole_number(row["class_index"], row.title, f"the class of {row['file']!r}")
        table.boxes[stem].append(row_box(row, shift))
    return table


def _devkit(store: Folder, wnids: dict[str, int]) -> Known:
    """Line n is the class of ILSVRC2012_val_n, in the kit's own numbering, which meta.mat translates."""
    from scipy.io import loadmat  # half a second that no other source needs

    title = store.title(f"{DEVKIT}/meta.mat")
    try:
        synsets = loadmat(store.path / DEVKIT / "meta.mat", squeeze_me=True)["synsets"]
        label = {int(s["ILSVRC2012_ID"]): wnids[str(s["WNID"])] for s in synsets if int(s["num_children"]) == 0}
    except (OSError, KeyError, ValueError, TypeError, NotImplementedError) as error:
        raise InputError(f"{title}: can't be read, and {GROUND_TRUTH} needs it ({error!r})") from None
    lines = fields(store.text(GROUND_TRUTH), store.title(GROUND_TRUTH), 1)
    table = Known()
    for number, (kit_class, *_) in enumerate(lines, 1):
        index = whole_number(kit_class, store.title(GROUND_TRUTH), f"line {number}")
        if index not in label:
            raise InputError(f"{store.title(GROUND_TRUTH)}: line {number} is {index}, which meta.mat does not have")
        table.labels[f"ILSVRC2012_val_{number:08}"] = label[index]
    return table

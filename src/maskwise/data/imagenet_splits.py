"""Train-Validation (Phang, Park, Geras 2021): a part of ImageNet's training pictures that no training sees."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from maskwise.core.errors import InputError
from maskwise.data.dataset import Record

PARTS = ("train_val", "train_train")
EACH = 50  # pictures of a class in train_val
SEED = 1234


def train_part(records: Sequence[Record], part: str, title: str, each: int = EACH, seed: int = SEED) -> list[Record]:
    """The pictures of ``train_val``, at most ``each`` of a class, or of ``train_train``, all others.

    Candidates are pictures of a known class with a boxes annotation, as in the released code. Of each class those
    with the smallest digests of seed and file name are taken: a draw that depends on no other picture, on no order and
    on no library's generator. So it is another draw than the released code's, which is not known.

    Args:
        records: of all training pictures.
        title: what an error calls them.

    Raises:
        InputError: not one picture has boxes.
    """
    candidates: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for place, record in enumerate(records):
        if record.has_boxes and record.label is not None:
            name = record.id.rpartition("/")[2]
            candidates[record.label].append((hashlib.sha256(f"{seed}/{name}".encode()).hexdigest(), place))
    if not candidates:
        raise InputError(
            f"{title}: {part} is drawn among training pictures with boxes, and none has any: "
            "Annotations/CLS-LOC/train or LOC_train_solution.csv is missing"
        )
    drawn = {place for own in candidates.values() for _, place in sorted(own)[:each]}
    return [record for place, record in enumerate(records) if (place in drawn) == (part == "train_val")]

"""``twins``: each picture of another data set twice, side by side, where a classifier can do with one half."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from maskwise.data.dataset import DataSet, Record
from maskwise.data.sample import Sample
from maskwise.data.sources import datasets, read_data


@datasets.register(
    "twins",
    title="every picture twice, side by side",
    boxes="as the other set has them, twice",
    masks="as the other set has them, twice",
    layout="twins:SOURCE, such as twins:shapes or twins:FILE.zip@test",
    licence="that of the other set",
)
@dataclass(frozen=True, eq=False)
class Twins(DataSet):
    """The thought experiment of CASM (Zolna, Geras, Cho 2020): a classifier may read its class from either half, so a
    map for one classifier may leave a half out; a classifier-agnostic one must show both.

    Attributes:
        single: the other data set.
    """

    _: KW_ONLY
    single: DataSet

    @classmethod
    def read(cls, rest: str) -> DataSet:
        single = read_data(rest or "shapes")
        return cls(f"twins:{single.name}", single.records, single.classes, single=single)

    def image(self, record: Record) -> Tensor:
        return torch.cat([self.single.image(record)] * 2, -1)

    def sample(self, record: Record) -> Sample:
        return doubled(self.single.sample(record))


def doubled(sample: Sample) -> Sample:
    """The sample beside itself, (3,H,2W), with the truth of both halves."""
    boxes = sample.boxes + sample.boxes.new_tensor([sample.width, 0, sample.width, 0])
    wide: dict[str, Any] = {
        name: torch.cat([pixels, pixels], -1)
        for name in ("image", "mask", "ignore", "class_map")
        if (pixels := getattr(sample, name)) is not None
    }
    listed: dict[str, Any] = {
        name: torch.cat([values, values])
        for name in ("box_classes", "difficult")
        if (values := getattr(sample, name)) is not None
    }
    masks = sample.box_masks
    if masks is not None:
        none = torch.zeros_like(masks)
        masks = torch.cat([torch.cat([masks, none], -1), torch.cat([none, masks], -1)])
    return replace(sample, boxes=torch.cat([sample.boxes, boxes]), box_masks=masks, **wide, **listed)

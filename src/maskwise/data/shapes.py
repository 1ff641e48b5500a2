"""``shapes``: scenes drawn on the fly, with exact truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from maskwise.box import tight_boxes
from maskwise.core.errors import InputError
from maskwise.data.dataset import DataSet, Record
from maskwise.data.place import parsed_settings
from maskwise.data.sample import Sample
from maskwise.data.scene import SHAPES, Scene, draw_scene
from maskwise.data.sources import datasets

# Default, least and most.
SETTINGS = {"n": (200, 1, 1_000_000), "size": (224, 32, 2048), "seed": (0, 0, 2**63), "objects": (3, 1, 12)}


@datasets.register(
    "shapes",
    title="drawn scenes of eight shapes",
    boxes="exact, of every object, with classes",
    masks="exact, of the target and of every object",
    layout="shapes:n=200,size=224,seed=0,objects=3 (the defaults); labels=own",
    licence="none needed",
)
@dataclass(frozen=True, eq=False)
class Shapes(DataSet):
    """Scenes that depend on (seed, index, size, objects) alone.

    A scene's category is its target's: the largest object, which is also the sample's mask and first box. About half to
    all of ``objects`` are drawn, the others being smaller distractors of other classes.

    Attributes:
        size: the pictures' side in pixels.
        seed: another one gives other pictures: a training set, say.
        objects: how many there are at most, the target included.
    """

    size: int = 224
    seed: int = 0
    objects: int = 3

    @classmethod
    def read(cls, rest: str) -> DataSet:
        given = parsed_settings([part for part in rest.split(",") if part], f"shapes:{rest}")
        values = {key: default for key, (default, _, _) in SETTINGS.items()}
        own = given.pop("labels", None)
        if own not in (None, "own"):
            raise InputError(f"shapes: labels can be own, the shapes' eight classes, not {own!r}")
        for key, text in given.items():
            if key not in SETTINGS:
                raise InputError(f"shapes has no option {key!r}; it has {', '.join(SETTINGS)}, labels")
            _, least, most = SETTINGS[key]
            if not text.isdecimal() or not least <= int(text) <= most:
                raise InputError(f"shapes: {key} is a whole number from {least} to {most}, not {text!r}")
            values[key] = int(text)
        kinds = len(SHAPES)
        records = [
            Record(f"shapes/{values['seed']}/{i}", i % kinds if own else None, i % kinds, has_boxes=True, has_mask=True)
            for i in range(values["n"])
        ]
        name = f"shapes:{rest}" if rest else "shapes"
        return cls(name, records, tuple(SHAPES), values["size"], values["seed"], values["objects"])

    def image(self, record: Record) -> Tensor:
        return _tensor(self._scene(record))

    def sample(self, record: Record) -> Sample:
        scene = self._scene(record)
        masks = torch.from_numpy(np.stack(scene.masks))
        kinds = torch.tensor(scene.kinds)
        return Sample(
            record.id,
            _tensor(scene),
            record.label,
            boxes=tight_boxes(masks).double(),
            box_classes=kinds,
            mask=masks[0],
            class_map=torch.where(masks, kinds[:, None, None], -1).amax(0),
            category=record.category,
            box_masks=masks,
        )

    def _scene(self, record: Record) -> Scene:
        index = int(record.id.rpartition("/")[2])
        return draw_scene(index % len(SHAPES), self.size, self.objects, np.random.default_rng([self.seed, index]))


def _tensor(scene: Scene) -> Tensor:
    return torch.from_numpy(scene.image.astype(np.float32)).permute(2, 0, 1).contiguous()

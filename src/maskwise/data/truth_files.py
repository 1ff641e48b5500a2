"""A sample's truth as small files beside its picture, and back: what a shard holds of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.npy import read_npy
from maskwise.data.dataset import Record
from maskwise.data.object_masks import object_masks
from maskwise.data.picture_files import box_tensor, checked, pixel_values
from maskwise.data.sample import Sample
from maskwise.data.tables import MOST_CLASSES, make_box, whole_number
from maskwise.images import load_image, to_uint8
from maskwise.picture_headers import MAX_PIXELS, MAX_SIDE

MASKS = {"mask": "mask.png", "ignore": "ignore.png"}  # of a sample's attribute, the file
CLASS_MAP = "class_map.png"
OBJECT = "object.{}.png"


def picture_file(image: Tensor) -> tuple[str, bytes]:
    """(suffix, bytes) of a picture (3,H,W) that has no file: a PNG where 8 bits hold it exactly, else a .npy."""
    pixels = to_uint8(image)
    if torch.equal(torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1), image):
        return "png", _png(pixels)
    stream = BytesIO()
    np.save(stream, image.contiguous().numpy(), allow_pickle=False)
    return "npy", stream.getvalue()


def read_picture(data: bytes, suffix: str, name: str) -> Tensor:
    """(3,H,W), upright, of a picture's bytes.

    Raises:
        InputError: damaged.
    """
    if suffix != "npy":
        return load_image(BytesIO(data), name=name)
    try:
        array = read_npy(BytesIO(data), 3 * MAX_PIXELS, MAX_SIDE)
    except InputError as error:
        raise InputError(f"{name}: the picture is damaged (its numbers {error})") from None
    if (
        array.ndim != 3
        or len(array) != 3
        or not array.size
        or array.dtype != np.float32
        or not 0 <= array.min() <= array.max() <= 1
    ):
        raise InputError(f"{name}: a .npy picture is float32 (3,H,W) in [0,1]")
    return torch.from_numpy(array)


def truth_files(sample: Sample, record: Record, classes: tuple[str, ...] | None) -> dict[str, bytes]:
    """Bytes by suffix: ``json``, ``cls`` where there is a label, and a PNG of each mask; all of the upright picture."""
    facts: dict[str, Any] = {"id": sample.id, "label": sample.label, "category": sample.category}
    if classes is not None and sample.category is not None:
        facts["class"] = classes[sample.category]
    facts |= {"boxes": sample.boxes.tolist(), "has_boxes": record.has_boxes, "has_mask": record.has_mask}
    if record.subject is not None:
        facts["subject"] = record.subject
    if sample.box_classes is not None:
        facts["box_classes"] = sample.box_classes.tolist()
    if sample.difficult is not None:
        facts["difficult"] = sample.difficult.tolist()
    if sample.box_masks is not None:
        facts["objects"] = len(sample.box_masks)
    files = {"json": json.dumps(facts).encode()}
    if sample.label is not None:
        files["cls"] = str(sample.label).encode()
    for attribute, suffix in MASKS.items():
        pixels = getattr(sample, attribute)
        if pixels is not None:
            files[suffix] = _png(pixels.numpy().astype(np.uint8) * 255)
    if sample.class_map is not None:
        files[CLASS_MAP] = _png((sample.class_map + 1).numpy().astype(np.uint16))
    for i, pixels in enumerate(() if sample.box_masks is None else sample.box_masks):
        files[OBJECT.format(i)] = _png(pixels.numpy().astype(np.uint8) * 255)
    return files


def read_facts(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """What ``json`` and ``cls`` say of a sample; both may be missing.

    Raises:
        InputError: they are not what they should be.
    """
    facts: dict[str, Any] = {}
    if "json" in files:
        try:
            facts = json.loads(files["json"])
        except (ValueError, RecursionError):
            raise InputError(f"{name}.json: is not JSON") from None
        if not isinstance(facts, dict):
            raise InputError(f"{name}.json: must be an object with label, boxes, …")
    if "cls" in files and "label" not in facts:
        facts["label"] = whole_number(files["cls"].decode("ascii", "replace"), f"{name}.cls", "the label")
    for key in ("label", "category"):
        value = facts.get(key)
        if value is not None and (
            not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MOST_CLASSES
        ):
            raise InputError(f"{name}.json: {key} is {str(value)[:30]!r}, which is not a class index (0, 1, 2, …)")
    if not isinstance(facts.get("subject", ""), str | int | None):
        raise InputError(f"{name}.json: subject must be a name, such as a patient's number")
    boxes = facts.get("boxes", [])
    if not isinstance(boxes, list) or not all(isinstance(box, list) for box in boxes):
        raise InputError(f"{name}.json: boxes must be [[x0, y0, x1, y1], …]")
    facts["boxes"] = [make_box(box, f"{name}.json", str(facts.get("id", name))) for box in boxes]
    for key, kind in (("box_classes", int), ("difficult", bool)):
        values = facts.get(key)
        if values is None:
            continue
        if not isinstance(values, list) or len(values) != len(boxes) or {type(v) for v in values} - {kind}:
            raise InputError(f"{name}.json: {key} needs one {kind.__name__} for each of the {len(boxes)} boxes")
        if kind is int and not all(0 <= value < MOST_CLASSES for value in values):
            raise InputError(f"{name}.json: {key} must be indices of classes (0 to {MOST_CLASSES - 1:,})")
    return facts


def read_truth(image: Tensor, record: Record, files: Mapping[str, bytes], name: str) -> Sample:
    """The sample that these files hold.

    Raises:
        InputError: a file that can't be read, or that does not fit the picture.
    """
    facts = read_facts(files, name)
    sample = Sample(record.id, image, record.label, box_tensor(facts["boxes"]), category=record.category)
    found: dict[str, Any] = {
        attribute: _pixels(files[suffix], sample, f"{name}.{suffix}") != 0
        for attribute, suffix in MASKS.items()
        if suffix in files
    }
    for key, kind in (("box_classes", torch.int64), ("difficult", torch.bool)):
        if facts.get(key) is not None:
            found[key] = torch.tensor(facts[key], dtype=kind)
    if CLASS_MAP in files:
        found["class_map"] = _pixels(files[CLASS_MAP], sample, f"{name}.{CLASS_MAP}") - 1
    if facts.get("objects") is not None:
        names = [OBJECT.format(i) for i in range(len(facts["boxes"]))]
        if facts["objects"] != len(names) or not files.keys() >= set(names):
            raise InputError(f"{name}: needs one {OBJECT.format('N')} for each of its {len(names)} boxes")
        masks = (_pixels(files[n], sample, f"{name}.{n}") != 0 for n in names)
        found["box_masks"] = object_masks(masks, len(names), sample.height, sample.width, name)
    return checked(replace(sample, **found), name)


def _pixels(data: bytes, sample: Sample, name: str) -> Tensor:
    values = pixel_values(data, name)
    if values.shape != sample.image.shape[1:]:
        sizes = f"{values.shape[1]}x{values.shape[0]} and {sample.width}x{sample.height}"
        raise InputError(f"{name}: mask and picture differ in size ({sizes} pixels)")
    return values


def _png(pixels: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=4)
    return stream.getvalue()

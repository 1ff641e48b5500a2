"""Settings that a masker's header holds as JSON: of the types that they are declared with, and of modest size.

Anyone may have written them, and what is wrong with them shall be said when the file is read, not when its masker runs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from maskwise.maskers.class_masker import EncoderSource
from maskwise.maskers.finish import Finish
from maskwise.maskers.layout import Layout
from maskwise.maskers.upsampler import Kernel, Upsampling

WIDEST, LONGEST_LIST, MOST_BOTTLENECKS = 4096, 64, 64
LARGEST_SCALE, MOST_SUPERPIXELS = 4, 100_000  # of a gate's enlarged picture; of a picture
MOST_ROUNDS = 101  # of refinement, and one
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class _Reading:
    """What else a recipe says about a class-agnostic masker."""

    shared: bool = True
    taps: tuple[int, ...] | None = None
    encoder: str | None = None


@dataclass(frozen=True)
class _UNetSettings:
    """As ``ClassMasker.build`` takes them."""

    widths: list[int]
    upsampling: Upsampling = "transposed"
    bottlenecks: int | None = None
    encoder: EncoderSource = "frozen"
    kernel: Kernel = 2


@dataclass(frozen=True)
class _CellSettings:
    """As ``ShapleyMasker.build`` takes them."""

    grid: int = 4
    width: int = 64
    class_tap: bool = True


def agnostic_settings(text: str) -> tuple[Layout, Finish, _Reading]:
    """What a recipe says of decoder, mask and taps.

    Raises:
        ValueError: no JSON, another type than is declared, or a number out of its range.
    """
    recipe = as_object(text)
    layout = _typed(Layout, {**recipe, "head_std": None})
    finish, reading = _typed(Finish, recipe), _typed(_Reading, recipe)
    _modest(WIDEST, layout.width, layout.mix)
    _modest(LARGEST_SCALE, *_short(finish.gate_scales))
    _modest(MOST_SUPERPIXELS, 1 if finish.superpixels is None else finish.superpixels)
    _modest(MOST_ROUNDS, finish.pamr + 1)
    _modest(WIDEST, finish.temperature, 1 if finish.sharpness is None else finish.sharpness)
    _modest(1, 1 if finish.class_gate is None else finish.class_gate)
    if not finish.gate_scales or min(finish.gate_scales) < 1:
        raise ValueError("gate_scales are numbers of at least 1")
    _short(reading.taps or ())
    return layout, finish, reading


def unet_settings(text: str) -> dict[str, Any]:
    """Options of ``ClassMasker.build``; errors as ``agnostic_settings``."""
    found = _typed(_UNetSettings, as_object(text), whole=True)
    if not found.widths:
        raise ValueError("widths: a list without a number")
    _modest(WIDEST, *_short(found.widths))
    _modest(MOST_BOTTLENECKS, 1 if found.bottlenecks is None else found.bottlenecks)
    return asdict(found)


def cell_settings(text: str) -> dict[str, Any]:
    """Options of ``ShapleyMasker.build``; errors as ``agnostic_settings``."""
    found = _typed(_CellSettings, as_object(text), whole=True)
    _modest(WIDEST, found.width)
    _modest(LONGEST_LIST, found.grid)
    return asdict(found)


def as_object(text: str) -> dict[str, Any]:
    """Settings by name.

    Raises:
        ValueError: no JSON, or no object.
    """
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("settings are a JSON object, by name")
    return found


def _typed(kind: type[_Made], values: Mapping[str, Any], whole: bool = False) -> _Made:
    """The dataclass with those of the values that it has fields for, each of its declared type.

    Args:
        whole: are others an error?
    """
    from pydantic import TypeAdapter, ValidationError

    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if whole and values.keys() - known:
        raise ValueError(f"no setting {min(values.keys() - known)[:60]!r}")
    try:
        text = json.dumps({name: value for name, value in values.items() if name in known})
        made: _Made = TypeAdapter(kind).validate_json(text, strict=True)  # a number is no text, and true no number
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return made


def _modest(most: float, *sizes: float) -> None:
    """No network of a thousand layers, and no picture of a million pixels a side, is made because a header says so."""
    if not all(0 < size <= most for size in sizes):
        raise ValueError(f"a number of the header is not above 0 and at most {most}: {str(list(sizes))[:60]}")


def _short(values: Collection[_Made]) -> Collection[_Made]:
    if len(values) > LONGEST_LIST:
        raise ValueError(f"a list of the header is longer than {LONGEST_LIST}")
    return values

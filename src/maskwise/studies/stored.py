"""A study's table as its JSON file has it: figures are drawn again from it, without the cells."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from maskwise.core.errors import InputError
from maskwise.core.nan import nan_for_none
from maskwise.core.text import one_line
from maskwise.studies.estimate import Estimate
from maskwise.studies.published import printed
from maskwise.studies.scale import scale_of
from maskwise.studies.study import Study, studies
from maskwise.studies.table import ResultTable


def stored_table(study: Study, facts: dict[str, Any]) -> ResultTable:
    """The numbers with their intervals, of what ``outcome_data`` wrote.

    Args:
        study: the one that they are of.
        facts: the JSON file's content.
    """
    numbers = {}
    for row in facts["rows"]:
        for column, found in row["here"].items():
            value, low, high = nan_for_none({key: found[key] for key in ("value", "low", "high")}).values()
            numbers[row["row"], column] = Estimate.of(
                [value], None, None if math.isnan(low) else (low, high), found["over"]
            )
    theirs = None if study.printed is None else printed(study.printed)
    scale = scale_of(facts["protocol"]["scale"])
    return ResultTable(numbers=numbers, printed=theirs, labels=study.labels(scale), axes=study.axes())


def redraw(folder: Path, ending: str = "png", dpi: float = 110) -> list[Path]:
    """Draws the figure of every study that has a ``NAME.json`` in a folder.

    Args:
        ending: png, pdf, svg or jpg.

    Returns:
        The figures.

    Raises:
        InputError: there is no study's file, or one that was damaged.
    """
    made = []
    for path in sorted(folder.glob("*.json")):
        if path.stem not in studies or (draw := studies.get(path.stem).figure) is None:
            continue
        try:
            table = stored_table(studies.get(path.stem), json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            said = f"{type(error).__name__}: {one_line(error, 100)}"
            raise InputError(f"{path}: is not the result of the study ({said})") from None
        made.append(path.with_suffix(f".{ending}"))
        draw(table, made[-1], dpi)
    if not made:
        raise InputError(f"{folder}: holds no study's NAME.json with a figure")
    return made

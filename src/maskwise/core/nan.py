"""NaN, which stands for what is not known, and None, which stands for it in JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def none_for_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers by name as JSON can hold them.

    Example:
        >>> none_for_nan({"value": 0.5, "low": math.nan})
        {'value': 0.5, 'low': None}
    """
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def nan_for_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """What ``none_for_nan`` gave as numbers again.

    Example:
        >>> nan_for_none({"value": 0.5, "low": None})
        {'value': 0.5, 'low': nan}
    """
    return {name: math.nan if value is None else value for name, value in values.items()}

"""Sets of metrics by name: what ``metrics="localisation"`` stands for, each as data in ``presets.yaml``."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from maskwise.core.errors import InputError
from maskwise.core.plain_yaml import read_yaml
from maskwise.evaluation.loader import Settings
from maskwise.measures import metrics

ALL = "all"
FAMILIES = ("localisation", "pixels", "faithfulness", "mask statistics")  # in the order of a leaderboard's columns


@dataclass(frozen=True)
class Preset:
    """Metrics that are asked for together.

    Attributes:
        title: what they answer.
        metrics: their names, in the order of columns.
        options: of a metric, by its name; the others are as they are by default.
        run: settings of the run that belong to it, such as ``resize``; a run with others is told.
        paper: whose set it is.
        note: what else there is to know.
    """

    title: str
    metrics: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    run: Mapping[str, str] = field(default_factory=dict)
    paper: str = ""
    note: str = ""


@cache
def metric_presets() -> Mapping[str, Preset]:
    """All presets by name."""
    text = resources.files("maskwise.evaluation").joinpath("presets.yaml").read_text(encoding="utf-8")
    return {
        name: Preset(**entry | {"metrics": tuple(entry["metrics"])})
        for name, entry in read_yaml(text, "presets.yaml").items()
    }


@dataclass(frozen=True)
class Chosen:
    """Metrics that names stand for: the metrics' names, options of some, and the presets among the names."""

    metrics: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]]
    presets: tuple[str, ...]

    def options_in(self, settings: Settings) -> dict[str, dict[str, Any]]:
        """Of each metric its options in a run.

        A metric that follows a class follows the one that is explained, unless a preset says otherwise. By itself it
        follows the likeliest one, which, where others are explained, is not what the map is of.
        """
        asked = {} if settings.target == "predicted" else {"target": "class"}
        return {
            name: (asked if "target" in inspect.signature(metrics.get(name)).parameters else {})
            | dict(self.options.get(name, {}))
            for name in self.metrics
        }

    def told(self, settings: Settings) -> None:
        """Warns where the run is set otherwise than a preset says."""
        for name in self.presets:
            for key, value in metric_presets()[name].run.items():
                if getattr(settings, key) != value:
                    warnings.warn(
                        f"{name} is measured with {key} {value}, and this run has {getattr(settings, key)}: `{key}="
                        f"{value}` makes it so",
                        stacklevel=3,
                    )


def chosen_metrics(names: str | Sequence[str]) -> Chosen:
    """What names of metrics and presets stand for, each metric once, in the order of the names.

    Args:
        names: of metrics, of presets, or ``all`` for every metric by family; in a list, or with commas between.

    Raises:
        InputError: an unknown name, none, or two presets that set a metric differently.

    Example:
        >>> chosen_metrics("quick,pxap").metrics
        ('le', 'f1', 'pointing', 'area', 'pxap')
    """
    listed = [name.strip() for name in (names.split(",") if isinstance(names, str) else names) if name.strip()]
    if not listed:
        raise InputError("`metrics` names no metric")
    found, options = dict[str, None](), dict[str, dict[str, Any]]()
    presets: list[str] = []
    set_by: dict[str, str] = {}
    for name in listed:
        if name == ALL:
            found |= dict.fromkeys(sorted(metrics.names(), key=_place))
        elif name in metric_presets():
            preset = metric_presets()[name]
            presets.append(name)
            for one in preset.metrics:
                own = dict(preset.options.get(one, {}))
                if one in set_by and own != options.get(one, {}):
                    raise InputError(f"{set_by[one]} and {name} set {one} differently: measure them apart")
                set_by[one], options[one], found[one] = name, own, None
        elif name in metrics:
            found[name] = None
        else:
            known = [*metrics.names(), *metric_presets(), ALL]
            close = difflib.get_close_matches(name, known, n=3) or [ALL]
            raise InputError(f"unknown metric {name!r}; did you mean {' or '.join(close)}?")
    return Chosen(tuple(found), {name: own for name, own in options.items() if own}, tuple(presets))


def _place(name: str) -> int:
    """Of a metric's family; one of the user's own comes last."""
    family = metrics.facts(name)["family"]
    return FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)

"""Numbers by the very metric that a masker was trained on: true, and no independent judgement of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maskwise.evaluation.contender import innermost
from maskwise.measures import Metric, metrics


def own_objective(explainer: Any, measured: Mapping[str, Metric]) -> list[str]:
    """Which of the metrics, by their names here, are what this explainer's masker was trained on, or made of it.

    Args:
        explainer: any; inside SESS the masker is that of the explainer there.
        measured: by name.
    """
    trained = set(getattr(innermost(explainer), "trained_on", ()))
    return [name for name, metric in measured.items() if trained & set(_made_of(metric))]


def _made_of(metric: Metric) -> Sequence[str | None]:
    """Registered names of the metric and of its parts."""
    return [metrics.name_of(type(one)) for one in (metric, *metric.parts())]


def own_objective_in_words(name: str, trained: Sequence[str]) -> str:
    """What stands below a leaderboard.

    Example:
        >>> own_objective_in_words("mine", ["insertion", "deletion"])
        'mine: its masker was trained on insertion and deletion: these say how well it learned, others judge it'
    """
    metrics_named = " and ".join(trained)
    return f"{name}: its masker was trained on {metrics_named}: these say how well it learned, others judge it"

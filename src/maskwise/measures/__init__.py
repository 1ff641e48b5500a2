"""Measures of maps, usable alone on arrays from anywhere."""

from maskwise.core.bootstrap import interval, paired
from maskwise.core.registry import discover
from maskwise.measures.base import Metric, metric, metrics
from maskwise.measures.localisation import best_iou, localisation_error

discover(__name__, __path__)

__all__ = ["Metric", "best_iou", "interval", "localisation_error", "metric", "metrics", "paired"]

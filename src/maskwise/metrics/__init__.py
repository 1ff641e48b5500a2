"""Measures of maps, usable alone on arrays from anywhere."""

from importlib import import_module
from pkgutil import iter_modules

from maskwise.metrics.base import Metric, metric, metrics
from maskwise.metrics.bootstrap import interval, paired
from maskwise.metrics.localisation import best_iou, localisation_error

for _module in iter_modules(__path__):  # importing a file registers the metrics in it
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Metric", "best_iou", "interval", "localisation_error", "metric", "metrics", "paired"]

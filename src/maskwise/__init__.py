"""maskwise: which pixels of an image does a classifier use, this one or any one?

The public names are loaded when they are first used, so that ``maskwise --help`` stays quick.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from maskwise.audit import audit
    from maskwise.box import binarise, boxes, iou
    from maskwise.classifiers import (
        Classifier,
        DetectorScore,
        PrototypeClassifier,
        RegionScore,
        SimilarityScore,
        TextClassifier,
        load_classifier,
    )
    from maskwise.core.errors import InputError
    from maskwise.data import read_data
    from maskwise.evaluation import compare, evaluate
    from maskwise.explainers import explainer
    from maskwise.explainers.adapter import as_quantus
    from maskwise.exporting import export
    from maskwise.images import load_images
    from maskwise.maskers import load_masker
    from maskwise.measures import metric
    from maskwise.report.show import show
    from maskwise.sess import SESS
    from maskwise.training import Callback, fit, train

_HOMES = {
    "SESS": "maskwise.sess",
    "Callback": "maskwise.training",
    "Classifier": "maskwise.classifiers",
    "Contrast": "maskwise.explainers.contrasts",
    "InputError": "maskwise.core.errors",
    "DetectorScore": "maskwise.classifiers",
    "PrototypeClassifier": "maskwise.classifiers",
    "RegionScore": "maskwise.classifiers",
    "SimilarityScore": "maskwise.classifiers",
    "TextClassifier": "maskwise.classifiers",
    "as_quantus": "maskwise.explainers.adapter",
    "audit": "maskwise.audit",
    "binarise": "maskwise.box",
    "boxes": "maskwise.box",
    "compare": "maskwise.evaluation",
    "evaluate": "maskwise.evaluation",
    "explainer": "maskwise.explainers",
    "export": "maskwise.exporting",
    "export_page": "maskwise.static_page",
    "fit": "maskwise.training",
    "iou": "maskwise.box",
    "load_classifier": "maskwise.classifiers",
    "load_images": "maskwise.images",
    "load_masker": "maskwise.maskers",
    "metric": "maskwise.measures",
    "read_data": "maskwise.data",
    "show": "maskwise.report.show",
    "train": "maskwise.training",
}
__all__ = [
    "SESS",
    "Callback",
    "Classifier",
    "Contrast",
    "InputError",
    "DetectorScore",
    "PrototypeClassifier",
    "RegionScore",
    "SimilarityScore",
    "TextClassifier",
    "as_quantus",
    "audit",
    "binarise",
    "boxes",
    "compare",
    "evaluate",
    "explainer",
    "export",
    "export_page",
    "fit",
    "iou",
    "load_classifier",
    "load_images",
    "load_masker",
    "methods",
    "metric",
    "metrics",
    "read_data",
    "show",
    "train",
]


def methods() -> dict[str, Mapping[str, Any]]:
    """The names of all methods that ``explainer`` takes, each with its facts: family, paper, cost and others."""
    from maskwise.explainers import methods as registry

    return dict(registry.items())


def metrics() -> dict[str, Mapping[str, Any]]:
    """The names of all metrics that ``metric`` takes, each with its facts: family, title, paper, unit and others."""
    from maskwise.measures import metrics as registry

    return dict(registry.items())


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'maskwise' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

"""maskwise: which pixels of an image does a classifier use, this one or any one?

The public names are loaded when they are first used, so that ``maskwise --help`` stays quick.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from maskwise.boxes import binarise, boxes
    from maskwise.classifiers import Classifier, load_classifier
    from maskwise.errors import InputError
    from maskwise.images import load_images
    from maskwise.maskers import load_masker
    from maskwise.methods import explainer
    from maskwise.methods.foreign import as_quantus
    from maskwise.metrics import metric
    from maskwise.report.show import show
    from maskwise.sess import SESS
    from maskwise.training import Callback, train

_HOMES = {
    "SESS": "maskwise.sess",
    "Callback": "maskwise.training",
    "Classifier": "maskwise.classifiers",
    "InputError": "maskwise.errors",
    "as_quantus": "maskwise.methods.foreign",
    "binarise": "maskwise.boxes",
    "boxes": "maskwise.boxes",
    "explainer": "maskwise.methods",
    "load_classifier": "maskwise.classifiers",
    "load_images": "maskwise.images",
    "load_masker": "maskwise.maskers",
    "metric": "maskwise.metrics",
    "show": "maskwise.report.show",
    "train": "maskwise.training",
}
__all__ = [
    "SESS",
    "Callback",
    "Classifier",
    "InputError",
    "as_quantus",
    "binarise",
    "boxes",
    "explainer",
    "load_classifier",
    "load_images",
    "load_masker",
    "metric",
    "show",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'maskwise' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """Keeps ``maskwise.boxes`` the function: importing the submodule of that name would put itself there.

    It is pickled by its name, as plain modules are by those libraries that send functions to other processes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self.__name__,)

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

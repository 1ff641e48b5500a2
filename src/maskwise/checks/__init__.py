"""Sanity checks: do maps depend on the network (``mprt``), on its labels (``drt``), and on what it needs (``roar``)?"""

from importlib import import_module
from pkgutil import iter_modules

from maskwise.checks.base import checks, register_check
from maskwise.checks.drt import DrtResult, drt
from maskwise.checks.maskers import trained_masker
from maskwise.checks.mprt import MprtResult, mprt
from maskwise.checks.pictures import Labelled, labelled
from maskwise.checks.roar import RoarResult, roar
from maskwise.checks.similarity import Similarity, similarities
from maskwise.checks.small_training import SmallTraining, train_classifier

for _module in iter_modules(__path__):  # importing a file registers the check in it
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "DrtResult",
    "Labelled",
    "MprtResult",
    "RoarResult",
    "Similarity",
    "SmallTraining",
    "checks",
    "drt",
    "labelled",
    "mprt",
    "register_check",
    "roar",
    "similarities",
    "train_classifier",
    "trained_masker",
]

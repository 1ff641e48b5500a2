"""Sanity checks: do maps depend on the network (``mprt``), on its labels (``drt``), and on what it needs (``roar``)?

What becomes of them when pictures are explained again (``max_sensitivity``, ``arcc``), or in a mosaic (``focus``)? Does
the class go with what they mark, to a judge used to holes (``f_fidelity``)? And do masks give the class away by their
shape (``leak``)?
"""

from maskwise.checks.arcc import arcc
from maskwise.checks.base import checks, register_check
from maskwise.checks.drt import drt
from maskwise.checks.explained_again import AgainResult
from maskwise.checks.f_fidelity import f_fidelity
from maskwise.checks.focus import focus
from maskwise.checks.leak import leak
from maskwise.checks.leak_result import LeakResult
from maskwise.checks.maskers import trained_masker
from maskwise.checks.max_sensitivity import max_sensitivity
from maskwise.checks.mprt import mprt
from maskwise.checks.pictures import Labelled, labelled
from maskwise.checks.results import DrtResult, MprtResult, RoarResult
from maskwise.checks.roar import roar
from maskwise.checks.robust_judge import robust_judge
from maskwise.checks.similarity import Similarity, similarities
from maskwise.checks.small_training import SmallTraining, train_classifier
from maskwise.checks.used_to_holes import used_to_holes
from maskwise.core.registry import discover

discover(__name__, __path__)

__all__ = [
    "AgainResult",
    "DrtResult",
    "Labelled",
    "LeakResult",
    "MprtResult",
    "RoarResult",
    "Similarity",
    "SmallTraining",
    "arcc",
    "checks",
    "drt",
    "f_fidelity",
    "focus",
    "labelled",
    "leak",
    "max_sensitivity",
    "mprt",
    "register_check",
    "roar",
    "robust_judge",
    "similarities",
    "train_classifier",
    "trained_masker",
    "used_to_holes",
]

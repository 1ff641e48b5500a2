"""Sanity checks: do maps depend on the network (``mprt``), on its labels (``drt``), and on what it needs (``roar``)?"""

from maskwise.checks.drt import DrtResult, drt
from maskwise.checks.maskers import trained_masker
from maskwise.checks.mprt import MprtResult, mprt
from maskwise.checks.pictures import Labelled, labelled
from maskwise.checks.roar import RoarResult, roar
from maskwise.checks.similarity import Similarity, similarities
from maskwise.checks.small_training import SmallTraining, train_classifier

__all__ = [
    "DrtResult",
    "Labelled",
    "MprtResult",
    "RoarResult",
    "Similarity",
    "SmallTraining",
    "drt",
    "labelled",
    "mprt",
    "roar",
    "similarities",
    "train_classifier",
    "trained_masker",
]

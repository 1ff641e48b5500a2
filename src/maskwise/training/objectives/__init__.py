"""What a mask is trained for: objectives on masked-in and masked-out pictures, and what keeps the mask small."""

from maskwise.training.objectives.base import Judged, Objective, entropy, objectives
from maskwise.training.objectives.max_class import MaxClass
from maskwise.training.objectives.max_entropy import MaxEntropy
from maskwise.training.objectives.min_class import MinClass
from maskwise.training.objectives.total import Term, Total

__all__ = [
    "Judged",
    "MaxClass",
    "MaxEntropy",
    "MinClass",
    "Objective",
    "Term",
    "Total",
    "entropy",
    "objectives",
]

"""What a mask is trained for: objectives on masked-in and masked-out pictures, and what keeps the mask small.

An objective is one file here: a class with ``@objectives.register(NAME, paper=…)`` above it. Recipes name it.
"""

from maskwise.core.registry import discover
from maskwise.training.objectives.base import Judged, Objective, objectives
from maskwise.training.objectives.term import Term
from maskwise.training.objectives.total import Total

discover(__name__, __path__)

__all__ = ["Judged", "Objective", "Term", "Total", "objectives"]

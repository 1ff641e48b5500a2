"""What a mask is trained for: objectives on masked-in and masked-out pictures, and what keeps the mask small.

An objective is one file here: a class with ``@objectives.register(NAME, paper=…)`` above it. Recipes name it.
"""

from importlib import import_module
from pkgutil import iter_modules

<<<<<<< main
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
=======
from maskwise.core.total_variation import total_variation
from maskwise.training.objectives.base import Judged, Objective, objectives, prediction_entropy
from maskwise.training.objectives.total import Term, Total

for _module in iter_modules(__path__):  # importing a file registers the objective in it
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Judged", "Objective", "Term", "Total", "objectives", "prediction_entropy", "total_variation"]
>>>>>>> helper

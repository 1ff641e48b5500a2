"""Methods against methods on data: rows that are kept, leaderboards, panels of classifiers."""

from maskwise.evaluation.comparison import compare, evaluate
from maskwise.evaluation.contender import Contender
from maskwise.evaluation.leaderboard import Cell, Leaderboard, Line, leaderboard
from maskwise.evaluation.loader import Settings
from maskwise.evaluation.measured import Measured
from maskwise.evaluation.run import measure

__all__ = [
    "Cell",
    "Contender",
    "Leaderboard",
    "Line",
    "Measured",
    "Settings",
    "compare",
    "evaluate",
    "leaderboard",
    "measure",
]

"""Methods against methods on data: rows that are kept, leaderboards, panels of classifiers."""

from maskwise.evaluation.contender import Contender
from maskwise.evaluation.feed import Settings
from maskwise.evaluation.leaderboard import Cell, Leaderboard, Line, leaderboard
from maskwise.evaluation.run import Measured, evaluate

__all__ = ["Cell", "Contender", "Leaderboard", "Line", "Measured", "Settings", "evaluate", "leaderboard"]

"""Options that belong together, each group written once: a command names the groups that it takes."""

from maskwise.commands.groups.figures import Figures, MapFigures
from maskwise.commands.groups.measuring import Measuring, key_values_of, names_of
from maskwise.commands.groups.method import Method, make_explainer
from maskwise.commands.groups.model import Compute, Imports, Model
from maskwise.commands.groups.output import Out, Output, Volume
from maskwise.commands.groups.sess import Sess, each_with_sess, key_values

__all__ = [
    "Compute",
    "Figures",
    "Imports",
    "MapFigures",
    "Measuring",
    "Method",
    "Model",
    "Out",
    "Output",
    "Sess",
    "Volume",
    "each_with_sess",
    "key_values",
    "key_values_of",
    "make_explainer",
    "names_of",
]

"""How maps become colours and figures become files: what every figure and page shares."""

from maskwise.drawing.figure_files import FIGURE_FORMATS, check_figure_path, save_figure
from maskwise.drawing.heat import HeatScale, check_display, heat_scale
from maskwise.drawing.overlay import FONT, overlay

__all__ = [
    "FIGURE_FORMATS",
    "FONT",
    "HeatScale",
    "check_display",
    "check_figure_path",
    "heat_scale",
    "overlay",
    "save_figure",
]

"""Axes that hold a picture and nothing else."""

from __future__ import annotations

from matplotlib.axes import Axes


def bare(axis: Axes) -> None:
    """Takes frame and ticks away. A constrained layout also measures hidden ticks, half of its time."""
    axis.set_axis_off()
    axis.set_xticks([])
    axis.set_yticks([])

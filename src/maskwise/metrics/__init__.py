"""Measures of maps, usable alone on arrays from anywhere."""

from maskwise.metrics.localisation import localisation_error

__all__ = ["localisation_error"]

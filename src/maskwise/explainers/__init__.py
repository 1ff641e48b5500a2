"""Methods: everything that makes a map, each a registered explainer."""

from maskwise.core.registry import discover
from maskwise.explainers.base import Explainer, methods
from maskwise.explainers.factory import explainer

discover(__name__, __path__)

__all__ = ["Explainer", "explainer", "methods"]

"""Methods: everything that makes a map, each a registered explainer."""

from maskwise.methods import grad_cam, gradient, masker  # noqa: F401  (importing registers them)
from maskwise.methods.base import Explainer, explainer, methods

__all__ = ["Explainer", "explainer", "methods"]

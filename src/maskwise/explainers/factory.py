"""An explainer by its name, or around attributions from elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from maskwise.classifiers import Classifier
from maskwise.core.option_types import fitting
from maskwise.core.options import BY_NETWORK
from maskwise.core.precision import resolved_precision
from maskwise.explainers.adapter import AdaptedExplainer
from maskwise.explainers.base import Explainer, methods
from maskwise.explainers.first_choice import first_choice


def _common(precision: Any = "fp32", progress: Callable[[int, int], None] | None = None, strict: bool = False) -> None:
    """The options that every explainer has; ``precision`` has a check of its own."""


COMMON = tuple(inspect.signature(_common).parameters)


def explainer(name: str | object, classifier: Classifier, **options: Any) -> Explainer:
    """An explainer by name, or around attributions from elsewhere.

    Args:
        name: as ``maskwise methods`` lists it; ``auto``, the first that this network allows (see ``first_choice``); or
            a captum object, or any function (see ``AdaptedExplainer``).
        classifier: what is explained.
        options: the method's own keywords, ``precision`` (fp32, bf16, fp16, auto), ``progress``, and ``strict``: an
            InputError where a map may be wrong, in place of a warning.

    Raises:
        InputError: unknown method, or an option that it does not have or a value that it does not take.
    """
    if isinstance(name, str) and name == BY_NETWORK:
        with torch.inference_mode(False):
            name = first_choice(classifier, options.get("masker"))
    common = fitting(_common, {key: options.pop(key) for key in COMMON if key in options})
    if "precision" in common:  # ``auto`` becomes what it means here, so that the identity says what was computed
        common["precision"] = resolved_precision(common["precision"], classifier.device.type)
    with torch.inference_mode(False):  # what is made in a caller's inference mode could not be differentiated
        made: Explainer = (
            methods.build(name, classifier, common=COMMON, **options)
            if isinstance(name, str)
            else AdaptedExplainer(name, classifier, **options)
        )
    for key, value in common.items():
        setattr(made, key, value)
    if not isinstance(name, str):
        made.identity |= {"precision": made.precision} if "precision" in common else {}
        return made
    options = methods.fitted(name, options)
    parameters = inspect.signature(type(made)).parameters
    defaults = {key: p.default for key, p in parameters.items() if p.default is not p.empty}
    made.identity |= {"method": name, **defaults, **options, "precision": made.precision}
    return made

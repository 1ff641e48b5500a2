"""Which layer each method reads of a classifier where none is named, and why."""

from __future__ import annotations

from maskwise.classifiers import Classifier
from maskwise.classifiers.answering import MeasuredLayer, measured_layers
from maskwise.core.errors import InputError
from maskwise.explainers.base import methods
from maskwise.explainers.layers import LayerChoice


def layer_choices(
    classifier: Classifier,
) -> tuple[tuple[MeasuredLayer, ...], dict[str, LayerChoice], dict[str, str]]:
    """The layers of a classifier, and what each method with its default options takes of them.

    A method says it by a class method ``chosen(classifier, layers)``; one without that reads pictures and scores alone.
    Costs a forward and a backward for all methods together, and a look of their own for ``cam`` and each masker.

    Returns:
        The layers in the order of the forward; the choice of each method that reads some; and why each other method
        can't explain this classifier.

    Raises:
        InputError: no layer with a grid.
    """
    layers, choices, refusals = measured_layers(classifier), dict[str, LayerChoice](), dict[str, str]()
    for name in methods.names():
        chosen = getattr(methods.get(name), "chosen", None)
        if chosen is None:
            continue
        try:
            choices[name] = chosen(classifier, layers)
        except InputError as error:
            refusals[name] = str(error)
    return layers, choices, refusals

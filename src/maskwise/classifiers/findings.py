"""Findings: what a network says of a picture whose classes don't exclude each other. There may be several, or none."""

from __future__ import annotations

from torch import Tensor

from maskwise.classifiers.classifier import Classifier
from maskwise.classifiers.link import likelier
from maskwise.core.errors import InputError


def found_classes(classifier: Classifier, logits: Tensor) -> Tensor:
    """(N,K) bool of logits (N,K): classes with a probability above 1/2, each by itself.

    A network with one output has one finding, its second class: that it is not there is none.

    Raises:
        InputError: the classes exclude each other; or outputs that are taken as they are lie beyond [0,1], so that
            they are no probabilities.
    """
    check_findings(classifier)
    if classifier.activation == "none" and not bool(((logits >= 0) & (logits <= 1)).all()):
        raise InputError(
            f"findings have probabilities from 0 to 1, and {classifier.name} gives other numbers: if they are scores, "
            "say `activation=sigmoid`"
        )
    kept = likelier(logits, classifier.activation)
    if classifier.is_paired:
        kept[:, 0] = False
    return kept


def check_findings(classifier: Classifier) -> None:
    """Raises InputError where the classes exclude each other, or the outputs are of another kind."""
    if not (classifier.gives_findings or classifier.is_paired):
        why = "classes exclude each other (softmax)"
        if classifier.activation == "none":
            why = "outputs are no probabilities of classes by themselves (activation none)"
        raise InputError(
            f"{classifier.name} has no findings, since its {why}: name a class; or say `activation=sigmoid` where each "
            "output is the score of a finding by itself"
        )

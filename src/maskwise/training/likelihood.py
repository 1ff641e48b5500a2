"""Labels of a picture as a classifier's answer gives them: one class of several, or a set of findings.

This is the one place where trainings tell a softmax from sigmoids: objectives, classifier updates and the quality of
masks all ask a ``Likelihood``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.link import likelier
from maskwise.core.errors import InputError
from maskwise.core.precision import HALVES

SURE = 1e-6  # no further from 0 and 1 is what a black box calls certain
LIKELY = 0.1  # from this probability on a finding is one that a classifier's own answer names


class Likelihood(ABC):
    """A distribution over what a picture may show, of logits (B,K).

    What ``labels`` are, each kind says; losses are in nats, and in float32 at least.
    """

    @abstractmethod
    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Minus the log-probability of the labels, mean over the batch, a scalar."""

    @abstractmethod
    def cross_entropy_of_shown(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The part of ``cross_entropy`` that is of what the labels say is there, mean over the batch, a scalar."""

    @abstractmethod
    def entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B,): how undecided the answer is about what the labels ask."""

    @abstractmethod
    def right(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B,) bool: the answer is what the labels say."""

    @abstractmethod
    def shows(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B,) bool: the answer holds something of what the labels say is there."""

    @abstractmethod
    def found(self, logits: Tensor) -> Tensor:
        """Labels by the answer itself, as the losses take them."""

    @abstractmethod
    def differs(self, logits: Tensor, others: Tensor) -> Tensor:
        """(B,) bool: two answers (B,K) are not the same."""


@dataclass(frozen=True)
class Categorical(Likelihood):
    """Classes that exclude each other, p = softmax(scale z); labels (B,) are indices of classes.

    Attributes:
        scale: 1, or 1/2 for a network with one output: of its logits (-z, z) the softmax is then (1 - p, p) with
            p = sigmoid(z), so that cross entropy and entropy are the binary ones.
    """

    scale: float = 1.0

    def scaled(self, logits: Tensor) -> Tensor:
        """The logits whose softmax are the probabilities."""
        return logits if self.scale == 1 else self.scale * logits

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.scaled(logits), labels)

    def cross_entropy_of_shown(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.cross_entropy(logits, labels)

    def entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """-sum_k p_k log p_k, over all classes whatever the label."""
        log_p = F.log_softmax(self.scaled(logits), dim=1)
        return -(log_p.exp() * log_p).sum(1)

    def right(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits.argmax(1) == labels

    def shows(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.right(logits, labels)

    def found(self, logits: Tensor) -> Tensor:
        """(B,), the top class."""
        return logits.argmax(1)

    def differs(self, logits: Tensor, others: Tensor) -> Tensor:
        return logits.argmax(1) != others.argmax(1)


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Findings that are there or not, each by itself, p_k = sigmoid(z_k); labels (B,K) bool are sets of findings.

    A set may be empty, as of a healthy person's picture: its mask then has nothing to show.

    Attributes:
        of_probabilities: what is given for logits are probabilities, as a black box has them.
    """

    of_probabilities: bool = False

    def scaled(self, logits: Tensor) -> Tensor:
        """The logits z, in float32 at least.

        Raises:
            InputError: they should be probabilities, and lie beyond [0,1].
        """
        logits = _float(logits)
        if not self.of_probabilities:
            return logits
        if not bool(((logits >= 0) & (logits <= 1)).all()):
            raise InputError(
                "findings have probabilities from 0 to 1, and the classifier gives other numbers: if they are scores, "
                "say `activation=sigmoid`"
            )
        return logits.logit(SURE)

    def likelier(self, logits: Tensor) -> Tensor:
        """(B,K) bool: findings that are likelier than not."""
        return likelier(self.scaled(logits), "sigmoid")

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum over all K findings of the binary cross entropy: those that are there shall be seen, and no others."""
        logits = self.scaled(logits)
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none").sum(1).mean()

    def cross_entropy_of_shown(self, logits: Tensor, labels: Tensor) -> Tensor:
        """-sum_k t_k log p_k: of the findings that are there alone."""
        return (F.softplus(-self.scaled(logits)) * labels).sum(1).mean()

    def entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum of the binary entropies -p_k log p_k - (1 - p_k) log (1 - p_k) of the findings that are there.

        Of the others no doubt is wanted: to raise it a mask would have to make them half likely where it hides.
        """
        logits = self.scaled(logits)
        binary = F.softplus(logits) - logits * logits.sigmoid()
        return (binary * labels).sum(1)

    def right(self, logits: Tensor, labels: Tensor) -> Tensor:
        """All K findings are answered as labelled (subset accuracy, or exact match)."""
        return (self.likelier(logits) == labels).all(1)

    def shows(self, logits: Tensor, labels: Tensor) -> Tensor:
        """At least one of the findings that are there is seen."""
        return (self.likelier(logits) & labels).any(1)

    def found(self, logits: Tensor) -> Tensor:
        """(B,K) bool, what is likelier than ``LIKELY``: a mask is worth having of what may be there, too."""
        return self.scaled(logits).sigmoid() > LIKELY

    def differs(self, logits: Tensor, others: Tensor) -> Tensor:
        return (self.likelier(logits) != self.likelier(others)).any(1)


def likelihood_of(classifier: Classifier) -> Likelihood:
    """What a classifier's logits say, by its activation.

    A black box whose outputs are taken as they are gives probabilities of findings.

    Raises:
        InputError: the outputs of a network are taken as they are, so that they are no logits.
    """
    if classifier.activation == "softmax":
        return Categorical()
    if classifier.activation == "sigmoid":
        return Categorical(0.5) if classifier.is_paired else Bernoulli()
    if classifier.is_black_box:
        return Bernoulli(of_probabilities=True)
    raise InputError(
        f"losses need logits, and the outputs of {classifier.name} are taken as they are (activation none): wrap it so "
        "that it gives logits, or take the recipe distilled, which learns from maps"
    )


def _float(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in HALVES else logits

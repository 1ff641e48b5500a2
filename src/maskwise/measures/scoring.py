"""What metrics of faithfulness share: a classifier and its probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.link import beyond_probability
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode
from maskwise.core.portions import Portions
from maskwise.measures.base import Metric
from maskwise.measures.inputs import classes_of
from maskwise.measures.shared_scores import shared

FollowedClass = Literal["predicted", "class"]  # of the words of an evaluation's target those that a metric can follow


class ClassifierMetric(Metric):
    """A metric that asks a classifier, which is no part of the metric's state."""

    needs_classifier = True
    classifier: Classifier
    batch: int | None

    def ask(self, classifier: Classifier, batch: int | None) -> None:
        """Says whom, and how many pictures in one forward (None: 8 on a CPU, whose caches are small, else 64)."""
        if batch is not None and batch < 1:
            raise InputError(f"batch must be at least 1, not {batch}")
        self.batch = batch
        # Past nn.Module's registration, so that moving, saving or copying states leaves the classifier alone.
        self.__dict__["classifier"] = classifier

    def protocol(self) -> dict[str, Any]:
        asked = {"classifier": self.classifier.name, "fingerprint": self.classifier.digest()}
        return super().protocol() | asked


@contextmanager
def asking(classifier: Classifier) -> Iterator[None]:
    """Eval mode and no gradients in between; the training flags are what they were afterwards."""
    with eval_mode(classifier), torch.no_grad():
        yield


def log_probabilities(
    classifier: Classifier,
    count: int,
    make: Callable[[Tensor], Tensor],
    batch: int | None = None,
    classes: Tensor | None = None,
) -> Tensor:
    """Log probabilities (count,C), float64, of pictures that are made only when their forward comes.

    Args:
        classifier: gives the logits.
        count: how many pictures.
        make: from their numbers (n,) to the pictures (n,3,H,W) in [0,1]; they are squashed to the input size. Where
            memory is not enough it is asked again for fewer.
        batch: as in ``ClassifierMetric.ask``.
        classes: (count,), keep of each picture only this class: then (count,) comes back.

    Raises:
        InputError: outputs that are taken as they are (``activation="none"``) and are below 0 or above 1.
    """
    return _scores(classifier, count, make, batch, classes, lambda logits: _logarithms(classifier, logits))


def class_logits(
    classifier: Classifier,
    count: int,
    make: Callable[[Tensor], Tensor],
    batch: int | None = None,
    classes: Tensor | None = None,
) -> Tensor:
    """Logits (count,C) or, of the given classes, (count,); otherwise as ``log_probabilities``."""
    return _scores(classifier, count, make, batch, classes, lambda logits: logits)


def whole_logits(classifier: Classifier, images: Tensor, batch: int | None = None) -> Tensor:
    """Logits (N,C), float64, of images (N,3,H,W) as they are; not to be written to: see ``shared``."""
    return shared(_whole_logits, classifier, images, batch)


def _whole_logits(classifier: Classifier, images: Tensor, batch: int | None) -> Tensor:
    return class_logits(classifier, len(images), lambda rows: images[rows], batch)


def whole_log_probabilities(classifier: Classifier, images: Tensor, batch: int | None = None) -> Tensor:
    """Their log probabilities (N,C), float64; raises InputError as ``log_probabilities`` does."""
    return _logarithms(classifier, whole_logits(classifier, images, batch))


def _logarithms(classifier: Classifier, logits: Tensor) -> Tensor:
    """Log probabilities of logits (N,C)."""
    if classifier.activation == "none" and len(far := logits[beyond_probability(logits)]):
        raise InputError(
            f"{classifier.name}: this measure is of probabilities, and with activation none the network gives "
            f"{float(far[0]):.4g}; leave out insertion, deletion and others of a class's probability, or give a "
            "network that ends in numbers from 0 to 1"
        )
    return classifier.log_probabilities(logits)


def _scores(
    classifier: Classifier,
    count: int,
    make: Callable[[Tensor], Tensor],
    batch: int | None,
    classes: Tensor | None,
    read: Callable[[Tensor], Tensor],
) -> Tensor:
    if batch is None:
        batch = classifier.batch
    found = torch.zeros(count if classes is not None else (count, len(classifier.labels)), dtype=torch.float64)
    found = found.to(classifier.device)
    portions = Portions()  # what was too much for one batch is for the next
    with asking(classifier):
        for rows in torch.arange(count, device=classifier.device).split(batch) if count else ():

            def scores(part: slice, rows: Tensor = rows) -> Tensor:
                images = classifier.prepare(make(rows[part])).contiguous(memory_format=torch.channels_last)
                return read(classifier.logits(images).double())

            all_scores = torch.cat(portions(scores, len(rows)))
            found[rows] = all_scores if classes is None else all_scores.gather(1, classes[rows, None])[:, 0]
    return found


def asked_for(target: FollowedClass, targets: Tensor | None) -> Tensor | None:
    """The targets if the option ``target`` says that they are to be followed, else None."""
    if target == "class" and targets is None:
        raise InputError("target='class' needs `targets`")
    return targets if target == "class" else None


def classes_followed(log_probability: Tensor, targets: Tensor | None) -> Tensor:
    """Classes (N,) whose probability is followed: those given, else the likeliest of the whole pictures (N,C).

    Raises:
        InputError: a class that the classifier doesn't have.
    """
    if targets is None:
        return log_probability.argmax(1)
    n, classes = log_probability.shape
    targets = classes_of(targets, n, classes, "targets")
    if n and targets.min() < 0:
        raise InputError(f"targets holds class {int(targets.min())}; leave out pictures whose class is unknown")
    return targets.to(log_probability.device)

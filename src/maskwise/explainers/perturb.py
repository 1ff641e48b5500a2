"""Many changed copies of each picture through the classifier: in chunks, with random numbers keyed by the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.keyed import keyed_generator
from maskwise.explainers.base import Explainer
from maskwise.explainers.targets import Targets


class Perturbation(Explainer):
    """A method that scores changed copies.

    Args:
        classifier: what is explained.
        batch: copies in one forward; None is what the classifier's device runs fastest.
    """

    def __init__(self, classifier: Classifier, batch: int | None = None) -> None:
        super().__init__(classifier)
        batch = classifier.batch if batch is None else batch
        if batch < 1:
            raise InputError(f"batch must be at least 1, not {batch}")
        self.batch = batch

    def chunks(self, images: int, copies: int) -> Iterator[tuple[int, int]]:
        """Ranges of copies so that a chunk over all pictures fills one forward, as far as that can be.

        Progress is reported as each range comes back.
        """
        step = max(self.batch // images, 1)
        for first in range(0, copies, step):
            yield first, min(first + step, copies)
            if self.progress is not None:
                self.progress(min(first + step, copies), copies)

    def zero(self, normalised: Tensor, targets: Targets, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor | float:
        """What scores are counted from, (N,1,K): 0, and where outputs are taken as they are the score of these
        normalised pictures.

        An age or a cosine may have any offset, which says nothing of the picture, and weights that are all of one
        sign draw where masks happen to lie.
        """
        if targets.activation != "none":
            return 0.0
        rows = torch.arange(len(normalised), device=normalised.device)
        return values(self.classifier.network(normalised), rows).float()[:, None]

    def score(
        self, make: Callable[[slice], Tensor], pictures: int, copies: int, values: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Values (pictures, copies, K) of ``pictures * copies`` rows, ``batch`` rows in one forward.

        They are noted (``scored``): where all of a call are the same, its map says nothing.

        Args:
            make: rows of a slice of range(pictures) as normalised pictures (n * copies,3,S,S).
            values: from logits and the picture of each row to (rows,K): ``targets.scores`` or ``.probabilities``.
        """
        return self.score_logits(lambda part: self.classifier.network(make(part)), pictures, copies, values)

    def score_logits(
        self, ask: Callable[[slice], Tensor], pictures: int, copies: int, values: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """As ``score``, where ``ask`` gives the logits (n * copies,C) of a slice, however it changes the pictures."""
        step = max(self.batch // copies, 1)
        parts = []
        for first in range(0, pictures, step):
            part = slice(first, min(first + step, pictures))
            rows = torch.arange(part.start, part.stop, device=self.classifier.device).repeat_interleave(copies)
            parts.append(values(ask(part), rows).float())
        found: Tensor = torch.cat(parts).unflatten(0, (pictures, copies))
        self.scored(found, are_probabilities(values))
        return found


def are_probabilities(values: Callable[..., Tensor]) -> bool:
    """Is it ``Targets.probabilities``, and of classes, whose score is no function of the caller's?"""
    targets = getattr(values, "__self__", None)
    return isinstance(targets, Targets) and values == targets.probabilities and targets.score is None


def generators(images: Tensor, seed: int) -> list[torch.Generator]:
    """One generator a picture, keyed by seed and picture: neither batch size nor order changes its numbers.

    Raises:
        InputError: a negative seed.
    """
    if seed < 0:
        raise InputError(f"seed must not be negative, and is {seed}")
    return [keyed_generator(image, seed) for image in images.detach().cpu().contiguous()]


def uniform(draws: list[torch.Generator], *shape: int) -> Tensor:
    """(N, *shape) of uniform numbers in [0,1), one generator a picture."""
    return torch.stack([torch.rand(shape, generator=g) for g in draws])


def normal(draws: list[torch.Generator], *shape: int) -> Tensor:
    """(N, *shape) of standard normal numbers, one generator a picture."""
    return torch.stack([torch.randn(shape, generator=g) for g in draws])

"""At a training's end: do its masks say more than a square in the middle would?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.blending import masked_in, masked_out
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode
from maskwise.core.most_salient import most_salient
from maskwise.core.spread import evenly_spread
from maskwise.data import DataSet, Record
from maskwise.images import resize, with_channels
from maskwise.training.callbacks import TrainingState
from maskwise.training.likelihood import Bernoulli, Likelihood, likelihood_of
from maskwise.training.trainer import Trainer
from maskwise.training.validation import mask_objectives
from maskwise.training.watch.contact_sheet import masker_in_training, own_randomness
from maskwise.training.watch.warnings import EarlyWarning

MOST, LEAST = 32, 8  # pictures that are judged: of fewer nothing is said
SHARE = 100 / 3  # percent of a picture that is shown, and hidden
CERTAIN = 2.0  # standard errors
AT_ONCE = 8


class MaskerVerdict(EarlyWarning):
    """Says so where the masks order the pixels of some pictures worse than a square in the middle does.

    The third of each picture that its mask shows first is held against as large a part in the middle: (cross entropy of
    masked-in - entropy of masked-out) / 2, in nats, of what the classifier sees in the whole picture; lower is better.
    So neither the size of the masks nor a label plays a part. It speaks where the masks' mean is higher by two
    standard errors of the paired differences.

    Args:
        trainer: of a masker.
        pictures: (data set, record) pairs, of which some are judged, evenly spread.
        which: pictures they are, for people.
    """

    def __init__(self, trainer: Trainer, pictures: Sequence[tuple[DataSet, Record]], which: str) -> None:
        super().__init__()
        self.trainer, self.which = trainer, which
        self.pictures = [pictures[k] for k in evenly_spread(len(pictures), MOST)]

    def on_end(self, state: TrainingState) -> None:
        """Nothing is said of a training that was interrupted, of few pictures, and of outputs that are no logits."""
        self.told = []
        if state.interrupted:
            return
        with suppress(InputError):
            self._judge()

    def _judge(self) -> None:
        classifier = self.trainer.classifier
        likelihood, images = likelihood_of(classifier), _read(self.pictures, classifier)
        if len(images) < LEAST:
            return
        middle = middle_first((images.shape[-2], images.shape[-1]))
        found = [
            self._objectives(likelihood, chunk.to(self.trainer.fabric.device), middle)
            for chunk in images.split(AT_ONCE)
        ]
        masks, middles = torch.cat(found, 1).double()
        differences = masks - middles
        error = differences.std() / len(differences) ** 0.5
        if differences.mean() > CERTAIN * error:
            self.say(
                f"on {len(images)} {self.which} the masks tell less than a square in the middle: of what shows a third "
                f"of a picture theirs has an objective of {masks.mean():.2f} nats and the square's {middles.mean():.2f}"
                " (lower is better); maps of this masker mean little: train it longer, or on more pictures"
            )

    @torch.no_grad()
    def _objectives(self, likelihood: Likelihood, images: Tensor, middle: Tensor) -> Tensor:
        """(2,N): of the masks, and of the parts in the middle."""
        classifier = self.trainer.classifier
        masker = masker_in_training(self.trainer)
        with eval_mode(masker, classifier), own_randomness(images.device):
            clean = classifier.logits(images)
            top = clean.argmax(1)
            masks = masker(images, top[:, None])[1][:, 0].float()
            targets = top
            if isinstance(likelihood, Bernoulli):  # what it finds, and at least the likeliest
                targets = likelihood.likelier(clean) | F.one_hot(top, clean.shape[1]).bool()
            shown = (most_salient(masks, SHARE), most_salient(middle.to(masks)[None], SHARE).expand_as(masks))
            return torch.stack([self._objective(likelihood, images, part.float(), targets) for part in shown]).cpu()

    def _objective(self, likelihood: Likelihood, images: Tensor, masks: Tensor, targets: Tensor) -> Tensor:
        """(N,)."""
        classifier = self.trainer.classifier
        fill = classifier.mean.reshape(1, -1, 1, 1)
        inside = classifier.logits(masked_in(images, masks, fill)).float()
        outside = classifier.logits(masked_out(images, masks, fill)).float()
        return mask_objectives(likelihood, inside, outside, targets)


def middle_first(size: tuple[int, int]) -> Tensor:
    """A map (H,W) whose highest pixels, however many, are a part in the middle in the shape of the picture.

    Example:
        >>> middle_first((3, 4)).tolist()[1]
        [-0.75, -0.25, -0.25, -0.75]
    """
    down, across = (((torch.arange(side) + 0.5 - side / 2) / (side / 2)).abs() for side in size)
    return -torch.maximum(down[:, None], across[None])


def _read(pictures: Sequence[tuple[DataSet, Record]], classifier: Classifier) -> Tensor:
    """(N,c,h,w) in [0,1], squashed as the classifier takes them; those that can't be read are left out."""
    found: list[Any] = []
    for data, record in pictures:
        with suppress(InputError):
            found.append(resize(with_channels(data.image(record)[None], classifier.channels), classifier.size))
    return torch.cat(found) if found else torch.zeros(0)

"""Several architectures as judges of a mask: what fools one network need not fool the next."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from maskwise.classifiers import Classifier, load_classifier
from maskwise.core.errors import InputError
from maskwise.training.draws import generator


class Judges:
    """Classifiers that stay as they are and judge masks beside the one that is explained, one a step.

    CASM's pool holds past states of one network. Here a step's judge is that pool or one of these, each as likely, so
    a step costs one judge's forward and backward whatever their number.

    Args:
        judges: each of the same classes; of any input size, to which masked pictures are squashed.
        own: the classifier that is explained.
        seed: of the draws.

    Raises:
        InputError: a judge has other classes, or takes them in another way (softmax or sigmoid).
    """

    def __init__(self, judges: Sequence[Classifier], own: Classifier, seed: int) -> None:
        self.judges, self.seed = list(judges), seed
        for judge in self.judges:
            if judge.labels.names != own.labels.names or _kind(judge) != _kind(own):
                raise InputError(
                    f"`judges`: {judge.name} ({len(judge.labels)} classes, {judge.activation}) does not name the "
                    f"classes of {own.name} ({len(own.labels)}, {own.activation}); name networks that do"
                )

    @classmethod
    def named(cls, names: Sequence[str], own: Classifier, seed: int, device: torch.device) -> Judges:
        """Loaded by their names, as ``load_classifier`` does, onto a device."""
        return cls([load_classifier(name).to(device) for name in names], own, seed)

    def drawn(self, step: int) -> Classifier | None:
        """Who judges at this step; None is the classifier's own pool. Each process and a resumed run draw the same."""
        if not self.judges:
            return None
        k = int(torch.randint(len(self.judges) + 1, (), generator=generator(self.seed, 6, step)))
        return None if k == 0 else self.judges[k - 1]


def judged_by(judge: Classifier, images: Tensor) -> Tensor:
    """Logits (B,K) of pictures (B,c,H,W) in [0,1], squashed to the judge's own size, with gradients."""
    return judge.logits(judge.prepare(images).contiguous(memory_format=torch.channels_last))


def _kind(classifier: Classifier) -> tuple[str, bool]:
    return classifier.activation, classifier.is_paired

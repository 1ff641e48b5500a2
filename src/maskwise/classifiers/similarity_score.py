"""Similarity to pictures as scores: what makes these two look alike?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskwise.classifiers.classifier import Classifier
from maskwise.classifiers.normalisation import IMAGENET_MEAN, IMAGENET_STD
from maskwise.classifiers.one_picture import classifier_of_scores
from maskwise.classifiers.output import ScoresAt, scores_of
from maskwise.classifiers.similarity import CosineScores
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode


class SimilarityScore(nn.Module):
    """cos(f(x), f(r_k)) for each reference r_k; or that less cos(f(x), f(o_k)), to be like r rather than like o.

    Args:
        encoder: network from normalised pictures (N,C,H,W) to embeddings (N,D).
        references: (K,C,H,W) or (C,H,W) in [0,1].
        others: as many, to be unlike.
        names: of the references.
        mean, std: of its normalisation, in units of [0,1].
        output: index or name of the embedding where the encoder gives several tensors.

    Raises:
        InputError: references that are no pictures, as many others or names as there are not references, or an encoder
            that gives no embeddings.

    Example:
        >>> net = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        >>> image = torch.rand(3, 8, 8)
        >>> score = SimilarityScore(net, image, mean=(0, 0, 0), std=(1, 1, 1))
        >>> round(float(score(image[None])[0, 0]), 4)
        1.0
    """

    def __init__(
        self,
        encoder: nn.Module,
        references: Tensor,
        others: Tensor | None = None,
        *,
        names: Sequence[str] = (),
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        output: ScoresAt = None,
    ) -> None:
        super().__init__()
        rows = references[None] if references.ndim == 3 else references
        if rows.ndim != 4 or not len(rows):
            raise InputError(f"references are pictures (K,C,H,W) in [0,1], not {tuple(references.shape)}")
        against = None if others is None else others[None] if others.ndim == 3 else others
        if against is not None and against.shape != rows.shape:
            raise InputError(f"as many `others` as references: {tuple(rows.shape)}, not {tuple(against.shape)}")
        if names and len(names) != len(rows):
            raise InputError(f"{len(names)} names for {len(rows)} references")
        self.count, self.size = len(rows), (rows.shape[-2], rows.shape[-1])
        self.mean, self.std = tuple(mean), tuple(std)
        self.names = tuple(names) or tuple(f"reference {k}" for k in range(len(rows)))
        shown = rows if against is None else torch.cat([rows, against])
        shift, stretch = (torch.tensor(list(v), device=shown.device)[:, None, None] for v in (mean, std))
        with torch.inference_mode(False), torch.no_grad(), eval_mode(encoder):
            embedded = scores_of(encoder((shown - shift) / stretch), output, len(shown))
        self.cosines = CosineScores(encoder, embedded, output=output)

    def forward(self, images: Tensor) -> Tensor:
        cosines: Tensor = self.cosines(images)
        if cosines.shape[1] == self.count:
            return cosines
        return cosines[:, : self.count] - cosines[:, self.count :]

    def classifier(self, name: str = "similarity") -> Classifier:
        """A classifier on pictures in [0,1] whose classes are the references; its scores are taken as they are.

        A single reference is class 1, and class 0, ``not`` that one, is one minus its score.
        """
        return classifier_of_scores(self, self.names, self.size, name, self.mean, self.std)

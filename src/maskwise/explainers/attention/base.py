"""What the methods share that read attention: its reading at construction, a recorded forward, rows of tokens."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.answering import MeasuredLayer
from maskwise.explainers.attention.calls import AttentionCall
from maskwise.explainers.attention.reading import AttentionReading, read_attention
from maskwise.explainers.attention.recorder import AttentionRecorder
from maskwise.explainers.base import Explainer, methods
from maskwise.explainers.layers import LayerChoice


class AttentionExplainer(Explainer):
    """A method that reads the attention of a transformer.

    Args:
        classifier: what is explained; its attention is looked at once, by a forward of noise.

    Attributes:
        reading: what its attention is made of.

    Raises:
        InputError: a network without attention between all places of one grid; the line says what to take instead.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        self.reading: AttentionReading = read_attention(classifier, methods.name_of(type(self)) or type(self).__name__)

    @classmethod
    def chosen(cls, classifier: Classifier, layers: Sequence[MeasuredLayer]) -> LayerChoice:
        """The blocks that it reads, for listings.

        Raises:
            InputError: as the constructor.
        """
        return LayerChoice(cls(classifier).reading.blocks, "all blocks with attention")

    @property
    def grids_read(self) -> tuple[str, ...]:
        """All blocks have one grid, and in the first one its places have seen least of each other."""
        return self.reading.blocks[:1]

    @contextmanager
    def recorded(self, images: Tensor, only: Collection[str | None] | None = None) -> Iterator[AttentionRecorder]:
        """While open, the attention of forwards of so many pictures is filed; see ``AttentionRecorder``."""
        recorder = AttentionRecorder(self.reading.blocks, only, len(images))
        with recorder.watching(self.classifier.module):
            yield recorder

    def row(self, matrices: Sequence[tuple[AttentionCall, Tensor]], halved: bool) -> Tensor:
        """Relevance (N,T) of the first block's tokens: the answer's own row of a product over all calls.

        From the last call to the first r <- r + r C: the row of (I + C_L) ... (I + C_1), without a product of matrices.
        It begins with what the answer reads: a class token, a mean, or the row of the attention that pools.

        Args:
            matrices: each call with its C (N,q,T), in the order of the forward.
            halved: divide each step by two, so that rows that sum to one keep their sum.
        """
        reading, share = self.reading, 0.5 if halved else 1.0
        blocks = [matrix for call, matrix in matrices if call.layer is not None]
        tail = [matrix for call, matrix in matrices if call.layer is None]
        like = matrices[0][1]
        row = reading.read.to(like).expand(len(like), -1)
        if tail and reading.class_attention:  # each call renews the class token from itself and the places
            own, row = torch.ones_like(row[:, :1]), torch.zeros_like(row)
            for matrix in reversed(tail):
                own, row = share * (own + own * matrix[:, 0, :1]), row + share * own * matrix[:, 0, 1:]
        elif tail:
            row = tail[-1][:, reading.queries].mean(1)
        for matrix in reversed(blocks):
            row = share * (row + (row[:, None] @ matrix)[:, 0])
        return row

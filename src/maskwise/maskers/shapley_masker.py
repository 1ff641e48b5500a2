"""A network that says in one forward what each cell of a picture is worth for a class: amortised Shapley values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.classifiers.class_activation import ClassActivation, last_layer
from maskwise.core.errors import InputError
from maskwise.maskers.class_gate import check_class_activation
from maskwise.maskers.hub import OnHub

READ = 2  # taps, the coarsest ones
LOGIT, LOG = 4.0, 5.0  # about the sizes of what speaks for a class, and of log-probabilities


class ShapleyHead(nn.Module):
    """Cells' features, classes and what is known of these to one value for each cell and class, not yet adding up.

    Args:
        channels: of all taps that are read, together.
        classes: how many there are.
        grid: cells a side.
        width: channels inside.
        row: numbers of a class's row in the classifier's last layer, which then stands for the class, so that one that
            training never asks for has something, too; None learns an embedding.

    Attributes:
        nobody: (classes,) probabilities of a picture without any cell.
    """

    nobody: Tensor

    def __init__(self, channels: int, classes: int, grid: int, width: int, row: int | None) -> None:
        super().__init__()
        self.grid, self.by_row = grid, row is not None
        self.place = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width))
        self.query: nn.Module
        if row is None:
            self.query = nn.Embedding(classes, width)
        else:
            self.query = nn.Sequential(nn.LayerNorm(row), nn.Linear(row, width))
        self.agreement = nn.Linear(width, width)
        self.facts = nn.Linear(3 if self.by_row else 2, width)
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.out.weight)  # so that the first values are the even split
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)
        self.register_buffer("nobody", torch.zeros(classes))

    def forward(self, cells: Tensor, asked: Tensor, facts: Tensor) -> Tensor:
        """(N,K,n) of cells (N,n,C), classes (N,K), or their rows (N,K,D), and facts (N,K,n,2 or 3)."""
        place, query = self.place(cells), self.query(asked)
        mixed = place[:, None] + self.agreement(place[:, None] * query[:, :, None]) + self.facts(facts)
        flat = F.gelu(mixed).flatten(0, 1).mT.unflatten(2, (self.grid, self.grid))
        values: Tensor = self.out(F.gelu(self.mix(flat))).flatten(1).unflatten(0, asked.shape[:2])
        return values


class ShapleyMasker(OnHub, nn.Module):
    """Reads a classifier's taps, and says what each of g x g cells adds to the probability of a class.

    Args:
        encoder: the classifier itself, which stays as it is.
        decoder: from cells to values.
        settings: what ``build`` was called with, as plain data: a file holds it.
    """

    needs_class, shares_encoder = True, True

    def __init__(self, encoder: Classifier, decoder: ShapleyHead, settings: dict[str, Any]) -> None:
        super().__init__()
        self.encoder, self.decoder, self.settings = encoder, decoder, settings
        self.activation = ClassActivation(encoder) if decoder.by_row else None

    @classmethod
    def build(
        cls, classifier: Classifier, grid: int = 4, width: int = 64, class_tap: bool = True, empty: bool = False
    ) -> ShapleyMasker:
        """A new one, weights from the global generator.

        Args:
            grid: cells a side.
            width: channels inside.
            class_tap: know classes by the classifier's class activation and last layer; else by a learnt embedding.
            empty: shapes and no values (on the meta device), and no random number is drawn.

        Raises:
            InputError: fewer than 2 cells a side, or the classifier has no class activation.
        """
        if grid < 2 or width < 1:
            raise InputError(f"grid is at least 2 and width at least 1, not {grid} and {width}")
        row = None
        if class_tap:
            check_class_activation(classifier, "class_tap")
            layer = last_layer(classifier)
            assert layer is not None
            row = layer.weight.flatten(1).shape[1]
        with torch.no_grad():
            _, taps = classifier.features(classifier.example())
        channels = sum(tap.shape[1] for tap in taps[-READ:])
        with torch.device("meta" if empty else "cpu"):
            head = ShapleyHead(channels, len(classifier.labels), grid, width, row)
        settings = {"grid": grid, "width": width, "class_tap": class_tap}
        return cls(classifier, head if empty else head.to(classifier.device), settings)

    def values_of(self, taps: Sequence[Tensor], logits: Tensor, classes: Tensor, total: Tensor | None = None) -> Tensor:
        """Values (N,K,n), row by row, which add up to ``total`` (additive efficient normalisation, FastSHAP).

        Args:
            taps: all of the encoder's, of one forward with ``logits`` (N,C).
            classes: (N,K).
            total: (N,K); None is the encoder's probability of each class less that of a picture without any cell.
        """
        side = self.decoder.grid
        chance = self.encoder.probabilities(logits).gather(1, classes).float()
        total = chance - self.decoder.nobody[classes] if total is None else total
        cells = torch.cat([F.adaptive_avg_pool2d(tap.float(), side) for tap in taps[-READ:]], 1).flatten(2).mT
        known = [chance, self.encoder.log_probabilities(logits).gather(1, classes).float().clamp(min=-20) / LOG]
        facts = torch.stack(known, 2)[:, :, None].expand(-1, -1, side * side, -1)
        asked = classes
        if self.activation is not None:
            speaks = F.adaptive_avg_pool2d(self.activation(taps[-1], classes).float(), side).flatten(2)
            facts = torch.cat([facts, speaks[..., None] / LOGIT], 3)
            asked = self.activation.head.weight.flatten(1).float()[classes]
        values: Tensor = self.decoder(cells, asked, facts).float()
        return values + (total - values.sum(2))[..., None] / values.shape[2]

    def forward(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N,C) of the encoder, and values (N,K,g,g) of classes (N,K), of images (N,3,H,W) in [0,1]."""
        logits, taps = self.encoder.features(images)
        side = self.decoder.grid
        return logits, self.values_of(taps, logits, classes).unflatten(2, (side, side))

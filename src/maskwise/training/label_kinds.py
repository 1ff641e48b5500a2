"""What a distillation wants of a teacher's maps: what is kept of them, what a crop wants, and the loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.training.seeds import drawn_seeds, on_seeds, seed_loss, seed_regions


class RawLabel:
    """The map itself, by squared error."""

    def keep(self, maps: Mapping[int, Tensor]) -> Mapping[int, Tensor]:
        """What is kept of each picture's maps (K,h,w), and cut along with its crops."""
        return maps

    def of_crop(self, cut: Tensor, mean: float) -> Tensor:
        """What is wanted (h,w) of a crop.

        Args:
            cut: (h,w), what was kept, in this crop.
            mean: of the teacher's map over the whole picture.
        """
        return cut

    def of_step(self, wanted: Tensor, draws: torch.Generator) -> Tensor:
        """What is wanted (N,K,H,W) in this step alone."""
        return wanted

    def said(self, logits: Tensor) -> Tensor:
        """What a masker says by its logits, in the unit of what is wanted."""
        return logits.sigmoid()

    def loss(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Of both (N,K,h,w), a scalar."""
        return F.mse_loss(logits.sigmoid(), wanted)

    def off(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Mean distance of what is said from what is wanted, a scalar."""
        return (self.said(logits) - wanted).abs().mean()


class AboveMeanLabel(RawLabel):
    """Where the map is at least its mean over the picture, by cross entropy. A map without contrast wants nothing."""

    def of_crop(self, cut: Tensor, mean: float) -> Tensor:
        return ((cut >= mean) & (mean > 0)).float()

    def loss(self, logits: Tensor, wanted: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, wanted)


class ValuesLabel(RawLabel):
    """What has any sign and size, by squared error of the logits themselves.

    Attributes:
        unit: of the logits, one number for all pictures, which bends nothing: the maps' root mean square.
    """

    def __init__(self) -> None:
        self.unit = 1.0

    def keep(self, maps: Mapping[int, Tensor]) -> Mapping[int, Tensor]:
        self.unit = root_mean_square(maps.values())
        return maps

    def said(self, logits: Tensor) -> Tensor:
        return logits * self.unit

    def loss(self, logits: Tensor, wanted: Tensor) -> Tensor:
        return F.mse_loss(logits, wanted / self.unit)


class SeedsLabel(RawLabel):
    """A place of the object and one of the background, drawn anew in each step, by cross entropy (``seeds``)."""

    def keep(self, maps: Mapping[int, Tensor]) -> Mapping[int, Tensor]:
        return {place: seed_regions(several) for place, several in maps.items()}

    def of_step(self, wanted: Tensor, draws: torch.Generator) -> Tensor:
        return drawn_seeds(wanted, draws)

    def loss(self, logits: Tensor, wanted: Tensor) -> Tensor:
        return seed_loss(logits, wanted)

    def off(self, logits: Tensor, wanted: Tensor) -> Tensor:
        return on_seeds((self.said(logits) - wanted.round()).abs(), wanted)


LABEL_KINDS: Mapping[str, type[RawLabel]] = {
    "above_mean": AboveMeanLabel,
    "raw": RawLabel,
    "seeds": SeedsLabel,
    "values": ValuesLabel,
}


def root_mean_square(maps: Iterable[Tensor]) -> float:
    """Of all numbers of some maps; 1 where all of them are 0.

    Example:
        >>> root_mean_square([torch.tensor([[3.0]]), torch.tensor([[4.0]])])
        3.5355339059327378
    """
    squares = [float(saliency.double().square().mean()) for saliency in maps]
    return (sum(squares) / len(squares)) ** 0.5 if any(squares) else 1.0

"""Networks written down by hand: saturated squares decide, one, either of two, or both."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.studies.mechanisms.base import KnownCase, KnownSettings, measured_and_spare, mechanisms
from maskwise.studies.mechanisms.planted import muted, places_apart, with_squares

COLOURS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 0.0))
NAMES = ("red", "green", "blue", "yellow")
SURE = 5.0  # the logit of a class whose colour is there; the others have 0, so that its probability is 0.98
SquaresRule = Literal["one", "either", "both"]


class ColourNetwork(nn.Module):
    """Four classes, each a colour that photographs of muted colours never have.

    The detector of a colour is relu(sum of its channels - sum of the others - 4) / 2 of the normalised picture: 1 in a
    square of that colour and 0 wherever all values lie in [0.25,0.75], in black, in white and in the other colours.

    Args:
        square: side of the squares, in pixels.
        rule: of ``one`` the amount of the class's colour counts; of ``either`` the fullest square of it alone; of
            ``both`` the smaller one of two amounts, that of its colour and of the next class's.
    """

    def __init__(self, square: int, rule: SquaresRule) -> None:
        super().__init__()
        self.square, self.rule = square, rule
        self.detect = nn.Conv2d(3, len(COLOURS), 1)
        with torch.no_grad():
            self.detect.weight.copy_((torch.tensor(COLOURS) - 0.5)[:, :, None, None])
            assert self.detect.bias is not None
            self.detect.bias.fill_(-2)

    def forward(self, images: Tensor) -> Tensor:
        found = self.detect(images).relu()
        amount: Tensor = found.sum((2, 3)) / self.square**2
        if self.rule == "either":
            amount = F.avg_pool2d(found, self.square, 1).amax((2, 3))
        if self.rule == "both":
            amount = amount.minimum(amount.roll(-1, 1))
        return SURE * amount


def coloured(grounds: Tensor, settings: KnownSettings, rule: SquaresRule) -> KnownCase:
    """A fifth of the side wide; one square, or two that do not touch."""
    square, count = settings.side // 5, 1 if rule == "one" else 2
    images, draws = muted(measured_and_spare(grounds, settings)[0]), torch.Generator().manual_seed(len(rule))
    labels = torch.arange(len(images)) % len(COLOURS)
    each = torch.stack([labels, labels + 1 if rule == "both" else labels], 1)[:, :count] % len(COLOURS)
    squares = torch.tensor(COLOURS)[each][..., None, None].expand(-1, -1, -1, square, square)
    corners = places_apart(len(images), count, settings.side, square, draws)
    images, truth = with_squares(images, squares, corners)
    half, quarter = (0.5,) * 3, (0.25,) * 3
    made = Classifier(
        ColourNetwork(square, rule), mean=half, std=quarter, labels=NAMES, input_size=settings.side, taps=["detect"],
        name=f"colour squares, {rule}",
    )  # fmt: skip
    return KnownCase(made, images, truth)


@mechanisms.register("one square", title="the amount of one colour, in one square")
def one_square(grounds: Tensor, settings: KnownSettings) -> KnownCase:
    return coloured(grounds, settings, "one")


@mechanisms.register("either square", title="the fullest of two squares of a colour: each is enough")
def either_square(grounds: Tensor, settings: KnownSettings) -> KnownCase:
    return coloured(grounds, settings, "either")


@mechanisms.register("both squares", title="the smaller amount of two colours: neither is enough")
def both_squares(grounds: Tensor, settings: KnownSettings) -> KnownCase:
    return coloured(grounds, settings, "both")

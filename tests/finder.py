"""A network of four findings in which nothing is random: red, green and blue places, and one that is nowhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier

NAMES = ("red", "green", "blue", "nowhere")
SIDE = 32


def colours() -> nn.Module:
    """Logits 12 (x - 0.5) of the brightest place of each colour, and -6."""
    places, scores = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 1)
    with torch.no_grad():
        for layer in (places, scores):
            layer.weight.zero_()
            layer.bias.zero_()  # type: ignore[union-attr]
        for k in range(3):
            places.weight[k, k] = 1 / 9
            scores.weight[k, k] = 12
        scores.bias.fill_(-6)  # type: ignore[union-attr]
    return nn.Sequential(places, nn.ReLU(), scores, nn.AdaptiveMaxPool2d(1), nn.Flatten()).eval()


def finder(activation: str = "sigmoid", network: nn.Module | None = None) -> Classifier:
    return Classifier(
        network or colours(), mean=[0] * 3, std=[1] * 3, input_size=SIDE, labels=NAMES, name="finder",
        activation=activation,  # type: ignore[arg-type]
    )  # fmt: skip


def scene(*shown: str, height: int = 40, width: int = 48, dark: float = 0.2) -> Tensor:
    """(3,H,W): a place of each of these colours, one beside the other, on black; and faint ones of all."""
    image = torch.zeros(3, height, width)
    for k, name in enumerate(NAMES[:3]):
        image[k, 10:30, 2 + 16 * k : 14 + 16 * k] = 0.95 - 0.02 * k if name in shown else dark - 0.02 * k
    return image


def stored(image: Tensor) -> np.ndarray:
    return (255 * image).round().byte().permute(1, 2, 0).numpy()

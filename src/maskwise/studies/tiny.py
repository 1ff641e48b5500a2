"""The network of the smoke scale: five halvings, as many taps as a ResNet-50 has, random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from maskwise.classifiers import Classifier
from maskwise.core.weights import fill, read_weights

TINY = "tiny"
SIDE, CLASSES, WIDTH = 32, 8, 8
TRAIN, TEST = "shapes:n=24,size=40,labels=own", "shapes:n=4,size=40,seed=1,labels=own"


def tiny_classifier(weights: str | Path | None = None) -> Classifier:
    """Of the eight shapes' classes, numbered; 32 pixels, the same weights each time, or those of a file."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts: list[nn.Module] = []
        for i in range(5):
            parts += [nn.Conv2d(WIDTH if i else 3, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()]
            parts += [nn.MaxPool2d(2)] if i < 4 else []
        module = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, CLASSES))
    if weights is not None:
        fill(module, read_weights(weights), f"the weights do not fit {TINY}")
    return Classifier(module, input_size=SIDE, name=TINY)

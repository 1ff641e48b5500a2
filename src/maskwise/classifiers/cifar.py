"""``cifar_resnet18``: the ResNet-18 for pictures of 32 pixels that reports on CIFAR-10 use."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from maskwise.classifiers.classifier import Classifier
from maskwise.classifiers.loading import classifiers
from maskwise.core.errors import InputError
from maskwise.core.weights import built_with, number_of_rows, read_weights

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar_resnet18(classes: int = 10) -> nn.Module:
    """torchvision's ResNet-18 with a 3x3 stem of stride 1 and no max-pooling, so that 32 pixels end at 4."""
    from torchvision.models import resnet18

    network: nn.Module = resnet18(weights=None, num_classes=classes)
    network.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    network.maxpool = nn.Identity()
    return network


@classifiers.register("cifar_resnet18", source="your own weights, by torchvision's names", input_size=32, offline=True)
def load_cifar_resnet18(weights: str | Path | None = None) -> Classifier:
    """Raises InputError without weights: nobody ships any."""
    if weights is None:
        raise InputError("cifar_resnet18 comes without weights: give a state dict of yours as `weights`")
    state = read_weights(weights)
    misfit = f"{weights}: the weights do not fit cifar_resnet18"
    classes = number_of_rows(state, "fc.weight", misfit)
    network = built_with(lambda: cifar_resnet18(classes), state, misfit)
    labels = CLASSES if classes == len(CLASSES) else None
    return Classifier(network, mean=(0.5,) * 3, std=(0.5,) * 3, labels=labels, input_size=32, name="cifar_resnet18")

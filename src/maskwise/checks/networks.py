"""Fresh networks that the checks train: small ones from scratch, or a pretrained one with a new last layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from uuid import uuid4

import torch
from torch import nn

from maskwise.classifiers import Classifier
from maskwise.core.code_digest import UnreadableCodeError, code_digest
from maskwise.core.errors import InputError
from maskwise.core.registry import Registry

Maker = Callable[[int], nn.Module]
networks: Registry[Maker] = Registry("network")
PRETRAINED = "pretrained"


@networks.register("small_cnn", title="four convolutions of 32 to 256 channels, from scratch")
def small_cnn(classes: int) -> nn.Module:
    """Four 3x3 convolutions with batch norm and ReLU, all but the first after a halving, then each channel's mean.

    0.4 million weights; any size of picture from 8 pixels on.
    """
    widths = (3, 32, 64, 128, 256)
    parts: list[nn.Module] = []
    for before, after in pairwise(widths):
        parts += [] if before == 3 else [nn.MaxPool2d(2)]
        parts += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))


@networks.register("resnet18", title="torchvision's ResNet-18, from scratch")
def resnet18(classes: int) -> nn.Module:
    from torchvision import models

    network: nn.Module = models.resnet18(weights=None, num_classes=classes)
    return network


def network_maker(name: str | Maker, pretrained: Classifier | None = None) -> Maker:
    """A function from a number of classes to a fresh network, its weights from the global generator.

    Args:
        name: one of ``networks``, ``torchvision/NAME`` (from scratch), ``pretrained``, or such a function already.
        pretrained: the classifier that ``pretrained`` copies; its last layer is new.

    Raises:
        InputError: unknown name, or a classifier that does not end in a linear layer of its classes.
    """
    if not isinstance(name, str):
        return name
    source, slash, model = name.partition("/")
    if name == PRETRAINED:
        if pretrained is None:
            raise InputError("the network 'pretrained' needs a classifier to begin from")
        head, _ = last_linear(pretrained)
        return lambda classes: with_new_head(pretrained, head, classes)
    if slash and source == "torchvision":
        from torchvision import models

        if "@" in model:
            raise InputError(f"{name}: this network is trained from scratch, so no weights can be named: leave @… out")
        if model not in models.list_models(module=models):
            raise InputError(f"torchvision has no classifier {model!r}; see torchvision.models.list_models()")
        return lambda classes: models.get_model(model, weights=None, num_classes=classes)
    return networks.get(name)


def name_of(network: str | Maker) -> str:
    return network if isinstance(network, str) else getattr(network, "__name__", type(network).__name__)


def filed_as(network: str | Maker) -> str:
    """Its name, and of a function of yours a digest of its code: trainings of an edited one are others.

    One whose code can't be read is nobody's but this call's.
    """
    if isinstance(network, str):
        return network
    try:
        return f"{name_of(network)}#{code_digest(network)[:16]}"
    except UnreadableCodeError:
        return f"{name_of(network)}#{uuid4().hex[:16]}"


def last_linear(classifier: Classifier) -> tuple[str, nn.Linear]:
    """Name and module of the linear layer that gives the classifier's answer.

    Raises:
        InputError: there is none with one row a class, or with one for no and yes.
    """
    linear = [(name, part) for name, part in classifier.module.named_modules() if isinstance(part, nn.Linear)]
    rows = 1 if classifier.is_paired else len(classifier.labels)
    if not linear or linear[-1][1].out_features != rows or not linear[-1][0]:
        raise InputError(f"{classifier.name} does not end in a linear layer: train small_cnn or resnet18 instead")
    return linear[-1]


def with_new_head(classifier: Classifier, head: str, classes: int) -> nn.Module:
    """A copy of the classifier's network whose layer ``head`` is new and has ``classes`` outputs."""
    module = copy.deepcopy(classifier.module).requires_grad_(True)
    old = module.get_submodule(head)
    assert isinstance(old, nn.Linear)
    parent, _, child = head.rpartition(".")
    new = nn.Linear(old.in_features, classes, bias=old.bias is not None, device=old.weight.device)
    setattr(module.get_submodule(parent), child, new)
    return module.to(torch.float32)

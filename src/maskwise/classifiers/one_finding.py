"""One finding of a network, as a classifier of two classes: it is not there, and it is."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskwise.classifiers.black_box import BlackBox
from maskwise.classifiers.classifier import Classifier
from maskwise.classifiers.findings import check_findings
from maskwise.classifiers.output import ScoresAt
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode
from maskwise.core.portions import out_of_memory
from maskwise.labels import Labels

THERE = 1  # the class that the finding is
LISTED = 20  # names that an error offers
CLOSE = 1e-4  # of the largest logit: what another order of sums may be off


class OneFinding(Classifier):
    """A network's finding as a question with two answers, whose logits are (0, z) of the finding's logit z.

    So softmax gives 1 - sigmoid(z) and sigmoid(z), and a method gets for class 1 the very logit that it gets for the
    finding from the network itself. Class 0 has no evidence of its own, and its map is flat.

    Where the network ends in a linear layer or a 1x1 convolution, a copy of it has two rows there, zeros and the
    finding's, so that what reads or teaches a last layer finds one. Else the network stands before a step that takes
    the finding's column. A black box stays one.

    Args:
        network: of findings, each with a probability by itself; or with one output.
        finding: index or name of one of them; may be left out where there is one.

    Attributes:
        finding: its index among the network's classes.
        source: the network's classes.
        is_only: has the network one output?

    Raises:
        InputError: the network has no findings or none of that name, or of several none was named.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> chest = Classifier(net, input_size=16, labels=("mass", "edema", "nodule", "hernia"), activation="sigmoid")
        >>> OneFinding(chest, "nodule").labels.names
        ('no nodule', 'nodule')
    """

    def __init__(self, network: Classifier, finding: int | str | None = None) -> None:
        index = finding_of(network, finding)
        name = network.labels.name(index)
        nothing = network.labels.name(0) if network.is_paired else f"no {name}"
        module, taps, output = _asking(network, index)
        super().__init__(
            module, mean=network.mean.tolist(), std=network.std.tolist(), input_size=network.size, taps=taps,
            labels=Labels((nothing, name), synonyms=False), name=network.name, activation="softmax", output=output,
        )  # fmt: skip
        self.finding, self.source, self.is_only = index, network.labels, network.is_paired


def finding_of(network: Classifier, finding: int | str | None) -> int:
    """Index of a finding among a network's classes.

    Raises:
        InputError: as ``OneFinding``.
    """
    check_findings(network)
    if finding is None and network.is_paired:
        return THERE
    if finding is None:
        raise InputError(f"{network.name} has several findings, so name one: {findings_listed(network)}")
    try:
        index = network.labels.resolve(finding)
    except InputError as error:
        raise InputError(f"{network.name}: {error}; its findings are {findings_listed(network)}") from None
    if network.is_paired and index != THERE:
        raise InputError(
            f"{network.name} has one finding, {network.labels.name(THERE)!r}: {network.labels.name(0)!r} is that it is "
            "not there"
        )
    return index


def findings_listed(network: Classifier) -> str:
    """Names of its findings, most of them at least, as an error offers them."""
    names = network.labels.first_names
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _asking(network: Classifier, index: int) -> tuple[nn.Module, Sequence[str] | None, ScoresAt]:
    """A module with logits (0, z), its taps and where its scores are."""
    if network.is_black_box:
        return _FindingBox(network, index), None, None
    module = _with_two_rows(network, index)
    if module is not None:
        return module, network._named, network.output
    taps = None if network._named is None else [f"network.module.{tap}" for tap in network._named]
    return _Column(network, index), taps, None


def _with_two_rows(network: Classifier, index: int) -> nn.Module | None:
    """A copy whose last layer has a row of zeros and the finding's; None where its outputs aren't the logits."""
    outputs = 1 if network.is_paired else len(network.labels)
    layers = [(name, one) for name, one in network.module.named_modules() if isinstance(one, (nn.Linear, nn.Conv2d))]
    name, last = layers[-1] if layers else ("", None)
    if last is None or not name or type(last) not in (nn.Linear, nn.Conv2d) or last.weight.shape[0] != outputs:
        return None
    if last.weight[0, 0].numel() != 1 or (isinstance(last, nn.Conv2d) and last.groups > 1):
        return None
    row = 0 if network.is_paired else index
    try:
        module = copy.deepcopy(network.module)
        module.set_submodule(name, _two_rows(last, row))
        two = network.described(module=module, labels=("0", "1"), activation="softmax")
        draws = torch.Generator().manual_seed(0)
        images = torch.rand(2, network.channels, *network.size, generator=draws).to(network.device)
        with torch.no_grad(), eval_mode(network), eval_mode(two):
            expected, found = network.logits(images)[:, index], two.logits(images)
    except Exception as error:  # every network has its own way to need so many outputs
        if out_of_memory(error):
            raise
        return None
    wanted = torch.stack([torch.zeros_like(expected), expected], 1)
    if found.shape != wanted.shape or (found - wanted).abs().max() > CLOSE * wanted.abs().max().clamp(min=1):
        return None
    return module


def _two_rows(last: nn.Linear | nn.Conv2d, row: int) -> nn.Linear | nn.Conv2d:
    """The layer with zeros and its row ``row``; which one that is, is a part of its state, as of its fingerprint."""
    made = copy.deepcopy(last)
    for key in ("weight", "bias"):
        values = getattr(last, key)
        if values is not None:
            own = values.detach()[row]
            setattr(made, key, nn.Parameter(torch.stack([torch.zeros_like(own), own]), values.requires_grad))
    if isinstance(made, nn.Linear):
        made.out_features = 2
    else:
        made.out_channels = 2
    made.register_buffer("finding", torch.tensor(row))
    return made


class _Column(nn.Module):
    """From normalised pictures to (0, z) of a finding's logit z, whatever stands between the network's layers and it.

    Of outputs that are probabilities z is their log odds.
    """

    digest: Tensor

    def __init__(self, network: Classifier, index: int) -> None:
        super().__init__()
        self.network, self.index = network, index
        who = hashlib.sha256(f"{network.digest()} {network.activation} {index}".encode()).digest()
        self.register_buffer("digest", torch.tensor(list(who), dtype=torch.uint8))

    def forward(self, normalised: Tensor) -> Tensor:
        scores = self.network.network(normalised)[:, self.index]
        if self.network.activation == "none":
            scores = torch.logit(scores, torch.finfo(scores.dtype).eps)
        return torch.stack([0 * scores, scores], 1)


@dataclass(frozen=True)
class _Shared:
    """Keeps a network that is no part of what holds it, so that copies share it, as they do whatever a box asks."""

    network: Classifier


class _FindingBox(BlackBox):
    """Probabilities (N,2) of a black box's finding: that it is not there, and that it is."""

    def __init__(self, network: Classifier, index: int) -> None:
        super().__init__(f"{network.digest()} {network.activation} {index}".encode())
        self.ask = _Shared(network)
        self.index = index

    def answer(self, normalised: Tensor) -> Tensor:
        network = self.ask.network
        there = network.probabilities(network.network(normalised))[:, self.index].clamp(0, 1)
        return torch.stack([1 - there, there], 1)

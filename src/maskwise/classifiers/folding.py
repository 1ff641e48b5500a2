"""The same network with fewer operations: a batch norm in eval mode is a part of the convolution before it.

On a CPU a small network spends as much time in batch norms, which only read and write, as in convolutions. What was
folded is compared with the network itself before it is used.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn

from maskwise.classifiers.classifier import Classifier
from maskwise.core.modes import eval_mode

CLOSE = 1e-3  # of the largest value: how far folded activations may be from those of the network, by rounding


@dataclass(frozen=True)
class _Pair:
    """Names of a convolution and of the batch norm that alone reads it."""

    convolution: str
    norm: str
    eps: float


class _After(nn.Module):
    """What a batch norm with an activation does after the norm; its parts keep their names."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.drop, self.act = norm.get_submodule("drop"), norm.get_submodule("act")

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.act(self.drop(x))
        return found


class Folding:
    """A classifier without the batch norms that follow a convolution, and the weights that make it the same function.

    Attributes:
        classifier: a still copy, of today's weights.
    """

    def __init__(self, classifier: Classifier, pairs: Sequence[_Pair]) -> None:
        self.pairs = pairs
        self.classifier = copy.deepcopy(classifier).eval()
        network = self.classifier.module
        for pair in pairs:
            convolution, norm = network.get_submodule(pair.convolution), network.get_submodule(pair.norm)
            assert isinstance(convolution, nn.Conv2d)
            # Its own, which no other layer has any more; their values come last.
            convolution.weight = nn.Parameter(convolution.weight.detach().clone())
            convolution.bias = nn.Parameter(convolution.weight.new_zeros(len(convolution.weight)))
            network.set_submodule(pair.norm, _After(norm) if _has_activation(norm) else nn.Identity())
        network.eval().requires_grad_(False)
        self._names = {name for name, _ in _weights_of(network)}
        own = dict(_weights_of(network))
        with torch.no_grad():
            for name, weight in self.weights(dict(_weights_of(classifier.module))).items():
                own[name].copy_(weight)

    @classmethod
    def of(cls, classifier: Classifier, size: tuple[int, int] | None = None) -> Folding | None:
        """None where there is nothing to fold, or where the folded network's scores or taps are others.

        Args:
            classifier: in eval mode; it stays as it is.
            size: (h,w) of the pictures that it will see; None is its own.
        """
        draws = torch.Generator().manual_seed(0)
        images = torch.rand(2, classifier.channels, *(size or classifier.size), generator=draws).to(classifier.device)
        taps_read = classifier.tap_names  # they are found by a forward of their own
        with torch.inference_mode(False), torch.no_grad(), eval_mode(classifier.module):
            with _watched(classifier.module) as pairs:
                scores, taps = classifier.features(images)
            found = [pair for pair in pairs() if pair.convolution not in taps_read]
            if not found:
                return None
            folding = cls(classifier, found)
            theirs, folded = folding.classifier.features(images)
        same = all(_close(a, b) for a, b in zip((scores, *taps), (theirs, *folded), strict=True))
        return folding if same else None

    def weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the folded network, from the weights and buffers of the network itself; gradients run through them."""
        found = {name: value for name, value in state.items() if name in self._names}
        for pair in self.pairs:
            weight, bias = (f"{pair.convolution}.{kind}" for kind in ("weight", "bias"))
            mean, variance = state[f"{pair.norm}.running_mean"], state[f"{pair.norm}.running_var"]
            gain = (variance + pair.eps).rsqrt()
            if (own := state.get(f"{pair.norm}.weight")) is not None:
                gain = gain * own
            shift = -mean * gain if bias not in state else (state[bias] - mean) * gain
            if (own := state.get(f"{pair.norm}.bias")) is not None:
                shift = shift + own
            found[weight], found[bias] = state[weight] * gain[:, None, None, None], shift
        return found

    def weights_of(self, network: nn.Module) -> dict[str, Tensor]:
        """The same from a network that learns, as it is now."""
        return self.weights(dict(_weights_of(network)))


def folded(classifier: Classifier, size: tuple[int, int] | None = None) -> Classifier:
    """A quicker classifier of the same scores and taps, up to rounding, where there is one; else this one.

    It is a copy of today's weights, for loops in which they stay.

    Args:
        size: (h,w) of the pictures that it will see; None is its own.
    """
    folding = Folding.of(classifier, size)
    return classifier if folding is None else folding.classifier


class FoldedReader:
    """Scores and taps of a network, by its folded copy as long as the network is the one that was folded.

    A weight that is written to or replaced, another layer, a hook or train mode: then the network itself is asked.

    Args:
        classifier: in eval mode.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier, self.folded = classifier, folded(classifier)
        # Listed once: to walk the tree takes longer than a small decoder.
        parts = list(classifier.module.modules())
        tables = [table for part in parts for table in (part._parameters, part._buffers, part._modules)]
        self._places = [(table, name) for table in tables for name in table]
        self._held = [table[name] for table, name in self._places]
        self._weights = [thing for thing in self._held if isinstance(thing, Tensor)]
        self._hooks = [hooks for part in parts for hooks in (part._forward_hooks, part._forward_pre_hooks)]
        self._values = self._written()

    def features(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """As ``Classifier.features``."""
        return (self.folded if self.is_as_folded() else self.classifier).features(images)

    def is_as_folded(self) -> bool:
        """Would the network itself still say the same?"""
        if self.classifier.training or any(self._hooks):
            return False
        same = all(map(is_, [table[name] for table, name in self._places], self._held))
        return same and self._written() == self._values

    def _written(self) -> list[tuple[int, int]]:
        """Where each weight's numbers lie, and how often they were written; of an inference mode's nobody counts."""
        return [(w.data_ptr(), -1 if w.is_inference() else w._version) for w in self._weights]


def _weights_of(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights and buffers by name, also those that are the same tensor."""
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)


def _close(a: Tensor, b: Tensor) -> bool:
    # Scores without any spread tell nothing of what differs, and NaN is close to nothing.
    return a.shape == b.shape and bool((a - b).abs().max() <= CLOSE * a.abs().max())


@contextmanager
def _watched(network: nn.Module) -> Iterator[Any]:
    """While open, it is seen which batch norm reads which convolution.

    Yields:
        A function that gives the pairs: of layers called once, whose tensor nothing wrote to in between.
    """
    made: dict[int, tuple[str, Tensor, int]] = {}  # which keeps the tensors, and so their identities, alive
    read: dict[str, str] = {}
    calls: Counter[str] = Counter()
    handles = []

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            calls[name] += 1
            made[id(output)] = (name, output, output._version)

        return hook

    def look(name: str) -> Any:
        def hook(_: nn.Module, given: Any) -> None:
            calls[name] += 1
            if given and (before := made.get(id(given[0]))) is not None and before[2] == given[0]._version:
                read[name] = before[0]

        return hook

    layers = dict(network.named_modules())
    for name, layer in layers.items():
        if isinstance(layer, nn.Conv2d) and _is_plain(layer):
            handles.append(layer.register_forward_hook(keep(name)))
        elif _is_norm(layer) and not _is_hooked(layer):
            handles.append(layer.register_forward_pre_hook(look(name)))

    def pairs() -> list[_Pair]:
        readers = Counter(read.values())
        return [
            _Pair(convolution, norm, float(layers[norm].eps))
            for norm, convolution in read.items()
            if calls[norm] == calls[convolution] == readers[convolution] == 1
        ]

    try:
        yield pairs
    finally:
        for handle in handles:
            handle.remove()


def _is_norm(layer: nn.Module) -> bool:
    """Is it a batch norm with statistics of its own? Kinds that do more than these are left alone."""
    known = type(layer) is nn.BatchNorm2d or _has_activation(layer)
    return known and getattr(layer, "running_mean", None) is not None


def _has_activation(layer: nn.Module) -> bool:
    """Is it timm's norm with an activation? Known by name, since timm loads slowly, and not every network is of it."""
    kind = type(layer)
    return kind.__name__ == "BatchNormAct2d" and kind.__module__.startswith("timm.")


def _is_plain(layer: nn.Module) -> bool:
    """Is its weight a parameter, which no hook and no parametrisation makes anew?"""
    return layer._parameters.get("weight") is not None and not _is_hooked(layer)


def _is_hooked(layer: nn.Module) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks)

"""A folded network is the same function of pictures and of weights, and nothing is folded that would not be."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.classifiers.folding import FoldedReader, Folding, folded


class Block(nn.Module):
    """A convolution, a batch norm of lively numbers, and an activation that writes into what it is given."""

    def __init__(self, into: int, out: int, *, bias: bool = False, norm: nn.Module | None = None, stride: int = 2):
        super().__init__()
        self.conv = nn.Conv2d(into, out, 3, stride, 1, bias=bias)
        self.bn = nn.BatchNorm2d(out) if norm is None else norm
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.act(self.bn(self.conv(x)))
        return found


class Network(nn.Module):
    def __init__(self, *blocks: nn.Module, width: int = 6) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.blocks(x).mean((2, 3)))
        return found


def lively(network: nn.Module, seed: int = 0) -> Classifier:
    """Every weight and every statistic says something."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=draws))
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None:
                layer.running_mean.copy_(torch.randn(layer.running_mean.shape, generator=draws))
                layer.running_var.copy_(0.2 + torch.rand(layer.running_var.shape, generator=draws))
    return Classifier(network.eval(), input_size=24)


def pictures(seed: int = 1) -> Tensor:
    return torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(seed))


def same(a: Classifier, b: Classifier, images: Tensor) -> None:
    (scores, taps), (theirs, folded_taps) = a.features(images), b.features(images)
    torch.testing.assert_close(theirs, scores, atol=1e-4, rtol=1e-4)
    for tap, other in zip(taps, folded_taps, strict=True):
        torch.testing.assert_close(other, tap, atol=1e-4, rtol=1e-4)


NETWORKS = {
    "plain": lambda: Network(Block(3, 4), Block(4, 6)),
    "with biases": lambda: Network(Block(3, 4, bias=True), Block(4, 6, bias=True)),
    "a norm with its activation": lambda: Network(Block(3, 4, norm=BatchNormAct2d(4)), Block(4, 6)),
    "a norm without gain": lambda: Network(Block(3, 4, norm=nn.BatchNorm2d(4, affine=False)), Block(4, 6)),
    "another epsilon": lambda: Network(Block(3, 4, norm=nn.BatchNorm2d(4, eps=0.3)), Block(4, 6)),
    "groups": lambda: Network(
        Block(3, 4), nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(4), nn.ReLU(), Block(4, 6)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_and_taps_are_the_same(name: str) -> None:
    classifier = lively(NETWORKS[name]())
    folding = Folding.of(classifier)
    assert folding is not None
    norms = [layer for layer in classifier.module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(folding.pairs) == len(norms)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folding.classifier.module.modules())
    same(classifier, folding.classifier, pictures())


def test_gradients_reach_the_weights_of_the_network_itself() -> None:
    classifier = lively(NETWORKS["with biases"]())
    folding = Folding.of(classifier)
    assert folding is not None
    images = pictures().requires_grad_(True)
    wanted = [images, *classifier.module.parameters()]
    own = torch.autograd.grad(classifier.logits(images).square().sum(), wanted)
    weights = folding.weights_of(classifier.module)
    theirs = torch.autograd.grad(folding.classifier.logits(images, weights).square().sum(), wanted)
    for a, b in zip(own, theirs, strict=True):
        torch.testing.assert_close(b, a, atol=1e-3, rtol=1e-3)


def test_weights_follow_a_network_that_learns_and_the_copy_does_not() -> None:
    classifier = lively(NETWORKS["plain"]())
    folding = Folding.of(classifier)
    assert folding is not None
    before = classifier.logits(pictures())
    other = lively(NETWORKS["plain"](), seed=5)
    classifier.module.load_state_dict(other.module.state_dict())
    weights = folding.weights(classifier.module.state_dict())
    torch.testing.assert_close(folding.classifier.logits(pictures(), weights), other.logits(pictures()))
    torch.testing.assert_close(folding.classifier.logits(pictures()), before)


def test_the_network_stays_as_it_was() -> None:
    classifier = lively(NETWORKS["a norm with its activation"]())
    before, flags = copy.deepcopy(classifier.module.state_dict()), [m.training for m in classifier.module.modules()]
    Folding.of(classifier)
    assert all(torch.equal(before[name], value) for name, value in classifier.module.state_dict().items())
    assert flags == [m.training for m in classifier.module.modules()]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in classifier.module.modules())


class TwoReaders(nn.Module):
    """What a convolution gives is read by its norm, and again afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv(x)
        return torch.relu(self.bn(found) + found)


class TwoNorms(nn.Module):
    """One convolution, read by two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv(x)
        return torch.relu(self.one(found)) + torch.relu(self.two(found))


class CalledTwice(nn.Module):
    """One convolution before two norms, called for each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.one(self.conv(x))) + torch.relu(self.two(self.conv(1 - x)))


class WrittenBetween(nn.Module):
    """The tensor that the norm reads was written to since the convolution gave it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x).relu_()))


class Standardised(nn.Conv2d):
    """A convolution that makes its weights anew from its parameter, as those without batch norms do."""

    def forward(self, x: Tensor) -> Tensor:
        spread = self.weight.std((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, self.weight / spread, self.bias, 2, 1)


class OddBlock(Block):
    def __init__(self) -> None:
        super().__init__(3, 4)
        self.conv = Standardised(3, 4, 3)


ODD = {
    "two readers": lambda: Network(TwoReaders(), width=4),
    "two norms": lambda: Network(TwoNorms(), width=4),
    "called twice": lambda: Network(CalledTwice(), width=4),
    "written between": lambda: Network(WrittenBetween(), width=4),
    "standardised": lambda: Network(OddBlock(), width=4),
    "parametrised": lambda: Network(_parametrised(Block(3, 4)), width=4),
    "statistics of the batch": lambda: Network(Block(3, 4, norm=nn.BatchNorm2d(4, track_running_stats=False)), width=4),
    "no norm": lambda: Network(Block(3, 4, norm=nn.GroupNorm(2, 4)), width=4),
}  # fmt: skip


def _parametrised(block: Block) -> Block:
    torch.nn.utils.parametrizations.weight_norm(block.conv)
    return block


@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("ignore:.*beside it.*")
def test_what_can_not_be_folded_is_left_alone(name: str) -> None:
    classifier = lively(ODD[name]())
    assert Folding.of(classifier) is None
    assert folded(classifier) is classifier


@pytest.mark.parametrize("name", ["two norms", "called twice", "written between", "parametrised"])
def test_what_stands_beside_it_is_folded(name: str) -> None:
    odd = ODD[name]().blocks[0]
    classifier = lively(Network(odd, Block(4, 6)))
    folding = Folding.of(classifier)
    assert folding is not None and [pair.convolution for pair in folding.pairs] == ["blocks.1.conv"]
    same(classifier, folding.classifier, pictures())


def test_a_tap_that_is_a_convolution_is_not_changed() -> None:
    network = lively(NETWORKS["plain"]()).module
    classifier = Classifier(network, input_size=24, taps=["blocks.0.conv", "blocks.1"])
    folding = Folding.of(classifier)
    assert folding is not None and [pair.convolution for pair in folding.pairs] == ["blocks.1.conv"]
    same(classifier, folding.classifier, pictures())


def test_a_hook_of_the_users_keeps_its_layer() -> None:
    classifier = lively(NETWORKS["plain"]())
    classifier.module.blocks[0].conv.register_forward_hook(lambda module, given, output: 2 * output)
    folding = Folding.of(classifier)
    assert folding is not None and [pair.convolution for pair in folding.pairs] == ["blocks.1.conv"]
    same(classifier, folding.classifier, pictures())


def test_weights_that_two_layers_share_are_folded_by_each_norm() -> None:
    network = Network(Block(3, 4), Block(4, 4), Block(4, 4), width=4)
    network.blocks[2].conv.weight = network.blocks[1].conv.weight
    classifier = lively(network)
    folding = Folding.of(classifier)
    assert folding is not None and len(folding.pairs) == 3
    same(classifier, folding.classifier, pictures())


def test_an_ending_is_still_read_before_it() -> None:
    classifier = lively(nn.Sequential(Network(Block(3, 4), width=4), nn.Softmax(1)))
    folding = Folding.of(classifier)
    assert folding is not None
    same(classifier, folding.classifier, pictures())
    assert float(folding.classifier.logits(pictures()).sum(1).sub(1).abs().max()) > 0.1  # logits, no probabilities


def _write(network: nn.Module) -> None:
    with torch.no_grad():
        network.blocks[1].conv.weight.mul_(-1)


def _assign(network: nn.Module) -> None:
    network.load_state_dict({name: 2 * value for name, value in network.state_dict().items()}, assign=True)


def _statistics(network: nn.Module) -> None:
    network.blocks[0].bn.running_mean.add_(1)


def _layer(network: nn.Module) -> None:
    network.blocks[1] = Block(4, 6)


def _hook(network: nn.Module) -> None:
    network.blocks[0].register_forward_hook(lambda module, given, output: -output)


def _given(network: nn.Module) -> None:
    network.blocks[0].register_forward_pre_hook(lambda module, given: (1 - given[0],))


def _double(network: nn.Module) -> None:
    network.double()


CHANGES = [_write, _assign, _statistics, _layer, _hook, _given, _double]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
@pytest.mark.parametrize("copied", [False, True])
def test_a_reader_asks_the_network_once_that_is_another(change: Callable[[nn.Module], None], copied: bool) -> None:
    classifier = lively(NETWORKS["plain"]())
    reader = FoldedReader(classifier)
    assert reader.is_as_folded() and reader.folded is not classifier
    before, _ = reader.features(pictures())
    torch.testing.assert_close(before, classifier.logits(pictures()), atol=1e-4, rtol=1e-4)
    reader = copy.deepcopy(reader) if copied else reader
    change(reader.classifier.module)
    after, taps = reader.features(pictures())
    wanted, wanted_taps = reader.classifier.features(pictures())
    assert torch.equal(after, wanted) and all(map(torch.equal, taps, wanted_taps))
    assert not torch.allclose(after.float(), before) or change is _double


def test_a_reader_of_a_network_in_train_mode_asks_it() -> None:
    classifier = lively(NETWORKS["plain"]())
    reader = FoldedReader(classifier)
    classifier.train()
    classifier.module.train()
    before = classifier.module.blocks[0].bn.num_batches_tracked.clone()
    reader.features(pictures())
    assert classifier.module.blocks[0].bn.num_batches_tracked == before + 1


def test_a_reader_of_weights_of_an_inference_mode() -> None:
    with torch.inference_mode():
        classifier = lively(NETWORKS["plain"]())
        reader = FoldedReader(classifier)
        assert torch.allclose(reader.features(pictures())[0], classifier.logits(pictures()), atol=1e-4)

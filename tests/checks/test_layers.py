"""Layers in the order in which they run, new weights by rule, and the old ones back to the last bit."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from conftest import tiny_net
from torch import Tensor, nn
from torch.nn.utils import prune
from torchvision.models import googlenet, resnet50, vit_b_16

from maskwise.checks.layers import Layer, layers_from_the_top
from maskwise.checks.randomise import randomise, restored
from maskwise.core.errors import InputError


class Crossed(nn.Module):
    """Declares its layers in another order than it runs them, one of them twice and one never."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 2)
        self.dead = nn.Linear(4, 4)
        self.twice = nn.Conv2d(4, 4, 1)
        self.first = nn.Conv2d(3, 4, 1)
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(self.first(x)).relu())
        tokens = x.flatten(2).transpose(1, 2)
        return self.last(self.attention(tokens, tokens, tokens)[0].mean(1))


def names(layers: list[Layer]) -> list[str]:
    return [layer.name for layer in layers]


def test_the_order_is_that_of_running_and_not_of_declaring() -> None:
    layers = layers_from_the_top(Crossed(), torch.zeros(1, 3, 4, 4), depth=None)
    # Attention applies its projection without calling the module: it belongs where attention runs.
    assert names(layers)[0] == "last" and set(names(layers)[1:3]) == {"attention", "attention.out_proj"}
    assert names(layers)[3:] == ["twice", "first"]


def test_blocks_of_a_resnet_are_those_of_the_released_code() -> None:
    with torch.device("cpu"):
        net = resnet50(weights=None).eval()
    expected = ["fc", *(f"layer{i}.{j}" for i, n in ((4, 3), (3, 6), (2, 4), (1, 3)) for j in range(n)[::-1])]
    layers = layers_from_the_top(net, torch.zeros(1, 3, 32, 32), depth=2)
    assert names(layers) == [*expected, "bn1", "conv1"]
    assert names(layers_from_the_top(net, torch.zeros(1, 3, 32, 32), depth=1)) == [
        "fc", "layer4", "layer3", "layer2", "layer1", "bn1", "conv1",
    ]  # fmt: skip
    every = {name for layer in layers for name in layer.modules}
    assert every == {name for name, part in net.named_modules() if list(part.parameters(recurse=False))}


def test_every_parameter_that_a_forward_uses_is_in_some_layer() -> None:
    vit = vit_b_16(image_size=32, weights=None).eval()
    held = {name for layer in layers_from_the_top(vit, torch.zeros(1, 3, 32, 32), 3) for name in layer.modules}
    assert held == {name for name, part in vit.named_modules() if list(part.parameters(recurse=False))}
    with_heads = googlenet(weights=None, init_weights=False).eval()
    held = {name for layer in layers_from_the_top(with_heads, torch.zeros(1, 3, 64, 64)) for name in layer.modules}
    assert not any(name.startswith("aux") for name in held)  # the heads that only training runs


def test_a_plain_chain_and_bad_input() -> None:
    net = tiny_net().eval()
    assert names(layers_from_the_top(net, torch.zeros(1, 3, 32, 32))) == ["14", "9", "8", "5", "4", "1", "0"]
    with pytest.raises(InputError, match="depth"):
        layers_from_the_top(net, torch.zeros(1, 3, 32, 32), depth=0)
    with pytest.raises(InputError, match="no parameters"):
        layers_from_the_top(nn.ReLU(), torch.zeros(1, 3, 4, 4))


def test_hooks_come_off_when_the_network_raises() -> None:
    net = tiny_net().eval()
    with pytest.raises(RuntimeError):
        layers_from_the_top(net, torch.zeros(1, 1, 32, 32))
    assert not any(part._forward_pre_hooks for part in net.modules())


def test_own_rule_is_reset_parameters_and_leaves_the_random_state_alone() -> None:
    net = tiny_net().eval()
    with torch.no_grad():
        net[1].running_mean.fill_(7)
        net[1].weight.fill_(3)
    state, others = torch.get_rng_state(), {k: v.clone() for k, v in net.state_dict().items() if k[0] not in "01"}
    randomise(net, Layer("0", ("0",)), seed=5)
    randomise(net, Layer("1", ("1",)), seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert net[1].running_mean.eq(0).all() and net[1].weight.eq(1).all()
    bound = 1 / math.sqrt(27)
    assert 0.8 * bound < net[0].weight.abs().max() <= bound
    assert all(torch.equal(net.state_dict()[k], v) for k, v in others.items())


def test_numbers_depend_on_seed_and_name_alone() -> None:
    a, b = tiny_net(0).eval(), tiny_net(1).eval()
    randomise(a, Layer("all", ("14", "0")), seed=1)
    randomise(b, Layer("0", ("0",)), seed=1)
    assert torch.equal(a[0].weight, b[0].weight)
    randomise(b, Layer("0", ("0",)), seed=2)
    assert not torch.equal(a[0].weight, b[0].weight)


def test_the_released_rule() -> None:
    net = nn.Sequential(nn.Conv2d(64, 128, (3, 5)), nn.BatchNorm2d(128), nn.Linear(400, 300)).eval()
    net[1].running_mean.fill_(7)
    for name in "012":
        randomise(net, Layer(name, (name,)), "released")
    assert net[0].weight.std().item() == pytest.approx(math.sqrt(2 / (128 * 64 * 5)), rel=0.02)
    assert net[1].running_mean.eq(7).all()
    assert 0.9 < net[1].weight.abs().max() * math.sqrt(128) <= 1
    assert 0.9 < net[2].bias.abs().max() * math.sqrt(300) <= 1
    assert 0.99 < net[2].weight.abs().max() * math.sqrt(400) <= 1  # Kaiming-uniform, a = sqrt 5
    with pytest.raises(InputError, match="unknown initialisation"):
        randomise(net, Layer("0", ("0",)), "ones")


def test_parameters_without_a_rule_keep_their_mean_and_spread() -> None:
    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(3 + 0.5 * torch.randn(5000, generator=torch.Generator().manual_seed(0)))

    net = nn.Sequential(Token())
    before = net[0].token.detach().clone()
    randomise(net, Layer("0", ("0",)))
    assert not torch.equal(net[0].token, before)
    assert net[0].token.mean().item() == pytest.approx(3, abs=0.05)
    assert net[0].token.std().item() == pytest.approx(0.5, rel=0.05)


def test_restored_to_the_last_bit_also_after_an_exception() -> None:
    net = tiny_net().eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    tensors = list(net.state_dict(keep_vars=True).values())
    with pytest.raises(RuntimeError, match="on purpose"), restored(net) as back:
        for layer in layers_from_the_top(net, torch.zeros(1, 3, 32, 32)):
            randomise(net, layer)
        assert not torch.equal(net[0].weight, before["0.weight"])
        back()
        assert torch.equal(net[0].weight, before["0.weight"])
        randomise(net, Layer("0", ("0",)))
        raise RuntimeError("on purpose")
    assert all(torch.equal(net.state_dict()[k], v) for k, v in before.items())
    assert all(a is b for a, b in zip(tensors, net.state_dict(keep_vars=True).values(), strict=True))


WRAPS: dict[str, Callable[[nn.Module], object]] = {
    "weight_norm": nn.utils.weight_norm,
    "spectral_norm": nn.utils.spectral_norm,
    "pruned": lambda part: prune.l1_unstructured(part, "weight", amount=0.3),
    "parametrised": nn.utils.parametrizations.weight_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("init", ["own", "released"])
@pytest.mark.parametrize("kind", WRAPS)
def test_weights_that_are_computed_from_others_become_random_too(kind: str, init: str) -> None:
    """Their module's reset writes into what the next forward computes anew; told by what the layer gives."""
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)).eval()
    WRAPS[kind](net[0])
    picture = torch.randn(1, 3, 4, 4)
    with torch.no_grad():
        net(picture)
        net[0].bias.zero_()
        before = net[0](picture)
        layers = layers_from_the_top(net, picture)
        assert names(layers) == ["3", "0"], "a layer is one, however its weights are made"
        with restored(net):
            randomise(net, layers[1], init)
            weights = (net[0](picture) - net[0].bias[:, None, None]) / before
            assert weights.std() > 0.1, "another direction, and not the old one with another size"
        assert torch.equal(net[0](picture), before)


def test_a_reset_that_writes_values_or_new_tensors_is_no_reset_left_out() -> None:
    class Old(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.by_data, self.anew = nn.Parameter(torch.randn(50)), nn.Parameter(torch.randn(50))
            self.same, self.forgotten = nn.Parameter(torch.full((1,), 0.25)), nn.Parameter(torch.randn(50))

        def reset_parameters(self) -> None:
            self.by_data.data.copy_(torch.arange(50))
            self.anew = nn.Parameter(torch.full((50,), 3.0))
            nn.init.constant_(self.same, 0.25)

    net = nn.Sequential(Old())
    before = net[0].forgotten.detach().clone()
    randomise(net, Layer("0", ("0",)))
    assert torch.equal(net[0].by_data, torch.arange(50.0)) and net[0].anew.eq(3).all() and net[0].same.eq(0.25).all()
    assert net[0].forgotten.ne(before).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_packed_weights_are_refused_and_not_passed_over() -> None:
    """A cascade that begins below the head would leave the head as it was, without a word."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    packed = torch.ao.quantization.quantize_dynamic(net, {nn.Linear})
    with pytest.raises(InputError, match=r"'3.*packed.*quantised"):
        layers_from_the_top(packed, torch.zeros(1, 3, 8, 8))


def test_the_order_within_a_compiled_part_is_that_of_running() -> None:
    inner = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    net = nn.Sequential(torch.compile(inner, backend="eager"), nn.Flatten(), nn.Linear(16, 2)).eval()
    picture = torch.zeros(1, 3, 2, 2)
    with torch.no_grad():
        net(picture)
    inside = [name.rpartition(".")[2] for name in names(layers_from_the_top(net, picture, depth=None))]
    assert inside == ["2", "4", "2", "0"]

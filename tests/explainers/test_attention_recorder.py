"""The recorder beside what a network may do around its attention: call it twice, overwrite it, run beside another."""

from __future__ import annotations

from threading import Thread

import pytest
import torch
import torch.nn.functional as F
from conftest import Block, First, Patches, tiny_vit
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer
from maskwise.explainers.attention.reading import AttentionReading, read_attention
from maskwise.explainers.attention.recorder import AttentionRecorder

PICTURES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(4))


class Written(nn.Module):
    """Attention as softmax and product, with the weights changed in a way of one's own between the two."""

    def __init__(self, factor: float = 1.0, in_place: bool = False) -> None:
        super().__init__()
        self.qkv, self.factor, self.in_place = nn.Linear(16, 48), factor, in_place

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1)).softmax(-1) * self.factor
        read = weights @ v
        if self.in_place:
            read.mul_(2).add_(1)
        return x + read.transpose(1, 2).flatten(2)


def of_blocks(*blocks: nn.Module, head: nn.Module | None = None) -> Classifier:
    net = nn.Sequential(Patches(), *blocks, First(), head or nn.Linear(16, 3)).eval()
    return Classifier(net, input_size=32, name="net")


def reading(classifier: Classifier) -> AttentionReading:
    return read_attention(classifier, "legrad")


def test_a_block_that_is_called_twice_is_filed_by_its_calls() -> None:
    """As in a network whose layers share their weights (ALBERT's way)."""
    shared = Block()
    net = nn.Sequential(Patches(), shared, shared, Block())
    with torch.no_grad(), AttentionRecorder(("1#1", "1#2", "3"), rows=2).watching(net) as recorder:
        net(PICTURES)
    assert [call.layer for call in recorder.calls] == ["1#1", "1#2", "3"]
    first, second = (call.weights() for call in recorder.calls[:2])
    assert not torch.allclose(first, second, atol=1e-3)
    assert reading(of_blocks(shared, shared)).blocks == ("1#1", "1"), "the last call has no number"


@pytest.mark.parametrize("method", ["legrad", "generic_attention", "grad_eclip"])
def test_a_network_may_overwrite_what_attention_gives(method: str) -> None:
    """The same numbers as of one that does not; where nothing has a gradient, a leaf would refuse to be overwritten."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        careless = of_blocks(Block(), Written(in_place=True), Block())

    class Careful(nn.Module):
        def __init__(self, written: Written) -> None:
            super().__init__()
            self.qkv = written.qkv

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
            return x + (((q @ k.transpose(-2, -1)).softmax(-1) @ v) * 2 + 1).transpose(1, 2).flatten(2)

    parts = list(careless.module)
    parts[2] = Careful(parts[2])
    careful = Classifier(nn.Sequential(*parts).eval(), input_size=32, name="net")
    maps = explainer(method, careless)(PICTURES, 1)
    assert torch.allclose(maps, explainer(method, careful)(PICTURES, 1), atol=1e-5) and maps.std() > 0.05


def test_a_softmax_over_anything_but_keys_is_no_attention() -> None:
    """Over queries or channels (XCiT's kin): its product with values says nothing of places read by places."""
    q, k, v = (torch.rand(2, 3, 4, 5) for _ in range(3))
    for axis in (1, -2, 2):
        with AttentionRecorder((), rows=2) as recorder:
            seen = (q @ k.transpose(-2, -1)).softmax(axis) @ v
        assert not recorder.calls
        assert torch.equal(seen, (q @ k.transpose(-2, -1)).softmax(axis) @ v)
    for axis in (-1, 3):
        with AttentionRecorder((), rows=2) as recorder:
            _ = (q @ k.transpose(-2, -1)).softmax(axis) @ v
        assert len(recorder.calls) == 1


@pytest.mark.parametrize("by", [F.softmax, torch.softmax, Tensor.softmax])
def test_a_softmax_in_another_precision_stays_in_it(by: object) -> None:
    """Networks in half precision take their softmax in float32."""
    logits = torch.randn(2, 3, 4, 4).half()
    with AttentionRecorder((), rows=2):
        seen = by(logits, -1, dtype=torch.float32)  # type: ignore[operator]
    assert seen.dtype == torch.float32 and torch.equal(seen, F.softmax(logits, -1, dtype=torch.float32))


def test_a_forward_of_another_thread_is_not_filed() -> None:
    """The same network serves somebody else meanwhile: neither its calls nor its steps' ends are ours."""
    net, left = tiny_vit(), []
    recorder = AttentionRecorder(("1", "2", "3"), rows=2, leave=lambda name, _: left.append(name))
    with torch.no_grad(), recorder.watching(net):
        beside = Thread(target=lambda: net(PICTURES))
        beside.start()
        beside.join()
        assert not recorder.calls and not left and recorder.layer is None
        net(PICTURES)
    assert left == [call.layer for call in recorder.calls] == ["1", "2", "3"]


@pytest.mark.parametrize("weighted", [False, True])
def test_dropout_of_multi_head_attention_is_off_in_eval_mode(weighted: bool) -> None:
    layer, tokens = nn.MultiheadAttention(16, 2, dropout=0.9, batch_first=True).eval(), torch.rand(2, 6, 16)
    with torch.no_grad():
        expected = layer(tokens, tokens, tokens, need_weights=weighted)[0]
        with AttentionRecorder((), rows=2).watching(layer) as recorder:
            seen = layer(tokens, tokens, tokens, need_weights=weighted)[0]
    assert torch.allclose(seen, expected, atol=1e-6)
    recorder.calls[0].check("net")


def test_a_head_of_zeros_reads_the_class_token_where_there_is_one() -> None:
    """As a network comes whose head is still to be trained; no slope says what it will read."""
    zero = nn.Linear(16, 3)
    nn.init.zeros_(zero.weight)
    read = reading(of_blocks(Block(), Block(), head=zero)).read
    assert torch.equal(read, F.one_hot(torch.tensor(0), 65).float())

    class Places(Patches):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, 1:]

    class Average(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(1)

    without = nn.Sequential(Places(), Block(), Block(), Average(), zero).eval()
    read = reading(Classifier(without, input_size=32, name="net")).read
    assert torch.allclose(read, torch.full((64,), 1 / 64))


@pytest.mark.parametrize(("factor", "adds_up"), [(1.0, True), (0.5, False), (1.01, False)])
def test_weights_that_do_not_add_up_to_one_are_seen(factor: float, adds_up: bool) -> None:
    classifier = of_blocks(Block(), Written(factor))
    assert reading(classifier).stochastic == adds_up
    if adds_up:
        assert explainer("attention_rollout", classifier)(PICTURES).shape == (2, 32, 32)
    else:
        with pytest.raises(InputError, match="attention_rollout"):
            explainer("attention_rollout", classifier)

"""Tokens of a network's own that ask the picture are no places of it, however many there are."""

from __future__ import annotations

import pytest
import torch
from conftest import Block, First, Patches
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.classifiers.answering import measured_layers


class Pooler(nn.Module):
    """So many learnt queries read all tokens, as CoCa's do."""

    def __init__(self, queries: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(queries, 16))
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm = nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        read: Tensor = self.attention(self.query.expand(len(x), -1, -1), x, x, need_weights=False)[0]
        normed: Tensor = self.norm(read)
        return normed


class Decoder(nn.Module):
    """Queries that ask one another and then the picture, twice, as DETR's do; given by keyword."""

    def __init__(self, queries: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, queries, 16))
        self.layers = nn.ModuleList(nn.TransformerDecoderLayer(16, 2, 24, batch_first=True) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.query.expand(len(x), -1, -1)
        for layer in self.layers:
            tokens = layer(tgt=tokens, memory=x)
        return tokens


class FewerKeys(nn.Module):
    """Places that read the mean of pairs of places, as PVT's do: their queries are of the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        places = x[:, 1:]
        fewer = places.unflatten(1, (-1, 2)).mean(2)
        read: Tensor = self.attention(places, fewer, fewer, need_weights=False)[0]
        return places + read


def network(pooler: nn.Module, *more: nn.Module) -> Classifier:
    net = nn.Sequential(Patches(), Block(), Block(), pooler, *more, First(), nn.Linear(16, 5))
    for weight in net.parameters():
        if weight.ndim == 2:
            nn.init.kaiming_normal_(weight)
    return Classifier(net.eval(), input_size=32, name="asks")


@pytest.mark.parametrize("kind", [Pooler, Decoder])
@pytest.mark.parametrize("queries", [9, 64, 65])  # 64 and 65 are as many as there are places, and with a class token
def test_queries_are_no_places(kind: type[Pooler] | type[Decoder], queries: int) -> None:
    classifier = network(kind(queries), Block())
    assert classifier.taps.steps == ("0", "1", "2") and set(classifier.tap_names) <= {"0", "1", "2"}
    assert {layer.grid for layer in measured_layers(classifier)} == {(8, 8)}
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in classifier.module.modules())
    assert mw.explainer("grad_cam", classifier).layer == "2"  # type: ignore[attr-defined]


def test_places_that_read_fewer_keys_are_places() -> None:
    classifier = network(FewerKeys(), Block())
    assert classifier.taps.steps == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize("queries", [9, 64, 65])
def test_the_attention_of_the_query_that_is_read_is_the_last_step(queries: int) -> None:
    """Rollout: the pooler's row of query 0 times the product over the blocks, by matrices."""
    classifier = network(Pooler(queries))
    seen: dict[str, Tensor] = {}

    def weights_of(name: str) -> None:
        block = classifier.module[int(name)]  # type: ignore[index]

        def file(_: nn.Module, __: object, output: Tensor) -> None:
            q, k, _ = output.unflatten(2, (3, block.heads, -1)).permute(2, 0, 3, 1, 4)
            seen[name] = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1).mean(1)

        block.qkv.register_forward_hook(file)

    explain, images = mw.explainer("attention_rollout", classifier), torch.rand(2, 3, 32, 32)
    for name in ("1", "2"):
        weights_of(name)
    pooler = classifier.module[3]  # type: ignore[index]
    pooler.register_forward_pre_hook(lambda _, args: seen.update(tokens=args[0]))
    found = explain(images)
    asks = pooler.query.expand(2, -1, -1)
    row = pooler.attention(asks, seen["tokens"], seen["tokens"])[1][:, :1]
    for name in ("2", "1"):
        row = row @ (seen[name] + torch.eye(65)) / 2
    places = row[:, 0, 1:].detach()
    low, high = places.amin(1, keepdim=True), places.amax(1, keepdim=True)
    grid = ((places - low) / (high - low)).unflatten(1, (8, 8))
    large = nn.functional.interpolate(grid[:, None], (32, 32), mode="bilinear", align_corners=False)[:, 0]
    assert torch.allclose(found, large, atol=1e-4) and found.std() > 0.05

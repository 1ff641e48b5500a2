"""What the answer has from each layer: against closed forms, and on networks whose answer passes by the grid."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.classifiers.answering import answering_layer, measured_layers
from maskwise.core.errors import InputError
from maskwise.explainers import explainer


def test_the_share_is_slope_times_deviation() -> None:
    """Behind average pooling of h x w places and a linear layer W, d (m . logits) / d A = W' m / (h w) everywhere."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    classifier = Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=(16, 24))
    (layer,) = (one for one in measured_layers(classifier) if one.name == "1")
    draws = torch.Generator().manual_seed(0)  # the picture comes first, then the mixture
    image, mixture = torch.rand(1, 3, 16, 24, generator=draws), torch.randn(1, 4, generator=draws)
    slope = mixture @ net[-1].weight / (8 * 12)
    expected = slope.square().mean().sqrt() * net[:2](image).std()
    assert layer.share == pytest.approx(float(expected.detach()), rel=1e-4)
    assert (layer.grid, layer.channels, layer.is_tap) == ((8, 12), 6, True)


class Block(nn.Module):
    """Attention without weights: each token gets something of all, and a bit of its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(x.mean(1, keepdim=True) + x).tanh()


class Tokens(nn.Module):
    """A ViT whose patches are cut out by hand, so that no map tells how many there are.

    Args:
        registers: learnt tokens between that of the class and those of the patches.
        pool: read the patches' mean, not the class token.
    """

    def __init__(self, registers: int, pool: bool = False, side: int = 16) -> None:
        super().__init__()
        self.side, self.pool, self.before = side, pool, 1 + registers
        self.embed, self.head = nn.Linear(3 * side * side, 12), nn.Linear(12, 5)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 12))
        self.register_tokens = nn.Parameter(torch.randn(1, registers, 12)) if registers else None
        self.blocks = nn.Sequential(*(Block(12) for _ in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        patches = nn.functional.unfold(x, self.side, stride=self.side).transpose(1, 2)
        learnt = [t.expand(len(x), -1, -1) for t in (self.cls_token, self.register_tokens) if t is not None]
        tokens = self.blocks(torch.cat([*learnt, self.embed(patches)], 1))
        return self.head(tokens[:, self.before :].mean(1) if self.pool else tokens[:, 0])


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("pool", [False, True])
def test_class_and_register_tokens_are_no_places(registers: int, pool: bool) -> None:
    """Four patches with a class token and four registers are nine tokens, and no 3x3 grid."""
    torch.manual_seed(1)
    classifier = Classifier(Tokens(registers, pool), input_size=32)
    layers = {layer.name: layer for layer in measured_layers(classifier)}
    assert {layer.grid for layer in layers.values()} == {(2, 2)}
    last, before = layers["blocks.3"], layers["blocks.2"]
    assert before.share > 0 and (last.share > 0) == pool
    assert answering_layer(classifier) == ("blocks.3" if pool else "blocks.2")


class Rows(nn.Module):
    """Sixteen patches of sixteen channels, turned into rows (N,C,T), which the head reads.

    Args:
        head: from rows to channels (N,C,1).
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.embed, self.norm = nn.Conv2d(3, 16, 8, 8), nn.LayerNorm(16)
        self.pooler, self.head = head, nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.embed(x).flatten(2).mT.relu())
        return self.head(self.pooler(tokens.mT).flatten(1))


@pytest.mark.parametrize(
    "head",
    [
        nn.AdaptiveAvgPool1d(1),
        nn.Sequential(nn.BatchNorm1d(16), nn.AvgPool1d(16)),
        nn.Sequential(nn.Conv1d(16, 16, 1), nn.ReLU(), nn.AdaptiveMaxPool1d(1)),
    ],
    ids=["pooled", "normed", "convolved"],
)
def test_channels_in_rows_are_no_places(head: nn.Module) -> None:
    """Pooled as Swin of transformers does it; 16 channels would pass for a grid of 4x4."""
    torch.manual_seed(2)
    classifier = Classifier(Rows(head).eval(), input_size=32)
    assert answering_layer(classifier) == "norm"
    assert not any(name.startswith("pooler") for name in classifier.taps.steps)
    parts = [name for name, _ in classifier.module.named_modules() if name.startswith("pooler")]
    for layer in parts:
        with pytest.raises(InputError, match="no spatial grid"):
            explainer("grad_cam", classifier, layer=layer)(torch.rand(1, 3, 32, 32))

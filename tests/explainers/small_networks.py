"""Small networks of each spelling of ReLU, and pictures for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.explainers.relevance import RelevanceRules
from maskwise.explainers.relevance.sums import Epsilon, Signed

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
RECTIFIED = ("guided_backprop", "deconvnet", "desalinet")
RELEVANCE = ("lrp", "excitation_backprop", "contrastive_excitation_backprop")


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().eval()


def bare(net: nn.Module, size: int = 16, **options: object) -> Classifier:
    """A classifier that takes pixels as they are."""
    if isinstance(net, Spelled):
        options["taps"] = ["a", "b"]  # as functions its ReLUs are no layers
    return Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=size, **options)  # type: ignore[arg-type]


class Spelled(nn.Module):
    """conv - ReLU - pool - conv - ReLU - linear, with ReLU spelled as given."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)
        self.spelled = relu

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.spelled(self.a(x)), 2)
        return self.head(self.spelled(self.b(x)).mean((2, 3)))


class Residual(nn.Module):
    """Bias-free: stem, a residual block written in place, pooling, a concatenation, a gate, and a linear layer."""

    def __init__(self, gated: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.a, self.b = (nn.Conv2d(6, 6, 3, padding=1, bias=False) for _ in range(2))
        self.squeeze = nn.Conv2d(6, 6, 1)
        self.scale = nn.Parameter(torch.rand(6, 1, 1) + 0.5)
        self.head = nn.Linear(12, 3, bias=False)
        self.gated = gated

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x), inplace=True), 2)
        out = self.b(F.relu(self.a(x)))
        out += x
        x = F.relu_(out)
        if self.gated:
            x = x * torch.sigmoid(self.squeeze(x.mean((2, 3), keepdim=True))) * self.scale
        x = F.silu(x)
        x = torch.cat([F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)], 1)
        return self.head(torch.flatten(x, 1))


def relevance(net: Callable[[Tensor], Tensor], x: Tensor, rule: Epsilon | Signed, target: int) -> tuple[Tensor, Tensor]:
    """R of x and the target's logit."""
    x = x.clone().requires_grad_()
    with RelevanceRules(rule):
        logits = net(x)
    (signal,) = torch.autograd.grad(logits[:, target].sum(), x)
    return x.detach() * signal, logits[:, target].detach()

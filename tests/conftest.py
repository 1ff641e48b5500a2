"""Small networks, pictures on disk, and where the real data lies."""

from __future__ import annotations

import gc
import random
import signal
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import settings
from PIL import Image
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.lazy_package import lazy_torchmetrics

lazy_torchmetrics()  # six seconds less for each process that a test starts and that imports lightning

# The same examples each time: a run of the tests says something about the change, not about its luck.
# `pytest --hypothesis-profile=explore` draws new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile("repeatable")

DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_configure() -> None:
    """Tests interrupt themselves, which a job in the background is started to ignore, and all that it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The garbage collector looks at a million objects that stay: once after the collection, then never again.

    Left to itself it goes through all of them twenty times while tests are collected: a quarter of that time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    """What was frozen goes with the process as ever; libraries would call it leaked."""
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not DATA.is_dir():
        for item in items:
            if item.get_closest_marker("data"):
                item.add_marker(pytest.mark.skip(reason="the real pictures of ../shared/data are not here"))


def tiny_net(seed: int = 0, classes: int = 5) -> nn.Module:
    """Three scales, batch norm and ReLU: every part that training touches, at toy size; in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Dropout(0.1), nn.Linear(16, classes),
        ).eval()  # fmt: skip


class Block(nn.Module):
    """A block of a transformer with fused attention, on tokens (N,T,C)."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Patches(nn.Module):
    """Tokens (N,1+T,C) of pictures: a class token, and one for each patch."""

    def __init__(self, width: int = 16, patch: int = 4, places: int = 64) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 1 + places, width) / 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.proj(x).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(x.shape[0], -1, -1), tokens], 1) + self.position


class First(nn.Module):
    """The class token (N,C) of tokens (N,T,C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


def tiny_vit(seed: int = 0, classes: int = 5) -> nn.Sequential:
    """A transformer of 32x32 pictures with a class token and 8x8 patches; in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(Patches(), Block(), Block(), Block(), nn.LayerNorm(16), First(), nn.Linear(16, classes))
        for weight in net.parameters():
            if weight.ndim == 2:
                nn.init.kaiming_normal_(weight)
    return net.eval()


@pytest.fixture(autouse=True)
def own_draws() -> None:
    """What a test draws is its own: neither its order nor its company decides which random weights it sees."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.fixture
def tiny() -> Classifier:
    return Classifier(tiny_net(), input_size=32, name="tiny")


def cut_off(folder: Path, names: Iterable[str]) -> Path:
    """The folder, of whose pictures these lack their ends."""
    for name in names:
        path = folder / "images" / name
        path.write_bytes(path.read_bytes()[:-60])
    return folder


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """Twenty noisy pictures with labels and boxes, in the layout of a data folder."""
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    draws = np.random.default_rng(0)
    labels, boxes = ["file,label"], ["file,x0,y0,x1,y1"]
    for i in range(20):
        array = draws.integers(0, 255, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(array).save(root / "images" / f"{i:02}.png")
        labels.append(f"{i:02}.png,{i % 5}")
        boxes.append(f"{i:02}.png,4,5,30,25")
    (root / "labels.csv").write_text("\n".join(labels) + "\n")
    (root / "boxes.csv").write_text("\n".join(boxes) + "\n")
    return root


def epoch(loader: Any, number: int, first: int = 0, rank: int = 0, world: int = 1) -> list[tuple[Tensor, Tensor]]:
    """The batches of one epoch from step ``first`` of it on; each of ``world`` ranks has its share."""
    begin = number * loader.steps
    return list(loader.batches(begin + first, begin + loader.steps, rank, world))


def end_at(step: int) -> Any:
    """A callback that ends a training after a step, as one that has seen enough would."""
    from maskwise.training import Callback, TrainingState  # which take a while to load

    class EndAt(Callback):
        def on_step(self, state: TrainingState) -> None:
            if state.step == step:
                state.end("the test has seen enough")

    return EndAt()

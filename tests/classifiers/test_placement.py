"""Grids that lie over the picture otherwise than they are drawn: each way to get one, and networks that are sound."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_vit
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.classifiers.placement import is_misplaced
from maskwise.explainers import explainer

IMAGE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(4))


class Small(nn.Module):
    """Two scales, pooled. What it reads of a picture, and its grid, go through a step each.

    Args:
        before: of the picture.
        within: of the grid (N,12,8,8), in front of the last layer.
    """

    def __init__(self, before: Callable[[Tensor], Tensor], within: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
        self.last, self.head = nn.Sequential(nn.Conv2d(12, 12, 1), nn.ReLU()), nn.Linear(12, 4)
        self.before, self.within = before, within

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.within(self.stem(self.before(x)))).mean((2, 3)))


class Twice(Small):
    """Of the picture and of its mirror image, as augmentation at test time has it: the last call is the mirror's."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(x.flip(3))


def same(x: Tensor) -> Tensor:
    return x


WAYS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "mirrored": (lambda x: x.flip(3), same),
    "upside down": (lambda x: x.flip(2), same),
    "turned": (lambda x: x.mT, same),
    "cropped": (lambda x: x[..., 8:24, 8:24], same),
    "cropped at one side": (lambda x: x[..., 8:], same),
    "letterbox": (lambda x: F.pad(x, (16, 16, 16, 16)), same),
    "in another order": (same, lambda x: x.roll((3, 3), (2, 3))),
    "channels taken for a side": (lambda x: F.interpolate(x, (48, 40)), same),
}
SOUND: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "plain": (same, same),
    "enlarged": (lambda x: F.interpolate(x, (48, 48), mode="bilinear"), same),
    "a pixel less": (lambda x: x[..., 1:, 1:], same),
    "mixed": (same, lambda x: x + 2 * x.mean((2, 3), keepdim=True)),
    "all alike": (same, lambda x: x.mean((2, 3), keepdim=True).expand_as(x)),
}


def made(
    kind: type[Small], steps: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]], side: int = 32
) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Classifier(kind(*steps).eval(), mean=(0, 0, 0), std=(1, 1, 1), input_size=side, name="mine")


@pytest.mark.parametrize("way", WAYS)
def test_a_grid_that_lies_otherwise_is_told(way: str) -> None:
    assert is_misplaced(made(Small, WAYS[way]), "last")


def by_windows(x: Tensor) -> Tensor:
    """Places (N,C,16,16) in the order of windows of 4x4: one after another within a window, and window by window."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 4, 4, w // 4, 4).permute(0, 1, 2, 4, 3, 5).reshape(n, c, h, w)


def test_places_by_windows_are_told() -> None:
    """About half of a border's places stay there, so that no border alone tells."""
    assert is_misplaced(made(Small, (same, by_windows), side=64), "last")
    assert not is_misplaced(made(Small, (same, same), side=64), "last")


@pytest.mark.parametrize("way", SOUND)
def test_a_sound_one_is_not(way: str) -> None:
    classifier = made(Small, SOUND[way])
    assert not any(is_misplaced(classifier, layer) for layer in ("stem", "last"))


@pytest.mark.parametrize("name", ["grad_cam", "layer_cam", "score_cam", "refine_cam", "recipro_cam", "cam"])
def test_methods_that_read_its_layer_say_so(name: str) -> None:
    """The map is the mirrored one of the plain network, which nobody could see."""
    with pytest.warns(UserWarning, match="lie elsewhere in the picture than in its grid"):
        explainer(name, made(Small, WAYS["mirrored"]))(IMAGE, 1)
    explain = explainer(name, made(Small, SOUND["plain"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explain(IMAGE, 1)
    assert "misplaced_grid" not in explain.doubted


def test_of_a_network_that_is_asked_twice_the_call_that_is_read_counts() -> None:
    classifier = made(Twice, SOUND["plain"])
    assert is_misplaced(classifier, "last") and not is_misplaced(classifier, "last#1")


@pytest.mark.parametrize("name", ["gradient", "occlusion"])
def test_methods_that_read_no_layer_have_the_mirrored_map(name: str) -> None:
    mirrored, plain = made(Small, WAYS["mirrored"]), made(Small, SOUND["plain"])
    explain = explainer(name, mirrored)
    assert torch.allclose(explain(IMAGE, 1), explainer(name, plain)(IMAGE.flip(3), 1).flip(2), atol=1e-4)
    assert "misplaced_grid" not in explain.doubted


class Hierarchy(nn.Module):
    """As Hiera keeps its places until the last scale: rows of tokens, a window's first ones before all second ones.

    Each place also sees the mean of all, as by attention. Of 196 places a border of the picture has half of its own
    border, and no border alone tells.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Sequential(nn.Conv2d(3, 12, 4, 4), nn.ReLU()), nn.Linear(12, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        grid = self.stem(x)  # (N,12,14,14)
        n, c, _, _ = grid.shape
        by_window = grid.reshape(n, c, 7, 2, 7, 2).permute(0, 3, 5, 2, 4, 1).reshape(n, 196, c)
        return self.head(self.last(by_window + 0.2 * by_window.mean(1, keepdim=True)).mean(1))


def test_places_of_a_hierarchy_are_told() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = Classifier(Hierarchy().eval(), mean=(0, 0, 0), std=(1, 1, 1), input_size=56)
    layout = classifier.layout("last")
    assert layout is not None and layout.kind == "tokens"
    square = IMAGE.new_zeros(1, 3, 56, 56)
    square[..., 40:56, 40:56] = 1
    grids = [taps_of(classifier, image) for image in (square, torch.zeros_like(square))]
    moved = (grids[0] - grids[1]).square().sum(1)[0]
    assert moved[:7, :7].mean() > 0.1 * moved[10:, 10:].mean(), "the square's places lie all over the grid"
    assert is_misplaced(classifier, "last") and not is_misplaced(classifier, "stem")


def taps_of(classifier: Classifier, image: Tensor) -> Tensor:
    with torch.no_grad(), classifier.tapped(["last"]) as seen:
        classifier.logits(image)
    return seen["last"]


def test_asked_again_once_the_network_is_another() -> None:
    """A layer was sound for good, though a part that mirrors pictures was put in front of it; and the other way."""
    classifier = made(Small, SOUND["plain"])
    explain, stem = explainer("grad_cam", classifier, layer="last"), classifier.module.stem
    mirrored = nn.Sequential(Mirror(), stem)
    for part, wrong in ((stem, False), (mirrored, True), (stem, False)):
        classifier.module.stem = part
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explain(IMAGE, 1)
        assert ("misplaced_grid" in explain.doubted) == wrong


class Mirror(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flip(3)


class Mirrored(nn.Module):
    """A network that is given mirrored pictures."""

    def __init__(self, of: nn.Module) -> None:
        super().__init__()
        self.of = of

    def forward(self, x: Tensor) -> Tensor:
        return self.of(x.flip(3))


@pytest.mark.parametrize("name", ["attention_rollout", "generic_attention", "legrad", "grad_eclip"])
def test_methods_that_read_attention_say_so(name: str) -> None:
    """Their map of mirrored tokens was the mirrored one, without a word."""
    with pytest.warns(UserWarning, match="lie elsewhere in the picture than in its grid"):
        found = explainer(name, Classifier(Mirrored(tiny_vit()), input_size=32))(IMAGE, 1)
    explain = explainer(name, Classifier(tiny_vit(), input_size=32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = explain(IMAGE.flip(3), 1)
    assert torch.allclose(found, plain, atol=1e-4), "as if the picture were not mirrored"
    assert "misplaced_grid" not in explain.doubted

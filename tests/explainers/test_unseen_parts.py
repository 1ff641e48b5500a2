"""A part of a network is compiled, scripted or exported: the maps of the plain one, or one line that says why."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.uncompiled import uncompiled
from maskwise.explainers import explainer

IMAGES = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
REWRITTEN = ("lrp", "excitation_backprop", "guided_backprop", "deconvnet", "desalinet")
LAYERS = ("grad_cam", "layer_cam", "cam", "score_cam")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.pool, self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.body(self.first(x))))


def net() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net().eval()


def mine(network: nn.Module) -> Classifier:
    return Classifier(network, mean=(0, 0, 0), std=(1, 1, 1), input_size=24, name="mine")


def part_compiled() -> nn.Module:
    made = net()
    made.body = torch.compile(made.body, backend="eager")
    return made


def compiled_in_its_place() -> nn.Module:
    made = net()
    made.compile(backend="eager")
    made(IMAGES)
    return made


def forward_compiled() -> nn.Module:
    made = net()
    made.forward = torch.compile(made.forward, backend="eager")
    return made


def scripted(part: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(part)


def body_scripted() -> nn.Module:
    made = net()
    made.body = scripted(made.body)
    return made


def body_exported() -> nn.Module:
    made = net()
    pictures = {0: torch.export.Dim("pictures")}
    made.body = torch.export.export(made.body, (torch.rand(2, 6, 24, 24),), dynamic_shapes=(pictures,)).module()
    return made


@pytest.mark.parametrize("build", [part_compiled, compiled_in_its_place, forward_compiled])
@pytest.mark.parametrize("name", [*REWRITTEN, *LAYERS, "gradient", "occlusion"])
def test_compiled_parts_are_read_as_they_were_written(name: str, build: Callable[[], nn.Module]) -> None:
    """A graph calls no hooks, and relevance went through it by its ordinary gradient, without a word."""
    expected = explainer(name, mine(net()))(IMAGES, [1, 2])
    assert expected.std() > 0.02
    assert torch.allclose(explainer(name, mine(build()))(IMAGES, [1, 2]), expected, atol=1e-4)


def test_an_activation_that_is_compiled_is_found() -> None:
    ending = torch.compile(nn.Softmax(1), backend="eager")
    found, plain = mine(nn.Sequential(net(), ending)), mine(net())
    assert found.activation == "softmax" and torch.allclose(found(IMAGES), plain(IMAGES), atol=1e-5)


@pytest.mark.parametrize("build", [body_scripted, body_exported])
@pytest.mark.parametrize("name", REWRITTEN)
def test_a_part_whose_operations_are_not_seen_is_said(name: str, build: Callable[[], nn.Module]) -> None:
    """The ReLU and the convolution before it are seen, so that the rest went back by its ordinary gradient."""
    with pytest.raises(InputError) as caught:
        explainer(name, mine(build()), **({"layer": "first"} if name == "excitation_backprop" else {}))(IMAGES, 1)
    assert "'body' of mine, which is scripted or exported" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("build", [body_scripted, body_exported])
@pytest.mark.parametrize("name", ["gradient", "integrated_gradients", "rise", "occlusion"])
def test_methods_that_see_no_operations_need_none(name: str, build: Callable[[], nn.Module]) -> None:
    expected = explainer(name, mine(net()))(IMAGES, [1, 2])
    assert torch.allclose(explainer(name, mine(build()))(IMAGES, [1, 2]), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["attention_rollout", "generic_attention", "legrad"])
def test_blocks_whose_attention_is_not_seen_are_said(name: str) -> None:
    """The others have attention, and without the scripted one's the map was another, without a word."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        made = timm.create_model(
            "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=24, num_heads=2, depth=3, num_classes=5
        ).eval()
        made.blocks[1] = torch.jit.trace(made.blocks[1], torch.rand(2, 17, 24))
        with pytest.raises(InputError, match="shows none of 'blocks.1', which is scripted or exported"):
            explainer(name, Classifier(made, input_size=32, name="mine"))(torch.rand(2, 3, 32, 32), 1)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_beside_a_scripted_part_are_read(name: str) -> None:
    made = net()
    made.body[2] = scripted(made.body[2])
    expected = explainer(name, mine(net()))(IMAGES, [1, 2])
    assert torch.allclose(explainer(name, mine(made))(IMAGES, [1, 2]), expected, atol=1e-4)


def test_a_scripted_layer_is_none() -> None:
    made = net()
    made.first, made.body = scripted(made.first), scripted(made.body)
    with pytest.raises(InputError, match="the part 'first' is scripted or exported and shows none"):
        explainer("grad_cam", mine(made))
    with pytest.raises(InputError, match="layer 'body' is scripted"):
        explainer("grad_cam", mine(body_scripted()), layer="body")


def test_the_compiler_is_asked_again_afterwards_whoever_ends_first() -> None:
    calls = []

    def backend(graph: Any, _: Any) -> Any:
        calls.append(graph)
        return graph

    quick = torch.compile(lambda x: x * 2 + 1, backend=backend, dynamic=False)
    first, second = uncompiled(), uncompiled()
    first.__enter__()
    other = Thread(target=second.__enter__)
    other.start(), other.join()
    quick(torch.ones(2))
    first.__exit__(None, None, None)
    quick(torch.ones(2))
    assert not calls
    second.__exit__(None, None, None)
    quick(torch.ones(2))
    assert len(calls) == 1

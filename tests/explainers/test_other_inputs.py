"""Every method on networks whose input is not square, or not of three channels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import tiny_net
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer, methods

QUICK: dict[str, dict[str, Any]] = {
    "rise": {"masks": 24}, "kernel_shap": {"masks": 24}, "banzhaf": {"masks": 24}, "smooth_grad": {"samples": 3},
    "smooth_grad_cam_pp": {"samples": 3}, "augmented_grad_cam": {"copies": 3, "iterations": 4}, "xrai": {"steps": 4},
    "integrated_gradients": {"steps": 5}, "occlusion": {"window": 0.25, "stride": 0.125}, "feedback": {"iterations": 2},
    "meaningful_perturbation": {"iterations": 3}, "extremal_perturbation": {"iterations": 3},
    "opti_cam": {"iterations": 3},
    "fido": {"iterations": 3, "samples": 2}, "guided_feature_inversion": {"iterations": 12},
    "dabkowski_gal_iterative": {"iterations": 3},
}  # fmt: skip
NAMES = [name for name in methods.names() if methods.facts(name)["family"] not in ("maskers", "attention")]


def of(channels: int, size: int | tuple[int, int]) -> Classifier:
    net = tiny_net()
    with torch.random.fork_rng():
        torch.manual_seed(4)
        net[0] = nn.Conv2d(channels, 8, 3, padding=1)  # type: ignore[operator]
    return Classifier(net, mean=[0.5] * channels, std=[0.25] * channels, input_size=size, name="other")


def pictures(channels: int) -> Tensor:
    return torch.rand(2, channels, 40, 52, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels, size", [(1, 32), (5, 32), (3, (24, 40)), (3, (40, 24))])
def test_any_input(name: str, channels: int, size: int | tuple[int, int]) -> None:
    try:
        maps = explainer(name, of(channels, size), **QUICK.get(name, {}))(pictures(channels), 1)
    except InputError as error:
        assert "pooling" in str(error) or "channel" in str(error), "a method may refuse, in its own words"
        return
    assert maps.shape == (2, 40, 52) and maps.isfinite().all()


# Without what amplifies rounding: Adam from a disc whose slopes cancel, and an order of equal cells.
EACH: dict[str, dict[str, Any]] = {
    "meaningful_perturbation": {"iterations": 3, "jitter": 0.0, "infill": "blur", "start": "ones"},
    "extremal_perturbation": {"iterations": 3, "flip": False, "area_weight": 0.0, "learning_rate": 10.0},
    "gradient": {}, "grad_cam": {}, "occlusion": QUICK["occlusion"],
}  # fmt: skip


@pytest.mark.parametrize("name", EACH)
def test_a_network_lying_on_its_side_has_its_map_on_its_side(name: str) -> None:
    upright, lying = of(3, (24, 40)), of(3, (40, 24))
    with torch.no_grad():
        for part in lying.module.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.copy_(part.weight.transpose(2, 3).clone())
    images = torch.rand(2, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    maps = explainer(name, upright, **EACH[name])(images, 2)
    turned = explainer(name, lying, **EACH[name])(images.transpose(2, 3).contiguous(), 2)
    assert maps.std() > 1e-3
    assert torch.allclose(maps, turned.transpose(1, 2), atol=1e-4)


@pytest.mark.parametrize("name", EACH)
def test_a_grey_network_has_the_map_of_one_that_averages_colours(name: str) -> None:
    grey, colour = of(1, 32), of(3, 32)
    with torch.no_grad():
        one, three = grey.module[0], colour.module[0]  # type: ignore[index]
        three.weight.copy_(one.weight.expand(-1, 3, -1, -1) / 3)  # type: ignore[union-attr, operator]
        three.bias.copy_(one.bias)  # type: ignore[union-attr, operator]
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1).contiguous()
    maps = explainer(name, grey, **EACH[name])(images, 2)
    assert maps.std() > 1e-3
    assert torch.allclose(maps, explainer(name, colour, **EACH[name])(images, 2), atol=1e-4)

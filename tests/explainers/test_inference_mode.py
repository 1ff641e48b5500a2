"""What is made inside a caller's inference mode is the same as what is made outside."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from conftest import tiny_net
from safetensors.torch import save_file

import maskwise as mw

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "name", ["grad_cam", "gradient", "excitation_backprop", "layer_cam", "lrp", "smooth_grad", "recipro_cam"]
)
def test_classifier_and_explainer_made_in_inference_mode(name: str) -> None:
    net = tiny_net()
    expected = mw.explainer(name, mw.Classifier(net, input_size=32))(IMAGES)
    with torch.inference_mode():
        explain = mw.explainer(name, mw.Classifier(net, input_size=32))
        inside = explain(IMAGES)
    for maps in (inside, explain(IMAGES)):
        torch.testing.assert_close(maps, expected)


def test_a_classifier_loaded_in_inference_mode(tmp_path: Path) -> None:
    (tmp_path / "inferred.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), "
        "nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))\n"
    )
    named = f"{tmp_path}/inferred.py:net"
    save_file(mw.load_classifier(named, size=32).module.state_dict(), tmp_path / "w.safetensors")
    with torch.inference_mode():
        inside = mw.load_classifier(named, tmp_path / "w.safetensors", size=32)
    outside = mw.load_classifier(named, tmp_path / "w.safetensors", size=32)
    maps = [mw.explainer("grad_cam", classifier)(IMAGES) for classifier in (inside, outside)]
    torch.testing.assert_close(*maps)


@pytest.mark.parametrize("name", ["rise", "occlusion", "score_cam", "kernel_shap"])
def test_weights_of_an_inference_mode_are_asked(name: str) -> None:
    """They may not be switched outside of it, which ended every method in torch's own error."""
    net = tiny_net()
    with torch.inference_mode():
        made = copy.deepcopy(net)
    expected = mw.explainer(name, mw.Classifier(net, input_size=32))(IMAGES, 1)
    torch.testing.assert_close(mw.explainer(name, mw.Classifier(made, input_size=32))(IMAGES, 1), expected)


@pytest.mark.parametrize("name", ["gradient", "lrp", "excitation_backprop", "guided_backprop", "smooth_grad"])
def test_weights_of_an_inference_mode_have_no_gradients(name: str) -> None:
    net = tiny_net()
    with torch.inference_mode():
        made = copy.deepcopy(net)
    with pytest.raises(mw.InputError, match="has weights that were made within torch.inference_mode"):
        mw.explainer(name, mw.Classifier(made, input_size=32))(IMAGES, 1)

"""Explainers from elsewhere as ours, and ours elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import tiny_net
from torch import Tensor

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.explainers import explainer


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_captum_around_the_network_and_around_the_classifier(tiny: Classifier, images: Tensor) -> None:
    """The gradient with respect to pixels is that to normalised pixels over std; ours is the former."""
    attr = pytest.importorskip("captum.attr")
    targets = torch.tensor([1, 0, 4])
    ours = mw.explainer("gradient", tiny)(images, targets)
    around = mw.explainer(attr.Saliency(tiny.logits), tiny)(images, targets)
    assert torch.allclose(around, ours, atol=1e-5)
    inside = mw.explainer(attr.Saliency(tiny.module), tiny)(images, targets)
    pixels = tiny.normalise(images).requires_grad_(True)
    (gradient,) = torch.autograd.grad(tiny.module(pixels).gather(1, targets[:, None]).sum(), pixels)
    assert torch.allclose(inside, min_max(gradient.abs().amax(1)), atol=1e-5)
    assert not torch.allclose(inside, ours, atol=1e-3)


def test_captum_takes_its_options_and_the_top_class(tiny: Classifier, images: Tensor) -> None:
    attr = pytest.importorskip("captum.attr")
    made = mw.explainer(attr.IntegratedGradients(tiny.module), tiny, n_steps=7, channels="sum")
    top = tiny.logits(images).argmax(1)
    assert torch.equal(made(images), made(images, top)) and made.identity["n_steps"] == 7
    assert made.identity["method"] == "IntegratedGradients"
    layer = mw.explainer(attr.LayerGradCam(tiny.module, tiny.module[10]), tiny, channels="sum")
    assert torch.allclose(layer(images, 2), mw.explainer("grad_cam", tiny)(images, 2), atol=1e-4)


def test_any_function(tiny: Classifier, images: Tensor) -> None:
    seen = []

    def brightness(pictures: Tensor, targets: Tensor) -> np.ndarray:
        seen.append(targets.tolist())
        return pictures.mean(1).numpy()

    made = mw.explainer(brightness, tiny)
    assert torch.allclose(made(images, [3, 2, 1]), min_max(images.mean(1)), atol=1e-6) and seen == [[3, 2, 1]]
    alone = mw.explainer(lambda pictures: pictures.mean(1), tiny)
    assert torch.allclose(alone(images), min_max(images.mean(1)), atol=1e-6)
    enhanced = mw.SESS(made, scales=2)
    assert enhanced(images).shape == (3, 32, 32)


def test_refuses(tiny: Classifier, images: Tensor) -> None:
    with pytest.raises(mw.InputError, match="function"):
        mw.explainer(3, tiny)
    with pytest.raises(mw.InputError, match="attributions"):
        mw.explainer(lambda x: x.sum(), tiny)(images)
    with pytest.raises(mw.InputError, match="channels"):
        mw.explainer(lambda x: x, tiny, channels="mean")
    with pytest.raises(mw.InputError, match="classifier"):
        mw.as_quantus(lambda images, targets: images[:, 0])


def test_as_quantus_gives_the_maps_of_the_explainer(tiny: Classifier, images: Tensor) -> None:
    explainer = mw.explainer("grad_cam", tiny)
    targets = torch.tensor([1, 0, 4])
    given = tiny.normalise(images).numpy()
    found = mw.as_quantus(explainer)(tiny.module, given, targets.numpy(), device="cpu")
    assert found.shape == (3, 1, 32, 32)
    assert np.allclose(found[:, 0], explainer(images, targets).numpy(), atol=1e-4)
    with pytest.raises(mw.InputError, match="another model"):
        mw.as_quantus(explainer)(torch.nn.Identity(), given, targets.numpy())


def test_a_metric_of_quantus(tiny: Classifier, images: Tensor) -> None:
    """Sparseness is the Gini index of the map, which is simple enough to be computed here as well."""
    quantus = pytest.importorskip("quantus", reason="quantus is not installed")
    explainer, targets = mw.explainer("layer_cam", tiny), np.array([1, 0, 4])
    found = quantus.Sparseness(abs=True, normalise=False, disable_warnings=True)(
        model=tiny.module, x_batch=tiny.normalise(images).numpy(), y_batch=targets,
        explain_func=mw.as_quantus(explainer), device="cpu",
    )  # fmt: skip
    maps = explainer(images, torch.from_numpy(targets)).flatten(1).double().numpy() + 1e-7
    for score, values in zip(found, np.sort(maps, 1), strict=True):
        n, ranks = len(values), np.arange(1, len(values) + 1)
        gini = ((2 * ranks - n - 1) * values).sum() / (n * values.sum())
        assert score == pytest.approx(gini, abs=1e-3)


def test_what_every_explainer_takes_a_function_takes_too() -> None:
    """Precision, progress and strictness once went to the function itself, which knew none of them."""

    def seen(images: Tensor, targets: Tensor, gain: float = 1.0) -> Tensor:
        return gain * images.mean(1)

    classifier = Classifier(tiny_net(), input_size=32)
    told = explainer(seen, classifier, gain=2.0, precision="bf16", strict=True, progress=print)
    assert told.precision == "bf16" and told.strict and told.progress is print and told.options == {"gain": 2.0}
    assert told.identity["precision"] == "bf16" and "precision" not in explainer(seen, classifier).identity
    with pytest.raises(InputError, match="flat"):
        told(torch.full((1, 3, 32, 32), 0.5))
    for name in (seen, "gradient"):
        for option, bad in (("strict", "no"), ("strict", 1), ("progress", 3), ("precision", "fp8")):
            with pytest.raises(InputError, match=option):
                explainer(name, classifier, **{option: bad})

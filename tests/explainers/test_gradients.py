"""Gradient methods against captum and closed forms."""

import captum.attr
import pytest
import torch
from conftest import tiny_net
from torch import nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.explainers import explainer

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def plain() -> Classifier:
    """Without normalisation, so that another library can be given the network itself."""
    return Classifier(tiny_net(), mean=(0, 0, 0), std=(1, 1, 1), input_size=32)


def test_gradient_equals_captum(plain: Classifier) -> None:
    theirs = captum.attr.Saliency(plain.module).attribute(IMAGES.clone(), target=2)
    assert torch.allclose(explainer("gradient", plain)(IMAGES, 2), min_max(theirs.amax(1)), atol=1e-5)


def test_input_x_gradient_equals_captum(plain: Classifier) -> None:
    theirs = captum.attr.InputXGradient(plain.module).attribute(IMAGES.clone(), target=2)
    assert torch.allclose(explainer("input_x_gradient", plain)(IMAGES, 2), min_max(theirs.sum(1).abs()), atol=1e-5)


def test_input_x_gradient_measures_from_the_mean_colour() -> None:
    classifier = Classifier(tiny_net(), input_size=32)
    x = classifier.normalise(IMAGES)
    theirs = captum.attr.InputXGradient(classifier.module).attribute(x, target=2)
    assert torch.allclose(explainer("input_x_gradient", classifier)(IMAGES, 2), min_max(theirs.sum(1).abs()), atol=1e-5)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_integrated_gradients_equal_captum(batch: int, plain: Classifier) -> None:
    theirs = captum.attr.IntegratedGradients(plain.module).attribute(IMAGES, target=1, n_steps=16)
    ours = explainer("integrated_gradients", plain, steps=16, batch=batch)(IMAGES, 1)
    assert torch.allclose(ours, min_max(theirs.sum(1).abs()).float(), atol=1e-4)


def test_integrated_gradients_are_complete_and_say_how_far(plain: Classifier) -> None:
    errors = []
    for steps in (2, 200):
        explain = explainer("integrated_gradients", plain, steps=steps)
        explain(IMAGES, [[0, 1], [0, 1]])
        errors.append(explain.report["completeness_error"])
    assert errors[0].shape == (2, 2) and (errors[1] < 1e-3).all() and (errors[1] < errors[0]).all()


def test_integrated_gradients_of_a_quadratic() -> None:
    """f = sum x^2: attributions from black are x^2 exactly, whatever the number of steps."""

    class Square(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([(x**2).sum((1, 2, 3)), x.sum((1, 2, 3))], 1)

    net = nn.Sequential(nn.Identity(), Square())
    classifier = Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=32, taps=["0"])
    explain = explainer("integrated_gradients", classifier, steps=2)
    assert torch.allclose(explain(IMAGES, 0), min_max((IMAGES**2).sum(1)), atol=1e-5)
    assert (explain.report["completeness_error"] < 1e-3).all()
    without = explainer("integrated_gradients", classifier, steps=2, times_difference=False)(IMAGES, 0)
    assert torch.allclose(without, min_max(IMAGES.sum(1)), atol=1e-5)


def test_smooth_grad_without_noise_is_the_gradient(plain: Classifier) -> None:
    expected = explainer("gradient", plain)(IMAGES, 2)
    assert torch.allclose(explainer("smooth_grad", plain, noise=0, samples=3)(IMAGES, 2), expected, atol=1e-5)
    squared = explainer("smooth_grad", plain, noise=0, samples=2, squared=True)(IMAGES, 2)
    raw = captum.attr.Saliency(plain.module).attribute(IMAGES.clone(), target=2).amax(1)
    assert torch.allclose(squared, min_max(raw**2), atol=1e-5)


def test_smooth_grad_of_a_quadratic_has_the_mean_and_the_variance_of_its_noise() -> None:
    """The gradient of sum x^2 / 2 is x: with noise s, the mean is x and the mean of squares x^2 + s^2."""

    class Half(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([(x**2).sum((1, 2, 3)) / 2, x.sum((1, 2, 3))], 1)

    classifier = Classifier(
        nn.Sequential(nn.Identity(), Half()), mean=(0, 0, 0), std=(1, 1, 1), input_size=16, taps=["0"]
    )
    image = torch.zeros(1, 3, 16, 16)
    image[:, :, :8] = 1.0
    squared = explainer("smooth_grad", classifier, noise=0.5, samples=2000, squared=True).saliency
    from maskwise.explainers.targets import Targets

    values = squared(image, Targets(torch.tensor([[0]])))[0, 0] / 2000
    assert abs(values[:8].mean() - 1.25) < 0.1 and abs(values[8:].mean() - 0.25) < 0.05


def test_batch_and_order_do_not_change_the_noise(plain: Classifier) -> None:
    reference = explainer("smooth_grad", plain, samples=9)(IMAGES, 2)
    for batch in (1, 4, 100):
        explain = explainer("smooth_grad", plain, samples=9, batch=batch)
        assert torch.allclose(explain(IMAGES.flip(0), 2).flip(0), reference, atol=1e-4)
    assert not torch.allclose(explainer("smooth_grad", plain, samples=9, seed=1)(IMAGES, 2), reference, atol=1e-3)


def test_options_out_of_range_are_named(plain: Classifier) -> None:
    for name, options, said in (
        ("smooth_grad", {"samples": 0}, "samples >= 1"),
        ("integrated_gradients", {"steps": 0}, "steps must"),
        ("integrated_gradients", {"baseline": "blue"}, "baseline is black"),
        ("gradient", {"precision": "fp8"}, "`precision=fp8` is unknown: use fp32"),
        ("rise", {"keep": 0}, "keep"),
        ("rise", {"scoring": "x"}, "scoring is"),
        ("occlusion", {"window": 0}, "window and stride"),
        ("group_cam", {"variant": "x"}, "variant is"),
        ("score_cam", {"batch": 0}, "batch must"),
    ):
        with pytest.raises(InputError, match=said):
            explainer(name, plain, **options)

"""Methods that optimise a mask, against closed forms, brute force and other libraries."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import tiny_net
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.blur import gaussian_blur
from maskwise.core.errors import InputError
from maskwise.core.total_variation import total_variation
from maskwise.explainers import explainer
from maskwise.explainers.blur_pyramid import between_levels, pyramid
from maskwise.explainers.extremal_perturbation import COLDNESS, SmoothMask
from maskwise.explainers.fido import concrete, log_odds
from maskwise.explainers.meaningful_perturbation import shifted
from maskwise.explainers.targets import Targets

METHODS = ("meaningful_perturbation", "extremal_perturbation", "fido", "guided_feature_inversion", "feedback")
SIDE = 32
ROWS, COLUMNS = slice(18, 28), slice(4, 14)  # the patch that toy classifiers look at: about a tenth of the picture


class Patch(nn.Module):
    """Logit 0 is the contrast of one patch, logit 1 is zero: its saliency is known."""

    def __init__(self, gain: float = 20.0) -> None:
        super().__init__()
        self.gain = gain
        # A grid that carries the patch's brightness, for the methods that read a layer.
        self.grid = nn.Sequential(nn.AvgPool2d(2), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        fine = self.grid(images)
        patch = fine[:, :, ROWS.start // 2 : ROWS.stop // 2, COLUMNS.start // 2 : COLUMNS.stop // 2].mean((1, 2, 3))
        return torch.stack([self.gain * (patch - 0.5), torch.zeros_like(patch)], 1)


def patch_classifier(gain: float = 20.0) -> Classifier:
    return Classifier(Patch(gain), mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, taps=["grid"])


def pictures(count: int = 2) -> Tensor:
    """Bright patch on a dark picture with a bright distractor elsewhere, which the classifier does not look at."""
    images = 0.2 * torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    images[:, :, ROWS, COLUMNS] = 0.9
    images[:, :, 2:12, 20:30] = 0.9
    return images


def inside_and_outside(maps: Tensor) -> tuple[Tensor, Tensor]:
    patch = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    patch[ROWS, COLUMNS] = True
    return maps[:, patch].mean(1), maps[:, ~patch].mean(1)


def test_between_levels_of_the_pyramid() -> None:
    images = torch.rand(2, 3, 9, 9)
    levels = pyramid(images, 5, 4.0)
    assert torch.equal(levels[:, -1], images) and torch.allclose(levels[:, 0], gaussian_blur(images, 4.0))
    for value, expected in (
        (1.0, images),
        (0.0, levels[:, 0]),
        (0.25, levels[:, 1]),
        (0.625, (levels[:, 2] + levels[:, 3]) / 2),
    ):
        read = between_levels(levels, torch.full((2, 3, 9, 9), value))
        assert read.shape == (2, 3, 3, 9, 9)
        assert torch.allclose(read, expected[:, None].expand_as(read), atol=1e-6)


def test_shifted_pictures_and_roughness() -> None:
    images = torch.rand(2, 3, 5, 6)
    moved = shifted(images, torch.tensor([[1, 0], [0, -2]]))
    assert torch.equal(moved[0, :, :4], images[0, :, 1:]) and torch.equal(moved[0, :, 4], images[0, :, 4])
    assert torch.equal(moved[1, :, :, 2:], images[1, :, :, :4]) and torch.equal(moved[1, :, :, 0], images[1, :, :, 0])
    mask = torch.tensor([[[0.0, 1.0], [0.5, 0.5]]])
    assert total_variation(mask, beta=3).sum().item() == pytest.approx(1 + 0 + 0.125 + 0.125)


@pytest.mark.parametrize(
    ("size", "step", "sigma"),
    [((12, 12), 3, 4.0), ((10, 10), 4, 3.0), ((6, 6), 1, 1.5), ((9, 14), 3, 4.0), ((13, 6), 4, 3.0)],
)
def test_smooth_mask_is_the_brute_force_smooth_maximum(size: tuple[int, int], step: int, sigma: float) -> None:
    operator = SmoothMask(size, step, sigma, torch.device("cpu"))
    assert operator.cells == (math.ceil(size[0] / step), math.ceil(size[1] / step))
    cells = torch.rand(2, *operator.cells, generator=torch.Generator().manual_seed(1))
    reach = 1 + math.ceil(sigma / step)
    canvas = operator(cells)
    assert canvas.shape == (2, *operator.canvas) and canvas.min() >= 0 and canvas.max() <= 1
    masks = operator.picture(canvas)
    assert masks.shape == (2, *size)
    for n in range(2):
        for y in range(size[0]):
            for x in range(size[1]):
                above = below = 0.0
                for i in range(y // step - reach, y // step + reach + 1):
                    for j in range(x // step - reach, x // step + reach + 1):
                        distance = math.hypot(y - (i + 0.5) * step + 0.5, x - (j + 0.5) * step + 0.5)
                        kernel = math.exp(-2 * max(0.0, distance / sigma - 0.5) ** 2)
                        known = 0 <= i < operator.cells[0] and 0 <= j < operator.cells[1]
                        value = kernel * cells[n, i, j].item() if known else 0.0
                        above += value * math.exp(COLDNESS * value)
                        below += math.exp(COLDNESS * value)
                assert masks[n, y, x].item() == pytest.approx(above / below, abs=1e-5)


@pytest.mark.parametrize("variant", ["preserve", "delete"])
def test_extremal_perturbation_reaches_its_area_and_finds_the_patch(variant: str) -> None:
    # Coarser cells and larger steps need fewer iterations, a patch without texture a strong blur to vanish; the toy
    # reads a place, so it must not be mirrored.
    explain = explainer(
        "extremal_perturbation", patch_classifier(), areas=(0.1, 0.3), iterations=300, learning_rate=0.02,
        variant=variant, step=14, smooth=0.02, flip=False, max_blur=70,
    )  # fmt: skip
    maps = explain(pictures(), 0)
    for area in (0.1, 0.3):
        assert (explain.report[f"area_{area:g}"] - area).abs().max() < 0.03
    assert torch.allclose(explain.report["area"], (explain.report["area_0.1"] + explain.report["area_0.3"]) / 2)
    inside, outside = inside_and_outside(maps)
    assert (inside > 0.7).all() and (outside < 0.23).all()


def test_meaningful_perturbation_deletes_the_patch() -> None:
    explain = explainer("meaningful_perturbation", patch_classifier(), infill="mean", iterations=100, start="ones")
    maps = explain(pictures(), 0)
    inside, outside = inside_and_outside(maps)
    assert (inside > 0.4).all() and (outside < 0.15).all()
    clean = patch_classifier().logits(pictures()).softmax(1)[:, 0]
    assert (clean > 0.99).all() and (explain.report["probability"] < 0.1).all()
    assert torch.allclose(explain.report["area"][:, 0], maps.mean((1, 2)), atol=1e-5)


def test_meaningful_perturbation_starts_from_the_smallest_disc() -> None:
    """One tiny step from the disc: the centre is deleted, corners are not, and the class is gone."""
    central = pictures().roll((-7, 7), (2, 3))  # the patch comes to the middle

    class Centre(Patch):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.roll((7, -7), (2, 3)))

    classifier = Classifier(Centre(40.0), mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, taps=["grid"])
    explain = explainer("meaningful_perturbation", classifier, infill="mean", iterations=1, learning_rate=1e-6)
    maps = explain(central, 0)
    assert (maps[:, 14:18, 14:18] > 0.8).all() and (maps[:, :3, :3] < 0.2).all()
    assert (explain.report["probability"] < 0.05).all()


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.8])
def test_concrete_relaxation_has_the_right_expectations(keep: float) -> None:
    noise = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    sample = concrete(torch.tensor(keep, dtype=torch.float64), noise, 0.1)
    assert (sample > 0.5).double().mean().item() == pytest.approx(keep, abs=1e-4)
    cold = concrete(torch.tensor(keep, dtype=torch.float64), noise, 1e-3)
    assert cold.mean().item() == pytest.approx(keep, abs=1e-3)
    # At temperature 1 with u uniform, E[z] has a closed form: z = r v / (r v + 1), v = u / (1 - u), r = odds.
    warm = concrete(torch.tensor(keep, dtype=torch.float64), noise, 1.0).mean().item()
    odds = keep / (1 - keep)
    exact = 0.5 if keep == 0.5 else odds * (odds - 1 - math.log(odds)) / (odds - 1) ** 2
    assert warm == pytest.approx(exact, abs=1e-3)


def test_log_odds() -> None:
    logits = torch.randn(4, 5)
    p = logits.softmax(1)[torch.arange(4), torch.tensor([1, 1, 3, 3])]
    odds = log_odds(Targets(torch.tensor([[1], [3]])), logits, torch.tensor([0, 0, 1, 1]))
    assert torch.allclose(odds[:, 0], (p / (1 - p)).log(), atol=1e-5)


@pytest.mark.parametrize("objective", ["ssr", "sdr"])
@pytest.mark.parametrize("infill", ["mean", "blur", "noise"])
def test_fido_finds_the_patch(objective: str, infill: str) -> None:
    explain = explainer(
        "fido", patch_classifier(), objective=objective, infill=infill, iterations=80, learning_rate=0.1, l1=2e-4,
        size=16, **({"blur": 60} if infill == "blur" else {}),
    )  # fmt: skip
    maps = explain(pictures(), 0)
    inside, outside = inside_and_outside(maps)
    assert (outside < 0.35).all() and (inside > outside + 0.2).all()
    assert torch.allclose(explain.report["area"][:, 0], maps.mean((1, 2)), atol=1e-5)


def test_guided_feature_inversion_weights_the_channel_that_matters() -> None:
    """Two channels, each bright in one place; the class reads one of them: its place wins over the other's."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, images: Tensor) -> Tensor:
            channels = self.layer(nn.functional.avg_pool2d(images[:, :2], 4))
            return 12 * channels.amax((2, 3)) - 8

    images = torch.full((1, 3, SIDE, SIDE), 0.05)
    images[:, 0, 4:12, 4:12] = 1
    images[:, 1, 20:28, 20:28] = 1
    classifier = Classifier(Two(), mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, taps=["layer"])
    explain = explainer("guided_feature_inversion", classifier, blur=40)
    for target, own, other in ((0, slice(6, 10), slice(22, 26)), (1, slice(22, 26), slice(6, 10))):
        result = explain(images, target)[0]
        assert result[own, own].mean() > result[other, other].mean() + 0.2
    # The first stage alone knows no class.
    blind = explainer("guided_feature_inversion", classifier, iterations=10)
    assert torch.equal(blind(images, 0), blind(images, 1)) and "no_class" in blind.doubted
    assert "no_class" not in explain.doubted


def test_guided_feature_inversion_is_of_a_picture_whatever_its_company() -> None:
    """At its default number of iterations, which make of rounding another map where pictures share their sums."""
    told: list[tuple[int, int]] = []
    explain = explainer("guided_feature_inversion", Classifier(tiny_net(), input_size=SIDE))
    images = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    explain.progress = lambda done, total: told.append((done, total))
    together = explain(images, [0, 1, 2, 3])
    areas = explain.report["area"].flatten()
    assert told == [(done, 320) for done in range(1, 321)], "one bar for all pictures, which never goes back"
    for i in range(4):
        assert torch.equal(explain(images[i : i + 1], i)[0], together[i])
        assert torch.equal(explain.report["area"].flatten(), areas[i : i + 1])


def test_feedback_without_steps_or_without_anything_to_close_is_the_gradient() -> None:
    tiny, images = Classifier(tiny_net(), input_size=SIDE), torch.rand(2, 3, SIDE, SIDE)
    plain = explainer("gradient", tiny)(images, 2)
    assert torch.allclose(explainer("feedback", tiny, iterations=0)(images, 2), plain, atol=1e-5)
    assert not torch.allclose(explainer("feedback", tiny)(images, 2), plain, atol=1e-2)
    # With positive weights everywhere each neuron helps, so that without a penalty all gates stay open.
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    net(images)
    with torch.no_grad():
        for p in net.parameters():
            p.abs_()
    positive = Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, taps=["1"])
    explain = explainer("feedback", positive, penalty=0)
    assert torch.allclose(explain(images, 1), explainer("gradient", positive)(images, 1), atol=1e-5)
    assert (explain.report["open"] == 1).all()


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU(inplace=True), nn.GELU(), nn.SiLU(), nn.Hardswish()])
def test_feedback_gates_by_hand(activation: nn.Module) -> None:
    """One hidden pixelwise layer: the slope of each gate is w_k a_k, constant while gates move."""
    first, last = nn.Conv2d(3, 4, 1), nn.Linear(4 * 8 * 8, 2)
    net = nn.Sequential(first, activation, nn.Flatten(), last)
    classifier = Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=8, taps=["1"])
    image = torch.rand(1, 3, 8, 8)
    hidden = first(image)
    value = type(activation)()(hidden.clone()).detach()
    weight = last.weight[1].reshape(1, 4, 8, 8)
    slope = weight * value
    gate = torch.ones_like(slope)
    for _ in range(3):
        gate = (gate + 0.2 * (slope / slope.abs().mean() - 0.3)).clamp(0, 1)
    explain = explainer("feedback", classifier, iterations=3, rate=0.2, penalty=0.3)
    result = explain(image, 1)[0]
    assert explain.report["open"].item() == pytest.approx(gate.mean().item(), abs=1e-5)
    pixels = image.clone().requires_grad_(True)
    gated = (weight * gate * type(activation)()(first(pixels))).sum()
    expected = torch.autograd.grad(gated, pixels)[0].abs().amax(1)[0]
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    assert torch.allclose(result, expected, atol=1e-5)


def test_feedback_needs_hidden_neurons() -> None:
    linear = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 6 * 6, 2))
    classifier = Classifier(linear, input_size=8, taps=["1"])
    with pytest.raises(InputError, match="feedback needs hidden activations"):
        explainer("feedback", classifier, iterations=0)(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize("name", METHODS)
def test_flat_answers_scores_progress_and_inference_mode(name: str) -> None:
    images = torch.rand(2, 3, 24, 40)
    seen: list[tuple[int, int]] = []
    flat = tiny_net()
    with torch.no_grad():
        flat[-1].weight.zero_()  # type: ignore[index, operator, union-attr]
    options = {"iterations": 14}
    explain = explainer(name, Classifier(flat, input_size=SIDE), progress=lambda *x: seen.append(x), **options)
    assert explain(images, 1).isfinite().all()
    steps = 14 * (2 if name == "guided_feature_inversion" else 1)  # which goes picture by picture
    assert seen == [(i + 1, steps) for i in range(steps)]
    warned = explain.report.pop("warnings")
    assert name == "feedback" or (len(warned) == 1 and "under every mask" in warned[0])
    assert all(value.shape == (2, 1) and value.isfinite().all() for value in explain.report.values())
    tiny = Classifier(tiny_net(), input_size=SIDE)
    explain = explainer(name, tiny, **options)
    one = explain(images, 2)
    with torch.inference_mode():
        assert torch.allclose(explain(images.clone(), torch.tensor([2, 2])), one, atol=1e-5)
    assert torch.allclose(explain(images[[1, 0]], 2), one[[1, 0]], atol=1e-4)  # order changes nothing
    scored = explain(images, lambda logits: logits[:, 2])
    assert scored.shape == one.shape and scored.isfinite().all()
    several = explain(images, [[2, 3], [2, 3]])
    assert torch.allclose(several[:, 0], one, atol=1e-5) and not torch.allclose(several[:, 1], one)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("meaningful_perturbation", {"iterations": 0}),
        ("meaningful_perturbation", {"infill": "telea"}),
        ("meaningful_perturbation", {"beta": 0.5}),
        ("meaningful_perturbation", {"start": "x"}),
        ("extremal_perturbation", {"areas": ()}),
        ("extremal_perturbation", {"areas": (0.1, 1.2)}),
        ("extremal_perturbation", {"areas": 0.1}),
        ("extremal_perturbation", {"variant": "dual"}),
        ("extremal_perturbation", {"levels": 1}),
        ("fido", {"objective": "x"}),
        ("fido", {"temperature": 0}),
        ("fido", {"samples": math.nan}),
        ("guided_feature_inversion", {"inversion_layer": "x"}),
        ("guided_feature_inversion", {"decay": -1}),
        ("feedback", {"penalty": -1}),
    ],
)
def test_bad_options_are_named(name: str, options: dict[str, object], tiny: Classifier) -> None:
    with pytest.raises(InputError, match=next(iter(options)) if "layer" not in next(iter(options)) else "no layer"):
        explainer(name, tiny, **options)


def test_feedback_of_windows_as_rows_and_of_tables() -> None:
    """Swin's windows are rows of a batch, and its position biases of none: pictures stay apart all the same."""

    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.embed, self.head = nn.Linear(2, 6), nn.Linear(48, 6), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            bias = self.table(torch.ones(1, 2)).relu()
            patches = nn.functional.unfold(x, 4, stride=4).transpose(1, 2)  # (N,64,48)
            rows = nn.functional.gelu(self.embed(patches).reshape(len(x) * 4, 16, 6) + bias)
            return self.head(rows.reshape(len(x), 64, 6).mean(1).relu())

    torch.manual_seed(0)
    classifier = Classifier(Windows(), input_size=32)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    explain = explainer("feedback", classifier, iterations=4)
    together = explain(images, [0, 1, 2])
    opened = explain.report["open"]
    for i in range(3):
        assert torch.allclose(explain(images[i : i + 1], i)[0], together[i], atol=1e-5)
        assert torch.allclose(explain.report["open"].flatten(), opened.flatten()[i : i + 1], atol=1e-6)
    assert 0 < opened.amin() <= opened.amax() < 1

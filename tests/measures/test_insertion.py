"""Insertion and deletion against the step-by-step loop, and on a classifier whose curves can be derived."""

import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.measures import metric
from maskwise.measures.perturbation import area_under, curves, pixels_of, places, step_ends, substrate

SIDE = 32
DRAWS = torch.Generator().manual_seed(2)
IMAGES = torch.rand(3, 3, SIDE, SIDE, generator=DRAWS)
MAPS = torch.rand(3, SIDE, SIDE, generator=DRAWS)
CLASSIFIER = Classifier(tiny_net(), input_size=SIDE, name="tiny")


class Brightness(nn.Module):
    """Logits (log b, log (1 - b)) of the mean b of a picture, so that class 0 has probability b."""

    def __init__(self) -> None:
        super().__init__()
        self.sample = nn.Conv2d(3, 1, 1)  # taps look for a spatial layer

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3)).clamp(1e-9, 1 - 1e-9) + 0 * self.sample(images).mean((1, 2, 3))
        return torch.stack([mean.log(), (1 - mean).log()], 1)


def brightness() -> Classifier:
    return Classifier(Brightness(), mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, taps=["sample"])


def loop(classifier: Classifier, image: Tensor, m: Tensor, mode: str, step: int, blurred: Tensor) -> list[float]:
    """One picture, one step after another, on the normalised picture, where black is the mean colour."""
    normal = classifier.normalise(image[None])
    category = int(classifier.module(normal).argmax())
    start, end = normal.clone(), torch.zeros_like(normal)
    if mode == "insertion":
        start, end = classifier.normalise(blurred[None]).clone(), normal
    values = m.flatten().tolist()
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    scores = []
    for i in range(math.ceil(len(order) / step) + 1):
        scores.append(float(classifier.module(start).softmax(1)[0, category]))
        for pixel in order[i * step : (i + 1) * step]:
            y, x = divmod(pixel, SIDE)
            start[:, :, y, x] = end[:, :, y, x]
    return scores


@pytest.mark.parametrize(("mode", "blur"), [("deletion", "mean"), ("insertion", "gaussian51"), ("insertion", "rise11")])
@pytest.mark.parametrize("step", [100, 256, 1024])
@pytest.mark.parametrize("batch", [1, 5, 64])
def test_curves_equal_the_loop(mode: str, blur: str, step: int, batch: int) -> None:
    maps = (MAPS * 4).round() / 4  # ties in every step
    blurred = substrate(IMAGES, CLASSIFIER.mean, blur)  # type: ignore[arg-type]
    found = curves(CLASSIFIER, IMAGES, maps, mode=mode, step=step, blur=blur, batch=batch)  # type: ignore[arg-type]
    for image, m, start, curve in zip(IMAGES, maps, blurred, found, strict=True):
        assert curve.tolist() == pytest.approx(loop(CLASSIFIER, image, m, mode, step, start), abs=1e-5)


def test_curves_of_brightness_are_known() -> None:
    """Picture: left half 1, right half 0. Deleting to black from the left: b falls from 1/2 to 0 in the first half.

    Area: 1/2 * 1/2 * 1/2 = 1/8. From the right nothing changes until the half: 1/2 * 1/2 + 1/8 = 3/8.
    Insertion into black mirrors it in time: from the left it rises at once, 3/8; from the right at the end, 1/8.
    """
    image = torch.zeros(1, 3, SIDE, SIDE)
    image[..., : SIDE // 2] = 1
    left = torch.linspace(1, 0, SIDE).expand(1, SIDE, SIDE)
    column = SIDE  # pixels
    truth = {"images": image, "targets": torch.tensor([0])}
    expected = {"deletion": (12.5, 37.5), "insertion": (37.5, 12.5)}
    for name, (from_left, from_right) in expected.items():
        options = {"blur": "mean"} if name == "insertion" else {}
        area = metric(name, brightness(), step=column, target="class", **options)
        for maps, expected in ((left, from_left), (left.flip(2), from_right)):
            found = area.value(area.per_image(maps, **truth)[0], torch.tensor(1.0))
            assert float(found) == pytest.approx(expected, abs=1e-4)
    both = metric("insertion_deletion", brightness(), step=column, target="class", blur="mean")
    both.update(left, **truth)
    assert float(both.compute()) == pytest.approx(25, abs=1e-4)
    both.update(left.flip(2), **truth)
    assert float(both.compute()) == pytest.approx(0, abs=1e-4)


def test_aopc_of_brightness_is_known_and_costs_nothing_beside_deletion() -> None:
    """From the left b falls by 1/32 a column from 1/2 to 0: AOPC is (sum of k/32 for k <= 16, + 16 halves) / 33."""
    image = torch.zeros(1, 3, SIDE, SIDE)
    image[..., : SIDE // 2] = 1
    left = torch.linspace(1, 0, SIDE).expand(1, SIDE, SIDE)
    found = metric("aopc", brightness(), step=SIDE, target="class")
    found.update(left, images=image, targets=torch.tensor([0]))
    assert float(found.compute()) == pytest.approx(100 * (136 / 32 + 8) / 33, abs=1e-4)
    deletion = metric("deletion", found.classifier, step=SIDE, target="class")
    assert [part.protocol() for part in found.parts()] == [deletion.protocol()]


def test_the_class_is_the_predicted_one_unless_it_is_given() -> None:
    predicted = CLASSIFIER.logits(IMAGES).argmax(1)
    other = (predicted + 1) % 5
    deletion = metric("deletion", CLASSIFIER, step=256)
    given_predicted = metric("deletion", CLASSIFIER, step=256, target="class")
    free = deletion.per_image(MAPS, images=IMAGES, targets=other)
    assert torch.equal(free, given_predicted.per_image(MAPS, images=IMAGES, targets=predicted))
    assert not torch.allclose(free, given_predicted.per_image(MAPS, images=IMAGES, targets=other))
    with pytest.raises(InputError, match="needs `targets`"):
        given_predicted.per_image(MAPS, images=IMAGES)
    with pytest.raises(InputError, match="class -1"):
        given_predicted.per_image(MAPS, images=IMAGES, targets=torch.tensor([0, -1, 2]))


def test_a_constant_map_goes_in_reading_order() -> None:
    assert places(torch.full((2, 3, 4), 0.5)).tolist() == [torch.arange(12).reshape(3, 4).tolist()] * 2
    assert places(torch.tensor([[[0.1, 0.9], [0.9, 0.5]]])).tolist() == [[[3, 0], [1, 2]]]
    rows = torch.arange(SIDE * SIDE, 0, -1).reshape(1, SIDE, SIDE).float()
    flat = curves(CLASSIFIER, IMAGES[:1], torch.zeros(1, SIDE, SIDE), step=300)
    assert torch.equal(flat, curves(CLASSIFIER, IMAGES[:1], rows, step=300))


def test_reversed_ties_are_those_of_the_flipped_sort_of_rise() -> None:
    """Maps of few values: NumPy's stable sort upwards, flipped, is the order in which pixels go."""
    maps = (MAPS * 3).round() / 3
    order = np.flip(np.argsort(maps.flatten(1).numpy(), axis=1, kind="stable"), axis=1)
    found = places(maps, "reversed").flatten(1)
    for place, expected in zip(found, order, strict=True):
        assert place[torch.from_numpy(expected.copy())].tolist() == list(range(SIDE * SIDE))
    assert not torch.equal(found, places(maps).flatten(1)) and torch.equal(places(MAPS, "reversed"), places(MAPS))
    backwards = {"maps": maps.flip(1, 2), "images": IMAGES.flip(2, 3)}
    for mode in ("insertion", "deletion"):
        # Turned by half a circle, the last of equal pixels is the first; the network is not: compare by brightness.
        there, back = (
            curves(brightness(), i, m, targets=torch.tensor([0, 0, 0]), mode=mode, step=100, blur="mean", ties=ties)  # type: ignore[arg-type]
            for i, m, ties in ((IMAGES, maps, "reversed"), (backwards["images"], backwards["maps"], "reading"))
        )
        assert torch.allclose(there, back, atol=1e-6)
        assert not torch.allclose(
            there,
            curves(brightness(), IMAGES, maps, torch.tensor([0, 0, 0]), mode, 100, "mean"),
            atol=1e-6,  # type: ignore[arg-type]
        )


def test_every_curve_metric_takes_ties() -> None:
    maps = torch.zeros(3, SIDE, SIDE)
    values = {}
    for ties in ("reading", "reversed"):
        for name in ("insertion", "deletion", "insertion_deletion"):
            one = metric(name, CLASSIFIER, step=256, ties=ties)
            assert one.protocol()["ties"] == ties
            one.update(maps, images=IMAGES)
            values[name, ties] = float(one.compute())
        both = values["insertion", ties] - values["deletion", ties]
        assert values["insertion_deletion", ties] == pytest.approx(both, abs=1e-9)
    assert all(values[n, "reading"] != values[n, "reversed"] for n in ("insertion", "deletion"))
    for name in ("insertion", "deletion", "insertion_deletion"):
        with pytest.raises(InputError, match="ties is reading or reversed"):
            metric(name, CLASSIFIER, ties="random")


@given(st.integers(0, 10_000), st.sampled_from([90, 512, 5000]))
@settings(max_examples=15, deadline=None)
def test_only_the_order_of_a_map_counts(seed: int, step: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    images = torch.rand(1, 3, SIDE, SIDE, generator=draws)
    m = torch.rand(1, SIDE, SIDE, generator=draws).double()
    for mode in ("insertion", "deletion"):
        once = curves(CLASSIFIER, images, m, mode=mode, step=step)  # type: ignore[arg-type]
        assert torch.equal(once, curves(CLASSIFIER, images, m**3, mode=mode, step=step))  # type: ignore[arg-type]
        assert once.shape == (1, math.ceil(SIDE * SIDE / step) + 1)
        top = float(CLASSIFIER.logits(images).double().softmax(1).max())
        assert float(once[0, -1 if mode == "insertion" else 0]) == pytest.approx(top, abs=1e-6)


def test_deletion_ends_in_the_mean_colour_and_insertion_begins_blurred() -> None:
    grey = CLASSIFIER.logits(CLASSIFIER.mean[None, :, None, None].expand(3, -1, SIDE, SIDE)).softmax(1)
    blurred = CLASSIFIER.logits(substrate(IMAGES, CLASSIFIER.mean, "gaussian51")).softmax(1)
    category = CLASSIFIER.logits(IMAGES).argmax(1)[:, None]
    last = curves(CLASSIFIER, IMAGES, MAPS, mode="deletion", step=500)[:, -1]
    first = curves(CLASSIFIER, IMAGES, MAPS, mode="insertion", step=500)[:, 0]
    assert last.tolist() == pytest.approx(grey.gather(1, category)[:, 0].tolist(), abs=1e-6)
    assert first.tolist() == pytest.approx(blurred.gather(1, category)[:, 0].tolist(), abs=1e-6)


def test_the_area_is_the_trapezoids() -> None:
    scores = torch.tensor([[0.0, 1, 1, 0.5], [1, 1, 1, 1]]).double()
    assert area_under(scores).tolist() == pytest.approx([(0.5 + 1 + 0.75) / 3, 1])
    assert float(area_under(scores[:1])) == pytest.approx(float(torch.trapezoid(scores[0], dx=1 / 3)))


def test_steps_in_pixels_and_percent() -> None:
    assert [pixels_of(s, 50176) for s in (1792, "3.571%", 448, "0.893%", 0.5, 10**6)] == [
        1792, 1792, 448, 448, 25088, 50176,
    ]  # fmt: skip
    assert pixels_of("0.001%", 100) == 1
    for wrong in (0, -5, 1.5, 1e-7, 1e-300, "-1%", "0%", "0.00001%", "1792", "many"):
        with pytest.raises(InputError, match="step is"):
            pixels_of(wrong, 50176)


def test_the_gaussian_is_opencv_s() -> None:
    """51 pixels, sigma 50, borders mirrored without repeating the last pixel."""
    blurred = substrate(IMAGES[:1], CLASSIFIER.mean, "gaussian51")[0].permute(1, 2, 0).numpy()
    picture = IMAGES[0].permute(1, 2, 0).numpy().copy()
    expected = cv2.GaussianBlur(picture, (51, 51), 50, borderType=cv2.BORDER_REFLECT_101)
    assert np.abs(blurred - expected).max() < 1e-5


def test_the_rise_kernel_is_nearly_a_box_and_takes_the_mean_colour_beyond_the_border() -> None:
    delta = np.zeros((11, 11))
    delta[5, 5] = 1
    kernel = gaussian_filter(delta, 5)  # how RISE makes it: a filtered pixel within an 11-pixel window
    assert kernel.sum() == pytest.approx(1) and kernel.min() > 0.0076 and kernel.max() < 0.0089
    mean, std = CLASSIFIER.mean[:, None, None], CLASSIFIER.std[:, None, None]
    normal = (IMAGES - mean) / std
    weight = torch.from_numpy(kernel).float().expand(3, 1, 11, 11)
    expected = F.conv2d(normal, weight, padding=5, groups=3) * std + mean
    assert torch.allclose(substrate(IMAGES, CLASSIFIER.mean, "rise11"), expected, atol=1e-5)
    assert torch.equal(substrate(IMAGES, CLASSIFIER.mean, "mean"), mean.expand_as(IMAGES))


def test_pictures_larger_than_the_input_are_changed_at_their_own_size() -> None:
    images, maps = torch.rand(1, 3, 48, 40, generator=DRAWS), torch.rand(1, 48, 40, generator=DRAWS)
    found = curves(CLASSIFIER, images, maps, mode="deletion", step=960)
    kept = images.clone()
    kept.permute(0, 2, 3, 1)[maps >= maps.flatten().sort(descending=True).values[959]] = CLASSIFIER.mean
    category = CLASSIFIER.logits(CLASSIFIER.prepare(images)).argmax(1)
    half = CLASSIFIER.logits(CLASSIFIER.prepare(kept)).softmax(1)[0, category]
    assert found.shape == (1, 3) and float(found[0, 1]) == pytest.approx(float(half), abs=1e-6)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="must fit"):
        curves(CLASSIFIER, IMAGES, MAPS[:2])
    with pytest.raises(InputError, match="must fit"):
        curves(CLASSIFIER, IMAGES, MAPS[:, :5])


@pytest.mark.parametrize("size", [1, 5, 28, 100, 1000, 1024, 50176, 333 * 500])
def test_a_share_is_as_many_steps_of_any_picture(size: int) -> None:
    """A share that goes into a whole 28 times: pixels k size / 28, and of 224 x 224 those of 1,792 pixels a step."""
    ends = step_ends("3.571%", size)
    assert ends.tolist() == [round(float(np.round(k * size / 28))) for k in range(29)]
    assert step_ends("30%", size).tolist() == [round(float(np.round(k * 0.3 * size))) for k in range(4)] + [size]
    assert torch.equal(step_ends("3.571%", 50176), step_ends(1792, 50176))
    assert torch.equal(step_ends(1 / 14, 50176), step_ends(3584, 50176))


def test_curves_of_pictures_of_several_sizes_have_one_length() -> None:
    for name in ("deletion", "insertion", "insertion_deletion", "aopc"):
        made = metric(name, CLASSIFIER)
        rows = [made.per_image(torch.rand(1, *s), images=torch.rand(1, 3, *s)) for s in ((32, 32), (32, 47), (5, 4))]
        assert len({row.shape for row in rows}) == 1


def test_a_step_that_takes_the_whole_picture_asks_for_no_order() -> None:
    """A curve of its two ends is the same for every map: once silently so, of pictures of less than 1,792 pixels."""
    for name in ("deletion", "insertion", "insertion_deletion", "aopc"):
        with pytest.raises(InputError, match=r"step of 1792 takes all of a picture of 32x32 .* step=3.571%"):
            metric(name, CLASSIFIER, step=1792).per_image(MAPS, images=IMAGES)
        assert len({float(m) for m in metric(name, CLASSIFIER).per_image(MAPS, images=IMAGES).double().sum(1)}) > 1

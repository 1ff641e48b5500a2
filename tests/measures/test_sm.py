"""The saliency metric by hand, against OpenCV's crops, and its reference boxes."""

import math
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import tiny_net
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.measures import metric
from maskwise.measures.sm import ground_truth_sm, reference_boxes, saliency_metric

SIDE = 32
DRAWS = torch.Generator().manual_seed(4)
IMAGES = torch.rand(3, 3, SIDE, SIDE, generator=DRAWS)
LABELS = torch.tensor([0, 4, 2])
CLASSIFIER = Classifier(tiny_net(), input_size=SIDE, name="tiny")
BOXES = torch.tensor([[4, 2, 20, 30], [0, 0, 7, 5], [30, 30, 32, 31]])


def log_p(images: Tensor, label: int) -> float:
    return float(CLASSIFIER.logits(images).double().log_softmax(1)[0, label])


def test_cubic_crops_are_opencv_s_on_the_normalised_picture() -> None:
    """As released: crop of the normalised picture, INTER_CUBIC to the input size, log clip(a, .05) - log p."""
    expected = []
    for image, (x0, y0, x1, y1), label in zip(IMAGES, BOXES.tolist(), LABELS.tolist(), strict=True):
        normal = CLASSIFIER.normalise(image).permute(1, 2, 0).numpy()
        crop = cv2.resize(np.ascontiguousarray(normal[y0:y1, x0:x1]), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        logits = CLASSIFIER.module(torch.from_numpy(crop).permute(2, 0, 1)[None])
        area = (x1 - x0) * (y1 - y0) / SIDE**2
        expected.append(math.log(max(area, 0.05)) - float(logits.double().log_softmax(1)[0, label]))
    found = saliency_metric(CLASSIFIER, IMAGES, BOXES, LABELS, resize="cubic")
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
    assert not torch.allclose(found, saliency_metric(CLASSIFIER, IMAGES, BOXES, LABELS), atol=1e-4)


def test_bilinear_crops_are_opencv_s() -> None:
    found = saliency_metric(CLASSIFIER, IMAGES, BOXES, LABELS)
    for n, (x0, y0, x1, y1) in enumerate(BOXES.tolist()):
        crop = cv2.resize(IMAGES[n].permute(1, 2, 0).numpy()[y0:y1, x0:x1].copy(), (SIDE, SIDE))
        p = log_p(torch.from_numpy(crop).permute(2, 0, 1)[None], int(LABELS[n]))
        area = (x1 - x0) * (y1 - y0) / SIDE**2
        assert float(found[n]) == pytest.approx(math.log(max(area, 0.05)) - p, abs=1e-4)


@pytest.mark.parametrize("resize", ["bilinear", "cubic"])
def test_crops_take_the_shape_of_the_classifier_s_input(resize: Any) -> None:
    oblong = Classifier(tiny_net(), input_size=(24, 40), name="oblong")
    x0, y0, x1, y1 = 4, 2, 20, 30
    found = saliency_metric(oblong, IMAGES[:1], torch.tensor([[x0, y0, x1, y1]]), LABELS[:1], resize)
    crop = IMAGES[:1, :, y0:y1, x0:x1]
    mode, smooth = ("bilinear", True) if resize == "bilinear" else ("bicubic", False)
    sized = torch.nn.functional.interpolate(crop, (24, 40), mode=mode, align_corners=False, antialias=smooth)
    sure = float(oblong.logits(sized).double().log_softmax(1)[0, LABELS[0]])
    assert found.item() == pytest.approx(math.log((x1 - x0) * (y1 - y0) / SIDE**2) - sure, abs=1e-5)
    empty = saliency_metric(oblong, IMAGES[:1], torch.tensor([[9, 9, 9, 9]]), LABELS[:1], resize)
    grey = oblong.mean[None, :, None, None].expand(1, 3, 24, 40)
    sure = float(oblong.logits(grey).double().log_softmax(1)[0, LABELS[0]])
    assert empty.item() == pytest.approx(math.log(0.05) - sure, abs=1e-5)


def test_the_whole_picture_has_only_its_surprise() -> None:
    """a = 1: log a = 0, and the crop is the picture."""
    found = saliency_metric(CLASSIFIER, IMAGES, reference_boxes("max", IMAGES), LABELS)
    assert found.tolist() == pytest.approx([-log_p(IMAGES[n : n + 1], int(LABELS[n])) for n in range(3)], abs=1e-6)
    assert torch.equal(
        metric("sm", CLASSIFIER).per_image(torch.ones(3, SIDE, SIDE), images=IMAGES, labels=LABELS)[:, 0], found
    )


def test_small_crops_are_not_rewarded_beyond_a_twentieth() -> None:
    """32 x 32 = 1024 pixels, a twentieth is 51.2: boxes of 49 pixels all count as .05, one of 64 as .0625."""
    flat = torch.full((2, 3, SIDE, SIDE), 0.3)
    boxes = torch.tensor([[0, 0, 7, 7], [0, 0, 8, 8]])
    small, large = saliency_metric(CLASSIFIER, flat, boxes, torch.tensor([1, 1])).tolist()
    assert small == pytest.approx(math.log(0.05) - log_p(flat[:1], 1), abs=1e-5)
    assert large - small == pytest.approx(math.log(0.0625 / 0.05), abs=1e-5)


def test_empty_boxes_are_the_mean_colour_or_the_whole() -> None:
    empty = torch.zeros(1, 4, dtype=torch.int64)
    grey = CLASSIFIER.mean[None, :, None, None].expand(1, -1, SIDE, SIDE)
    found = saliency_metric(CLASSIFIER, IMAGES[:1], empty, LABELS[:1])
    assert float(found) == pytest.approx(math.log(0.05) - log_p(grey, 0), abs=1e-6)
    found = saliency_metric(CLASSIFIER, IMAGES[:1], empty, LABELS[:1], empty="whole")
    assert float(found) == pytest.approx(-log_p(IMAGES[:1], 0), abs=1e-6)
    line = torch.zeros(1, SIDE, SIDE)
    line[0, 5:20, 9] = 1  # one pixel wide: without its last column nothing is left
    exclusive = metric("sm", CLASSIFIER, box="exclusive").per_image(line, images=IMAGES[:1], labels=LABELS[:1])
    assert float(exclusive) == pytest.approx(math.log(0.05) - log_p(grey, 0), abs=1e-6)


def test_the_metric_crops_its_map_s_box() -> None:
    maps = torch.zeros(3, SIDE, SIDE)
    for m, (x0, y0, x1, y1) in zip(maps, BOXES.tolist(), strict=True):
        m[y0:y1, x0:x1] = 0.7
    rows = metric("sm", CLASSIFIER, batch=2).per_image(maps, images=IMAGES, labels=torch.tensor([0, 4, -1]))
    assert torch.allclose(rows[:2, 0], saliency_metric(CLASSIFIER, IMAGES, BOXES, LABELS)[:2], atol=1e-6)
    assert rows[2].isnan(), "its class is unknown"
    unknown = metric("sm", CLASSIFIER)
    unknown.update(maps, images=IMAGES, labels=torch.tensor([0, 4, -1]))
    assert float(unknown.compute()) == pytest.approx(float(rows[:2].mean()))


def test_ground_truth_is_the_mean_over_a_picture_s_boxes() -> None:
    boxes = [BOXES[:2].double(), torch.zeros(0, 4), torch.tensor([[-9.0, -5, 40, 40]])]
    found = ground_truth_sm(CLASSIFIER, IMAGES, boxes, LABELS)
    both = saliency_metric(CLASSIFIER, IMAGES[[0, 0]], BOXES[:2], LABELS[[0, 0]])
    assert float(found[0]) == pytest.approx(float(both.mean()), abs=1e-6)
    assert found[1].isnan()
    assert float(found[2]) == pytest.approx(-log_p(IMAGES[2:], 2), abs=1e-6), "cut at the border it is the picture"


def test_edges_within_a_pixel_go_to_the_nearest_whole_one() -> None:
    near = BOXES.double() + torch.tensor([[0.4, -0.4, -0.3, 0.45], [0.3, 0.2, 0.4, -0.4], [-0.4, 0.3, 0.0, 0.4]])
    found = saliency_metric(CLASSIFIER, IMAGES, near, LABELS)
    assert torch.equal(found, saliency_metric(CLASSIFIER, IMAGES, BOXES, LABELS))


def test_the_centre_box_has_half_the_area() -> None:
    """33 pixels off each side of 224 leave 158 x 158 = 24,964 of 50,176, 49.75%."""
    box = reference_boxes("center", torch.zeros(2, 3, 224, 224))
    assert box.tolist() == [[33, 33, 191, 191]] * 2
    assert reference_boxes("max", torch.zeros(1, 3, 20, 30)).tolist() == [[0, 0, 30, 20]]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="as many"):
        saliency_metric(CLASSIFIER, IMAGES, BOXES[:2], LABELS)
    with pytest.raises(InputError, match="class 9"):
        saliency_metric(CLASSIFIER, IMAGES, BOXES, torch.tensor([0, 9, 1]))


def test_grey_networks_see_the_mean_colour_of_an_empty_box_beside_other_crops() -> None:
    """Data sets are in colour, and the classifier's mean is one value."""
    network = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    grey = Classifier(network.eval(), mean=[0.4], std=[0.2], input_size=(16, 24))
    images, boxes = torch.rand(2, 3, 20, 30), torch.tensor([[0, 0, 0, 0], [2, 3, 20, 15]])
    labels = torch.tensor([1, 2])
    together = saliency_metric(grey, images, boxes, labels)
    alone = torch.cat([saliency_metric(grey, images[i : i + 1], boxes[i : i + 1], labels[i : i + 1]) for i in (0, 1)])
    assert torch.allclose(together, alone)
    with torch.no_grad():
        p = grey.probabilities(grey(torch.full((1, 1, 16, 24), 0.4)))[0, 1]
    assert float(together[0]) == pytest.approx(math.log(0.05) - math.log(float(p)), abs=1e-5)

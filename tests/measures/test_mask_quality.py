"""Conciseness-preciseness and hallucinated edges: the formulas, and masks whose values are known."""

import numpy as np
import pytest
import torch
from conftest import tiny_net
from skimage.filters import sobel_h, sobel_v
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.measures import metric
from maskwise.measures.conciseness import kept_information
from maskwise.measures.hallucination import edges, hallucinated_edges

SIDE = 32
DRAWS = torch.Generator().manual_seed(2)
IMAGES = torch.rand(3, 3, SIDE, SIDE, generator=DRAWS)
MAPS = torch.rand(3, SIDE, SIDE, generator=DRAWS)
CLASSIFIER = Classifier(tiny_net(), input_size=SIDE, name="tiny")


@pytest.mark.parametrize("information", ["l1", "entropy"])
def test_cp_equals_the_formula_picture_by_picture(information: str) -> None:
    def amount(values: np.ndarray) -> float:
        if information == "l1":
            return float(np.abs(values).sum())
        share = values**2 / (values**2).sum()
        return float(-(share * np.log(share, where=share > 0, out=np.zeros_like(share))).sum())

    rows = metric("conciseness_preciseness", CLASSIFIER, information=information).per_image(MAPS, images=IMAGES)
    for image, m, row in zip(IMAGES, MAPS, rows, strict=True):
        normal = CLASSIFIER.normalise(image[None])
        whole, part = (CLASSIFIER.module(x).detach().double().softmax(1)[0] for x in (normal, normal * m))
        category = int(whole.argmax())
        x = image.double().numpy()
        kept = amount(x * m.double().numpy()) / amount(x)
        assert float(row) == pytest.approx(float(part[category] / whole[category]) / kept, rel=1e-4)


def test_a_mask_that_keeps_everything_has_cp_1_and_no_mask_is_divided_by_nothing() -> None:
    for information in ("l1", "entropy"):
        made = metric("conciseness_preciseness", CLASSIFIER, information=information)
        assert made.per_image(torch.ones(3, SIDE, SIDE), images=IMAGES)[:, 0].tolist() == pytest.approx([1] * 3)
    empty = torch.zeros(3, SIDE, SIDE)
    free = metric("conciseness_preciseness", CLASSIFIER, floor=0)
    assert free.per_image(empty, images=IMAGES).tolist() == [[0], [0], [0]]
    assert metric("conciseness_preciseness", CLASSIFIER).per_image(empty, images=IMAGES).min() > 1
    half = torch.full((1, SIDE, SIDE), 0.25)
    assert kept_information(IMAGES[:1], half).item() == pytest.approx(0.25, abs=1e-6)
    assert kept_information(IMAGES[:1], half, "entropy").item() == pytest.approx(1, abs=1e-6)
    assert kept_information(torch.zeros(1, 3, 4, 4), torch.ones(1, 4, 4)).item() == 1


def halves() -> Tensor:
    """Black on the left, white on the right."""
    image = torch.zeros(1, 3, 16, 16)
    image[..., 8:] = 1
    return image


def test_edges_are_sobel_s() -> None:
    grey = IMAGES[:1, :1]
    size = np.hypot(sobel_h(grey[0, 0].double().numpy()), sobel_v(grey[0, 0].double().numpy()))
    found = edges(grey, 0.3)[0, 1:-1, 1:-1]
    assert torch.equal(found, torch.from_numpy(size * 1.0 > 0.3)[1:-1, 1:-1])
    assert edges(halves())[0].any(0).nonzero()[:, 0].tolist() == [7, 8]
    assert edges(halves() / 2, 0.49).any() and not edges(halves() / 2, 0.5).any(), "of slopes of a half none is above"


def test_only_edges_that_the_mask_draws_count() -> None:
    """The white half is cut along a row into grey: an edge of two rows by eight columns, less what lies by the old one.

    The old edge fills columns 7 and 8, 32 pixels; what touches it, columns 6 to 9, counts as its own.
    """
    image, black = halves(), torch.zeros(3)
    assert hallucinated_edges(image, torch.ones(1, 16, 16), black).tolist() == [0]
    cut = torch.ones(1, 16, 16)
    cut[:, 8:] = 0
    assert hallucinated_edges(image, cut, black).item() == pytest.approx(2 * 6 / 32)
    slow = torch.ones(1, 16, 16) * torch.linspace(1, 0.2, 16)[:, None]
    assert hallucinated_edges(image, slow, black, threshold=0.2).tolist() == [0]
    assert hallucinated_edges(torch.full((1, 3, 8, 8), 0.4), torch.ones(1, 8, 8), black).isnan().all()


def test_options_that_make_no_sense_are_refused() -> None:
    for name, options in (
        ("conciseness_preciseness", {"information": "bits"}),
        ("conciseness_preciseness", {"floor": 2}),
        ("hallucination", {"threshold": 0}),
        ("hallucination", {"threshold": 1.1}),
    ):
        with pytest.raises(InputError):
            metric(name, CLASSIFIER, **options)


def test_the_metric_is_in_percent_and_hides_in_the_mean_colour() -> None:
    maps = torch.ones(2, 16, 16)
    maps[:, 8:] = 0
    images = torch.cat([halves(), halves().flip(-1)])
    found = metric("hallucination", CLASSIFIER).per_image(maps, images=images)
    assert torch.equal(found[:, 0], 100 * hallucinated_edges(images, maps, CLASSIFIER.mean))
    # Grey lies between black and white: both halves are cut, and in black only the white one was.
    assert found[:, 0].tolist() == pytest.approx([100 * 4 * 6 / 32] * 2)


def test_edges_of_colours_are_those_of_their_luma() -> None:
    """Red beside green of the same mean is an edge, since green is brighter; of one luma they would be none."""
    image = torch.zeros(1, 3, 8, 8)
    image[:, 0, :, :4], image[:, 1, :, 4:] = 0.8, 0.8
    assert edges(image).any()
    even = image.clone()
    even[:, 1, :, 4:] = 0.8 * 0.299 / 0.587
    assert not edges(even).any()

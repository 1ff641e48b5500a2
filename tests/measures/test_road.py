"""ROAD picture by picture and share by share, and on a classifier whose numbers can be derived."""

import numpy as np
import pytest
import torch
from conftest import tiny_net
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import SuperLU
from torch import nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.infill import grid_laplacian, infiller
from maskwise.measures import metric
from maskwise.measures.filling import fill_of
from maskwise.measures.road import percentages, road_scores

SIDE = 32
DRAWS = torch.Generator().manual_seed(2)
IMAGES = torch.rand(3, 3, SIDE, SIDE, generator=DRAWS)
MAPS = torch.rand(3, SIDE, SIDE, generator=DRAWS)
CLASSIFIER = Classifier(tiny_net(), input_size=SIDE, name="tiny")


def reference_fill(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The reference's imputation (C,H,W) without noise: one equation for each missing pixel, neighbour by neighbour.

    Each missing pixel is the weighted mean of its neighbours, missing or not; the weights of neighbours outside the
    picture are taken off the sum. Known neighbours go to the right-hand side.
    """
    weighted = [(dy, dx, 1 / 12 if dy and dx else 1 / 6) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    where = [tuple(at) for at in np.argwhere(hole)]
    number = {at: k for k, at in enumerate(where)}
    matrix, right = np.zeros((len(where), len(where))), np.zeros((len(where), len(image)))
    for k, (y, x) in enumerate(where):
        total = 1.0
        for dy, dx, weight in weighted:
            at = (y + dy, x + dx)
            if not (0 <= at[0] < hole.shape[0] and 0 <= at[1] < hole.shape[1]):
                total -= weight
            elif at in number:
                matrix[k, number[at]] -= weight
            else:
                right[k] += weight * image[:, at[0], at[1]]
        matrix[k, k] = total
    filled = image.copy()
    filled[:, hole] = np.linalg.solve(matrix, right).T
    return filled


def test_both_curves_are_those_of_the_reference_s_own_equations() -> None:
    """Shares, order, imputation and softmax, without noise: with it the two draw other numbers."""
    shares = (10, 30, 50, 70, 90)
    for order in ("morf", "lerf"):
        found = road_scores(CLASSIFIER, IMAGES, MAPS, shares, fill_of("noisy_linear:noise=0"), order=order)  # type: ignore[arg-type]
        for image, m, row in zip(IMAGES, MAPS, found, strict=True):
            category, ranked = int(CLASSIFIER.logits(image[None]).argmax()), m.flatten().argsort(descending=True)
            for share, score in zip(shares, row.tolist(), strict=True):
                count, hole = round(share / 100 * SIDE * SIDE), torch.zeros(SIDE * SIDE, dtype=torch.bool)
                hole[ranked[:count] if order == "morf" else ranked[-count:]] = True
                filled = reference_fill(image.double().numpy(), hole.reshape(SIDE, SIDE).numpy())
                logits = CLASSIFIER.logits(torch.from_numpy(filled).float()[None]).detach().double()
                assert score == pytest.approx(float(logits.softmax(1)[0, category]), abs=1e-5)


class LeftHalf(nn.Module):
    """Class 0 has the probability that is the mean brightness of the left half."""

    def __init__(self) -> None:
        super().__init__()
        self.sample = nn.Conv2d(3, 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = images[..., : SIDE // 2].mean((1, 2, 3)).clamp(1e-9, 1 - 1e-9) + 0 * self.sample(images).mean((1, 2, 3))
        return torch.stack([mean.log(), (1 - mean).log()], 1)


def test_scores_equal_the_copies_made_one_by_one() -> None:
    paint = infiller("noisy_linear")
    for order in ("morf", "lerf"):
        found = road_scores(CLASSIFIER, IMAGES, MAPS, (10, 37.5, 80), fill_of("noisy_linear"), order=order)  # type: ignore[arg-type]
        for image, m, row in zip(IMAGES, MAPS, found, strict=True):
            category = int(CLASSIFIER.logits(image[None]).argmax())
            ranked = sorted(range(SIDE * SIDE), key=lambda i, m=m: -float(m.flatten()[i]))  # type: ignore[misc]
            for share, score in zip((10, 37.5, 80), row.tolist(), strict=True):
                count = round(share / 100 * SIDE * SIDE)
                hole = torch.zeros(SIDE * SIDE)
                hole[ranked[:count] if order == "morf" else ranked[-count:]] = 1
                copy = paint(image[None], hole.reshape(1, SIDE, SIDE), CLASSIFIER.mean)
                assert score == pytest.approx(
                    float(CLASSIFIER.logits(copy).detach().double().softmax(1)[0, category]), abs=1e-6
                )


def test_the_numbers_of_a_bright_left_half_are_known() -> None:
    """Left half white, right black, filled by black: removing s of the pixels from the left leaves 1 - 2 s of it.

    Most relevant first with a map that falls from left to right: 0.75, 0.625 and 0 are left; least first: 1, 1 and
    0.75. Class 0 is the likeliest above a half.
    """
    image = torch.zeros(1, 3, SIDE, SIDE)
    image[..., : SIDE // 2] = 1
    left = torch.linspace(1, 0, SIDE).expand(1, SIDE, SIDE)
    known = Classifier(LeftHalf(), mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, taps=["sample"])
    for score, morf, lerf in (("probability", 1.375 / 3, 2.75 / 3), ("accuracy", 2 / 3, 1)):
        for name, expected in (("road_morf", morf), ("road_lerf", lerf), ("road", (lerf - morf) / 2)):
            made = metric(name, known, percent="12.5,18.75,62.5", fill="mean", target="class", score=score)
            made.update(left, images=image, targets=torch.tensor([0]))
            assert float(made.compute()) == pytest.approx(100 * expected, abs=1e-3)


def test_turning_a_map_over_swaps_the_orders_and_the_sign() -> None:
    def value(name: str, maps: torch.Tensor) -> float:
        made = metric(name, CLASSIFIER, fill="noisy_linear:noise=0")
        made.update(maps, images=IMAGES)
        return float(made.compute())

    assert value("road_morf", 1 - MAPS) == pytest.approx(value("road_lerf", MAPS), abs=1e-6)
    assert value("road", 1 - MAPS) == pytest.approx(-value("road", MAPS), abs=1e-6)
    assert value("road", MAPS) == pytest.approx((value("road_lerf", MAPS) - value("road_morf", MAPS)) / 2, abs=1e-9)


def test_a_map_of_zeros_loses_just_the_share() -> None:
    flat = torch.zeros(3, SIDE, SIDE)
    rows = torch.arange(SIDE * SIDE, 0, -1).reshape(1, SIDE, SIDE).expand(3, -1, -1).float()
    fill = fill_of("mean")
    for order in ("morf", "lerf"):
        given = (CLASSIFIER, IMAGES), ((20, 50), fill, None, order)
        assert torch.equal(road_scores(*given[0], flat, *given[1]), road_scores(*given[0], rows, *given[1]))  # type: ignore[arg-type]


def test_percentages() -> None:
    assert metric("road", CLASSIFIER, percent=[10, 62.5]).protocol()["percent"] == "10,62.5"
    assert metric("road", CLASSIFIER).protocol()["fill"] == "noisy_linear:noise=0.01,seed=0,largest=112"
    for wrong in ("", "0", "100", "10;20", "a", ()):
        with pytest.raises(InputError, match="percent takes numbers"):
            percentages(wrong)
    for options in ({"score": "logit"}, {"fill": "nothing"}, {"ties": "random"}, {"target": "label"}):
        with pytest.raises(InputError):
            metric("road", CLASSIFIER, **options)


def test_systems_are_of_112_pixels_and_each_hole_is_factorised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 224 x 224 pixels blocks of 2 x 2 are solved for; several draws differ in their noise, not in their holes."""
    seen: list[tuple[int, int]] = []
    real = grid_laplacian.splu

    def counted(matrix: csc_matrix, **options: object) -> SuperLU:
        seen.append(matrix.shape)
        return real(matrix, **options)

    monkeypatch.setattr(grid_laplacian, "splu", counted)
    classifier = Classifier(tiny_net(), input_size=224, name="large")
    images, maps = torch.rand(3, 3, 224, 224, generator=DRAWS), torch.rand(3, 56, 56, generator=DRAWS)
    maps = maps.repeat_interleave(4, 1).repeat_interleave(4, 2)
    for draws in (1, 3):
        grid_laplacian._factorised.cache_clear()
        seen.clear()
        made = metric("road", classifier, percent="20,60", draws=draws)
        made.per_image(maps, images=images)
        assert len(seen) == 3 * 2 * 2, "pictures x shares x orders"
        assert max(unknowns for unknowns, _ in seen) == pytest.approx(0.6 * 112**2, rel=0.01)

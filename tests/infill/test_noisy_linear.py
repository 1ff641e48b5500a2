"""Noisy linear imputation against dense equations, a ramp, and what it may look at."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from maskwise.core.errors import InputError
from maskwise.infill import infiller
from maskwise.infill.noisy_linear import linear_fill

COLOUR = torch.tensor([0.2, 0.4, 0.6])
F64 = torch.float64
DRAWS = torch.Generator().manual_seed(3)


def ramp(height: int, width: int) -> torch.Tensor:
    down, across = torch.linspace(0.1, 0.5, height, dtype=F64), torch.linspace(0, 0.4, width, dtype=F64)
    plane = down[:, None] + across
    return torch.stack([plane, 1 - plane, plane / 2])


def dense(known: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Pixel by pixel: the equations as they are written down, solved as a full matrix."""
    height, width = hole.shape
    matrix, right = np.eye(height * width), known.reshape(len(known), -1).T.copy()
    for y, x in zip(*np.nonzero(hole), strict=True):
        i = y * width + x
        matrix[i], right[i] = 0, 0
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if (dy, dx) != (0, 0) and 0 <= y + dy < height and 0 <= x + dx < width:
                    weight = 1 / 6 if dy == 0 or dx == 0 else 1 / 12
                    matrix[i, i] += weight
                    matrix[i, (y + dy) * width + x + dx] -= weight
    return np.linalg.solve(matrix, right).T.reshape(known.shape)


@pytest.mark.parametrize("size", [(13, 17), (17, 4), (6, 6)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_the_fill_solves_the_equations(size: tuple[int, int], share: float) -> None:
    hole = torch.rand(1, *size, generator=DRAWS) < share
    hole[0, 0, 0], hole[0, -1, -1] = False, True  # a corner has three neighbours
    known = torch.rand(3, *size, generator=DRAWS).double() * ~hole
    found = linear_fill(known, hole)
    np.testing.assert_allclose(found.numpy()[:, hole[0]], dense(known.numpy(), hole[0].numpy())[:, hole[0]], atol=1e-12)


def test_an_inner_hole_in_a_ramp_is_filled_by_the_ramp() -> None:
    hole = torch.zeros(1, 24, 30, dtype=torch.bool)
    hole[0, 4:16, 6:22] = True
    picture = ramp(24, 30)
    assert (linear_fill(picture * ~hole, hole) - picture).abs().max() < 1e-12
    # Blocks whose hole is made of whole ones: their means lie on the ramp, too, and so does what lies between them.
    assert (linear_fill(picture * ~hole, hole, 2) - picture).abs()[:, 4:16, 6:22].max() < 1e-12
    fill = infiller("noisy_linear", noise=0, largest=30)(picture.float()[None], hole.float(), COLOUR)
    assert (fill - picture).abs().max() < 1e-6


def test_a_constant_picture_stays_constant_whatever_the_hole() -> None:
    images = torch.full((1, 3, 20, 20), 0.3)
    holes = torch.rand(1, 20, 20, generator=DRAWS) < 0.9
    for largest in (20, 7):
        fill = infiller("noisy_linear", noise=0, largest=largest)(images, holes, COLOUR)
        assert torch.allclose(fill, images, atol=1e-6)


def test_blocks_are_the_means_of_their_known_pixels() -> None:
    """Of a block with one known pixel that is bright, and of a block without any, which takes its neighbours'."""
    image = torch.zeros(1, 1, 2, 6)
    image[0, 0, 0, 0], image[0, 0, :, 4:] = 0.8, 0.2
    holes = torch.ones(1, 2, 6)
    holes[0, 0, 0], holes[0, :, 4:] = 0, 0
    fill = infiller("noisy_linear", noise=0, largest=3)(image, holes, COLOUR[:1])
    blocks = torch.tensor([0.8, 0.5, 0.2]).reshape(1, 1, 1, 3).expand(1, 1, 1, 3)
    expected = F.interpolate(blocks, (2, 6), mode="bilinear", align_corners=False)
    hole = holes[:, None] > 0
    assert torch.allclose(fill[hole], expected[hole], atol=1e-6)


def test_the_noise_has_its_deviation_and_belongs_to_picture_and_seed() -> None:
    shades = torch.tensor([[0.5, 0.4, 0.3], [0.6, 0.7, 0.2]])
    images, holes = shades[:, :, None, None].repeat(1, 1, 64, 64), torch.zeros(2, 64, 64)
    holes[:, 4:60, 4:60] = 1
    made = infiller("noisy_linear", noise=0.02)
    fill = made(images, holes, COLOUR)
    inside = (fill - images)[:, :, 4:60, 4:60]
    assert float(inside.std()) == pytest.approx(0.02, rel=0.02) and abs(float(inside.mean())) < 1e-3
    assert torch.equal(fill, made(images, holes, COLOUR))
    assert torch.equal(fill[1:], made(images[1:], holes[1:], COLOUR)), "no company changes it"
    assert not torch.allclose(inside[0], inside[1], atol=1e-3)
    other = made.drawn(1)(images, holes, COLOUR)
    assert made.drawn(0) == made and not torch.equal(other, fill)
    assert torch.equal(other, infiller("noisy_linear", noise=0.02, seed=1)(images, holes, COLOUR))


def test_colour_noise_may_belong_to_the_picture_as_well() -> None:
    images, holes = torch.rand(3, 3, 12, 12, generator=DRAWS), torch.zeros(3, 12, 12)
    holes[:, 2:9] = 1
    made = infiller("colour_noise", seed=4)
    together = made(images, holes, COLOUR)
    assert torch.equal(together[1:2], made(images[1:2], holes[1:2], COLOUR))
    assert infiller("colour_noise").drawn(5).drawn(0) == infiller("colour_noise", seed=5)
    with pytest.raises(InputError, match="give one of them"):
        infiller("colour_noise", seed=0, generator=torch.Generator())


def test_options_that_make_no_sense_are_refused() -> None:
    for options in ({"noise": -1}, {"seed": -1}, {"largest": 0}):
        with pytest.raises(InputError, match="noisy_linear's"):
            infiller("noisy_linear", **options)

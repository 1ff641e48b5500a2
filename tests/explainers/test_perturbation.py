"""RISE, occlusion, XRAI and the references against enumerations, loops and other libraries."""

import itertools

import captum.attr
import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F
from conftest import tiny_net
from skimage.segmentation import felzenszwalb
from skimage.transform import resize
from torch import Tensor, nn

from maskwise.box import boxes
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.explainers import explainer
from maskwise.explainers.perturb import generators
from maskwise.explainers.rise import random_masks
from maskwise.explainers.targets import Targets
from maskwise.explainers.xrai import ranked, segments

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(7))


class Patch(nn.Module):
    """Logit 0 is the mean of one corner, logit 1 is zero."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        value = x[:, :, : self.side // 2, : self.side // 2].mean((1, 2, 3))
        return torch.stack([value, torch.zeros_like(value)], 1)


def corner(side: int) -> Classifier:
    net = nn.Sequential(nn.Identity(), Patch(side))
    return Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=side, taps=["0"])


def enlarged(cells: Tensor, side: int, border: str) -> Tensor:
    """A grid (s,s) at (side,side), by scikit-image, as the authors do it, or by PyTorch, which clamps."""
    if border == "mirror":
        return torch.from_numpy(resize(cells.numpy(), (side, side), order=1, mode="reflect", anti_aliasing=False))
    return F.interpolate(cells[None, None], (side, side), mode="bilinear", align_corners=False)[0, 0]


@pytest.mark.parametrize("border", ["mirror", "clamp"])
@pytest.mark.parametrize("grid", [1, 2, 3, 7])
def test_masks_are_the_papers_recipe(border: str, grid: int) -> None:
    """Grid to (s+1) cells by bilinear interpolation, then a crop at the drawn shift, one mask after another."""
    draws = [torch.Generator().manual_seed(4)]
    masks = random_masks(draws, 6, grid=grid, keep=0.4, side=(32, 32), border=border)[0]  # type: ignore[arg-type]
    numbers = torch.rand(6, grid**2 + 2, generator=torch.Generator().manual_seed(4))
    cell = -(-32 // grid)
    for mask, drawn in zip(masks, numbers, strict=True):
        large = enlarged((drawn[2:] < 0.4).float().reshape(grid, grid), (grid + 1) * cell, border)
        y, x = int(drawn[0] * cell), int(drawn[1] * cell)
        assert torch.allclose(mask, large[y : y + 32, x : x + 32].float(), atol=1e-5)
    assert masks.std() > 0.1


def test_rise_mirrors_unless_told_otherwise() -> None:
    """A mirrored rim is less sure of its cells, so masks vary less there."""
    drawn = [random_masks([torch.Generator().manual_seed(0)], 400, 7, 0.5, (70, 70), b)[0] for b in ("mirror", "clamp")]  # type: ignore[arg-type]
    assert torch.equal(drawn[0], random_masks([torch.Generator().manual_seed(0)], 400, 7, 0.5, (70, 70))[0])
    rims = [m[:, 0].var(0).mean() for m in drawn]
    assert 1.2 < rims[1] / rims[0] < 1.5
    classifier = corner(16)
    default, mirrored, clamped = (
        explainer("rise", classifier, masks=20, **options)(IMAGES, 0)
        for options in ({}, {"border": "mirror"}, {"border": "clamp"})
    )
    assert torch.equal(default, mirrored) and not torch.allclose(default, clamped, atol=1e-2)
    with pytest.raises(InputError, match="border is mirror or clamp"):
        explainer("rise", classifier, border="reflect")


def test_rise_equals_the_enumeration_of_all_masks_of_a_2x2_grid() -> None:
    """In the limit RISE is the expectation over 16 grids and all shifts, written out here."""
    classifier, image = corner(8), torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    cell, expected = 4, torch.zeros(8, 8)
    for bits in itertools.product((0.0, 1.0), repeat=4):
        large = enlarged(torch.tensor(bits).reshape(2, 2), 12, "mirror").float()
        for y, x in itertools.product(range(cell), repeat=2):
            mask = large[y : y + 8, x : x + 8]
            p = classifier.logits(image * mask).softmax(1)[0, 0]
            expected += p * mask / 16 / cell**2 / 0.5
    explain = explainer("rise", classifier, grid=2, masks=160000, batch=1000)
    from maskwise.explainers.targets import Targets

    found = explain.saliency(image, Targets(torch.tensor([[0]])))[0, 0]
    assert (found - expected).abs().max() < 0.003 < expected.std() / 2
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.99


def test_rise_says_its_standard_error_and_stops_by_it() -> None:
    classifier = corner(16)
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    many = {"masks": 5000, "batch": 500}
    runs = torch.stack(
        [explainer("rise", classifier, seed=s, **many).saliency(image, _first())[0, 0] for s in range(12)]
    )
    explain = explainer("rise", classifier, **many)
    raw = explain.saliency(image, _first())
    said = explain.report["standard_error"].item() * (raw.max() - raw.min()).item()
    assert 0.8 * runs.std(0).mean() < said < 1.25 * runs.std(0).mean()
    early = explainer("rise", classifier, masks=4000, tolerance=0.2)
    early(image, 0)
    assert early.report["masks"].item() < 4000 and early.report["standard_error"].item() <= 0.2


def _first(count: int = 1) -> Targets:
    return Targets(torch.tensor([[0]] * count))


def test_rise_does_not_depend_on_batch_or_order() -> None:
    classifier = Classifier(tiny_net(), input_size=32)
    reference = explainer("rise", classifier, masks=50)(IMAGES, 2)
    for batch in (1, 7, 1000):
        maps = explainer("rise", classifier, masks=50, batch=batch)(IMAGES.flip(0), 2).flip(0)
        assert torch.allclose(maps, reference, atol=1e-4)
    assert not torch.allclose(explainer("rise", classifier, masks=50, seed=1)(IMAGES, 2), reference, atol=1e-2)


def test_pictures_have_numbers_of_their_own() -> None:
    first, second = (torch.rand(4, generator=g) for g in generators(IMAGES, 0))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("batch", [3, 64])
def test_occlusion_equals_captum(batch: int) -> None:
    net = tiny_net()
    classifier = Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=32)
    theirs = captum.attr.Occlusion(net).attribute(IMAGES, sliding_window_shapes=(3, 8, 8), strides=(3, 4, 4), target=1)
    ours = explainer("occlusion", classifier, window=0.25, stride=0.125, scoring="logit", batch=batch)(IMAGES, 1)
    assert torch.allclose(ours, min_max(theirs[:, 0]).float(), atol=1e-4)


def test_occlusion_reaches_the_edge_where_the_stride_does_not_fit() -> None:
    maps = explainer("occlusion", corner(30), window=0.25, stride=0.2, scoring="logit")(
        torch.full((1, 3, 30, 30), 0.7), 0
    )
    assert maps[0, :12, :12].min() > 0.5 and maps[0, 24:, 24:].max() == 0


def test_xrai_equals_a_plain_loop() -> None:
    draws = np.random.default_rng(0)
    values = draws.normal(size=(20, 20))
    regions = draws.random((12, 20, 20)) < 0.3
    free, left, expected = np.ones((20, 20), bool), list(range(12)), np.zeros((20, 20))
    while True:
        able = [r for r in left if (regions[r] & free).sum() >= 20]
        if not able:
            break
        best = max(able, key=lambda r: values[regions[r] & free].mean())
        expected[regions[best] & free] = values[regions[best] & free].mean()
        free &= ~regions[best]
        left = [r for r in able if r != best]
    expected[free] = values[free].mean()
    assert np.allclose(ranked(values, regions), expected)


def scene(side: tuple[int, int], seed: int = 0) -> Tensor:
    """A picture (3,h,w) of smooth patches under fine noise, of about 0.2 to 0.8, each colour of its own range."""
    draws = torch.Generator().manual_seed(seed)
    patches = F.interpolate(torch.rand(1, 3, 9, 11, generator=draws), side, mode="bicubic", align_corners=False)[0]
    noise = torch.rand(3, *side, generator=draws) * 0.1
    return patches.clamp(0, 1) * 0.4 + noise + torch.tensor([0.2, 0.25, 0.3])[:, None, None]


def slow_segments(image: Tensor) -> list[np.ndarray]:
    """PAIR's regions, written out: each pixel within 5 pixels of a region belongs to it."""
    x = image.permute(1, 2, 0).numpy()
    x = (x - x.min()) / (x.max() - x.min()) * 2 - 1
    x = resize(x, (224, 224), order=3, mode="constant", preserve_range=True, anti_aliasing=True)
    found = []
    for scale in (50, 100, 150, 250, 500, 1200):
        labels = felzenszwalb(x, scale=scale, sigma=0.8, min_size=150)
        labels = resize(labels, image.shape[1:], order=0, mode="constant", preserve_range=True, anti_aliasing=False)
        for label in range(int(labels.min()), int(labels.max()) + 1):
            region = labels.astype(int) == label
            if region.any():
                found.append(scipy.ndimage.distance_transform_edt(~region) <= 5)
    return found


@pytest.mark.parametrize("side", [(224, 224), (96, 128), (500, 340)])
def test_xrai_regions_are_pairs_written_out(side: tuple[int, int]) -> None:
    image = scene(side)
    expected = slow_segments(image)
    assert len(expected) > 12 and np.array_equal(segments(image), np.stack(expected))


def test_xrai_regions_do_not_change_in_haze_and_one_colour_is_one_region() -> None:
    image = scene((224, 224))
    whole = (image - image.min()) / (image.max() - image.min())
    clear, hazy = segments(whole), segments(0.4 + whole / 4)
    assert len(clear) == len(hazy) and (clear == hazy).mean() > 0.999
    assert segments(torch.full((3, 64, 64), 0.3)).all() and len(segments(torch.full((3, 64, 64), 0.3))) == 6
    flat = explainer("xrai", corner(64), steps=2)(torch.full((1, 3, 64, 64), 0.3), 0)
    assert not flat.any()


def test_xrai_is_that_of_pairs_own_package() -> None:
    """From the same attributions: segmentation, dilation, greedy order and what is left over."""
    saliency = pytest.importorskip("saliency.core", reason="the package saliency is not installed")
    for seed, side in enumerate([(224, 224), (180, 250)]):
        image = scene(side, seed)
        x = image.permute(1, 2, 0).numpy()
        values = np.random.default_rng(seed).normal(size=x.shape)
        theirs = saliency.XRAI().GetMask(x, None, base_attribution=values)
        ours = ranked(values.max(2), segments(image))
        assert np.allclose(ours, theirs, atol=1e-12) and len(np.unique(theirs)) > 5


def test_xrai_attributions_begin_at_the_pictures_own_range() -> None:
    """Of a network that squares pixels, integrated gradients are x^2 - x0^2, whichever the points."""

    class Squares(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([(x**2).sum((1, 2, 3)), 0 * x.sum((1, 2, 3))], 1)

    net = nn.Sequential(nn.Identity(), Squares())
    classifier = Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=32, taps=["0"])
    images = torch.stack([scene((32, 32), 1), scene((32, 32), 2) / 2])
    assert images[0].min() > 1.5 * images[1].min()
    regions = [segments(image) for image in images]
    for options, ends in (
        ({}, lambda x: (x.min(), x.max())),
        ({"baselines": "black_white"}, lambda _: (0.0, 1.0)),
    ):
        maps = explainer("xrai", classifier, steps=3, **options).saliency(images, _first(2))
        for image, own, found in zip(images, regions, maps[:, 0], strict=True):
            low, high = ends(image)
            values = (image**2 - (low**2 + high**2) / 2).amax(0).double().numpy()
            assert np.allclose(found.numpy(), ranked(values, own), atol=1e-5)
    with pytest.raises(InputError, match="baselines is range or black_white"):
        explainer("xrai", classifier, baselines="grey")


def test_xrai_segments_cover_the_picture_and_find_the_informative_half() -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[:, :, 10:30, 10:30] = 0.9
    image += torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.05
    assert segments(image[0]).any(0).all()
    maps = explainer("xrai", corner(64), steps=4)(image.clamp(0, 1), 0)[0]
    assert maps[12:28, 12:28].min() == 1 and maps[40:, 40:].max() < 0.95


def test_the_centre_is_the_papers_centre_box() -> None:
    classifier = Classifier(tiny_net(), input_size=32)
    maps = explainer("center", classifier)(torch.rand(1, 3, 224, 224))
    classifier.size = (224, 224)
    assert boxes(explainer("center", classifier)(torch.rand(1, 3, 224, 224))).tolist() == [[33, 33, 191, 191]]
    assert maps.argmax().item() // 224 in range(90, 134)


def test_edges_equal_scipy() -> None:
    classifier = Classifier(tiny_net(), input_size=32)
    grey = IMAGES.mean(1).numpy()
    expected = [
        np.hypot(scipy.ndimage.sobel(g, 0, mode="nearest"), scipy.ndimage.sobel(g, 1, mode="nearest")) for g in grey
    ]
    assert torch.allclose(
        explainer("edges", classifier)(IMAGES), min_max(torch.from_numpy(np.stack(expected))), atol=1e-5
    )


def test_random_is_flat_on_average() -> None:
    maps = explainer("random", Classifier(tiny_net(), input_size=32))(torch.rand(64, 3, 32, 32))
    assert maps.mean((1, 2)).sub(0.5).abs().max() < 0.05 and maps.mean(0).std() < 0.06

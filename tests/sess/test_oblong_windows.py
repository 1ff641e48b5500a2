"""SESS on networks whose input is not square, or not of three channels: against loops that share no code with it."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from calling import call
from conftest import tiny_net
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.sess.windows import scaled_sizes, tiling

SHAPES = [(24, 36), (36, 24), (20, 52)]


def strict_net(size: tuple[int, int], channels: int = 3) -> nn.Module:
    """It takes pictures of one size alone, as any network with a dense layer on its grid."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(8 * (size[0] // 2) * (size[1] // 2), 4),
        ).eval()  # fmt: skip


def strict(size: tuple[int, int], channels: int = 3) -> Classifier:
    half = (0.5,) * channels
    return Classifier(strict_net(size, channels), mean=half, std=half, input_size=size, name="strict")


def pictures(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def brightness(images: Tensor, targets: object) -> Tensor:
    return images.mean(1)


def base(name: str, classifier: Classifier) -> Callable[..., Tensor]:
    if name == "function":
        return brightness
    return mw.explainer(name, classifier, **({"stride": 1 / 8} if name == "occlusion" else {}))  # few squares: quicker


def covering(size: tuple[int, int], window: tuple[int, int], step: int) -> tuple[int, int]:
    """Of a picture (H,W): the side that must grow most to cover the box does so, the other one keeps up."""
    shorter = min(window) + round(64 * min(window) / 224 * step)
    growth = [Fraction(shorter * side, min(window) * own) for side, own in zip(window, size, strict=True)]
    if growth[0] >= growth[1]:
        tall = round(growth[0] * size[0])
        return tall, tall * size[1] // size[0]
    wide = round(growth[1] * size[1])
    return wide * size[0] // size[1], wide


def by_loops(
    explain: Callable[..., Tensor],
    classifier: Classifier,
    image: Tensor,
    target: int,
    n: int,
    r: float,
    stride: int | None,
) -> np.ndarray:
    """Algorithm 1, one window after another, with windows as the classifier sees them: (H,W)."""
    size, (h, w) = tuple(image.shape[-2:]), classifier.size
    seen: list[tuple[float, Tensor, tuple[int, int], int, int]] = []
    for step in range(n):
        scaled_size = covering(size, (h, w), step)  # type: ignore[arg-type]
        scaled = F.interpolate(image, scaled_size, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
        y = 0
        while True:
            x = 0
            while True:
                crop = scaled[:, :, y : y + h, x : x + w]
                assert crop.shape[-2:] == (h, w)
                with torch.no_grad():
                    score = classifier(classifier.prepare(crop)).softmax(1)[0, target].item()
                seen.append((score, crop, scaled_size, y, x))
                if x + w >= scaled_size[1]:
                    break
                x = min(x + (stride or w), scaled_size[1] - w)
            if y + h >= scaled_size[0]:
                break
            y = min(y + (stride or h), scaled_size[0] - h)
    order = sorted(range(len(seen)), key=lambda i: (seen[i][0], i))[int(len(seen) * r) :]
    total, count = np.zeros(size), np.zeros(size)
    for i in order:
        score, crop, scaled_size, y, x = seen[i]
        patch = explain(crop, torch.tensor([target]))[0].detach().numpy().astype(np.float64)
        spread = patch.max() - patch.min()
        patch = (patch - patch.min()) / spread if spread > 0 else np.zeros_like(patch)
        patch[patch < 1e-6] = 0
        canvas = np.zeros(scaled_size)
        canvas[y : y + h, x : x + w] = patch * score
        back = F.interpolate(torch.from_numpy(canvas)[None, None], size, mode="bilinear", align_corners=False)
        back_to = np.where(back[0, 0].numpy() < 1e-13, 0, back[0, 0].numpy())
        total += back_to
        count += back_to > 0
    fused = total / np.maximum(count, 1)
    if fused.max() > fused.min():
        fused = (fused - fused.min()) / (fused.max() - fused.min())
    return cv2.GaussianBlur(fused, (11, 11), 5)


class TestOblong:
    @pytest.mark.parametrize("name", ["grad_cam", "gradient", "occlusion", "function"])
    @pytest.mark.parametrize("window", SHAPES)
    @pytest.mark.parametrize("size, n, r, stride", [
        ((40, 52), 4, 0.0, None), ((52, 40), 5, 0.5, 17), ((90, 41), 3, 0.8, None), ((14, 70), 3, 0.6, 11),
        ((48, 72), 4, 0.3, None),
    ])  # fmt: skip
    def test_maps_are_those_of_plain_loops(
        self, name: str, window: tuple[int, int], size: tuple[int, int], n: int, r: float, stride: int | None
    ) -> None:
        classifier, image = strict(window), pictures(1, *size)
        explain = base(name, classifier)
        ours = mw.SESS(explain, classifier, scales=n, prefilter=r, stride=stride, batch=7)(image, 2)
        theirs = by_loops(explain, classifier, image, 2, n, r, stride)
        assert np.allclose(ours[0].numpy(), theirs, atol=2e-5)
        assert ours.std() > 1e-3

    @pytest.mark.parametrize("window", SHAPES)
    def test_one_scale_of_a_picture_of_its_aspect_is_the_base_map(self, window: tuple[int, int]) -> None:
        classifier = strict(window)
        explain = mw.explainer("gradient", classifier)
        sess, image = mw.SESS(explain, scales=1, smooth=False), pictures(2, *window)
        assert torch.allclose(sess(image, 1), explain(image, 1), atol=2e-5)
        assert sess.report["windows"].tolist() == [[1], [1]]
        twice = pictures(1, 2 * window[0], 2 * window[1])
        assert torch.allclose(sess(twice, 1), min_max(explain(twice, 1)), atol=2e-5)

    @pytest.mark.parametrize("window", SHAPES)
    def test_a_map_lies_where_its_window_does(self, window: tuple[int, int]) -> None:
        """One white dot in a black picture: what the function sees comes back to the dot's place."""
        image = torch.zeros(1, 3, 60, 100)
        image[..., 41:45, 13:17] = 1
        classifier = strict(window)
        found = mw.SESS(brightness, classifier, scales=5, smooth=False)(image, 0)[0]
        assert found[41:45, 13:17].min() > 0.5 and found[:36].max() == 0 and found[:, 24:].max() == 0

    def test_views_are_windows_of_its_size(self) -> None:
        classifier, image = strict((24, 36)), pictures(1, 40, 52)
        views = mw.SESS(mw.explainer("grad_cam", classifier), scales=3, prefilter=0.3).views(image[0], 1)
        for view in views:
            assert view.image.shape == (3, 24, 36) and view.map.shape == (24, 36)
            x0, y0, x1, y1 = view.box
            assert 0 <= x0 < x1 <= 52 + 1e-6 and 0 <= y0 < y1 <= 40 + 1e-6
        whole = next(
            view for view in views if view.scale == 2
        )  # a box of the classifier's aspect, but for whole pixels
        x0, y0, x1, y1 = whole.box
        assert (x1 - x0) / (y1 - y0) == pytest.approx(36 / 24, rel=0.05)

    @pytest.mark.parametrize("options", [{"budget": 30}, {"prune": 0.0, "scales": 4}, {"pool": "max", "scales": 4}])
    def test_its_other_options(self, options: dict[str, Any]) -> None:
        classifier, images = strict((24, 36)), pictures(2, 50, 44)
        explain = mw.SESS(mw.explainer("gradient", classifier), **options)
        together = explain(images, 1)
        assert together.shape == (2, 50, 44) and together.std() > 1e-3
        assert torch.allclose(together[1:], explain(images[1:], 1), atol=1e-5)

    def test_gaps_and_facts(self) -> None:
        classifier = strict((24, 36))
        with pytest.raises(InputError, match="stride 30 would leave gaps between windows of 24x36 pixels"):
            mw.SESS(brightness, classifier, stride=30)
        with pytest.raises(InputError, match="at least 24 pixels"):
            mw.SESS(brightness, classifier, scales=[23])
        facts = mw.SESS(brightness, classifier, stride=12).facts()
        assert (facts["window"], facts["stride"]) == ([24, 36], 12)
        assert mw.SESS(brightness, classifier).facts()["stride"] == [24, 36]

    @examples(max_examples=60)
    @given(st.integers(1, 90), st.integers(1, 90), st.integers(4, 40), st.integers(4, 40), st.data())
    def test_windows_cover_every_pixel_and_keep_the_aspect(
        self, height: int, width: int, h: int, w: int, data: st.DataObject
    ) -> None:
        stride = data.draw(st.integers(1, min(h, w)))
        sides = [min(h, w), min(h, w) + data.draw(st.integers(0, 30))]
        sizes = scaled_sizes((height, width), sides, (h, w))
        assert sizes[0][0] == h or sizes[0][1] == w, "the smallest scale just covers a window"
        tiles = tiling(sizes, (h, w), (stride, stride))
        for scale, (tall, wide) in enumerate(sizes):
            assert abs(tall / height - wide / width) <= 1 / min(height, width) + 1e-9
            seen = torch.zeros(tall, wide, dtype=torch.bool)
            for tile in (t for t in tiles if t.scale == scale):
                assert 0 <= tile.y <= tall - h and 0 <= tile.x <= wide - w
                seen[tile.y : tile.y + h, tile.x : tile.x + w] = True
            assert seen.all()


@pytest.mark.parametrize("name", ["grad_cam", "gradient", "function"])
@pytest.mark.parametrize("r", [0.0, 0.5])
@pytest.mark.parametrize("window", [(24, 24), (24, 36)])
def test_a_grey_network_scores_grey_windows(name: str, r: float, window: tuple[int, int]) -> None:
    """Pictures are RGB: the windows that are only scored must become grey, too."""
    classifier, image = strict(window, 1), pictures(1, 40, 52)
    explain = base(name, classifier)
    sess = mw.SESS(explain, classifier, scales=3, prefilter=r)
    assert np.allclose(sess(image, 3)[0].numpy(), by_loops(explain, classifier, image, 3, 3, r, None), atol=2e-5)
    assert sess(image[:, :1], 3).std() > 1e-3, "pictures may be grey already"


def test_the_command_line(picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda name, weights=None: strict((24, 36)))
    picture = sorted((picture_folder / "images").glob("*"))[0]
    given = [picture, "--method", "gradient", "--sess", "--scales", 3, "--prefilter", 0.5, "--sess-panel"]
    found = call("explain", *given, "--out", tmp_path / "out")
    assert found.exit_code == 0, found.output
    assert "gradient + SESS on strict; figures in" in found.output
    assert list((tmp_path / "out").rglob("*.npy"))


class TestSquareStaysAsItWas:
    """Numbers of the version before windows took the classifier's aspect."""

    def test_windows(self) -> None:
        draws, digest = random.Random(0), 0
        for _ in range(300):
            size = (draws.randint(1, 900), draws.randint(1, 900))
            side = draws.choice([32, 64, 224])
            stride = draws.randint(8, side)
            sizes = scaled_sizes(size, [side + round(64 / 224 * side * i) for i in range(5)], (side, side))
            tiles = tiling(sizes, (side, side), (stride, stride))
            said = str(([tuple(s) for s in sizes], [tuple(t) for t in tiles]))
            digest = zlib.crc32(said.encode(), digest)
        assert digest == 4046140819

    @pytest.mark.parametrize("name, options, size, values", [
        ("grad_cam", {"scales": 4}, (40, 52), [0.354245, 0.445171, 0.238790, 0.359640]),
        ("grad_cam", {"scales": 4}, (90, 41), [0.303195, 0.377767, 0.211388, 0.293142]),
        ("gradient", {"scales": 6, "prefilter": 0.7, "stride": 11}, (40, 52), [0.223324, 0.275796, 0.269278, 0.264232]),
        ("gradient", {"scales": 6, "prefilter": 0.7, "stride": 11}, (90, 41), [0.390282, 0.398573, 0.395975, 0.366240]),
        ("function", {"scales": [32, 50, 61], "protocol": "released", "smooth": False}, (40, 52),
         [0.473747, 0.551053, 0.559257, 0.310048]),
        ("function", {"scales": [32, 50, 61], "protocol": "released", "smooth": False}, (90, 41),
         [0.495576, 0.560996, 0.670130, 0.378786]),
    ])  # fmt: skip
    def test_maps(self, name: str, options: dict[str, Any], size: tuple[int, int], values: list[float]) -> None:
        tiny = Classifier(tiny_net(), input_size=32, name="tiny")
        sess = mw.SESS(base(name, tiny), tiny, **options)
        found = sess(pictures(1, *size), 3)[0]
        seen = [found.mean(), found[5, 7], found[-9, 20], found[size[0] // 2, size[1] // 2]]
        assert np.allclose([float(v) for v in seen], values, atol=2e-6)
        assert sess.facts()["window"] == 32  # which keeps rows on disk findable

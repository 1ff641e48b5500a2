"""SESS as a whole: against Algorithm 1 in plain loops, and what it promises beyond the paper."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from hypothesis import given, settings
from hypothesis import strategies as st
from sess.small import SIDE, TINY, brightness, pictures, rows_seen
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.maskers import Masker, save_masker
from maskwise.sess import PRESETS


def algorithm_1(
    explain: Callable[..., Tensor], image: Tensor, target: int, n: int, r: float, stride: int, released: bool = False
) -> np.ndarray:
    """The paper's Algorithm 1, one patch after another, every map at full size, with OpenCV's blur."""
    height, width = image.shape[-2:]
    crops, places, scores = [], [], []
    for i in range(n):
        side = SIDE + round(SIDE * 64 * i / 224)
        if height <= width:
            h, w = side, int(side * width / height)
        else:
            h, w = int(side * height / width), side
        scaled = F.interpolate(image, (h, w), mode="bilinear", align_corners=False, antialias=not released)
        y = 0
        while True:
            x = 0
            while True:
                crop = scaled[:, :, y : y + SIDE, x : x + SIDE]
                crops.append(crop)
                places.append((h, w, y, x))
                scores.append(float(TINY.logits(crop).softmax(1)[0, target]))
                if x + SIDE >= w:
                    break
                x = min(x + stride, w - SIDE)
            if y + SIDE >= h:
                break
            y = min(y + stride, h - SIDE)
    order = sorted(range(len(scores)), key=lambda k: (scores[k], k))[int(len(scores) * r) :]
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for k in order:
        patch = explain(crops[k], torch.tensor([target]))[0].detach().numpy().astype(np.float64)
        with np.errstate(invalid="ignore"):
            patch = (patch - patch.min()) / (patch.max() - patch.min())
        patch[patch < 1e-6] = 0  # rounding, which differs from batch to batch
        if not released:
            patch = np.nan_to_num(patch)
        weight = scores[k] / max(scores) if released else scores[k]
        h, w, y, x = places[k]
        canvas = np.zeros((h, w))
        canvas[y : y + SIDE, x : x + SIDE] = patch * weight
        large = F.interpolate(torch.from_numpy(canvas)[None, None], (height, width), mode="bilinear")[0, 0].numpy()
        large = np.where(np.abs(large) < 1e-13, 0, large)  # 1e-16 of a neighbour is rounding
        total = total + large * (large > 0)
        count += large > 0
    fused = np.nan_to_num(total / np.maximum(count, 1))
    if not released and fused.max() > fused.min():
        fused = (fused - fused.min()) / (fused.max() - fused.min())
    return cv2.GaussianBlur(fused, (11, 11), 5)


@pytest.fixture(scope="module")
def masker_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        masker = Masker.build(TINY)
    path = tmp_path_factory.mktemp("masker") / "m.safetensors"
    save_masker(path, masker, TINY, {})
    return str(path)


def base(name: str, masker_file: str) -> Callable[..., Tensor]:
    if name == "function":
        return brightness
    return mw.explainer(name, TINY, **({"masker": masker_file} if name == "casm" else {}))


class TestAlgorithm1:
    @pytest.mark.parametrize(
        "name", ["grad_cam", "layer_cam", "gradient", "guided_backprop", "casm", "function", "edges"]
    )
    @pytest.mark.parametrize(
        "size, n, r, stride",
        [((40, 52), 4, 0.0, SIDE), ((52, 40), 7, 0.5, SIDE), ((90, 41), 5, 0.9, 16), ((20, 20), 6, 0.7, 11)],
    )
    def test_maps_are_those_of_plain_loops(
        self, name: str, size: tuple[int, int], n: int, r: float, stride: int, masker_file: str
    ) -> None:
        explain = base(name, masker_file)
        image = pictures(1, *size)
        ours = mw.SESS(explain, TINY, scales=n, prefilter=r, stride=stride, batch=7)(image, 3)
        theirs = algorithm_1(explain, image, 3, n, r, stride)
        assert np.allclose(ours[0].numpy(), theirs, atol=1e-5)
        assert ours.std() > 1e-3

    @settings(max_examples=15, deadline=None)
    @given(
        st.integers(10, 80), st.integers(10, 80), st.integers(1, 8), st.sampled_from([0.0, 0.3, 0.8]),
        st.integers(8, 32), st.integers(0, 4),
    )  # fmt: skip
    def test_for_any_picture(self, height: int, width: int, n: int, r: float, stride: int, target: int) -> None:
        image = pictures(1, height, width, height * width)
        ours = mw.SESS(mw.explainer("grad_cam", TINY), scales=n, prefilter=r, stride=stride)(image, target)
        theirs = algorithm_1(mw.explainer("grad_cam", TINY), image, target, n, r, stride)
        assert np.allclose(ours[0].numpy(), theirs, atol=2e-5)

    @pytest.mark.parametrize("r", [0.0, 0.6])
    def test_released_protocol(self, r: float) -> None:
        """Weights over the maximum, no antialiasing, no final min-max, and holes where a patch is constant."""

        def partly_constant(images: Tensor, targets: object) -> Tensor:
            maps = images.mean(1)
            dark = maps.mean((1, 2)) < 0.6
            return torch.where(dark[:, None, None], 0.25, maps)

        image = pictures(1, 48, 60, 5)
        image = image / 2 + 0.5
        image[..., :10] = 0.2
        ours = mw.SESS(partly_constant, TINY, scales=5, prefilter=r, protocol="released")(image, 1)
        theirs = algorithm_1(partly_constant, image, 1, 5, r, SIDE, released=True)
        assert np.allclose(ours[0].numpy(), theirs, atol=1e-5)
        assert (theirs == 0).any() and theirs.max() > 0
        safe = mw.SESS(partly_constant, TINY, scales=5, prefilter=r, protocol="released", nan_safe=True)(image, 1)
        assert (safe == 0).sum() < (ours == 0).sum()

    def test_one_scale_of_a_square_picture_is_the_base_map(self) -> None:
        image, explain = pictures(2, SIDE, SIDE), mw.explainer("gradient", TINY)
        maps = mw.SESS(explain, scales=1, smooth=False)(image, 2)
        assert torch.allclose(maps, explain(image, 2), atol=1e-6)

    def test_the_top_class_is_that_of_the_whole_picture(self) -> None:
        image = pictures(2, 40, 52)
        explain = mw.SESS(mw.explainer("grad_cam", TINY), scales=4)
        assert torch.equal(explain(image), explain(image, TINY.logits(TINY.prepare(image)).argmax(1)))


class TestSeveral:
    @pytest.mark.parametrize("name", ["grad_cam", "gradient", "function"])
    @pytest.mark.parametrize("r", [0.0, 0.7])
    def test_pictures_together_are_what_each_is_alone(self, name: str, r: float) -> None:
        images, targets = pictures(3, 44, 40), torch.tensor([0, 3, 2])
        explain = mw.SESS(base(name, ""), TINY, scales=6, prefilter=r, batch=10)
        alone = torch.cat([explain(images[i : i + 1], targets[i : i + 1]) for i in range(3)])
        assert torch.allclose(explain(images, targets), alone, atol=1e-5)

    @pytest.mark.parametrize("name", ["grad_cam", "gradient", "function"])
    @pytest.mark.parametrize("r", [0.0, 0.7])
    def test_goals_together_are_what_each_is_alone(self, name: str, r: float) -> None:
        images = pictures(2, 44, 40)
        explain = mw.SESS(base(name, ""), TINY, scales=6, prefilter=r)
        together = explain(images, torch.tensor([[0, 4], [1, 2]]))
        assert together.shape == (2, 2, 44, 40)
        for k, targets in enumerate(([0, 1], [4, 2])):
            assert torch.allclose(together[:, k], explain(images, targets), atol=1e-5)

    def test_a_score_of_the_callers(self) -> None:
        image = pictures(1, 44, 40)
        explain = mw.SESS(mw.explainer("gradient", TINY), scales=4, prefilter=0.5)
        odds = explain(image, lambda logits: logits.softmax(1)[:, 2])
        assert odds.shape == (1, 44, 40) and odds.max() > 0.5


class TestProperties:
    @settings(max_examples=15, deadline=None)
    @given(st.integers(33, 60), st.integers(33, 60), st.integers(0, 2))
    def test_a_flipped_picture_has_the_flipped_map(self, height: int, width: int, axis: int) -> None:
        """At scales of at most two windows a side, whose places are symmetric; the score must be symmetric too."""

        class Symmetric(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x.mean((2, 3))

        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.AvgPool2d(2), Symmetric())
        classifier = Classifier(net, input_size=SIDE, taps=["1"])
        image = pictures(1, max(height, width), max(height, width), height)
        explain = mw.SESS(brightness, classifier, scales=4, prefilter=0.3)
        flips = ([-1], [-2], [-1, -2])[axis]
        assert torch.allclose(explain(image.flip(flips), 1), explain(image, 1).flip(flips), atol=1e-5)

    def test_a_constant_map_gives_zeros(self) -> None:
        for r in (0.0, 0.5):
            maps = mw.SESS(lambda x, t: torch.full(x[:, 0].shape, 0.3), TINY, scales=5, prefilter=r)(
                pictures(2, 40, 50)
            )
            assert torch.equal(maps, torch.zeros(2, 40, 50))

    def test_what_resizing_leaves_of_one_colour_is_no_contrast(self) -> None:
        """A picture of one colour differs by float32's rounding once it is resized: stretched, that was a map."""
        grey = torch.full((1, 3, 70, 80), 0.3)
        noise = mw.SESS(brightness, TINY, scales=4, smooth=False)
        assert torch.equal(noise(grey, 1), torch.zeros(1, 70, 80))
        half = pictures(1, 70, 80)
        half[:, :, :50] = 0.3
        large = mw.SESS(brightness, TINY, scales=[59], smooth=False, final_min_max=False)
        assert torch.equal(large(half, 1)[0, :30], torch.zeros(30, 80)), "windows that see one colour alone"

    def test_of_itself(self) -> None:
        inner = mw.SESS(mw.explainer("grad_cam", TINY), scales=2, smooth=False)
        maps = mw.SESS(inner, scales=3)(pictures(2, 40, 50), 1)
        assert maps.shape == (2, 40, 50) and maps.isfinite().all() and maps.std() > 1e-3

    def test_max_pooling_and_theta(self) -> None:
        image = pictures(1, 40, 50)
        options = {"scales": 6, "smooth": False, "final_min_max": False}
        mean = mw.SESS(brightness, TINY, **options)(image, 1)  # type: ignore[arg-type]
        most = mw.SESS(brightness, TINY, pool="max", **options)(image, 1)  # type: ignore[arg-type]
        assert (most >= mean - 1e-6).all() and (most > mean + 1e-4).any()
        strict = mw.SESS(brightness, TINY, theta=0.1, weights="softmax_max", **options)(image, 1)  # type: ignore[arg-type]
        positive = strict[strict > 0]
        assert positive.min() > 0.1  # a mean of values that all exceed theta

    def test_logits_as_weights(self) -> None:
        maps = mw.SESS(mw.explainer("grad_cam", TINY), scales=5, prefilter=0.5, weights="logit")(pictures(1, 40, 50))
        assert maps.isfinite().all()

    @pytest.mark.parametrize("smooth", [True, False])
    def test_values_above_one_are_not_cut_off(self, smooth: bool) -> None:
        """Of logits and scores of the caller's they may be any: cut to 1 such a map says that all places are alike."""
        image, target = pictures(1, 50, 64), int(TINY(pictures(1, 50, 64)).argmax())
        options = {"scales": 3, "smooth": smooth, "final_min_max": False}
        small = mw.SESS(brightness, TINY, **options)(image, lambda logits: 0.5 + 0 * logits[:, 0])
        assert 0.2 < small.amax() < 0.5, "what fits is as it is"
        with pytest.raises(InputError, match=r"up to \d+.*final_min_max"):
            mw.SESS(brightness, TINY, **options)(image, lambda logits: 30 + logits[:, target])
        shares = mw.SESS(brightness, TINY, **options, weights="softmax_max")
        assert shares(image, lambda logits: 30 + logits[:, target]).amax() < 1

    def test_a_function_may_differentiate(self) -> None:
        def gradient(images: Tensor, targets: Tensor) -> Tensor:
            images = images.clone().requires_grad_(True)
            TINY.logits(images).gather(1, targets[:, None]).sum().backward()
            return images.grad.abs().amax(1)  # type: ignore[union-attr]

        image = pictures(1, 40, 50)
        expected = mw.SESS(mw.explainer("gradient", TINY), scales=3)(image, 2)
        assert torch.allclose(mw.SESS(gradient, TINY, scales=3)(image, 2), expected, atol=1e-5)

    def test_any_input_size(self) -> None:
        classifier = Classifier(tiny_net(), input_size=48)
        explain = mw.SESS(mw.explainer("grad_cam", classifier), scales=12)
        explain(pictures(1, 60, 60), 0)
        assert explain.report["windows"].item() == 122  # the counts of the paper hold for any window


class TestNothingTwice:
    image = pictures(2, 50, 50)

    @pytest.mark.parametrize("name, r, forwards", [
        ("grad_cam", 0.0, 122), ("grad_cam", 0.99, 122), ("gradient", 0.0, 122), ("gradient", 0.99, 122 + 2),
        ("function", 0.5, 122),
    ])  # fmt: skip
    def test_forwards(self, name: str, r: float, forwards: int) -> None:
        explain = mw.SESS(base(name, ""), TINY, scales=12, prefilter=r)
        base(name, "")(self.image, 1)  # what is asked of a network once, whoever comes first
        seen = rows_seen(TINY, lambda: explain(self.image, 1))
        assert seen == len(self.image) * forwards

    @pytest.mark.parametrize("r", [0.0, 0.9])
    def test_a_masker_passes_once(self, r: float, masker_file: str) -> None:
        masker = mw.explainer("casm", TINY, masker=masker_file)
        explain = mw.SESS(masker, scales=12, prefilter=r)
        assert rows_seen(masker.masker.encoder, lambda: explain(self.image, 1)) == 2 * 122  # type: ignore[attr-defined]
        assert rows_seen(TINY, lambda: explain(self.image, 1)) == 0

    def test_reports_what_it_did(self) -> None:
        explain = mw.SESS(mw.explainer("gradient", TINY), scales=12, prefilter=0.9)
        ticks: list[tuple[int, int]] = []
        explain.progress = lambda done, total: ticks.append((done, total))
        explain(self.image, 1)
        assert explain.report.pop("warnings") == []
        assert {k: v.tolist() for k, v in explain.report.items()} == {
            "windows": [[122], [122]], "scored": [[122], [122]], "kept": [[13], [13]],
        }  # fmt: skip
        assert ticks[-1][0] <= ticks[-1][1]


class TestPresets:
    def test_are_the_papers(self) -> None:
        assert PRESETS["sess_quality"] == {"scales": 12, "prefilter": 0.0, "smooth": True}
        assert PRESETS["sess_metrics"] == {"scales": 10, "prefilter": 0.9, "smooth": False}
        assert PRESETS["sess_fast"] == {"scales": 10, "prefilter": 0.99, "smooth": False}

    @pytest.mark.parametrize("name", PRESETS)
    def test_by_name(self, name: str) -> None:
        explain = mw.SESS.preset(name, mw.explainer("grad_cam", TINY))
        same = mw.SESS(mw.explainer("grad_cam", TINY), **PRESETS[name])
        image = pictures(1, 40, 40)
        assert torch.equal(explain(image, 1), same(image, 1))


class TestBadInput:
    @pytest.mark.parametrize("options, says", [
        ({"scales": 0}, "from 1 to 1000, not 0"), ({"scales": [16]}, "at least 32"),
        ({"scales": "12"}, "number of scales"),
        ({"prefilter": 1.0}, r"\[0,1\)"), ({"stride": 0}, "stride"), ({"stride": 40}, "gaps"),
        ({"theta": -1}, "theta"), ({"pool": "median"}, "pool"), ({"protocol": "mine"}, "protocol"),
        ({"weights": "odds"}, "weights"), ({"prune": 2}, "prune"), ({"batch": 0}, "batch"),
        ({"budget": "soon"}, "budget"), ({"budget": 100, "scales": 3}, "either"), ({"scoring": "fp8"}, "scoring"),
    ])  # fmt: skip
    def test_options(self, options: dict, says: str) -> None:  # type: ignore[type-arg]
        with pytest.raises(InputError, match=says):
            mw.SESS(brightness, TINY, **options)

    def test_a_function_brings_no_classifier(self) -> None:
        with pytest.raises(InputError, match="classifier"):
            mw.SESS(brightness)

    @pytest.mark.parametrize("bad", [
        lambda x, t: x, lambda x, t: x.mean(1)[:1], lambda x, t: x.mean(1) * torch.nan,
    ])  # fmt: skip
    def test_a_function_that_gives_no_maps(self, bad: Callable[..., Tensor]) -> None:
        with pytest.raises(InputError, match="must give maps"):
            mw.SESS(bad, TINY, scales=3)(pictures(1, 40, 40), 1)

    def test_broken_weights(self) -> None:
        net = tiny_net()
        with torch.no_grad():
            net[0].weight.fill_(torch.nan)  # type: ignore[index, union-attr]
        with pytest.raises(InputError, match="NaN"):
            mw.SESS(brightness, Classifier(net, input_size=SIDE, taps=["2"]), scales=2)(pictures(1, 40, 40), 1)

    def test_signs_would_be_lost(self) -> None:
        """They were, without a word: the map was that of the explainer without `signed`, and said to be with it."""
        with pytest.raises(InputError, match=r"takes signs away: leave `signed` out"):
            mw.SESS(mw.explainer("banzhaf", TINY, signed=True))
        mw.SESS(mw.explainer("banzhaf", TINY))

    def test_unknown_preset(self) -> None:
        with pytest.raises(InputError, match="sess_fast"):
            mw.SESS.preset("fast", brightness, TINY)

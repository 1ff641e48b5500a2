"""The parameter randomisation test: on explainers whose answer is known, on base methods, and on maskers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from torch import Tensor

from maskwise.checks import mprt
from maskwise.checks.layers import layers_from_the_top
from maskwise.checks.randomise import randomise
from maskwise.checks.similarity import Spearman
from maskwise.checks.subject import Subject
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import Explainer, explainer
from maskwise.maskers import Masker, save_masker
from maskwise.sess import SESS

LAYERS = ["14", "9", "8", "5", "4", "1", "0"]


@pytest.fixture
def images() -> Tensor:
    return F.interpolate(torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), 32, mode="bilinear")


@pytest.fixture
def masker(tiny: Classifier, tmp_path: object) -> Explainer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Masker.build(tiny).eval()
    save_masker(f"{tmp_path}/masker.safetensors", made, tiny, {})
    return explainer("casm", tiny, masker=f"{tmp_path}/masker.safetensors")


def weights(network: Classifier) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def unchanged(network: Classifier, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_method_that_ignores_the_classifier_is_found_out(tiny: Classifier, images: Tensor) -> None:
    """Edges and the centre are the same at every stage: similarity is 1, exactly."""
    for name in ("edges", "center", "uniform"):
        result = mprt(explainer(name, tiny), tiny, images)
        assert len(result.rows) == 2 * len(LAYERS) * 4
        assert {(row.value.mean, row.value.low, row.value.high) for row in result.rows} == {(1.0, 1.0, 1.0)}


def test_noise_has_no_similarity(tiny: Classifier) -> None:
    draws = torch.Generator().manual_seed(0)
    many = torch.rand(16, 3, 80, 80, generator=draws)

    def noise(images: Tensor, targets: Tensor | None = None) -> Tensor:
        return torch.rand(images.shape[0], *images.shape[2:], generator=draws)

    result = mprt(noise, tiny, many)
    # HOG sees the same borders, without a gradient, in both: its floor is not 0.
    bounds = {"spearman": 0.03, "spearman_abs": 0.03, "ssim": 0.03, "hog": 0.25}
    assert all(abs(row.value.mean) < bounds[row.similarity] for row in result.rows)


def test_cascading_and_independent_stages_are_what_they_say(tiny: Classifier, images: Tensor) -> None:
    """A slow twin: a fresh copy of the network for each stage."""
    measure = Spearman()
    trained = explainer("gradient", tiny)(images, top(tiny, images))
    result = mprt(explainer("gradient", tiny), tiny, images, measures=["spearman"], seed=3)
    assert result.layers == LAYERS
    found = {(row.mode, row.layer): row.value.mean for row in result.rows}
    layers = layers_from_the_top(tiny.module, torch.zeros(1, 3, 32, 32))
    for i, layer in enumerate(layers):
        for mode, random in (("cascading", layers[: i + 1]), ("independent", [layer])):
            copy = Classifier(tiny_net(), input_size=32)
            for part in random:
                randomise(copy.module, part, seed=3)
            maps = explainer("gradient", copy)(images, top(tiny, images))
            assert found[mode, layer.name] == pytest.approx(measure(trained, maps).mean().item(), abs=1e-6)
            stage = result.maps[mode][i + 1]
            assert torch.allclose(stage, maps[[0, 1, 2]], atol=1e-5)
    assert found["cascading", "14"] == found["independent", "14"] < 1
    assert found["cascading", "9"] != found["independent", "9"]


def top(classifier: Classifier, images: Tensor) -> Tensor:
    with torch.no_grad():
        return classifier.logits(images).argmax(1)


def test_weights_and_flags_come_back_also_when_something_raises(tiny: Classifier, images: Tensor) -> None:
    before = weights(tiny)
    mprt(explainer("grad_cam", tiny), tiny, images)
    assert unchanged(tiny, before)
    calls = 0

    def breaks(images: Tensor, targets: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:
            assert not unchanged(tiny, before)
            raise RuntimeError("on purpose")
        return tiny.logits(images).detach()[:, :1, None].expand(-1, 32, 32)

    tiny.module[0].train()
    with pytest.raises(RuntimeError, match="on purpose"):
        mprt(breaks, tiny, images)
    assert unchanged(tiny, before)
    assert tiny.module[0].training and not tiny.module[1].training


def test_a_masker_loses_its_encoder_and_keeps_its_decoder(tiny: Classifier, images: Tensor, masker: Explainer) -> None:
    before = weights(masker.masker)  # type: ignore[attr-defined]
    result = mprt(masker, tiny, images)
    assert result.protocol["randomised"] == "the masker's encoder"
    assert result.protocol["maps"] == "mask logits"
    same = {row.layer for row in result.rows if row.mode == "independent" and row.value.mean == 1}
    # No tap comes after the last layer; batch norm that was never trained is what a new one is.
    assert same == {"14", "9", "5", "1"}
    assert unchanged(masker.masker, before)  # type: ignore[attr-defined]


def test_mask_logits_are_the_masks_before_the_sigmoid(tiny: Classifier, images: Tensor, masker: Explainer) -> None:
    logits = Subject.of(masker, tiny)
    masks = Subject.of(masker, tiny, before_sigmoid=False)
    assert logits.logits and not masks.logits
    assert logits.network is masks.network is masker.masker.encoder  # type: ignore[attr-defined]
    assert torch.allclose(logits.maps(images, None).sigmoid(), masks.maps(images, None), atol=1e-6)
    assert Subject.of(SESS(masker, tiny, scales=2), tiny).network is logits.network
    with pytest.raises(InputError, match="only a masker"):
        Subject.of(explainer("edges", tiny), tiny, before_sigmoid=True)


def test_batches_change_nothing(tiny: Classifier, images: Tensor) -> None:
    whole, parts = (mprt(explainer("gradient", tiny), tiny, images, batch=b) for b in (32, 3))
    for a, b in zip(whole.rows, parts.rows, strict=True):
        assert a.value.mean == pytest.approx(b.value.mean, abs=1e-4)


def test_progress_counts_stages(tiny: Classifier, images: Tensor) -> None:
    seen: list[tuple[int, int]] = []
    mprt(explainer("edges", tiny), tiny, images, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 14) for i in range(1, 15)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modes": ["sideways"]}, "modes are"),
        ({"modes": []}, "modes are"),
        ({"init": "ones"}, "unknown initialisation"),
        ({"depth": 0}, "depth"),
        ({"seed": -1}, "seed"),
        ({"measures": ["psnr"]}, "unknown similarity"),
    ],
)
def test_bad_options(tiny: Classifier, images: Tensor, change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        mprt(explainer("edges", tiny), tiny, images, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda images, targets: images.mean(1)[:, :8], "gives maps"),
        (lambda images, targets: images.mean(1) * torch.nan, "NaN"),
    ],
)
def test_bad_maps(tiny: Classifier, images: Tensor, wrong: Callable[..., Tensor], words: str) -> None:
    with pytest.raises(InputError, match=words):
        mprt(wrong, tiny, images)

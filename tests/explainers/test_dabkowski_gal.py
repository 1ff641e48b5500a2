"""The class-conditional masker as a method, and its iterative twin for one picture."""

from pathlib import Path

import pytest
import torch
from conftest import tiny_net
from torch import nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer
from maskwise.explainers.targets import Targets
from maskwise.maskers import ClassMasker, Masker, save_masker

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def weights(tiny: Classifier, tmp_path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        save_masker(tmp_path / "m.safetensors", ClassMasker.build(tiny, (8, 4)), tiny, {})
    return tmp_path / "m.safetensors"


def test_one_forward_gives_logits_and_all_maps(tiny: Classifier, weights: Path) -> None:
    explain = explainer("dabkowski_gal", tiny, masker=weights)
    forwards: list[int] = []
    tiny.module.register_forward_hook(lambda *_: forwards.append(1))
    maps = explain(IMAGES, [[0, 1, 2, 3]] * 2)
    assert maps.shape == (2, 4, 32, 32) and len(forwards) == 1
    with explain.calling():
        _, logits = explain.low_resolution(IMAGES, Targets())
    assert len(forwards) == 2 and explain.gives_logits and explain.map_is_free
    assert torch.allclose(logits, tiny.logits(IMAGES), atol=1e-5)  # type: ignore[arg-type]


def test_confidence_is_taken_from_the_agreement(tiny: Classifier, weights: Path) -> None:
    """A large one closes the filter: what is left no longer knows the class."""
    open_, shut = (explainer("dabkowski_gal", tiny, masker=weights, confidence=c) for c in (0, 60))
    assert not torch.allclose(open_(IMAGES, 1), open_(IMAGES, 2))
    assert torch.allclose(shut(IMAGES, 1), shut(IMAGES, 2))


def test_an_encoder_of_its_own_leaves_the_logits_to_the_classifier(tiny: Classifier, tmp_path: Path) -> None:
    save_masker(tmp_path / "own.safetensors", ClassMasker.build(tiny, (8, 4), encoder="scratch"), tiny, {})
    explain = explainer("dabkowski_gal", tiny, masker=tmp_path / "own.safetensors")
    top = tiny.logits(IMAGES).argmax(1)
    assert torch.equal(explain(IMAGES), explain(IMAGES, top))


def test_a_score_function_is_the_class_it_raises_most() -> None:
    logits = torch.randn(3, 5)
    for score, expected in (
        (lambda z: z[:, 2], 2),
        (lambda z: z.softmax(1)[:, 4], 4),
        (lambda z: z[:, 1] - 0.5 * z[:, 3], 1),
    ):
        assert Targets(score=score).classes_of(logits).tolist() == [[expected]] * 3


def test_files_that_do_not_fit_are_named(tiny: Classifier, weights: Path, tmp_path: Path) -> None:
    save_masker(tmp_path / "any.safetensors", Masker.build(tiny), tiny, {})
    with pytest.raises(InputError, match="knows no classes"):
        explainer("dabkowski_gal", tiny, masker=tmp_path / "any.safetensors")
    with pytest.raises(InputError, match="needs a class"):
        explainer("casm", tiny, masker=weights)
    with pytest.raises(InputError, match="confidence"):
        explainer("dabkowski_gal", tiny, masker=weights, confidence=float("nan"))
    with pytest.raises(InputError, match="packaged dabkowski_gal masker was trained on|does not exist"):
        explainer("dabkowski_gal", tiny)


# ---- the iterative form -------------------------------------------------------------------------------------


def halves() -> Classifier:
    """Class 0 is red in the left half, class 1 blue in the right one: the truth is known."""

    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.taps = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.ReLU())
            with torch.no_grad():
                self.taps[0].weight.copy_(torch.tensor([[8.0, -8, 0], [0, -8, 8]])[:, :, None, None])  # type: ignore[operator, union-attr]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.taps(x)
            side = x.shape[-1] // 2
            return torch.stack([y[:, 0, :, :side].mean((1, 2)), y[:, 1, :, side:].mean((1, 2)), 0 * y[:, 0, 0, 0]], 1)

    return Classifier(Halves(), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=32, taps=["taps"])


@pytest.mark.parametrize("reading", ["paper", "released"])
def test_the_optimised_mask_finds_the_half_that_the_class_reads(reading: str) -> None:
    image = torch.full((1, 3, 32, 32), 0.1)
    image[:, 0, :, :16], image[:, 2, :, 16:] = 0.9, 0.9
    explain = explainer("dabkowski_gal_iterative", halves(), reading=reading, iterations=60, learning_rate=1.0)
    left, right = explain(image, [[0, 1]])[0]
    assert left[:, :16].mean() > 1.3 * left[:, 16:].mean() and right[:, 16:].mean() > 1.3 * right[:, :16].mean()
    assert explain.report["area"].shape == (1, 2)
    assert (explain.report["preserved"] > explain.report["destroyed"]).all()


def test_the_mask_begins_at_one_half() -> None:
    explain = explainer(
        "dabkowski_gal_iterative", Classifier(tiny_net(), input_size=32), iterations=1, learning_rate=1e-12
    )
    assert torch.allclose(explain(IMAGES, 1), torch.tensor(0.5 / 1.001))


def test_seeds_draw_other_pictures_and_repeat_themselves(tiny: Classifier) -> None:
    options = {"iterations": 10, "learning_rate": 1.0}
    first = explainer("dabkowski_gal_iterative", tiny, **options)(IMAGES, 1)
    assert torch.equal(first, explainer("dabkowski_gal_iterative", tiny, **options)(IMAGES, 1))
    assert not torch.equal(first, explainer("dabkowski_gal_iterative", tiny, **options, seed=1)(IMAGES, 1))


def test_options_outside_their_range(tiny: Classifier) -> None:
    for options in ({"iterations": 0}, {"size": 0}, {"reading": "mine"}, {"area": -1}, {"tv": float("nan")}):
        with pytest.raises(InputError):
            explainer("dabkowski_gal_iterative", tiny, **options)

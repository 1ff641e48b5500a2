"""Insertion and deletion with an infiller in the holes."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import tiny_net
from safetensors.torch import save_file
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.infill import Infiller, infiller
from maskwise.measures import metric
from maskwise.measures.filling import HoleFill, filed_fill, fill_of
from maskwise.measures.perturbation import curves, places

SIDE = 32
DRAWS = torch.Generator().manual_seed(2)
IMAGES = torch.rand(3, 3, SIDE, SIDE, generator=DRAWS)
MAPS = torch.rand(3, SIDE, SIDE, generator=DRAWS)
CLASSIFIER = Classifier(tiny_net(), input_size=SIDE, name="tiny")


@dataclass(frozen=True)
class Itself(Infiller):
    """Hides nothing."""

    def fill(self, images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
        return images


@pytest.mark.parametrize("refill", ["once", "step"])
def test_the_mean_colour_as_a_fill_is_the_one_without_bit_for_bit(refill: str) -> None:
    fill = fill_of("mean", refill)  # type: ignore[arg-type]
    for mode, blur in (("deletion", "gaussian51"), ("insertion", "mean")):
        plain = curves(CLASSIFIER, IMAGES, MAPS, mode=mode, step=200, blur=blur)  # type: ignore[arg-type]
        assert torch.equal(plain, curves(CLASSIFIER, IMAGES, MAPS, mode=mode, step=200, fill=fill))  # type: ignore[arg-type]


@pytest.mark.parametrize("refill", ["once", "step"])
def test_the_picture_itself_as_a_fill_gives_flat_curves(refill: str) -> None:
    top = CLASSIFIER.logits(IMAGES).double().softmax(1).amax(1)
    for mode in ("deletion", "insertion"):
        found = curves(CLASSIFIER, IMAGES, MAPS, mode=mode, step=100, fill=fill_of(Itself(), refill))  # type: ignore[arg-type]
        assert torch.allclose(found, top[:, None].expand_as(found), atol=1e-6)


def test_each_step_is_filled_from_what_is_left() -> None:
    """By hand: hole, fill and forward of each step, for an infiller that reads the surroundings."""
    paint, order = infiller("noisy_linear"), places(MAPS)
    category = CLASSIFIER.logits(IMAGES).argmax(1)
    for mode in ("deletion", "insertion"):
        found = curves(CLASSIFIER, IMAGES, MAPS, mode=mode, step=300, fill=fill_of("noisy_linear"))  # type: ignore[arg-type]
        for k in range(5):
            hole = order < 300 * k if mode == "deletion" else order >= 300 * k
            copies = torch.where(hole[:, None], paint(IMAGES, hole, CLASSIFIER.mean), IMAGES)
            expected = CLASSIFIER.logits(copies).double().softmax(1).gather(1, category[:, None])[:, 0]
            assert torch.allclose(found[:, k], expected, atol=1e-6)


def test_once_is_what_the_infiller_makes_of_a_picture_that_is_all_hole() -> None:
    blurred = infiller("blur:sigma=4")(IMAGES, torch.ones(3, SIDE, SIDE), CLASSIFIER.mean)
    category = CLASSIFIER.logits(IMAGES).argmax(1)[:, None]
    found = curves(CLASSIFIER, IMAGES, MAPS, mode="insertion", step=500, fill=fill_of("blur:sigma=4", "once"))
    half = torch.where((places(MAPS) < 500)[:, None], IMAGES, blurred)
    for k, copies in enumerate((blurred, half)):
        expected = CLASSIFIER.logits(copies).double().softmax(1).gather(1, category)[:, 0]
        assert torch.allclose(found[:, k], expected, atol=1e-6)


@pytest.mark.parametrize("fill", ["noisy_linear:noise=0.3", "colour_noise"])
def test_draws_are_averaged_and_belong_to_the_picture(fill: str) -> None:
    def area(draws: int, rows: slice = slice(None)) -> Tensor:
        made = metric("deletion", CLASSIFIER, step=300, fill=fill, draws=draws)
        return made.per_image(MAPS[rows], images=IMAGES[rows])

    three = [curves(CLASSIFIER, IMAGES, MAPS, mode="deletion", step=300, fill=_drawn(fill, d)) for d in range(3)]
    assert torch.allclose(area(3), torch.stack(three).mean(0), atol=1e-9)
    assert not torch.allclose(three[0], three[1], atol=1e-6)
    assert torch.allclose(area(2, slice(1, 2)), area(2)[1:2], atol=1e-6)


def _drawn(fill: str, draw: int) -> HoleFill:
    return fill_of(infiller(fill).drawn(draw))


def test_the_protocol_says_what_filled_and_keeps_the_keys_of_numbers_without() -> None:
    plain = metric("insertion", CLASSIFIER).protocol()
    assert not {"fill", "refill", "draws"} & set(plain) and plain["blur"] == "gaussian51"
    said = metric("insertion", CLASSIFIER, fill="noisy_linear:noise=0.02", draws=2).protocol()
    assert said["fill"] == "noisy_linear:noise=0.02,seed=0,largest=112" and "blur" not in said
    assert (said["refill"], said["draws"]) == ("step", 2)
    network = metric("deletion", CLASSIFIER, fill="partial_conv").protocol()["fill"]
    assert network.startswith("partial_conv:weights=") and len(network.split("weights=")[1].split(",")[0]) == 8
    assert metric("deletion", CLASSIFIER, fill="mean").protocol()["fill"] == "mean"


def test_a_fill_is_filed_by_its_weights_and_code_and_else_as_it_was_given(tmp_path: Path) -> None:
    """What audits and judges keep: the file behind ``weights=`` may be another one by then."""
    assert filed_fill("telea") == "telea" and filed_fill("noisy_linear:noise=0.02") == "noisy_linear:noise=0.02"
    network, said = infiller("partial_conv").network, []
    for shift in (0.0, 0.0, 0.5):
        state = {key: value + shift * value.is_floating_point() for key, value in network.state_dict().items()}
        save_file(state, tmp_path / "own.safetensors")
        said.append(filed_fill(f"partial_conv:weights={tmp_path / 'own.safetensors'}"))
    assert said[0] == said[1] != said[2]


def test_what_makes_no_sense_is_refused() -> None:
    for options, why in (
        ({"fill": "telea", "refill": "once"}, "no surroundings that telea"),
        ({"fill": "mean", "draws": 2}, "paints the same in each of 2 draws"),
        ({"fill": "noisy_linear:noise=0", "draws": 2}, "paints the same in each of 2 draws"),
        ({"fill": "colour_noise:noise=0,spread=0", "draws": 3}, "paints the same in each of 3 draws"),
        ({"fill": "noisy_linear", "draws": 0}, "draws must be at least 1"),
        ({"fill": "meen"}, "did you mean mean"),
        ({"fill": "mean", "refill": "never"}, "refill is step or once"),
        ({"refill": "once"}, "say how `fill` is used"),
        ({"fill": "mean", "blur": "rise11"}, "give one of them"),
    ):
        with pytest.raises(InputError, match=why):
            metric("insertion", CLASSIFIER, **options)

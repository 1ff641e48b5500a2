"""Networks whose weights are of another type than float32 have maskers, too: what these read is cast."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import tiny_net

from maskwise.classifiers import Classifier
from maskwise.maskers import ClassMasker, load_class_masker, load_masker, save_masker
from maskwise.training import Callback, TrainingState, train
from maskwise.training.fitting import fit

KINDS = {torch.bfloat16: 0.05, torch.float16: 0.01, torch.float64: 1e-4}  # how far float32 is from them
SMALL = ["batch_size=4", "input_size=null"]
TRAININGS = {
    "casm_lite0": [*SMALL, "fraction=1", "taps=null", "steps=2"],
    "distilled": [*SMALL, "fraction=1", "taps=null", "steps=2", "teacher.views={cam: {}}", "pasted=0.5"],
    "ladder_lite0": [*SMALL, "fraction=1", "taps=null", "steps=2"],
    "dabkowski_gal": [*SMALL, "masker_batch_size=4", "steps=3", "selector_steps=1", "warm_up_steps=1"],
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("name", TRAININGS)
def test_a_masker_is_trained_and_sees_what_the_same_network_in_float32_shows(
    name: str, kind: torch.dtype, picture_folder: Path, tmp_path: Path
) -> None:
    classifier = Classifier(tiny_net().to(kind), input_size=32, name="tiny")
    path = train(
        name, picture_folder, classifier=classifier, out=tmp_path / "run", overrides=TRAININGS[name], device="cpu",
        page=False, verdict=False,
    )  # fmt: skip
    masker = load_masker(path, classifier)
    images, classes = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([[1, 3]] * 2)
    with torch.no_grad():
        _, masks = masker(images, classes)
        masker.encoder = Classifier(masker.encoder.module.float(), input_size=32, name="tiny")
        _, expected = masker(images, classes)
    assert masks.dtype == torch.float32 and masks.isfinite().all()
    torch.testing.assert_close(masks, expected, rtol=0, atol=KINDS[kind])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("casm_lite0", ["thinning=L", "taps=null", "fraction=1", "steps=3"]),
        ("casm_unshared", ["taps=null", "fraction=1", "steps=3"]),
        ("dabkowski_gal", [*TRAININGS["dabkowski_gal"], "encoder=scratch", "selector_steps=0"]),
    ],
)
def test_an_encoder_that_learns_does_so_in_float32(
    name: str, settings: list[str], picture_folder: Path, tmp_path: Path
) -> None:
    """Steps of a thousandth of a weight are lost in bfloat16, whose next number is a 256th away."""
    classifier, seen = Classifier(tiny_net().bfloat16(), input_size=32, name="tiny"), list[torch.nn.Module]()

    class Keep(Callback):
        def on_look(self, state: TrainingState) -> None:
            seen.append(state.trainer.masker)  # type: ignore[attr-defined]

    path = train(
        name, picture_folder, classifier=classifier, out=tmp_path / "run", overrides=[*SMALL, *settings], device="cpu",
        page=False, verdict=False, callbacks=[Keep()],
    )  # fmt: skip
    trained, loaded = seen[-1].eval(), load_masker(path, classifier)
    assert classifier.dtype == torch.bfloat16 and trained.encoder.dtype == loaded.encoder.dtype == torch.float32
    images, classes = torch.rand(2, 3, 32, 32), torch.tensor([[1, 3]] * 2)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images, classes), trained(images, classes), rtol=0, atol=1e-5)


@pytest.mark.parametrize("teacher", ["excitation_backprop", "none"])
def test_fit(teacher: str, picture_folder: Path, tmp_path: Path) -> None:
    """A teacher's gate is drawn from the network's own last layer."""
    fitted = fit(
        picture_folder, Classifier(tiny_net().bfloat16(), input_size=32), out=tmp_path / "fit", teacher=teacher,
        max_steps=2, device="cpu", overrides=["batch_size=4"],
    )  # fmt: skip
    assert 0 < fitted.masker.area < 1 and fitted.masker.objective == pytest.approx(fitted.masker.objective)


def test_the_chance_that_a_class_is_there(tmp_path: Path) -> None:
    """By the feature filter alone."""
    classifier = Classifier(tiny_net().bfloat16(), input_size=32)
    save_masker(tmp_path / "m.safetensors", ClassMasker.build(classifier), classifier, {})
    masker, classes = load_class_masker(tmp_path / "m.safetensors", classifier), torch.tensor([[1, 3]])
    with torch.no_grad():
        _, taps = classifier.features(torch.rand(1, 3, 32, 32))
        found = masker.existence(taps, classes)
        mean = taps[-1].float().mean((2, 3))[0]
        assert torch.allclose(found[0], masker.decoder.filter.embedding[classes[0]] @ mean, atol=1e-5)

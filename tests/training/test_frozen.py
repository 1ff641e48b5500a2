"""A classifier that a masker is trained for is what it was to the last bit: weights, statistics and counters."""

from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor
from training.test_recipes_run import five_taps

from maskwise.classifiers import Classifier
from maskwise.data import read_data
from maskwise.infill import infillers
from maskwise.training import recipes
from maskwise.training.checkpoint import read_sealed
from maskwise.training.fitting import fit
from maskwise.training.mask import MaskTrainer
from maskwise.training.mask_recipe import Recipe
from maskwise.training.validation import Validation

FIXED = [
    name for name in recipes.names() if isinstance(recipes.load(name), Recipe) and recipes.load(name).thinning == "F"
]


def state(classifier: Classifier) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in classifier.module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_there_are_fixed_recipes() -> None:
    assert {"casm_baseline", "casm_baseline_lite0", "phang/fix", "phang/fix_lite0", "phang/a"} <= set(FIXED)


@pytest.mark.parametrize("name", FIXED)
def test_looked_at_in_between(name: str) -> None:
    """A step, a look at held-out pictures, another step: what the masks are judged by never learns, nor counts."""
    recipe = recipes.load(name, ["steps=3", "batch_size=4", "input_size=32", "fraction=1", "classes=null"])
    if isinstance(recipe.infill, dict) and infillers.facts(recipe.infill["name"])["needs_weights"]:
        recipe = recipe.model_copy(update={"infill": "mean"})
    classifier = five_taps()
    trainer = MaskTrainer(classifier, recipe, 3, Fabric(accelerator="cpu", devices=1))
    data = read_data("shapes:n=3,size=40")
    validation = Validation([(data, r) for r in data.records], [0, 1, 2], classifier, 32)
    before = state(trainer.live), state(classifier)
    draws = torch.Generator().manual_seed(0)
    for _ in range(2):
        trainer.step(torch.rand(4, 3, 32, 32, generator=draws), torch.tensor([0, 1, 2, 3]))
        validation.quality(validation.masks(trainer.masker))
        assert not any(part.training for part in trainer.live.module.modules()), "in eval mode, all of it"
        assert trainer.masker.decoder.training
    assert same(state(trainer.live), before[0]) and same(state(classifier), before[1])
    assert all(int(value) == 0 for key, value in before[0].items() if key.endswith("num_batches_tracked"))


def test_fit_leaves_it_alone(picture_folder: Path, tmp_path: Path) -> None:
    """Over three looks; the same pictures are as often right clean in the first epoch as in the last."""
    classifier = five_taps()
    before = state(classifier)
    fit(
        picture_folder, classifier, out=tmp_path / "fit", max_steps=80, device="cpu",
        overrides=["batch_size=4", "crop_area=[1.0, 1.0]"],
    )  # fmt: skip
    assert same(state(classifier), before)
    stored, _ = read_sealed(tmp_path / "fit" / "checkpoint.pt")
    assert not any("running" in key or "tracked" in key for key in stored["trainer"]["modules"] if key != "decoder")

"""Every packaged recipe of a class-agnostic masker, run for a few steps on synthetic scenes."""

import math
from pathlib import Path

import pytest
import timm
import torch
from conftest import epoch, tiny_net
from lightning.fabric import Fabric
from torch import nn

from maskwise.classifiers import Classifier
from maskwise.data import read_data
from maskwise.infill import infillers
from maskwise.maskers import load_masker
from maskwise.training import recipes
from maskwise.training.class_mask import ClassMaskTrainer
from maskwise.training.loader import Loader
from maskwise.training.mask import MaskTrainer
from maskwise.training.run import train

MASKS = [name for name in recipes.names() if recipes.load(name).kind == "mask"]
DISTILLED = [name for name in recipes.names() if recipes.load(name).kind == "distil"]
RANKINGS = [name for name in recipes.names() if recipes.load(name).kind == "ranking"]
CLASS_MASKS = [name for name in recipes.names() if recipes.load(name).kind == "class_mask"]


def five_taps() -> Classifier:
    """As many taps as a ResNet-50 has."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = [
            part
            for i in range(5)
            for part in (nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        ]
        net = nn.Sequential(*blocks[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    classifier = Classifier(net, input_size=32, name="five taps")
    assert len(classifier.tap_names) == 5
    return classifier


def transformer() -> Classifier:
    """What a recipe needs whose teacher reads attention."""
    torch.manual_seed(0)
    small = {"img_size": 32, "patch_size": 8, "depth": 3, "embed_dim": 32, "num_heads": 2, "num_classes": 5}
    net = timm.create_model("vit_tiny_patch16_224", **small)
    torch.nn.init.normal_(net.head.weight)
    return Classifier(net.eval(), input_size=32)


@pytest.mark.parametrize("name", MASKS)
def test_a_few_steps_of_every_recipe(name: str) -> None:
    settings = ["steps=3", "batch_size=4", "input_size=32", "fraction=1", "classes=null"]
    recipe = recipes.load(name, settings)
    if isinstance(recipe.infill, dict) and infillers.facts(recipe.infill["name"])["needs_weights"]:
        recipe = recipes.load(name, [*settings, "infill=partial_conv"])
    classifier = five_taps()
    trainer = MaskTrainer(classifier, recipe, 3, Fabric(accelerator="cpu", devices=1))
    before, live = [w.clone() for w in trainer.masker_parameters], trainer.live.fingerprint()
    loader = Loader([read_data("shapes:n=12,size=40")], recipe, 32)
    loader.label_the_rest(classifier)
    for images, labels in epoch(loader, 0):
        logged = trainer.step(images, labels)
    assert logged["spread"] > 0 and all(map(torch.isfinite, map(torch.tensor, logged.values())))
    moved = [not torch.equal(a, b) for a, b in zip(before, trainer.masker_parameters, strict=True)]
    assert all(moved[: len(list(trainer.masker.decoder.parameters()))])
    assert (trainer.live.fingerprint() == live) == (recipe.thinning == "F")
    assert classifier.fingerprint() == five_taps().fingerprint()


@pytest.mark.parametrize("name", DISTILLED)
def test_a_few_steps_of_every_recipe_of_a_distillation(name: str, tmp_path: Path) -> None:
    views = recipes.load(name).teacher.views
    network, scales = (transformer, [32]) if "generic_attention" in views else (five_taps, [32, 40])
    small = {method: {"options": view.options, "scales": scales} for method, view in views.items()}
    settings = ["steps=3", "batch_size=4", "input_size=32", f"teacher.views={small}"]
    classifier = network()
    path = train(
        recipes.load(name, settings), "shapes:n=12,size=40", classifier=classifier, out=tmp_path / "out", device="cpu"
    )
    recipe = recipes.load(name)
    asks = recipe.class_tap or recipe.class_embedding or recipe.class_gate is not None
    assert load_masker(path, classifier).needs_class == asks
    assert classifier.fingerprint() == network().fingerprint()


@pytest.mark.parametrize("name", RANKINGS)
def test_a_few_steps_of_every_recipe_of_a_ranking(name: str, tmp_path: Path) -> None:
    settings = ["steps=3", "batch_size=4", "input_size=32", "cells=[3, 4]"]
    classifier = five_taps()
    path = train(
        recipes.load(name, settings), "shapes:n=12,size=40", classifier=classifier, out=tmp_path / "out", device="cpu"
    )
    masks = load_masker(path, classifier)(torch.rand(2, 3, 32, 32))[1]
    assert masks.std() > 0 and classifier.fingerprint() == five_taps().fingerprint()


@pytest.mark.parametrize("name", CLASS_MASKS)
def test_a_few_steps_of_every_recipe_of_a_class_mask(name: str) -> None:
    """Both phases, by the recipe's own objective, widths and batch norm: only sizes and counts are smaller."""
    phases = recipes.load(name)
    selector, warm_up = min(phases.selector_steps, 2), min(phases.warm_up_steps, 1)
    small = ["batch_size=4", "input_size=32", "masker_batch_size=null", "blur_size=9", "blur_sigma=2"]
    counts = [f"selector_steps={selector}", f"warm_up_steps={warm_up}", f"steps={selector + warm_up + 2}"]
    recipe = recipes.load(name, [*small, *counts])
    classifier = five_taps()
    trainer = ClassMaskTrainer(classifier, recipe, 5, Fabric(accelerator="cpu", devices=1))
    before = {key: value.clone() for key, value in trainer.masker.decoder.named_parameters()}
    loader = Loader([read_data("shapes:n=20,size=40")], recipe, 32)
    loader.label_the_rest(classifier)
    moved: list[set[str]] = []
    for images, labels in epoch(loader, 0):
        assert all(map(math.isfinite, trainer.step(images, labels).values()))
        after = dict(trainer.masker.decoder.named_parameters())
        moved.append({key for key in before if not torch.equal(before[key], after[key])})
    chosen = {key for key in before if key.startswith("filter.")}
    if selector:
        assert moved[selector - 1] <= chosen and moved[selector - 1], "the first phase is the selector's alone"
    assert moved[-1] >= before.keys() - chosen
    assert classifier.fingerprint() == five_taps().fingerprint()


def test_the_rows_of_the_tables_are_all_there() -> None:
    rows = {recipes.load(name).row for name in MASKS}
    phang = {f"Table 1, {row}" for row in "abcdefghijklmnopqrstuvwxyzIJ"} | {
        f"Table 4, {row}" for row in "abcdefghijklmnop"
    }
    casm = {f"Table 2, {row}" for row in "ABCDEFGHIJK"} | {
        f"Table 3, {row}" for row in ("F", "EF", "DEF", "CDEF", "BCDEF")
    }
    assert phang | casm <= rows


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto"])
def test_transformers_and_other_networks_train_too(name: str) -> None:
    timm = pytest.importorskip("timm")
    size = 224 if name.startswith("swin") else 64
    options = {} if name.startswith(("swin", "convnext")) else {"img_size": size}
    classifier = Classifier(timm.create_model(name, num_classes=5, **options), input_size=size, name=name)
    recipe = recipes.load("phang/ca", ["steps=2", "batch_size=2", f"input_size={size}"])
    trainer = MaskTrainer(classifier, recipe, 2, Fabric(accelerator="cpu", devices=1))
    draws = torch.Generator().manual_seed(0)
    logged = trainer.step(torch.rand(2, 3, size, size, generator=draws), torch.tensor([0, 1]))
    assert logged["spread"] > 0


def test_few_classes_and_few_pictures(picture_folder: Path, tmp_path: Path) -> None:
    """Two classes of five, one picture each: as many steps as ever, and the file says which classes they were."""
    overrides = ["classes=2", "per_class=1", "steps=7", "batch_size=4", "input_size=32", "taps=[0, -1]"]
    path = train(
        "casm", picture_folder, overrides=overrides, out=tmp_path / "r", device="cpu",
        classifier=Classifier(tiny_net(), input_size=32),
    )  # fmt: skip
    assert len((path.parent / "log.jsonl").read_text().splitlines()) == 7
    assert len(recipes.load(path.parent / "recipe.yaml").classes) == 2

"""Maskers for networks with sigmoid outputs: a 14-finding network on scenes of which two findings are drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from lightning.fabric import Fabric
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from maskwise.classifiers import Classifier, load_classifier
from maskwise.cli import app
from maskwise.commands.fit import _lines
from maskwise.commands.groups import Model
from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.maskers import load_agnostic_masker, load_masker
from maskwise.training import Recipe, recipes
from maskwise.training.class_mask import ClassMaskTrainer
from maskwise.training.class_mask_recipe import ClassMaskRecipe
from maskwise.training.fitting import Fitted, fit
from maskwise.training.likelihood import Bernoulli, Categorical
from maskwise.training.loader import Loader
from maskwise.training.mask import MaskTrainer
from maskwise.training.run import train
from maskwise.training.subset import subset
from maskwise.training.validation import Quality, Validation

FINDINGS, RED, GREEN, SIDE = 14, 3, 9, 48


def network() -> nn.Module:
    """Finding 3 where something is red, finding 9 where something is green, and 12 that are nowhere."""
    first, second, last = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1), nn.Conv2d(8, FINDINGS, 1)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for layer in (first, second, last):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.constant_(layer.bias, 0)
        for channel, colour, finding in ((0, 0, RED), (1, 1, GREEN)):
            first.weight[channel] = -0.5 / 9
            first.weight[channel, colour] = 1 / 9
            second.weight[channel] = 0
            second.weight[channel, channel] = 1 / 9
            last.weight[finding] = 0
            last.weight[finding, channel] = 20
        last.bias.fill_(-4)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last, nn.AdaptiveMaxPool2d(1), nn.Flatten()).eval()


def classifier() -> Classifier:
    return Classifier(
        network(), mean=[0.5] * 3, std=[0.5] * 3, input_size=SIDE, activation="sigmoid", name="scenes"
    )  # fmt: skip


def scene(number: int) -> tuple[np.ndarray, np.ndarray, set[int]]:
    """A grey picture (S,S,3), where its shapes are (S,S), and what is there: nothing, one finding or both."""
    draws = np.random.default_rng(number)
    picture = draws.normal(128, 8, (SIDE, SIDE, 3))
    place, shown = np.zeros((SIDE, SIDE), bool), set[int]()
    corners = draws.permutation([(2, 2), (2, 32), (32, 2), (32, 32)])
    y, x = np.mgrid[:14, :14] - 6.5
    for finding, shape, (top, left) in zip(
        (RED, GREEN), (x**2 + y**2 < 49, abs(x) + abs(y) < 9), corners, strict=False
    ):
        if number % 3 == (0 if finding == RED else 1) or number % 6 == 2:
            shown.add(finding)
            rows, columns = slice(top, top + 14), slice(left, left + 14)
            picture[rows, columns][shape] = (220, 40, 40) if finding == RED else (40, 220, 40)
            place[rows, columns] |= shape
    return picture.clip(0, 255).astype(np.uint8), place, shown


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    for i in range(60):
        Image.fromarray(scene(i)[0]).save(root / f"{i:02}.png")
    return root


def test_the_network_finds_what_is_drawn_and_nothing_else(scenes: Path) -> None:
    found = Loader([read_data(scenes)], Recipe(), SIDE)
    found.label_the_rest(classifier(), sets=True)
    assert found.shown == [frozenset(scene(i)[2]) for i in range(60)]
    barely = network()
    with torch.no_grad():
        others = [k for k in range(FINDINGS) if k not in (RED, GREEN)]
        barely[4].bias[others] += 3.6  # what is never there has just under 1/2
    close = Loader([read_data(scenes)], Recipe(), SIDE)
    close.label_the_rest(
        Classifier(barely, mean=[0.5] * 3, std=[0.5] * 3, input_size=SIDE, activation="sigmoid"), sets=True
    )
    assert close.shown == found.shown
    assert {frozenset(), frozenset({RED}), frozenset({GREEN}), frozenset({RED, GREEN})} == set(found.shown)


def in_the_middle(masks: Tensor) -> Tensor:
    """A square (S,S) for each mask, of its mean."""
    squares = torch.zeros_like(masks)
    for square, area in zip(squares, masks.mean((1, 2)).tolist(), strict=True):
        half = round(SIDE * area**0.5 / 2)
        square[SIDE // 2 - half : SIDE // 2 + half, SIDE // 2 - half : SIDE // 2 + half] = 1
    return squares


def test_fit_puts_masks_on_the_findings(scenes: Path, tmp_path: Path) -> None:
    """On new scenes; beside squares in the middle that are as large."""
    own = classifier()
    fitted = fit(
        scenes, own, out=tmp_path / "f", max_steps=60, size=SIDE, device="cpu", page=False,
        overrides=["batch_size=16", "target_area=0.2"],
    )  # fmt: skip
    assert fitted.teacher is None, "a method has a map also of a picture that shows nothing"
    assert fitted.masker.clean == 100 and fitted.masker.masked_in > fitted.centre.masked_in + 50
    assert fitted.masker.masked_out < fitted.centre.masked_out and fitted.masker.objective < fitted.centre.objective
    new = [scene(i) for i in range(100, 130)]
    images = torch.stack([torch.from_numpy(picture).permute(2, 0, 1) / 255 for picture, _, _ in new])
    with torch.no_grad():
        masks = load_agnostic_masker(fitted.path, own)(images)[1]
    places = torch.stack([torch.from_numpy(place) for _, place, _ in new])
    shows = places.flatten(1).any(1)
    squares = in_the_middle(masks)
    on, off = (masks[shows].masked_select(where).mean() for where in (places[shows], ~places[shows]))
    assert on > 0.7 > 0.25 > off and masks[~shows].mean() < 0.25, "nothing is on pictures without a finding"
    assert squares[shows].masked_select(places[shows]).mean() < 0.3


def labelled(folder: Path, scenes: Path, rows: dict[str, int]) -> Path:
    """The scenes with labels for some."""
    (folder / "images").mkdir(parents=True)
    for path in scenes.iterdir():
        (folder / "images" / path.name).write_bytes(path.read_bytes())
    (folder / "labels.csv").write_text("file,label\n" + "".join(f"{file},{label}\n" for file, label in rows.items()))
    return folder


def test_a_label_is_one_of_the_findings(scenes: Path, tmp_path: Path) -> None:
    """Of picture 2 both are seen; it is said to show 5. Of picture 1 nothing else is said than what is seen."""
    own, data = classifier(), read_data(labelled(tmp_path / "a", scenes, {"02.png": 5, "00.png": RED}))
    loader = Loader([data], Recipe(batch_size=4), SIDE)
    assert loader.label_the_rest(own, sets=True) == 58
    assert loader.shown[:3] == [{RED}, {GREEN}, {RED, GREEN, 5}] and loader.labels[:3] == [RED, GREEN, 5]
    loader.keep([2, 1, 0, 3])
    images, labels = loader.batch(0)
    assert images.shape == (4, 3, SIDE, SIDE) and labels.dtype == torch.bool and labels.shape == (4, FINDINGS)
    order = [i for i, _ in loader._order(0)]
    assert [frozenset(row.nonzero()[:, 0].tolist()) for row in labels] == [loader.shown[i] for i in order]
    single = Loader([data], Recipe(), SIDE)
    single.label_the_rest(own)
    assert single.findings is None and single.labels[2] == 5, "who asks for a class gets one"
    wrong = read_data(labelled(tmp_path / "b", scenes, {"02.png": FINDINGS}))
    for sets in (False, True):
        with pytest.raises(InputError, match="label 14 is not one of the 14 classes of scenes"):
            Loader([wrong], Recipe(), SIDE).label_the_rest(own, sets=sets)


def test_a_subset_of_findings_shows_no_others() -> None:
    shown = [{1}, {1, 2}, {2}, set(), {1, 3}, {3}, {2}]
    assert subset(shown, [1, 2], None, 0) == ([0, 1, 2, 6], [1, 2])
    assert subset(shown, None, None, 0) == ([0, 1, 2, 4, 5, 6], [1, 2, 3])
    for seed in range(5):
        chosen, _ = subset(shown, None, 1, seed)
        assert {label for i in chosen for label in shown[i]} == {1, 2, 3} and len(chosen) <= 3
    with pytest.raises(InputError, match="no picture shows a class"):
        subset([set(), set()], None, 1, 0)


SMALL = Recipe(
    epochs=1, steps=3, fraction=1.0, batch_size=4, input_size=32, seed=3, momentum=0.0, weight_decay=0.0, p_history=0.0,
    batch_norm="frozen", thinning="L",
)  # fmt: skip


def batch(classes: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    return torch.rand(4, 3, 32, 32, generator=draws), torch.rand(4, classes, generator=draws) < 0.3


def made(recipe: Recipe, classes: int = 5) -> MaskTrainer:
    own = Classifier(tiny_net(classes=classes), input_size=32, name="tiny", activation="sigmoid")
    return MaskTrainer(own, recipe, 5, Fabric(accelerator="cpu", devices=1))


@pytest.mark.parametrize("classes", [5, 1])
def test_the_classifier_learns_by_binary_cross_entropy(classes: int) -> None:
    """Against a network stepped by hand: (BCE clean + BCE masked-out) / 2, summed over outputs; one or several."""
    t, (images, findings) = made(SMALL, classes), batch(classes)
    twin = tiny_net(classes=classes)
    with torch.no_grad():
        stats = {key: value.clone() for key, value in t.masker.decoder.state_dict().items()}
        mask = t.masker.mask_of(t.live.features(images)[1], (32, 32))[:, None]
        t.masker.decoder.load_state_dict(stats)
    mean, std = (x.reshape(1, 3, 1, 1) for x in (t.live.mean, t.live.std))
    masked = images * (1 - mask) + mean * mask
    losses = [
        F.binary_cross_entropy(twin((x - mean) / std).sigmoid(), findings.float(), reduction="sum") / 4
        for x in (images, masked)
    ]
    gradients = torch.autograd.grad(sum(losses) / 2, list(twin.parameters()))
    expected = [p - SMALL.classifier_lr * g for p, g in zip(twin.parameters(), gradients, strict=True)]
    t.step(images, findings if classes > 1 else findings[:, 0].long())
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(t.live.module.parameters(), expected, strict=True))


@pytest.mark.parametrize("update", ["averaged", "two_steps"])
def test_a_run_with_every_objective(update: str, scenes: Path, tmp_path: Path) -> None:
    terms = ["max_class", "min_class", "max_entropy"]
    recipe = recipes.load("casm", [
        "steps=3", "batch_size=4", "input_size=48", "fraction=1", f"classifier_update={update}", "thinning=L100",
        f"objectives={{{', '.join(f'{name}: {{weight: 0.5}}' for name in terms)}}}",
    ])  # fmt: skip
    own = classifier()
    before = own.fingerprint()
    path = train(recipe, scenes, classifier=own, out=tmp_path / "r", device="cpu", page=False, accumulate=2)
    lines = [json.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and all(0 <= line["masked_in_right"] <= 1 for line in lines)
    assert own.fingerprint() == before and load_masker(path, own).encoder.activation == "sigmoid"
    again = train(recipe, scenes, classifier=own, out=tmp_path / "r", device="cpu", page=False, resume=True)
    assert again == path, "the same findings are found again"


def test_quality_of_masks_that_are_known(scenes: Path) -> None:
    """All kept, nothing kept, and masks on one finding of two."""
    own, data = classifier(), read_data(scenes)
    loader = Loader([data], Recipe(), SIDE)
    loader.label_the_rest(own, sets=True)
    both = [i for i in range(60) if len(scene(i)[2]) == 2]
    found = Validation(
        [loader.items[i] for i in both],
        [0] * len(both),
        own,
        SIDE,
        loader.findings[both],  # type: ignore[index]
    )
    whole, nothing = (found.quality(fill((len(both), SIDE, SIDE))) for fill in (torch.ones, torch.zeros))
    assert (whole.clean, whole.masked_in, whole.masked_out) == (100, 100, 0)
    assert (nothing.masked_in, nothing.masked_out) == (0, 100)
    red = torch.stack([torch.from_numpy(scene(i)[0][..., 0].astype(float) > 175) for i in both]).float()
    half = found.quality(red)
    assert (half.masked_in, half.masked_out) == (0, 100), "one is not both, and the other one is still seen"
    logits = own.logits(found.images * (1 - red[:, None]) + 0.5 * red[:, None]).double()
    p, t = logits.sigmoid(), found.targets
    doubt = -torch.where(t, p * p.log() + (1 - p) * (1 - p).log(), 0.0).sum(1).mean()
    kept = own.logits(found.images * red[:, None] + 0.5 * (1 - red[:, None])).double().sigmoid()
    wrong = -torch.where(t, kept.log(), (1 - kept).log()).sum(1).mean()
    assert half.objective == pytest.approx(float((wrong - doubt).detach()) / 2, abs=1e-5)


@pytest.mark.parametrize("reading", ["paper", "released"])
def test_class_masks_of_a_network_with_one_output(reading: str) -> None:
    """Dabkowski & Gal's objective reads p, and its hinges the log-odds z, of a network with one output."""
    own = Classifier(tiny_net(classes=1), input_size=32, name="tiny")
    recipe = ClassMaskRecipe(
        reading=reading, selector_steps=0, steps=3, batch_size=4, input_size=32, masker_batch_size=None,  # type: ignore[arg-type]
        masker_fakes=0, blur_size=9, blur_sigma=2, widths=(8, 8),
    )  # fmt: skip
    trainer = ClassMaskTrainer(own, recipe, 5, Fabric(accelerator="cpu", devices=1))
    seen: list[Tensor] = []
    logits = trainer.logits
    trainer.logits = lambda images: seen.append(logits(images)) or seen[-1]  # type: ignore[func-returns-value]
    labels = torch.tensor([0, 1, 1, 0])
    logged = trainer.step(torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), labels)
    z = torch.where(labels == 1, 1, -1) * seen[0][:, 1].detach().reshape(2, 4)  # of the picture's own class
    (kept, gone), terms = z, trainer.objective
    if reading == "paper":
        preserve = -kept.sigmoid().log().mean()
        destroy = terms.destroy * gone.sigmoid().pow(terms.power).mean()
    else:
        preserve = terms.preserve * (terms.shows - kept).relu().mean()
        destroy = (terms.hides + gone).relu().mean()
    assert logged["preserve"] == pytest.approx(float(preserve), rel=1e-5)
    assert logged["destroy"] == pytest.approx(float(destroy), rel=1e-5)


def test_one_output_is_fitted_as_two_classes(picture_folder: Path, tmp_path: Path) -> None:
    (picture_folder / "labels.csv").unlink()
    own = Classifier(tiny_net(classes=1), input_size=32, name="tiny", labels=["healthy", "ill"])
    fitted = fit(picture_folder, own, out=tmp_path / "f", max_steps=2, device="cpu", overrides=["batch_size=4"])
    assert fitted.masker.clean == 100 and isinstance(made(SMALL, 1).likelihood, Categorical)
    assert isinstance(made(SMALL).likelihood, Bernoulli)


def test_distilled_takes_findings_too(scenes: Path, tmp_path: Path) -> None:
    recipe = recipes.load("distilled", [
        "teacher.views={gradient: {}}", "steps=2", "batch_size=4", "input_size=48", "width=4", "mix=4",
        "class_tap=false", "class_gate=null",
    ])  # fmt: skip
    path = train(recipe, scenes, classifier=classifier(), out=tmp_path / "d", device="cpu", page=False)
    assert load_agnostic_masker(path, classifier())(torch.rand(1, 3, SIDE, SIDE))[1].shape == (1, SIDE, SIDE)


def test_the_network_of_the_training_page(picture_folder: Path, tmp_path: Path) -> None:
    """One channel, 320x256: trained as it is, at a smaller size of its shape, and explained with the masker."""
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (snippet,) = [text for text in page.split("```python\n") if "def chest():" in text]
    (tmp_path / "chest.py").write_text(snippet.partition("```")[0])
    (picture_folder / "labels.csv").unlink()
    own = load_classifier(f"{tmp_path / 'chest.py'}:chest")
    fitted = fit(
        picture_folder, own, out=tmp_path / "f", max_steps=1, size=32, device="cpu", page=False,
        overrides=["batch_size=2"],
    )  # fmt: skip
    assert load_agnostic_masker(fitted.path, own)(torch.rand(1, 1, 320, 256))[1].shape == (1, 320, 256)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from training.test_findings import network
"""


def test_the_command(scenes: Path, tmp_path: Path) -> None:
    file = tmp_path / "chest.py"
    file.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1])))
    result = CliRunner().invoke(app, [
        "fit", str(scenes), "--classifier", f"{file}:network", "--activation", "sigmoid", "--size", "48",
        "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--out", str(tmp_path / "f"), "--max-steps", "2", "--json",
        "--device", "cpu", "--set", "batch_size=4",
    ])  # fmt: skip
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    assert row["masker"]["clean"] == 100 and Path(row["path"]).is_file()
    alike, better = Quality(1, 1, 1, 1, 1), Quality(1, 1, 1, 1, 0.9)
    done, use = _lines(Fitted(Path("f"), 1, 1.0, True, alike, alike, (1, 1)), Model(activation="sigmoid"))
    assert use.endswith("explain PICTURE --classifier efficientnet_lite0 --activation sigmoid --masker f")
    poor = "no better than the square in the middle"
    assert poor in done, "who fits on few pictures or steps is told"
    assert poor not in _lines(Fitted(Path("f"), 1, 1.0, True, better, alike, (1, 1)), Model())[0]
    for inside, is_said in ((49.9, True), (50.0, False)):
        quality = Quality(clean=100, masked_in=inside, masked_out=1, area=1, objective=0.9)
        said = _lines(Fitted(Path("f"), 1, 1.0, True, quality, alike, (1, 1)), Model())[0]
        assert ("these masks leave out what it uses" in said) == is_said, "lower loss alone makes no masker"

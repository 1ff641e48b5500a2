"""Distilling a method: windows that cut a picture and its map alike, and the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from PIL import Image
from script_files import ROOT, loaded
from taught import classifier, pictures
from torch import Tensor

import maskwise as mw
from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.images import to_bytes
from maskwise.maskers import load_masker
from maskwise.training import Callback, TrainingState, recipes, train
from maskwise.training.crops import Crop, random_crop, resized, resized_map
from maskwise.training.distil import DistilRecipe, DistilTrainer, LabelKind
from maskwise.training.draws import generator
from maskwise.training.label_file import LabelFile
from maskwise.training.label_kinds import LABEL_KINDS, ValuesLabel, root_mean_square
from maskwise.training.loader import Loader
from maskwise.training.teacher import Lesson, Teacher, TeacherView

SMALL = DistilRecipe(
    teacher=Lesson(views={"cam": TeacherView()}),
    width=4,
    mix=6,
    input_size=32,
    batch_size=4,
    steps=8,
    crop_area=(0.4, 1.0),
)


# ---- a picture and its map are cut alike --------------------------------------------------------------------


def test_a_map_is_cut_as_its_picture_is() -> None:
    """A smooth map drawn into the picture itself, cut with it, and cut from a squashed copy on a grid of its own."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 120), torch.linspace(-1, 1, 200), indexing="ij")
    picture = (0.5 + 0.3 * torch.sin(2 * x + 0.5) * torch.cos(1.5 * y) + 0.15 * x).expand(3, -1, -1)
    squashed = F.interpolate(picture[None], (56, 56), mode="bilinear", antialias=True)[0, 0]
    mirrored = 0
    for k in range(12):
        crop = random_crop(120, 200, (0.2, 1.0), generator(k))
        mirrored += crop.flip
        inside = slice(2, -2)  # where the grid's half a cell at the border plays no part
        cut, expected = resized_map(squashed, crop, (120, 200), 40), resized(to_bytes(picture), crop, 40)[0]
        assert (cut - expected)[inside, inside].abs().max() < 0.02
    assert 0 < mirrored < 12


def test_maps_come_along_with_the_crops(picture_folder: Path) -> None:
    """Against a loader of the same draws without maps; and it says which picture it asks for."""
    data = read_data(picture_folder)
    plain, along = Loader([data], SMALL, 32), Loader([data], SMALL, 32)
    sizes: list[tuple[int, int]] = []

    def keep(place: int, crop: Crop, picture: tuple[int, int], size: int) -> Tensor:
        sizes.append(picture)
        return torch.full((2, size, size), float(place))

    along.along = keep
    for (images, labels), (more, same) in zip(plain.batches(0, 5), along.batches(0, 5), strict=True):
        assert torch.equal(images, more[:, :3]) and torch.equal(labels, same) and more.shape[1] == 5
        assert [data.records[int(place)].label for place in more[:, 3, 0, 0]] == labels.tolist()
    assert set(sizes) == {(40, 48)}


def target(
    saliency: Tensor, mean: float, kind: str, crop: Crop, picture: tuple[int, int], size: int | tuple[int, int]
) -> Tensor:
    return LABEL_KINDS[kind]().of_crop(resized_map(saliency, crop, picture, size), mean)[None]


def test_targets() -> None:
    assert set(LABEL_KINDS) == set(get_args(LabelKind))
    saliency = torch.rand(56, 56, generator=torch.Generator().manual_seed(0))
    whole, mean = Crop(0, 0, 112, 112, False), float(saliency.mean())
    raw = target(saliency, mean, "raw", whole, (112, 112), 56)
    torch.testing.assert_close(raw[0], saliency, atol=1e-5, rtol=0)
    above = target(saliency, mean, "above_mean", whole, (112, 112), 56)
    assert torch.equal(above[0], (raw[0] >= mean).float()) and 0.3 < above.mean() < 0.7
    flat = target(torch.zeros(56, 56), 0.0, "above_mean", whole, (112, 112), 8)
    assert flat.sum() == 0, "a flat map wants nothing"
    even = target(torch.full((56, 56), 0.5), 0.5, "above_mean", whole, (112, 112), 8)
    assert even.min() == 1, "all of it is at least its mean"


# ---- the training -------------------------------------------------------------------------------------------


def test_a_linear_map_of_the_taps_is_recovered_and_the_classifier_stays() -> None:
    """On other pictures, too, the student says what the teacher says: the sigmoid of one linear map of a tap."""
    recipe = SMALL.model_copy(
        update={
            "target": "raw", "taps": (1,), "decoder": "added", "class_tap": False, "width": 8, "weight_decay": 0.0,
            "masker_lr": 0.03, "steps": 500, "batch_size": 32,
        }
    )  # fmt: skip
    trainer = DistilTrainer(classifier(), recipe, 500, Fabric(accelerator="cpu", devices=1))
    before = {key: value.clone() for key, value in trainer.classifier.module.state_dict().items()}
    draws = torch.Generator().manual_seed(0)
    images = F.interpolate(torch.rand(96, 3, 5, 5, generator=draws), (32, 32), mode="bicubic").clamp(0, 1)
    with torch.no_grad():
        tap = F.max_pool2d(trainer.classifier.features(images)[1][1], 3, 2, 1)
    weight = torch.randn(tap.shape[1], generator=draws)
    weight = weight / torch.einsum("c,nchw->nhw", weight, tap).std()
    linear = torch.einsum("c,nchw->nhw", weight, tap)
    wanted = (linear - linear.mean()).sigmoid().repeat_interleave(4, 1).repeat_interleave(4, 2)
    for _ in range(500):
        drawn = torch.randperm(80, generator=draws)[:32]
        trainer.step(torch.cat([images[drawn], wanted[drawn, None]], 1), torch.zeros(32, dtype=torch.int64))
    trainer.masker.eval()
    with torch.no_grad():
        found = trainer.masker(images[80:])[1]
    assert (wanted - wanted.mean()).abs().mean() > 0.1
    assert (found - wanted[80:]).abs().mean() < 0.02
    state = trainer.masker.encoder.module.state_dict()
    assert all(torch.equal(before[key], state[key]) for key in before)
    assert not any(p.requires_grad for p in trainer.masker.encoder.module.parameters())


def noisy(bend: bool) -> tuple[float, float, float]:
    """Trains on labels that are mostly noise; returns the student's error to the clean map, its bias, and the noise."""
    recipe = SMALL.model_copy(
        update={
            "target": "values", "teacher": Lesson(views={"cam": TeacherView()}, stretch=False), "taps": (1,),
            "decoder": "added", "class_tap": False, "width": 8, "weight_decay": 0.0, "masker_lr": 0.02, "steps": 200,
            "lr_decay": "cosine", "batch_size": 32,
        }
    )  # fmt: skip
    trainer = DistilTrainer(classifier(), recipe, 200, Fabric(accelerator="cpu", devices=1))
    draws, noise = torch.Generator().manual_seed(0), 1.0
    images = F.interpolate(torch.rand(320, 3, 5, 5, generator=draws), (32, 32), mode="bicubic").clamp(0, 1)
    with torch.no_grad():
        tap = F.max_pool2d(trainer.classifier.features(images)[1][1], 3, 2, 1)
    weight = torch.randn(tap.shape[1], generator=draws)
    linear = torch.einsum("c,nchw->nhw", weight, tap)
    clean = 0.5 * (linear - linear.mean()) / linear.std()
    labels = clean + noise * torch.randn(clean.shape, generator=draws)
    labels = labels.relu() if bend else labels
    wanted = labels.repeat_interleave(4, 1).repeat_interleave(4, 2)
    for _ in range(200):
        drawn = torch.randperm(256, generator=draws)[:32]
        trainer.step(torch.cat([images[drawn], wanted[drawn, None]], 1), torch.zeros(32, dtype=torch.int64))
    trainer.masker.eval()
    with torch.no_grad():
        none = torch.zeros(64, 1, dtype=torch.int64)
        said = trainer.masker.logits_of(trainer.features(images[256:])[1], (32, 32), none)[:, 0]
    said = F.adaptive_avg_pool2d(said, clean.shape[-2:])
    off = said - clean[256:]
    return float(off.square().mean().sqrt()), float(off.mean()), noise


def test_noise_averages_out_and_what_bends_it_stays() -> None:
    """Labels with four times the noise's variance of what they say: the student is far better than they are.

    Cut off at 0, the labels' mean is another, and so is the student's, however long it learns.
    """
    error, bias, noise = noisy(bend=False)
    assert error < 0.25 * noise and abs(bias) < 0.05
    error, bias, _ = noisy(bend=True)
    assert bias > 0.35


def test_squared_error_of_a_noisy_label_is_that_of_the_clean_one_and_the_noise() -> None:
    """With noise that is known: E|s - a~|^2 = E|s - a|^2 + E|a~ - a|^2, by the trainer's own loss."""
    recipe = SMALL.model_copy(
        update={"target": "values", "teacher": Lesson(views={"cam": TeacherView()}, stretch=False)}
    )
    losses = []
    draws = torch.Generator().manual_seed(0)
    images, labels = torch.rand(4, 3, 32, 32, generator=draws), torch.tensor([0, 1, 2, 3])
    clean = torch.randn(4, 1, 8, 8, generator=draws)
    noise = torch.randn(4, 1, 8, 8, generator=draws)
    for sign in (0.0, 1.0, -1.0):  # noise of mean zero: each with its opposite
        trainer = DistilTrainer(classifier(), recipe, 5, Fabric(accelerator="cpu", devices=1))
        assert isinstance(trainer.label, ValuesLabel)
        trainer.label.unit = 2.0
        wanted = (clean + sign * noise).repeat_interleave(4, 2).repeat_interleave(4, 3)
        losses.append(trainer.step(torch.cat([images, wanted], 1), labels)["loss"])
    assert losses[0] > 0.1
    assert (losses[1] + losses[2]) / 2 == pytest.approx(losses[0] + float((noise / 2).square().mean()), rel=1e-5)


def test_unbent_labels_keep_sign_and_size(picture_folder: Path, tmp_path: Path) -> None:
    own = classifier()
    view = TeacherView(options={"masks": None, "grid": 2}, scales=(32,))
    lesson = Lesson(views={"kernel_shap": view}, stretch=False, grid=2)
    maps = Teacher(own, lesson)(pictures(), [1, 4, 0])
    squashed = torch.cat([own.prepare(image[None]) for image in pictures()])
    p = own.probabilities(own.logits(squashed)).detach()
    nobody = own.probabilities(own.logits(own.mean[:, None, None].expand(1, 3, 32, 32))).detach()
    expected = (p - nobody)[torch.arange(3), [1, 4, 0]]
    torch.testing.assert_close(maps.sum((1, 2)), expected, atol=1e-5, rtol=0)
    assert maps.min() < 0
    recipe = SMALL.model_copy(update={"target": "values", "teacher": lesson, "steps": 3})
    file = train(recipe, picture_folder, classifier=own, out=tmp_path / "out", device="cpu")
    assert mw.explainer("distilled", own, masker=file)(torch.rand(1, 3, 32, 32)).isfinite().all()
    with pytest.raises(InputError, match="unbent"):
        recipes.load("banzhaf_lite0", ["teacher.stretch=true"])


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, state: TrainingState) -> None:
        if state.step >= self.step:
            state.end("far enough")


def test_resumed_equals_never_stopped(picture_folder: Path, tmp_path: Path) -> None:
    def run(out: str, stop_at: int | None = None, resume: bool = False) -> Path:
        callbacks = [] if stop_at is None else [StopAt(stop_at)]
        return train(
            SMALL, picture_folder, classifier=classifier(), out=tmp_path / out, device="cpu", callbacks=callbacks,
            resume=resume,
        )  # fmt: skip

    straight = run("straight")
    run("halted", stop_at=3)
    (tmp_path / "halted" / "masker.safetensors").unlink()
    halted = run("halted", resume=True)
    assert halted.read_bytes() == straight.read_bytes()
    logs = [[json.loads(x) for x in (p.parent / "log.jsonl").read_text().splitlines()] for p in (straight, halted)]
    assert [x["loss"] for x in logs[0]] == [x["loss"] for x in logs[1]] and len(logs[0]) == 8
    masker = load_masker(halted, classifier())
    assert masker.needs_class and masker.decoder.training is False


def test_labels_follow_changed_pictures(picture_folder: Path, tmp_path: Path) -> None:
    """One file for two runs: the second teaches only what the first did not know."""
    recipe = SMALL.model_copy(update={"labels": str(tmp_path / "shared.npz"), "steps": 1})

    def count(out: str) -> int:
        train(recipe, picture_folder, classifier=classifier(), out=tmp_path / out, device="cpu")
        return len(LabelFile(tmp_path / "shared.npz").maps)

    assert count("a") == 20
    assert count("b") == 20
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(picture_folder / "images" / "03.png")
    assert count("c") == 21


def test_the_loss_by_hand() -> None:
    trainer = DistilTrainer(classifier(), SMALL, 5, Fabric(accelerator="cpu", devices=1))
    draws = torch.Generator().manual_seed(0)
    images, labels = torch.rand(4, 3, 32, 32, generator=draws), torch.tensor([0, 1, 2, 3])
    wanted = (torch.rand(4, 1, 32, 32, generator=draws) > 0.6).float()
    state = {key: value.clone() for key, value in trainer.masker.decoder.state_dict().items()}
    with torch.no_grad():
        mask = trainer.masker.mask_of(trainer.masker.encoder.features(images)[1], (32, 32), labels)
    trainer.masker.decoder.load_state_dict(state)
    small = mask[:, ::4, ::4]
    cells = wanted[:, 0].reshape(4, 8, 4, 8, 4).mean((2, 4))
    expected = -(cells * small.log() + (1 - cells) * (1 - small).log()).mean()
    logged = trainer.step(torch.cat([images, wanted], 1), labels)
    assert logged["loss"] == pytest.approx(float(expected), abs=1e-5)
    assert logged["wanted"] == pytest.approx(float(wanted.mean()), abs=1e-6)


def test_a_masker_is_asked_for_the_label_and_the_next_likely_classes(picture_folder: Path, tmp_path: Path) -> None:
    """``others=2``: their maps, each as the teacher says it of that class alone, come with the crops in that order."""
    recipe = SMALL.model_copy(update={"others": 2, "teacher": Lesson(views={"cam": TeacherView()}, stretch=False)})
    trainer = DistilTrainer(classifier(), recipe, 5, Fabric(accelerator="cpu", devices=1))
    loader = Loader([read_data(picture_folder)], recipe, 32)
    trainer.prepare(loader, tmp_path)
    assert loader.asked is not None and loader.asked.shape == (20, 3)
    teacher = Teacher(trainer.classifier, recipe.teacher)
    for place in (0, 7, 13):
        image = loader.picture(place).float() / 255
        answer = trainer.classifier.logits(trainer.classifier.prepare(image[None]))[0]
        ranked = [c for c in answer.argsort(descending=True).tolist() if c != loader.labels[place]]
        assert loader.asked[place].tolist() == [loader.labels[place], *ranked[:2]]
        for k, asked in enumerate(loader.asked[place].tolist()):
            expected = teacher([image], [asked])[0]
            torch.testing.assert_close(trainer.maps[place][k].float(), expected, atol=2e-3, rtol=2e-3)
    images, labels = loader.batch(0)
    assert images.shape[1] == 3 + 3 and labels.shape == (4, 3)
    with torch.no_grad():
        taps = trainer.features(images[:, :3])[1]
        masks = trainer.masker.logits_of(taps, (32, 32), labels).sigmoid()
    wanted = F.adaptive_avg_pool2d(images[:, 3:], masks.shape[-2:])
    expected = -(wanted * masks.log() + (1 - wanted) * (1 - masks).log()).mean()
    assert trainer.step(images, labels)["loss"] == pytest.approx(float(expected), abs=1e-5)
    with pytest.raises(InputError, match="others asks for several classes"):
        recipes.load("distilled", ["others=1", "class_tap=false", "class_gate=null"])


def test_the_mean_is_that_of_each_picture_s_map(picture_folder: Path, tmp_path: Path) -> None:
    """Of maps that are far from even: as many places are wanted as lie above the mean, and not half of them."""
    trainer = DistilTrainer(classifier(), SMALL, 5, Fabric(accelerator="cpu", devices=1))
    loader = Loader([read_data(picture_folder)], SMALL, 32)
    trainer.prepare(loader, tmp_path)
    assert len(trainer.maps) == 20 and loader.along is not None
    unlike = 0
    for place, several in trainer.maps.items():
        [saliency] = several
        side = saliency.shape[-1]
        wanted = loader.along(place, Crop(0, 0, side, side, False), (side, side), side)
        whole = saliency.float().numpy()
        assert wanted.numpy().mean() == pytest.approx((whole >= whole.mean()).mean(), abs=0.01)
        unlike += abs((whole >= whole.mean()).mean() - 0.5) > 0.05
    assert unlike > 0


def test_the_unit_of_values_is_their_root_mean_square() -> None:
    maps = [torch.tensor([[1.0, -7.0]]), torch.tensor([[5.0, 5.0]])]
    assert root_mean_square(maps) == pytest.approx((100 / 4) ** 0.5)
    assert root_mean_square([torch.zeros(2, 2)]) == 1


def test_what_is_logged_of_values_is_in_their_own_size() -> None:
    """``off`` is the mean distance of what the masker says from what is wanted, whatever the unit it learns in."""
    recipe = SMALL.model_copy(
        update={"target": "values", "teacher": Lesson(views={"cam": TeacherView()}, stretch=False)}
    )
    trainer = DistilTrainer(classifier(), recipe, 5, Fabric(accelerator="cpu", devices=1))
    assert isinstance(trainer.label, ValuesLabel)
    trainer.label.unit = 0.01
    draws = torch.Generator().manual_seed(0)
    images, labels = torch.rand(4, 3, 32, 32, generator=draws), torch.tensor([0, 1, 2, 3])
    wanted = 0.01 * torch.randn(4, 1, 8, 8, generator=draws)
    with torch.no_grad():
        said = trainer.masker.logits_of(trainer.features(images)[1], (32, 32), labels[:, None])
    large = wanted.repeat_interleave(4, 2).repeat_interleave(4, 3)
    logged = trainer.step(torch.cat([images, large], 1), labels)
    assert logged["off"] == pytest.approx(float((0.01 * said - wanted).abs().mean()), rel=1e-4)


def test_the_packaging_script(picture_folder: Path, tmp_path: Path) -> None:
    train_packaged = loaded(ROOT / "scripts" / "train_packaged.py")
    common = [
        "distilled_lite0", "--data", str(picture_folder), "--val", "shapes:n=6,size=64", "--table",
        str(tmp_path / "t.jsonl"), "--set", "input_size=64", "--set", "batch_size=4", "--set",
        "teacher.views={cam: {scales: [64]}}", "--device", "cpu",
    ]  # fmt: skip
    row = train_packaged.main([*common, "--out", str(tmp_path / "a"), "--set", "steps=2", "--limit", "4"])
    assert row["steps"] == 2 and row["pictures_seen"] == 8
    for value, low, high in row["val"]["shapes:n=6,size=64"].values():
        assert low <= value <= high
    timed = train_packaged.main([*common, "--out", str(tmp_path / "b"), "--minutes", "0.02", "--resume"])
    assert timed["steps"] >= 1 and timed["minutes"] < 1
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [r["name"] for r in rows] == ["a", "b"]

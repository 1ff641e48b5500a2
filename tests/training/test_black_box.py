"""A masker for a black box: it finds what a box reads whose mechanism is known, by being taught and by nothing else."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from calling import call, refused
from conftest import tiny_net
from PIL import Image
from torch import Tensor

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import DataSet, read_data
from maskwise.explainers.masker import MaskerExplainer
from maskwise.training import recipes, train
from maskwise.training.teacher import Teacher
from maskwise.training.teachers import TEACHERS, lesson, taught_by

SIDE, PATCH = 48, 12
LABELS = ("red", "green", "neither")
QUICK = ["encoder=small", "steps=120", "batch_size=16", "masker_lr=0.005"]


def two_patches(images: Tensor) -> Tensor:
    """Chances of three classes: how much of the picture is pure red, how much is pure green, and the rest."""
    red, green, blue = images.unbind(1)
    pure = [((one > 0.9) & (other < 0.1) & (blue < 0.1)).float() for one, other in ((red, green), (green, red))]
    seen = torch.stack([part.mean((1, 2)) for part in pure], 1) * 0.45 * (SIDE / PATCH) ** 2
    return torch.cat([seen, 1 - seen.sum(1, keepdim=True)], 1)


def planted(folder: Path, count: int, seed: int) -> Path:
    """Noise with a red and a green square; boxes are of the one that the picture's label names."""
    draws, rows, boxes = np.random.default_rng(seed), [], []
    (folder / "images").mkdir(parents=True)
    for k in range(count):
        picture = draws.uniform(0.2, 0.8, (SIDE, SIDE, 3))
        columns = draws.permutation([0, SIDE // 2])  # one left and one right, so that they never overlap
        for c, left in enumerate(columns):
            x, y = left + draws.integers(0, SIDE // 2 - PATCH + 1), draws.integers(0, SIDE - PATCH + 1)
            picture[y : y + PATCH, x : x + PATCH] = np.eye(3)[c]
            if c == k % 2:
                boxes.append((f"{k:03}.png", x, y, x + PATCH, y + PATCH))
        Image.fromarray((255 * picture).astype(np.uint8)).save(folder / "images" / f"{k:03}.png")
        rows.append((f"{k:03}.png", k % 2))
    for name, head, lines in (("labels", ("file", "label"), rows), ("boxes", ("file", "x0", "y0", "x1", "y1"), boxes)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([head, *lines])
    return folder


def box(function: Callable[[Tensor], Tensor] = two_patches) -> Classifier:
    return mw.load_classifier(function, size=SIDE, labels=LABELS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("planted") / "train", 160, 0)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return read_data(planted(tmp_path_factory.mktemp("planted") / "val", 40, 1))


@pytest.fixture(scope="module")
def fitted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fit") / "run"
    done = mw.fit(data, two_patches_of(SIDE), out=out, size=SIDE, overrides=QUICK, page=False)
    assert done.teacher == "banzhaf" and done.flattened is None and done.pictures == (144, 16)
    return done.path


def two_patches_of(size: int) -> Classifier:
    return mw.load_classifier(two_patches, size=size, labels=LABELS)


def overlap(explainer: Callable[..., Tensor], held_out: DataSet, other: bool = False) -> tuple[float, float]:
    """Mean IoU with the box of the class that is asked for, and the share of brightest pixels that lie in it."""
    ious, hits = [], []
    for record in held_out.records:
        sample = held_out.sample(record)
        assert sample.label is not None
        asked = 1 - sample.label if other else sample.label
        maps = explainer(sample.image[None], torch.tensor([asked]))
        ious.append(float(mw.iou(mw.boxes(maps), sample.boxes[:1])[0]))
        y, x = divmod(int(maps[0].flatten().argmax()), SIDE)
        x0, y0, x1, y1 = sample.boxes[0].tolist()
        hits.append(x0 <= x < x1 and y0 <= y < y1)
    return float(np.mean(ious)), float(np.mean(hits))


def test_the_masker_finds_what_the_box_reads_of_the_class_that_is_asked_for(fitted: Path, held_out: DataSet) -> None:
    """On held-out pictures, better than a box in the middle, than edges, and than one lesson of its own teacher."""
    classifier = box()
    explainer = mw.explainer("casm", classifier, masker=fitted)
    iou, hits = overlap(explainer, held_out)
    for name, options in (("center", {}), ("edges", {}), ("banzhaf", {"masks": 32, "grid": 7})):
        their_iou, their_hits = overlap(mw.explainer(name, classifier, **options), held_out)
        assert iou > their_iou + 0.05 and hits > their_hits, (name, iou, hits, their_iou, their_hits)
    assert hits > 0.9, hits
    assert overlap(explainer, held_out, other=True)[1] < 0.1, "asked for the other class it points elsewhere"


def test_one_forward_and_one_question_explain_a_picture(fitted: Path, held_out: DataSet) -> None:
    asked: list[int] = []

    def counted(images: Tensor) -> Tensor:
        asked.append(len(images))
        return two_patches(images)

    counted.fingerprint = lambda: "counted"  # type: ignore[attr-defined]
    explainer = mw.explainer("casm", box(), masker=fitted)
    assert isinstance(explainer, MaskerExplainer)
    explainer.classifier.module.function = counted
    explainer(held_out.image(held_out.records[0])[None])
    assert asked == [1]


def test_labels_are_made_once_and_of_one_box(data: Path, tmp_path: Path) -> None:
    """Another training with the same labels asks the box no question for them; of another box they are others."""
    asked: list[int] = []

    def counted(images: Tensor) -> Tensor:
        asked.append(len(images))
        return two_patches(images)

    counted.fingerprint = lambda: "counted"  # type: ignore[attr-defined]
    own = ["encoder=small", "steps=1", "batch_size=16", f"input_size={SIDE}", f"labels={tmp_path / 'labels.npz'}"]
    for k in range(2):
        train("black_box", data, classifier=box(counted), out=tmp_path / str(k), overrides=own, page=False)
        if k == 0:
            first = sum(asked)
            asked.clear()
    assert first >= 160 * 33 and sum(asked) < 10, "a label is 32 coalitions and all cells"
    keys = [Teacher(box(f), lesson("banzhaf", box(f))).key() for f in (two_patches, counted)]
    assert keys[0] != keys[1]


def test_a_small_encoder_learns_and_a_named_one_stays(data: Path, tmp_path: Path) -> None:
    """And a training that goes on equals one that never stopped."""
    own = ["steps=4", "batch_size=16", f"input_size={SIDE}", "encoder=small"]
    whole = train("black_box", data, classifier=box(), out=tmp_path / "whole", overrides=own, page=False)

    class Stop(mw.Callback):
        def on_step(self, state: object) -> None:
            if state.step == 2:  # type: ignore[attr-defined]
                raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        train(
            "black_box", data, classifier=box(), out=tmp_path / "parts", overrides=own, page=False,
            callbacks=[Stop()], checkpoint_every=1,
        )  # fmt: skip
    parts = train("black_box", data, classifier=box(), out=tmp_path / "parts", overrides=own, page=False, resume=True)
    assert whole.read_bytes() == parts.read_bytes()
    first = train("black_box", data, classifier=box(), out=tmp_path / "one", overrides=[*own, "steps=1"], page=False)
    ours, theirs = (mw.load_masker(path, box()).encoder.fingerprint() for path in (whole, first))
    assert ours != theirs, "its weights change from step to step"
    named = [*own, "encoder=efficientnet_lite0", "steps=1"]
    known = mw.load_masker(
        train("black_box", data, classifier=box(), out=tmp_path / "n", overrides=named, page=False), box()
    )
    for key, value in mw.load_classifier().module.state_dict().items():
        assert torch.equal(known.encoder.module.state_dict()[key], value), key


# ---- what can't work ----------------------------------------------------------------------------------------


def both(images: Tensor) -> Tensor:
    """Chances of two findings that don't exclude each other: is there pure red, is there pure green?"""
    return (two_patches(images)[:, :2] / 0.45).clamp(0.02, 0.98)


def test_findings_that_do_not_exclude_each_other_are_all_taught(data: Path, held_out: DataSet, tmp_path: Path) -> None:
    """Each picture has both, and no labels: the masker finds either, though one alone is the likeliest."""
    asked = []

    def counted(images: Tensor) -> Tensor:
        asked.append(len(images))
        return both(images)

    counted.fingerprint = lambda: "both"  # type: ignore[attr-defined]
    own = mw.load_classifier(counted, size=SIDE, labels=LABELS[:2], activation="none")
    done = mw.fit(data / "images", own, out=tmp_path / "fit", size=SIDE, overrides=QUICK, page=False)
    assert done.teacher == "banzhaf" and "others: 1" in (tmp_path / "fit" / "recipe.yaml").read_text()
    explainer = mw.explainer("casm", own, masker=done.path)
    assert overlap(explainer, held_out)[1] > 0.9, "the brightest pixel lies in the square that is asked for"
    assert overlap(explainer, held_out, other=True)[1] < 0.1, "and not in the other finding's"
    labelling = 144 * (32 + 1)
    assert sum(asked) < 1.5 * labelling, "both findings are labelled by the same questions"


def test_scores_of_findings_and_no_findings_at_all(tmp_path: Path) -> None:
    """Sigmoid scores; pictures in which nothing is found; pictures so small that an encoder's last scale has no tap."""

    def scores(images: Tensor) -> Tensor:
        return 20 * (images.mean((2, 3)) - 0.9)

    own = mw.load_classifier(scores, size=32, activation="sigmoid")
    small = [*QUICK[:1], "batch_size=4", "others=1"]
    done = mw.fit("shapes:n=20,size=32", own, out=tmp_path / "a", max_steps=2, overrides=small, page=False)
    maps = mw.explainer("casm", own, masker=done.path)(torch.rand(2, 3, 32, 32), torch.tensor([[0, 2], [1, 0]]))
    assert maps.shape == (2, 2, 32, 32) and maps.isfinite().all()
    beyond = mw.load_classifier(lambda x: 3 + x.mean((2, 3)), size=32, activation="none")
    with pytest.raises(InputError, match="say `activation=sigmoid`"):
        mw.fit("shapes:n=20,size=32", beyond, out=tmp_path / "b", max_steps=2, overrides=small, page=False)


def test_what_needs_gradients_or_layers_is_refused_in_one_line(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="masked pictures teach by gradients, and two_patches is a black box"):
        mw.fit(data, box(), out=tmp_path / "a", teacher="none")
    for teacher in ("grad_cam", "excitation_backprop", "gradient", "both"):
        with pytest.raises(InputError, match="black box") as refusal:
            mw.fit(data, box(), out=tmp_path / "b", teacher=teacher, size=SIDE)
        assert "\n" not in str(refusal.value)
    for recipe in (
        "casm",
        "phang/fix",
        "distilled",
        "shapley_lite0",
        "regions_lite0",
        "ranking_lite0",
        "dabkowski_gal",
    ):
        with pytest.raises(InputError, match="is a black box, which shows none: take recipe black_box"):
            train(recipe, data, classifier=box(), out=tmp_path / "c", overrides=["batch_size=4"])
    assert not (tmp_path / "b").exists() or not list((tmp_path / "b").iterdir())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("class_tap=true", "an encoder of its own has no class activation|without class_tap"),
        ("class_gate=0.3", "no class activation"),
        ("decoder=added", "class_embedding belongs to a mixing decoder"),
    ],
)
def test_settings_that_contradict_each_other(wrong: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        recipes.load("black_box", [wrong])


def test_any_method_that_only_asks_may_teach() -> None:
    for name in ("banzhaf", "kernel_shap", "occlusion", "rise"):
        recipe = taught_by(name, box())
        assert list(recipe.teacher.views) == [name] and not recipe.teacher.stretch and recipe.target == "values"
    assert taught_by("kernel_shap", box()).teacher.views["kernel_shap"].options == {"masks": 32, "grid": 7}
    assert taught_by("banzhaf", box()).encoder == "efficientnet_lite0"
    for name in TEACHERS:
        assert taught_by(name, Classifier(tiny_net(), input_size=32)).encoder is None, "a network is read itself"


# ---- from file to file --------------------------------------------------------------------------------------


def test_an_onnx_file_from_fit_to_explain_on_the_command_line(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    file, out = tmp_path / "net.onnx", tmp_path / "run"
    torch.onnx.export(tiny_net(classes=3), (torch.rand(2, 3, SIDE, SIDE),), str(file), dynamo=True, verbose=False)
    said = ["--classifier", str(file), "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--activation", "softmax"]
    done = call(
        "fit", data, *said, "--out", out, "--max-steps", "3", "--set", "encoder=small", "--set", "batch_size=8",
        "--set", "input_size=32", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["teacher"] == "banzhaf" and found["steps"] == 3
    assert recipes.load(out / "recipe.yaml").encoder == "small"
    picture, masker = next((data / "images").iterdir()), out / "masker.safetensors"
    shown = call("explain", picture, *said, "--masker", masker, "--method", "casm", "--out", tmp_path / "maps")
    assert shown.exit_code == 0, shown.output
    torch.onnx.export(tiny_net(1, classes=3), (torch.rand(2, 3, SIDE, SIDE),), str(file), dynamo=True, verbose=False)
    refused(
        call("explain", picture, *said, "--masker", masker, "--method", "casm", "--out", tmp_path / "no"),
        "was trained on net.onnx", "not on net.onnx",
    )  # fmt: skip
    refused(call("fit", data, *said, "--teacher", "none", "--out", tmp_path / "no"), "black box", "gradients")


def test_a_grey_box_of_findings_on_the_command_line(tmp_path: Path) -> None:
    """14 sigmoids of one-channel, oblong pictures of 16 bits: nothing needs to be said but what the file can't say."""
    pytest.importorskip("onnxruntime")
    draws, (pictures, out) = np.random.default_rng(0), (tmp_path / "in", tmp_path / "run")
    pictures.mkdir()
    for k in range(12):
        Image.fromarray(draws.integers(0, 2**16, (40, 60)).astype(np.uint16)).save(pictures / f"{k:02}.png")
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, 2, 1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(8, 14),
    )  # fmt: skip
    file = tmp_path / "chest.onnx"
    torch.onnx.export(network.eval(), (torch.rand(2, 1, 32, 48),), str(file), dynamo=True, verbose=False)
    said = ["--classifier", str(file), "--mean", "0.5", "--std", "0.25", "--activation", "sigmoid"]
    done = call("fit", pictures, *said, "--out", out, "--max-steps", "2", "--json")
    assert done.exit_code == 0, done.output
    assert "small gives" not in done.stderr, "nobody reads the scores of the masker's own network"
    assert recipes.load(out / "recipe.yaml").encoder == "small"
    ask = ("explain", pictures / "00.png", *said, "--masker", out / "masker.safetensors", "--method", "casm", "--json")
    shown = call(*ask, "--out", tmp_path / "maps")
    assert shown.exit_code == 0, shown.output
    assert "small gives" not in shown.stderr and np.load(tmp_path / "maps" / "00" / "map.npy").shape == (40, 60)

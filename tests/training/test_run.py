"""Whole runs on a tiny network: killed and resumed, refused, and what Algorithm 1 does step by step."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from lightning.fabric import Fabric
from safetensors.torch import load_file

from maskwise.classifiers import Classifier
from maskwise.data import read_data
from maskwise.errors import InputError
from maskwise.maskers import load_masker
from maskwise.training import Recipe, train
from maskwise.training.feed import Feed
from maskwise.training.loop import Trainer

SMALL = Recipe(epochs=4, fraction=1.0, batch_size=4, input_size=32, thinning="L100", seed=3, crop_area=(0.5, 1.0))


def lines(out: Path) -> list[dict[str, float]]:
    return [
        {k: v for k, v in json.loads(line).items() if k != "seconds_per_step"}
        for line in (out / "log.jsonl").read_text().splitlines()
    ]


def trainer(recipe: Recipe = SMALL, seed: int = 0) -> Trainer:
    classifier = Classifier(tiny_net(seed), input_size=32, name="tiny")
    return Trainer(classifier, recipe, 5, Fabric(accelerator="cpu", devices=1))


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(4, 3, 32, 32, generator=g), torch.randint(5, (4,), generator=g)


KILLED = """
import sys, torch
sys.path.insert(0, {tests!r})
from conftest import tiny_net
from maskwise.classifiers import Classifier
from maskwise.training import Recipe, train
recipe = Recipe(**{settings!r})
train(recipe, {data!r}, classifier=Classifier(tiny_net(), input_size=32, name="tiny"), out={out!r},
      resume=True, checkpoint_every=3, device="cpu")
"""


@pytest.mark.parametrize("update", ["averaged", "two_steps"])
def test_killed_and_resumed_equals_never_killed(update: str, picture_folder: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle, twice at different steps; weights and log are the same to the last bit."""
    recipe = SMALL.model_copy(update={"classifier_update": update, "epochs": 6, "p_history": 0.7, "pool_size": 2})
    straight = train(
        recipe, picture_folder, classifier=Classifier(tiny_net(), input_size=32, name="tiny"), out=tmp_path / "a",
        checkpoint_every=3, device="cpu",
    )  # fmt: skip
    out = tmp_path / "b"
    script = KILLED.format(
        tests=str(Path(__file__).parents[1]), settings=recipe.model_dump(), data=str(picture_folder), out=str(out)
    )
    checkpoint = out / "checkpoint.pt"
    for _ in range(2):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"})
        while process.poll() is None and not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    a, b = load_file(straight), load_file(out / "masker.safetensors")
    assert a.keys() == b.keys()
    assert all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)
    assert [line["step"] for line in lines(out)] == list(range(1, 31))
    for left, right in zip(lines(tmp_path / "a"), lines(out), strict=True):
        assert left == pytest.approx(right, abs=1e-4)


def test_a_run_writes_what_it_promises(picture_folder: Path, tmp_path: Path) -> None:
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    path = train(SMALL, picture_folder, classifier=classifier, out=tmp_path / "run", device="cpu")
    assert {p.name for p in path.parent.iterdir()} == {
        "masker.safetensors", "recipe.yaml", "log.jsonl", "checkpoint.pt",
    }  # fmt: skip
    assert classifier.fingerprint() == Classifier(tiny_net(), input_size=32).fingerprint(), "the original is untouched"
    assert load_masker(path, classifier)(torch.rand(1, 3, 32, 32))[1].shape == (1, 32, 32)


def test_bad_runs_are_refused(picture_folder: Path, tmp_path: Path) -> None:
    def run(**options: object) -> Path:
        classifier = Classifier(tiny_net(), input_size=32, name="tiny")
        settings = {"recipe": SMALL.model_copy(update={"epochs": 1}), "data": picture_folder, "out": tmp_path / "r"}
        return train(**{**settings, "classifier": classifier, "device": "cpu", **options})  # type: ignore[arg-type]

    run()
    with pytest.raises(InputError, match="--resume"):
        run()
    with pytest.raises(InputError, match="recipe differ"):
        run(recipe=SMALL, resume=True)
    (tmp_path / "r" / "checkpoint.pt").write_bytes(b"rubbish")
    with pytest.raises(InputError, match="can't be read"):
        run(resume=True)
    with pytest.raises(InputError, match="neither a folder nor a zip"):
        run(data=tmp_path / "nothing", out=tmp_path / "s")
    (picture_folder / "labels.csv").write_text("file,label\n00.png,77\n")
    with pytest.raises(InputError, match="label 77"):
        run(out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_pictures_without_labels_get_the_classifier_s_own(picture_folder: Path) -> None:
    (picture_folder / "labels.csv").unlink()
    classifier = Classifier(tiny_net(), input_size=32)
    data = read_data(picture_folder)
    feed = Feed([data], SMALL, 32)
    assert feed.label_the_rest(classifier) == 20
    images = torch.cat([classifier.prepare(data.image(r)[None]) for r in data.records])
    assert feed.labels == classifier.scores(images).argmax(1).tolist()


def test_batches_depend_on_seed_epoch_and_picture_alone(picture_folder: Path) -> None:
    feed = Feed([read_data(picture_folder)], SMALL, 32)
    whole, late = list(feed.epoch(1)), list(feed.epoch(1, first=3))
    assert len(whole) == 5 and len(late) == 2
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(whole[3:], late, strict=True))
    halves = [list(feed.epoch(1, rank=r, world=2)) for r in (0, 1)]
    assert torch.equal(halves[0][0][0], whole[0][0][0::2]) and torch.equal(halves[1][0][0], whole[0][0][1::2])
    assert not torch.equal(whole[0][0], next(iter(feed.epoch(2)))[0])


# ---- Algorithm 1, step by step ------------------------------------------------------------------------------


def test_baseline_never_touches_the_classifier() -> None:
    t = trainer(SMALL.model_copy(update={"thinning": "F"}))
    before = t.live.fingerprint()
    weights = [p.clone() for p in t.masker.decoder.parameters()]
    for k in range(3):
        t.step(*batch(k))
    assert t.live.fingerprint() == before
    assert any(not torch.equal(a, b) for a, b in zip(weights, t.masker.decoder.parameters(), strict=True))


@pytest.mark.parametrize("p_history", [0.0, 1.0])
def test_the_averaged_update_is_one_sgd_step_on_eq_8(p_history: float) -> None:
    """Against a second network stepped by hand: (CE clean + CE masked)/2, whoever judges the mask."""
    recipe = SMALL.model_copy(
        update={"momentum": 0.0, "weight_decay": 0.0, "p_history": p_history, "batch_norm": "frozen"}
    )
    t = trainer(recipe)
    images, labels = batch()
    with torch.no_grad():
        _, taps = t.live.features(images)
        # The decoder is in train mode: its mask of this batch, without moving its running statistics.
        stats = {k: v.clone() for k, v in t.masker.decoder.state_dict().items()}
        mask = t.masker.mask_of(taps, (32, 32))[:, None]
        t.masker.decoder.load_state_dict(stats)
    hole = t.live.mean.reshape(1, 3, 1, 1)
    twin = Classifier(tiny_net(), input_size=32)
    twin.module.requires_grad_(True)
    masked = images * (1 - mask) + hole * mask
    loss = (F.cross_entropy(twin.scores(images), labels) + F.cross_entropy(twin.scores(masked), labels)) / 2
    gradients = torch.autograd.grad(loss, list(twin.module.parameters()))
    expected = [p - recipe.classifier_lr * g for p, g in zip(twin.module.parameters(), gradients, strict=True)]
    t.step(images, labels)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(t.live.module.parameters(), expected, strict=True))


def test_a_planted_pool_entry_judges_the_mask() -> None:
    """With p_history = 1 the judge is the pool's: one that answers class 0 with certainty makes the loss known."""
    t = trainer(SMALL.model_copy(update={"p_history": 1.0, "thinning": "FL", "lambda_r": 0.0, "batch_norm": "frozen"}))
    t.step(*batch())
    entry = t.pool.entries[0]
    entry["14.weight" if "14.weight" in entry else list(entry)[-2]].zero_()
    entry[list(entry)[-1]].copy_(torch.tensor([100.0, 0, 0, 0, 0]))
    logged = t.step(*batch(1))
    assert logged["older"] == 1
    assert logged["loss"] == pytest.approx(0, abs=1e-6), "no entropy in a certain answer"


def test_two_steps_moves_the_classifier_twice_only_when_it_judges() -> None:
    moved = {}
    for p_history in (0.0, 1.0):
        recipe = SMALL.model_copy(
            update={"classifier_update": "two_steps", "p_history": p_history, "thinning": "FL", "momentum": 0.0}
        )
        t = trainer(recipe)
        steps = []
        step = t.class_sgd.step
        t.class_sgd.step = lambda *a, step=step, steps=steps: steps.append(1) or step()  # type: ignore[method-assign]
        t.step(*batch())
        moved[p_history] = len(steps)
    assert moved == {0.0: 2, 1.0: 1}


def test_the_mask_never_trains_a_shared_encoder_and_trains_a_separate_one() -> None:
    shared = trainer(SMALL.model_copy(update={"thinning": "F"}))
    assert shared.masker.encoder is shared.live
    apart = trainer(SMALL.model_copy(update={"thinning": "F", "shared": False}))
    before = apart.live.fingerprint(), apart.masker.encoder.fingerprint()
    apart.step(*batch())
    assert apart.live.fingerprint() == before[0]
    assert apart.masker.encoder.fingerprint() != before[1]

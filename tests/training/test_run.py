"""Whole runs on a tiny network: killed and resumed, refused, and what Algorithm 1 does step by step."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import epoch, tiny_net
from faults.killable import context, resumed
from lightning.fabric import Fabric
from safetensors.torch import load_file

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.maskers import load_masker
from maskwise.training import Recipe, train
from maskwise.training.loader import Loader
from maskwise.training.mask import MaskTrainer
from maskwise.training.objectives import Term

SMALL = Recipe(epochs=4, fraction=1.0, batch_size=4, input_size=32, thinning="L100", seed=3, crop_area=(0.5, 1.0))


def lines(out: Path) -> list[dict[str, float]]:
    return [
        {k: v for k, v in json.loads(line).items() if k != "seconds_per_step"}
        for line in (out / "log.jsonl").read_text().splitlines()
    ]


def trainer(recipe: Recipe = SMALL, seed: int = 0) -> MaskTrainer:
    classifier = Classifier(tiny_net(seed), input_size=32, name="tiny")
    return MaskTrainer(classifier, recipe, 5, Fabric(accelerator="cpu", devices=1))


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(4, 3, 32, 32, generator=g), torch.randint(5, (4,), generator=g)


@pytest.mark.parametrize("update", ["averaged", "two_steps"])
def test_killed_and_resumed_equals_never_killed(update: str, picture_folder: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle, twice at different steps; weights and log are the same to the last bit."""
    recipe = SMALL.model_copy(update={"classifier_update": update, "epochs": 6, "p_history": 0.7, "pool_size": 2})
    straight = train(
        recipe, picture_folder, classifier=Classifier(tiny_net(), input_size=32, name="tiny"), out=tmp_path / "a",
        checkpoint_every=3, device="cpu",
    )  # fmt: skip
    out = tmp_path / "b"
    checkpoint = out / "checkpoint.pt"
    for _ in range(2):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = context().Process(target=resumed, args=(recipe, picture_folder, out))
        process.start()
        while process.is_alive() and not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before):
            time.sleep(0.002)
        process.kill()
        process.join()
    last = context().Process(target=resumed, args=(recipe, picture_folder, out))
    last.start()
    last.join()
    assert last.exitcode == 0
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
        "masker.safetensors", "recipe.yaml", "log.jsonl", "checkpoint.pt", "snapshots", "index.html", "looks",
    }  # fmt: skip
    assert [p.name for p in sorted((path.parent / "looks").iterdir())] == ["000000.jpg", "000020.jpg"]
    assert classifier.fingerprint() == Classifier(tiny_net(), input_size=32).fingerprint(), "the original is untouched"
    assert load_masker(path, classifier)(torch.rand(1, 3, 32, 32))[1].shape == (1, 32, 32)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (SMALL, {"activation": "none"}, "need logits, .*of tiny are taken as they are .*: wrap it .* recipe distilled"),
        ("classifier_subset_lite0", {"activation": "sigmoid"}, "kind 'classifier' takes one class .* tiny .sigmoid"),
        ("dabkowski_gal", {"activation": "sigmoid"}, "kind 'class_mask' takes one class .*: recipes of kind mask"),
    ],
)
def test_a_classifier_that_a_training_would_get_wrong_is_refused(
    kind: Any, options: dict[str, Any], said: str, picture_folder: Path, tmp_path: Path
) -> None:
    classifier = Classifier(tiny_net(), **{"input_size": 32, "name": "tiny", **options})
    with pytest.raises(InputError, match=said):
        train(kind, picture_folder, classifier=classifier, out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run" / "masker.safetensors").exists()


def test_bad_runs_are_refused(picture_folder: Path, tmp_path: Path) -> None:
    def run(**options: object) -> Path:
        classifier = Classifier(tiny_net(), input_size=32, name="tiny")
        settings = {"recipe": SMALL.model_copy(update={"epochs": 1}), "data": picture_folder, "out": tmp_path / "r"}
        return train(**{**settings, "classifier": classifier, "device": "cpu", **options})  # type: ignore[arg-type]

    run()
    with pytest.raises(InputError, match="`resume=True`"):
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input_size": (32, 16)}, r"pixels \[32, 32\] there, \[32, 16\] here"),
        ({"input_size": 64}, r"the network's own pixels \[32, 32\] there, \[64, 64\] here"),
        ({"taps": ["1", "5", "9"]}, "taps differ"),
    ],
)
def test_a_run_goes_on_with_pictures_and_layers_as_they_were(
    options: dict[str, Any], said: str, picture_folder: Path, tmp_path: Path
) -> None:
    """The weights are the same, and so are the shapes of the decoder's."""

    def run(**options: Any) -> Path:
        classifier = Classifier(tiny_net(), **{"input_size": 32, "name": "tiny", **options})
        recipe = SMALL.model_copy(update={"epochs": 1, "input_size": 32})
        return train(recipe, picture_folder, classifier=classifier, out=tmp_path / "r", device="cpu", resume=True)

    run()
    with pytest.raises(InputError, match=said):
        run(**options)


def test_pictures_without_labels_get_the_classifier_s_own(picture_folder: Path) -> None:
    (picture_folder / "labels.csv").unlink()
    classifier = Classifier(tiny_net(), input_size=32)
    data = read_data(picture_folder)
    loader = Loader([data], SMALL, 32)
    assert loader.label_the_rest(classifier) == 20
    images = torch.cat([classifier.prepare(data.image(r)[None]) for r in data.records])
    assert loader.labels == classifier.logits(images).argmax(1).tolist()


def test_batches_depend_on_seed_epoch_and_picture_alone(picture_folder: Path) -> None:
    loader = Loader([read_data(picture_folder)], SMALL, 32)
    whole, late = epoch(loader, 1), epoch(loader, 1, first=3)
    assert len(whole) == 5 and len(late) == 2
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(whole[3:], late, strict=True))
    halves = [epoch(loader, 1, rank=r, world=2) for r in (0, 1)]
    assert torch.equal(halves[0][0][0], whole[0][0][0::2]) and torch.equal(halves[1][0][0], whole[0][0][1::2])
    assert not torch.equal(whole[0][0], epoch(loader, 2)[0][0])


# ---- Algorithm 1, step by step ------------------------------------------------------------------------------


def test_baseline_never_touches_the_classifier() -> None:
    t = trainer(SMALL.model_copy(update={"thinning": "F"}))
    before = t.live.fingerprint()
    weights = [p.clone() for p in t.masker.decoder.parameters()]
    for k in range(3):
        t.step(*batch(k))
    assert t.live.fingerprint() == before
    assert any(not torch.equal(a, b) for a, b in zip(weights, t.masker.decoder.parameters(), strict=True))


def mask_in_training(t: MaskTrainer, images: torch.Tensor) -> torch.Tensor:
    """The decoder's mask (B,1,H,W) of this batch in train mode, without moving its running statistics."""
    stats = {k: v.clone() for k, v in t.masker.decoder.state_dict().items()}
    with torch.no_grad():
        mask = t.masker.mask_of(t.live.features(images)[1], (32, 32))[:, None]
    t.masker.decoder.load_state_dict(stats)
    return mask


@pytest.mark.parametrize("p_history", [0.0, 1.0])
def test_the_averaged_update_is_one_sgd_step_on_eq_8(p_history: float) -> None:
    """Against a second network stepped by hand: (CE clean + CE masked)/2, whoever judges the mask."""
    recipe = SMALL.model_copy(
        update={"momentum": 0.0, "weight_decay": 0.0, "p_history": p_history, "batch_norm": "frozen"}
    )
    t = trainer(recipe)
    images, labels = batch()
    mask = mask_in_training(t, images)
    hole = t.live.mean.reshape(1, 3, 1, 1)
    twin = Classifier(tiny_net(), input_size=32)
    twin.module.requires_grad_(True)
    masked = images * (1 - mask) + hole * mask
    loss = (F.cross_entropy(twin.logits(images), labels) + F.cross_entropy(twin.logits(masked), labels)) / 2
    gradients = torch.autograd.grad(loss, list(twin.module.parameters()))
    expected = [p - recipe.classifier_lr * g for p, g in zip(twin.module.parameters(), gradients, strict=True)]
    t.step(images, labels)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(t.live.module.parameters(), expected, strict=True))


def planted(recipe: Recipe) -> MaskTrainer:
    """After one step, the only entry of the pool is certain of class 0."""
    t = trainer(recipe)
    t.step(*batch())
    (entry,) = t.pool.entries
    entry["14.weight"].zero_()
    entry["14.bias"].copy_(torch.tensor([100.0, 0, 0, 0, 0]))
    return t


def test_a_planted_pool_entry_judges_the_mask() -> None:
    """With p_history = 1 the judge is the pool's: where it is certain of the right class, the loss is known."""
    certain = {"min_class": Term(lambda_r=0)}
    t = planted(SMALL.model_copy(update={"p_history": 1.0, "thinning": "FL", "objectives": certain}))
    logged = t.step(batch(1)[0], torch.zeros(4, dtype=torch.long))
    assert logged["older"] == 1
    assert logged["loss"] == pytest.approx(0, abs=1e-6), "no cross entropy in an answer that is certain and right"


def test_two_steps_moves_the_classifier_twice_only_when_it_judges() -> None:
    moved = {}
    for p_history in (0.0, 1.0):
        recipe = SMALL.model_copy(
            update={"classifier_update": "two_steps", "p_history": p_history, "thinning": "FL", "momentum": 0.0}
        )
        t = trainer(recipe)
        steps = []
        step = t.classifier_step.optimizer.step
        t.classifier_step.optimizer.step = lambda *a, step=step, steps=steps: steps.append(1) or step()  # type: ignore[method-assign]
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


def with_objectives(**settings: object) -> Recipe:
    both = {"max_class": Term(weight=0.5, lambda_r=1), "max_entropy": Term(weight=0.5, lambda_r=5)}
    return SMALL.model_copy(update={"objectives": both, "batch_norm": "frozen", "momentum": 0.0, **settings})


def test_masked_in_and_masked_out_share_one_forward() -> None:
    t = trainer(with_objectives(thinning="F"))
    sizes: list[int] = []
    t.live.module.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    logged = t.step(*batch())
    assert sizes == [4, 8], "the clean pictures, then both sides of the mask"
    assert {"masked_in_right", "masked_out_right"} <= logged.keys()


def test_the_classifier_learns_from_both_sides_by_their_weights() -> None:
    """Against a second network stepped by hand: (CE clean + (CE in + CE out)/2)/2."""
    recipe = with_objectives(thinning="L", p_history=0.0, weight_decay=0.0)
    t = trainer(recipe)
    images, labels = batch()
    mask = mask_in_training(t, images)
    hole = t.live.mean.reshape(1, 3, 1, 1)
    twin = Classifier(tiny_net(), input_size=32)
    twin.module.requires_grad_(True)
    inside, outside = images * mask + hole * (1 - mask), images * (1 - mask) + hole * mask
    clean, kept, left = (F.cross_entropy(twin.logits(x), labels) for x in (images, inside, outside))
    gradients = torch.autograd.grad((clean + (kept + left) / 2) / 2, list(twin.module.parameters()))
    expected = [p - recipe.classifier_lr * g for p, g in zip(twin.module.parameters(), gradients, strict=True)]
    t.step(images, labels)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(t.live.module.parameters(), expected, strict=True))


@pytest.mark.parametrize("use", ["judge", "skip"])
def test_the_released_pool_never_judges_and_only_skips_the_masked_update(use: str) -> None:
    """A planted entry that is certain of class 0 leaves no entropy if it judges; the released code never asks it."""
    certain = {"min_class": Term(lambda_r=0)}
    t = planted(
        with_objectives(thinning="FL", p_history=1.0, pool_use=use, objectives=certain, classifier_update="two_steps")
    )
    updates: list[int] = []
    step = t.classifier_step.optimizer.step
    t.classifier_step.optimizer.step = lambda *a: updates.append(1) or step()  # type: ignore[method-assign]
    logged = t.step(batch(1)[0], torch.zeros(4, dtype=torch.long))
    assert logged["older"] == 1
    assert (abs(logged["loss"]) < 1e-6) == (use == "judge")
    assert len(updates) == 1, "the clean step alone"


def test_what_fills_the_hole_is_seen_by_the_classifier_and_keeps_kept_pixels() -> None:
    t = trainer(with_objectives(thinning="F", infill="blur"))
    images, _ = batch()
    masks = (torch.rand(4, 32, 32, generator=torch.Generator().manual_seed(5)) > 0.5).float()
    views = t._masked(images, masks)
    inside, outside = views["in"], views["out"]
    keep = masks[:, None].bool().expand(-1, 3, -1, -1)
    assert torch.equal(inside[keep], images[keep]) and torch.equal(outside[~keep], images[~keep])
    hole = t.live.mean.reshape(1, 3, 1, 1)
    assert not torch.allclose(inside, torch.where(keep, images, hole))


def test_a_classifier_of_masked_pictures_alone_never_learns_from_clean_ones() -> None:
    """Fan et al.: with masks of nothing but ones the masked-out pictures are grey, whatever the picture shows."""
    recipe = SMALL.model_copy(
        update={"classifier_sees": "masked", "shared": False, "thinning": "L", "p_history": 0.0, "batch_norm": "frozen"}
    )
    moved = []
    for seed in (0, 1):
        t = trainer(recipe)
        torch.nn.init.zeros_(t.masker.decoder.head.weight)
        torch.nn.init.constant_(t.masker.decoder.head.bias, 100.0)
        t.step(batch(seed)[0], batch(0)[1])
        moved.append([p.clone() for p in t.live.module.parameters()])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*moved, strict=True))
    with pytest.raises(ValueError, match="shared=false"):
        Recipe(classifier_sees="masked")


def test_autocast_trains_the_same_masks() -> None:
    """Five steps in bfloat16 beside five in float32: the masks' mean and the loss stay together."""
    logged = {}
    for precision in ("32-true", "bf16-mixed"):
        classifier = Classifier(tiny_net(), input_size=32, name="tiny")
        t = MaskTrainer(classifier, with_objectives(thinning="L100"), 5, Fabric(accelerator="cpu", precision=precision))
        for k in range(5):
            logged[precision] = t.step(*batch(k))
        assert all(p.dtype == torch.float32 for p in t.masker_parameters)
    for key in ("area", "loss"):
        assert logged["bf16-mixed"][key] == pytest.approx(logged["32-true"][key], abs=0.05)
    assert logged["bf16-mixed"] != logged["32-true"]

"""The region decoder, the classifier's tail, and the training on cached taps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import end_at, tiny_net
from lightning.fabric import Fabric
from PIL import Image
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.maskers import load_agnostic_masker
from maskwise.maskers.region_decoder import RegionDecoder
from maskwise.training import recipes, train
from maskwise.training.loader import Loader
from maskwise.training.regions import RegionsTrainer
from maskwise.training.regions_recipe import RegionsRecipe
from maskwise.training.tail import Tail
from maskwise.training.tap_file import TapFile

SMALL = RegionsRecipe(batch_size=4, steps=6, input_size=32, losses={"trilite": {"alpha": 3}, "batch_area": {}})


def classifier() -> Classifier:
    return Classifier(tiny_net(), input_size=32, name="tiny")


def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


# ---- the decoder ------------------------------------------------------------------------------------------------


def decoder(channel: str = "fg") -> RegionDecoder:
    torch.manual_seed(0)
    found = RegionDecoder([3, 5], 3, channel).eval()  # type: ignore[arg-type]
    found.norm.weight.data.uniform_(0.5, 2)
    found.norm.bias.data.uniform_(-1, 1)
    return found


def test_the_mask_is_the_share_of_a_region() -> None:
    """The sigmoid of the decoder's logits is the softmax of three enlarged channels, fg first."""
    taps = [torch.randn(2, 3, 8, 8), torch.randn(2, 5, 4, 4)]
    fg, not_bg = decoder(), decoder("not_bg")
    joined = torch.cat([taps[0], F.interpolate(taps[1], (8, 8), mode="bilinear")], 1)
    scores = F.batch_norm(
        F.conv2d(joined, fg.conv.weight, padding=1), fg.norm.running_mean, fg.norm.running_var, fg.norm.weight,
        fg.norm.bias,
    )  # fmt: skip
    shares = F.interpolate(scores, (16, 16), mode="bilinear").softmax(1)
    torch.testing.assert_close(fg(taps, (64, 64)).sigmoid(), shares[:, 0])
    torch.testing.assert_close(not_bg(taps, (64, 64)).sigmoid(), 1 - shares[:, 1])


def test_exchanged_regions() -> None:
    taps = [torch.randn(2, 3, 8, 8), torch.randn(2, 5, 4, 4)]
    own = decoder()
    scores, other = own.scores(taps), own.swapped().scores(taps)
    torch.testing.assert_close(other, scores[:, [1, 0, 2]])


# ---- the tail ---------------------------------------------------------------------------------------------------


def test_the_tail_goes_on_where_the_tap_left_off() -> None:
    own = classifier()
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, taps = own.features(images)
    tail = Tail(own, own.tap_names[-2], (32, 32))
    activation = taps[-2].clone().requires_grad_()
    last = tail(activation)
    torch.testing.assert_close(last, taps[-1])
    torch.testing.assert_close(tail.answer(last), logits)
    weight = own.module[-1].weight
    expected = torch.stack(
        [torch.einsum("c,chw->hw", weight[k], taps[-1][n]).relu().mean() for n, k in enumerate((4, 0, 2))]
    )
    torch.testing.assert_close(tail.activation(last, torch.tensor([4, 0, 2])), expected)
    (gradient,) = torch.autograd.grad(last.sum(), activation)
    assert gradient.abs().sum() > 0
    assert not own.module[0]._forward_hooks and all(not part._forward_hooks for part in own.module.modules())


class Skipping(nn.Module):
    """A network around whose middle a way leads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle = nn.Conv2d(3, 4, 3, 2, 1), nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(4, 6, 3, 1, 1), nn.ReLU())
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.head(self.last(self.middle(x) + F.avg_pool2d(x, 2)).mean((2, 3)))


def test_a_tail_that_is_none() -> None:
    torch.manual_seed(0)
    own = Classifier(Skipping().eval(), input_size=32, taps=["middle", "last"])
    with pytest.raises(InputError, match="leads around it"):
        Tail(own, "middle", (32, 32))
    with pytest.raises(InputError, match="before the last"):
        Tail(own, "last", (32, 32))


# ---- the training -----------------------------------------------------------------------------------------------


def test_cached_taps_are_those_of_the_pictures(picture_folder: Path, tmp_path: Path) -> None:
    own = classifier()
    trainer = RegionsTrainer(own, SMALL, 5, fabric())
    loader = Loader([read_data(picture_folder)], SMALL, 32)
    trainer.prepare(loader, tmp_path)
    rows, labels = loader.batch(2)
    assert rows.dtype == torch.float16 and rows.shape == (4, trainer.width)
    places = [i for i, _ in loader._order(0)[8:12]]
    assert labels.tolist() == [loader.labels[i] for i in places]
    whole = torch.cat(
        [F.interpolate(loader.picture(i)[None] / 255, (32, 32), mode="bilinear", antialias=True) for i in places]
    )
    with torch.no_grad():
        _, taps = own.features(whole)
    for tap, found in zip(taps[-2:], trainer._taps(rows), strict=True):
        torch.testing.assert_close(found, tap, rtol=2e-3, atol=2e-3)


def test_a_step_of_rows_is_one_of_pictures(picture_folder: Path, tmp_path: Path) -> None:
    """The same loss of whole pictures as they are, and of their rows in the file."""
    cached, live = (RegionsTrainer(classifier(), SMALL, 5, fabric()) for _ in range(2))
    loader = Loader([read_data(picture_folder)], SMALL, 32)
    cached.prepare(loader, tmp_path)
    rows, labels = loader.batch(0)
    places = [i for i, _ in loader._order(0)[:4]]
    whole = torch.cat(
        [F.interpolate(loader.picture(i)[None] / 255, (32, 32), mode="bilinear", antialias=True) for i in places]
    )
    for _ in range(2):
        ours, theirs = cached.step(rows, labels), live.step(whole, labels)
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-2) and ours["area"] == pytest.approx(
            theirs["area"], abs=1e-2
        )


def test_losses_count_as_much_as_the_recipe_says() -> None:
    images, labels = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    found = {}
    for weight in (1.0, 0.25):
        losses = {"batch_area": {"area": 0.3}, "c2am": {"weight": weight}}
        recipe = RegionsRecipe.model_validate({**SMALL.model_dump(), "losses": losses})
        found[weight] = RegionsTrainer(classifier(), recipe, 5, fabric()).step(images, labels)
    assert found[0.25]["c2am"] == pytest.approx(0.25 * found[1.0]["c2am"], rel=1e-5)
    for row in found.values():
        assert row["loss"] == pytest.approx(row["c2am"] + row["batch_area"], rel=1e-5)


def test_taps_of_another_size_are_others_even_on_the_same_grid() -> None:
    keys, grids = [], []
    for side in (32, 33):
        trainer = RegionsTrainer(classifier(), SMALL.model_copy(update={"input_size": side}), 5, fabric())
        keys.append(trainer.tap_key())
        grids.append(trainer.shapes)
    assert grids[0] == grids[1] and keys[0] != keys[1]


def test_views_are_of_their_epoch(picture_folder: Path, tmp_path: Path) -> None:
    recipe = SMALL.model_copy(update={"views": 3})
    trainer = RegionsTrainer(classifier(), recipe, 5, fabric())
    loader = Loader([read_data(picture_folder)], recipe, 32)
    trainer.prepare(loader, tmp_path)
    assert loader.instead is not None
    seen = [loader.instead(7, epoch)[1] for epoch in range(6)]
    assert torch.equal(seen[0], seen[3]) and torch.equal(seen[1], seen[4])
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])
    assert len(TapFile(tmp_path / "taps.npy", trainer.width).records) == 60


@pytest.mark.parametrize(
    "losses",
    ["trilite: {alpha: 3}", "batch_area: {area: 0.3}", "c2am: {}", "bas: {}", "trilite: {}, c2am: {weight: 0.5}"],
)
def test_every_loss_trains_a_masker(losses: str, picture_folder: Path, tmp_path: Path) -> None:
    own = classifier()
    path = train(
        "regions_lite0", picture_folder, classifier=own, out=tmp_path / "r", device="cpu", page=False,
        overrides=[f"losses={{{losses}}}", "batch_size=4", "steps=4", "input_size=32"],
    )  # fmt: skip
    masks = mw.explainer("casm", own, masker=path)(torch.rand(2, 3, 32, 32))
    assert masks.shape[-2:] == (32, 32) and 0 <= masks.min() <= masks.max() <= 1 and masks.std() > 0
    assert own.fingerprint() == classifier().fingerprint()


def test_the_recipe_for_a_gpu_reads_crops(picture_folder: Path, tmp_path: Path) -> None:
    file = train(
        "regions", picture_folder, classifier=classifier(), out=tmp_path / "r", device="cpu", page=False,
        overrides=["batch_size=4", "steps=2", "input_size=32"],
    )  # fmt: skip
    assert not (tmp_path / "r" / "taps.npy").exists(), "no taps are kept"
    assert load_agnostic_masker(file, classifier())(torch.rand(1, 3, 32, 32))[1].shape == (1, 32, 32)


def test_a_training_goes_on_where_it_ended(picture_folder: Path, tmp_path: Path) -> None:
    settings = {"classifier": classifier(), "device": "cpu", "page": False, "overrides": ["batch_size=4", "steps=6"]}
    whole = train(SMALL, picture_folder, out=tmp_path / "a", classifier=classifier(), device="cpu", page=False)
    train(
        SMALL, picture_folder, out=tmp_path / "b", classifier=classifier(), device="cpu", page=False,
        callbacks=[end_at(3)],
    )  # fmt: skip
    parts = train(
        SMALL, picture_folder, out=tmp_path / "b", classifier=classifier(), device="cpu", page=False, resume=True
    )
    assert settings and whole.read_bytes() == parts.read_bytes()


# ---- its end --------------------------------------------------------------------------------------------------------


HELD = SMALL.model_copy(update={"held_back": 0.3})


def test_no_step_sees_what_is_held_back(picture_folder: Path, tmp_path: Path) -> None:
    """Every other picture comes once an epoch; the file has no row of those that are held back."""
    trainer = RegionsTrainer(classifier(), HELD, 3, fabric())
    loader = Loader([read_data(picture_folder)], HELD, 32)
    loader.hold_back(HELD.part_held_back)
    assert len(loader.held_back) == 6 and loader.steps == 3, "14 of 20 pictures, 4 a batch"
    for epoch in range(3):
        order = [i for i, _ in loader._order(epoch)]
        assert sorted(order) == [i for i in range(20) if i not in loader.held_back]
    trainer.prepare(loader, tmp_path)
    assert len(TapFile(tmp_path / "taps.npy", trainer.width).records) == 14
    held = sorted(loader.held_back)
    assert torch.cat([labels for _, labels in trainer.held]).tolist() == [loader.labels[i] for i in held]
    whole = [F.interpolate(loader.picture(i)[None] / 255, (32, 32), mode="bilinear", antialias=True) for i in held]
    with torch.no_grad():
        _, taps = trainer.classifier.features(torch.cat(whole))
    rows = torch.cat([tap.flatten(1) for tap in taps[-2:]], 1)
    torch.testing.assert_close(torch.cat([own for own, _ in trainer.held]).float(), rows, rtol=2e-3, atol=2e-3)


def test_what_is_held_back_is_of_whole_subjects(picture_folder: Path) -> None:
    names = sorted(file.name for file in (picture_folder / "images").iterdir())
    rows = [f"{name},P{i // 4}" for i, name in enumerate(names)]
    (picture_folder / "subjects.csv").write_text("\n".join(["file,subject", *rows]) + "\n")
    loader = Loader([read_data(picture_folder)], HELD, 32)
    loader.hold_back(0.3)
    assert len(loader.held_back) == 4 and len({place // 4 for place in loader.held_back}) == 1


def test_what_is_held_back_is_held_back_under_every_name(picture_folder: Path) -> None:
    sets = [read_data(picture_folder), read_data(picture_folder)]
    loader = Loader(sets, HELD, 32)
    loader.hold_back(0.1)
    assert 4 < len(loader.held_back) <= 8 and {i % 20 for i in loader.held_back} == {
        i - 20 for i in loader.held_back if i >= 20
    }
    loader.keep([3, 23])
    with pytest.raises(InputError, match="under other names"):
        loader.hold_back(0.3)


def test_other_seeds_hold_back_others_and_never_all(picture_folder: Path) -> None:
    loaders = [Loader([read_data(picture_folder)], HELD.model_copy(update={"seed": seed}), 32) for seed in (0, 0, 1)]
    for loader in loaders:
        loader.hold_back(0.3)
    assert loaders[0].held_back == loaders[1].held_back != loaders[2].held_back
    for part, count in ((0.001, 1), (0.999, 19)):
        loaders[0].hold_back(part)
        assert len(loaders[0].held_back) == count
    loaders[0].keep([3])
    with pytest.raises(InputError, match="held_back=0"):
        loaders[0].hold_back(0.3)


def test_the_loss_on_what_is_held_back_by_hand(picture_folder: Path, tmp_path: Path) -> None:
    """In eval mode, of all of it in uneven batches, and every part of the training as it was."""
    recipe = HELD.model_copy(update={"losses": {"trilite": {"alpha": 2}}, "dropout": 0.9})
    trainer = RegionsTrainer(classifier(), recipe, 3, fabric())
    loader = Loader([read_data(picture_folder)], recipe, 32)
    loader.hold_back(0.35)
    trainer.prepare(loader, tmp_path)
    assert [len(own) for _, own in trainer.held] == [4, 3]
    trainer.step(*loader.batch(0))
    before = [value.clone() for module in trainer.modules().values() for value in module.state_dict().values()]
    found = trainer.held_out_loss()
    after = [value for module in trainer.modules().values() for value in module.state_dict().values()]
    assert all(map(torch.equal, before, after)) and all(module.training for module in trainer.modules().values())
    taps = trainer._taps(torch.cat([rows for rows, _ in trainer.held]))
    labels = torch.cat([own for _, own in trainer.held])
    assert trainer.head is not None
    with torch.no_grad():
        regions = trainer.decoder.eval().scores(taps).softmax(1)
        linear, losses = trainer.head[1], []
        for n in range(len(labels)):
            means = []
            for k in (0, 1):
                parts = []
                for tap in taps:
                    weight = F.adaptive_avg_pool2d(regions[n : n + 1, k], tap.shape[-2:])[0]
                    parts.append((weight * tap[n]).sum((1, 2)) / weight.sum())
                means.append(linear(torch.cat(parts)).softmax(0)[labels[n]].double())
            losses.append(-means[0].log() - 2 * (1 - means[1]).log())
    assert found == pytest.approx(float(torch.stack(losses).mean()), rel=1e-3)


def test_it_ends_where_that_loss_no_longer_falls_and_keeps_the_best(picture_folder: Path, tmp_path: Path) -> None:
    """Of pictures of noise nothing is learned that holds for others: an endless training ends, and goes back."""
    noisy = tmp_path / "noise"
    (noisy / "images").mkdir(parents=True)
    draws = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(draws.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(noisy / "images" / f"{i:02}.png")
    (noisy / "labels.csv").write_text("file,label\n" + "".join(f"{i:02}.png,{i % 5}\n" for i in range(20)))
    recipe = HELD.model_copy(update={"steps": 4000, "masker_lr": 0.02, "lr_decay": "none"})
    settings = {"classifier": classifier(), "device": "cpu", "page": False}
    file = train(recipe, noisy, out=tmp_path / "r", **settings)  # type: ignore[arg-type]
    losses = [json.loads(line)["loss"] for line in (tmp_path / "r" / "log.jsonl").read_text().splitlines()]
    assert 7 * 25 <= len(losses) < 2000, "an epoch has 3 steps, and what is learned in so few says nothing"
    again = train(recipe, noisy, out=tmp_path / "again", **settings)  # type: ignore[arg-type]
    assert file.read_bytes() == again.read_bytes()
    last = torch.load(tmp_path / "r" / "checkpoint.pt", weights_only=True)
    kept = load_agnostic_masker(file, classifier()).decoder.state_dict()
    best = last["callbacks"][0]["state"]
    assert best["best_step"] % 25 == 0 and best["best_step"] < len(losses)
    assert all(torch.allclose(kept[name], value, atol=1e-3) for name, value in best["best"].items())


COLOURS = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]])


def squares(folder: Path, count: int = 48) -> Path:
    """Pictures of a bright square somewhere on dark noise: its colour, one of six, is the class."""
    (folder / "images").mkdir(parents=True)
    draws = np.random.default_rng(0)
    labels = ["file,label"]
    for i in range(count):
        picture = draws.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        y, x = draws.integers(4, 36, 2)
        picture[y : y + 24, x : x + 24, COLOURS[i % 6].bool().numpy()] = 255
        Image.fromarray(picture).save(folder / "images" / f"{i:02}.png")
        labels.append(f"{i:02}.png,{i % 6}")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    return folder


def colour_net() -> Classifier:
    """Its taps have a channel for places of each colour, one for bright places, and one that sees nothing."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 8, 4, 2),
        nn.ReLU(),
        nn.AvgPool2d(3, 1, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 6),
    )
    with torch.no_grad():
        share = COLOURS / COLOURS.sum(1, keepdim=True)
        net[0].weight.copy_(
            (torch.cat([share - (1 - COLOURS), torch.full((1, 3), 4.0), torch.zeros(1, 3)]) / 64)[
                ..., None, None
            ].expand(-1, -1, 8, 8)
        )
        net[0].bias.copy_(torch.tensor([-0.3] * 3 + [-0.6] * 3 + [-2.8, 0.2]))
        net[5].weight.copy_(40 * torch.eye(6, 8))
        net[5].bias.zero_()
    return Classifier(net.eval(), mean=[0, 0, 0], std=[1, 1, 1], input_size=64, taps=["1", "2"], name="colours")


@pytest.mark.parametrize("losses", ["trilite: {alpha: 3}, batch_area: {area: 0.15}", "c2am: {}", "bas: {}"])
def test_the_object_is_found(losses: str, tmp_path: Path) -> None:
    """Inside of the square the masks are twice what they are outside, without a box ever seen."""
    own, folder = colour_net(), squares(tmp_path / "data")
    path = train(
        "regions_lite0", folder, classifier=own, out=tmp_path / "r", device="cpu", page=False,
        overrides=[f"losses={{{losses}}}", "batch_size=16", "steps=150", "masker_lr=0.05", "regions=2"],
    )  # fmt: skip
    masker = load_agnostic_masker(path, own)
    data = read_data(folder)
    images = torch.stack([data.image(record) for record in data.records])
    with torch.no_grad():
        masks = masker(images)[1]
    square = images.amax(1) > 0.9
    inside, outside = float(masks[square].mean()), float(masks[~square].mean())
    assert inside > 2 * outside, f"{inside:.2f} inside, {outside:.2f} outside"


def test_the_recipe_refuses_what_can_t_be() -> None:
    for override in ("views=2", "losses={}", "regions=4", "losses={crf: {}}"):
        with pytest.raises(InputError) as caught:
            recipes.load("regions_lite0", ["cached=false", override])
        assert "\n" not in str(caught.value)

"""Pictures in memory, fresh networks, and their training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checks.toys import SIDE, toy_net, toy_set
from conftest import tiny_net
from torch import nn

from maskwise.checks.feeding import EpochBatches, colours, flipped_and_cropped, random_batches
from maskwise.checks.networks import last_linear, network_maker, networks
from maskwise.checks.pictures import Labelled, labelled, pictures, random_labels, split
from maskwise.checks.small_training import SmallTraining, accuracies, train_classifier, training_settings
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.spread import evenly_spread
from maskwise.training.guard import Guard
from maskwise.training.small_classifier import rise_and_fall

QUICK = SmallTraining(epochs=3, batch_size=8, lr=0.01)


def test_a_folder_as_labelled_pictures(picture_folder: Path) -> None:
    data = labelled(str(picture_folder), 16)
    assert data.images.shape == (20, 3, 16, 16) and data.images.dtype == torch.uint8
    assert data.labels.tolist() == [i % 5 for i in range(20)] and data.classes == ("0", "1", "2", "3", "4")
    half = labelled(str(picture_folder), 16, limit=10)
    assert torch.equal(half.images, data.images[::2])
    assert torch.equal(pictures([str(picture_folder)] * 2, 16, 10), half.images.repeat(2, 1, 1, 1))
    assert data.checksum() != half.checksum() == labelled(str(picture_folder), 16, 10).checksum()
    named = labelled("shapes:n=16,size=32", 32)
    assert len(named.classes) == 8 and "circle" in named.classes


def test_labels_are_renumbered_alike_for_test_pictures(picture_folder: Path) -> None:
    (picture_folder / "labels.csv").write_text(
        "".join(["file,label\n", *(f"{i:02}.png,{10 * (i % 3) + 2}\n" for i in range(20))])
    )
    data = labelled(str(picture_folder), 16)
    assert data.classes == ("2", "12", "22") and data.labels.tolist() == [i % 3 for i in range(20)]
    same = labelled(str(picture_folder), 16, 1, ("2", "12", "22"))
    assert same.labels.tolist() == [0] and len(same.classes) == 3
    with pytest.raises(InputError, match="'22' is not among"):
        labelled(str(picture_folder), 16, None, ("2", "12"))
    with pytest.raises(InputError, match="one class"):
        labelled(str(picture_folder), 16, 1)
    (picture_folder / "labels.csv").unlink()
    with pytest.raises(InputError, match="has no label"):
        labelled(str(picture_folder), 16)


def test_split_keeps_a_share_of_each_class() -> None:
    data = toy_set(60, 0)
    train, test = split(data, 0.2, seed=1)
    assert test.labels.bincount().tolist() == [4, 4, 4] and train.labels.bincount().tolist() == [16, 16, 16]
    everything = torch.cat([train.images, test.images]).flatten(1).unique(dim=0)
    assert torch.equal(everything, data.images.flatten(1).unique(dim=0))
    with pytest.raises(InputError, match="too few"):
        split(toy_set(6, 0))


def test_random_labels() -> None:
    data = toy_set(300, 0)
    shuffled, uniform = random_labels(data, "shuffled", 1), random_labels(data, "uniform", 1)
    assert torch.equal(shuffled.labels.bincount(), data.labels.bincount())
    assert not torch.equal(uniform.labels.bincount(), data.labels.bincount())
    for drawn in (shuffled, uniform):
        assert 0.2 < (drawn.labels == data.labels).float().mean() < 0.47 and drawn.images is data.images
    assert torch.equal(random_labels(data, "uniform", 1).labels, uniform.labels)
    with pytest.raises(InputError, match="shuffled or uniform"):
        random_labels(data, "mixed")  # type: ignore[arg-type]


def test_spread_is_even() -> None:
    assert (
        evenly_spread(10, 5) == [0, 2, 4, 6, 8]
        and evenly_spread(3, 5) == [0, 1, 2]
        and evenly_spread(4, None) == [0, 1, 2, 3]
    )


def test_shrinking_squashes() -> None:
    data = toy_set(70, 0)
    assert data.shrunk(SIDE) is data
    assert data.shrunk(12).images.shape == (70, 3, 12, 12)


def test_training_is_repeatable_and_leaves_the_random_state_alone() -> None:
    data = toy_set(30, 0)
    state = torch.get_rng_state()
    settings = QUICK.model_copy(update={"augment": True})
    a, b = (train_classifier(toy_net, data, settings) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert a.classifier.fingerprint() == b.classifier.fingerprint()
    other = train_classifier(toy_net, data, settings.model_copy(update={"seed": 1}))
    assert other.classifier.fingerprint() != a.classifier.fingerprint()
    assert not a.classifier.module.training and not any(p.requires_grad for p in a.classifier.parameters())


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_it_learns_and_stops_when_it_knows_enough(optimiser: str) -> None:
    settings = SmallTraining(epochs=40, batch_size=10, lr=0.02, optimiser=optimiser, until=1.0)  # type: ignore[arg-type]
    found = train_classifier(toy_net, toy_set(60, 0), settings)
    assert found.accuracy == 1.0 and found.epochs < 40
    assert accuracies(found.classifier, toy_set(60, 1))[0] > 0.9


def test_it_stops_after_the_same_step_where_the_numbers_are_read_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """As beside a GPU: 20 steps at once are read, but an epoch has 6."""
    settings = SmallTraining(epochs=40, batch_size=10, lr=0.02, until=1.0)
    once = train_classifier(toy_net, toy_set(60, 0), settings)

    class Late(Guard):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.every = 20

    monkeypatch.setattr("maskwise.training.small_classifier.Guard", Late)
    done: list[tuple[int, int]] = []
    late = train_classifier(toy_net, toy_set(60, 0), settings, progress=lambda a, b: done.append((a, b)))
    assert late.epochs == once.epochs < 40 and done == [(k + 1, 240) for k in range(6 * once.epochs)]
    assert late.classifier.fingerprint() == once.classifier.fingerprint()


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_one_step_is_torchs_own(optimiser: str) -> None:
    """A slow twin of one epoch of one batch with plain torch."""
    data = toy_set(12, 0)
    settings = training_settings(
        {"epochs": 1, "batch_size": 12, "optimiser": optimiser, "lr": 0.1, "momentum": 0.0, "weight_decay": 0.01}
    )
    found = train_classifier(toy_net, data, settings).classifier
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = toy_net(3)
        rows = torch.randperm(12)
    x = data.images.double() / 255
    x = ((x - x.mean((0, 2, 3), keepdim=True)) / x.var((0, 2, 3), unbiased=False, keepdim=True).sqrt()).float()
    loss = nn.functional.cross_entropy(net(x[rows]), data.labels[rows])
    loss.backward()
    rate, compared = 0.1 * rise_and_fall(0, 1), 0
    for ours, twin in zip(found.module.parameters(), net.parameters(), strict=True):
        assert twin.grad is not None
        if optimiser == "sgd":
            expected = twin - rate * (twin.grad + 0.01 * twin)
        else:  # Adam's first step is the gradient over its own size
            expected = twin * (1 - rate * 0.01) - rate * twin.grad / (twin.grad.abs() + 1e-8)
        clear = twin.grad.abs() > 1e-6  # where it is rounding alone, Adam makes as much of it as of any other
        compared += int(clear.sum())
        assert torch.allclose(ours[clear], expected[clear], atol=1e-5)
    assert compared > 2000


def test_the_learning_rate_rises_over_a_tenth_and_falls() -> None:
    factors = [rise_and_fall(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.1) and max(factors) == factors[9] == 1
    assert factors[:10] == sorted(factors[:10]) and factors[9:] == sorted(factors[9:], reverse=True)
    assert 0 < factors[-1] < 0.01
    assert all(0 < rise_and_fall(step, total) <= 1 for total in range(1, 25) for step in range(total))


def test_accuracy_among_the_best_k() -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[0.1, 0.9, 0.5, 0.5]]).expand(len(x), -1)

    classifier = Classifier(Fixed(), taps=[], input_size=SIDE)
    data = toy_set(4, 0)
    data = Labelled(data.images, torch.tensor([1, 2, 3, 0]), ("a", "b", "c", "d"))
    assert accuracies(classifier, data, (1, 2, 3, 4, 9)) == [0.25, 0.5, 0.75, 1, 1]  # ties by index


def test_batches_hold_every_row_once_and_none_is_alone() -> None:
    for count in (2, 3, 8, 9, 17):
        parts = random_batches(count, 4, torch.Generator())
        assert sorted(torch.cat(parts).tolist()) == list(range(count)) and min(map(len, parts)) > 1
        rows, labels = torch.zeros(count, 3, 8, 8, dtype=torch.uint8), torch.arange(count)
        feed = EpochBatches(rows, labels, 4, False, torch.Generator().manual_seed(0))
        assert feed.steps == len(parts)
        seen = [batch.tolist() for _, batch in feed.batches(0, 2 * feed.steps + 1)]
        assert len(seen) == 2 * feed.steps + 1
        epochs = [[i for part in seen[k * feed.steps :][: feed.steps] for i in part] for k in (0, 1)]
        assert [sorted(epoch) for epoch in epochs] == [list(range(count))] * 2


def test_crops_are_windows_of_the_padded_picture_or_its_mirror() -> None:
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    moved = flipped_and_cropped(images, torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="reflect")
    seen = set()
    for i in range(6):
        windows = [
            (y, x, flip)
            for y in range(5)
            for x in range(5)
            for flip in (False, True)
            if torch.equal(moved[i].flip(-1) if flip else moved[i], padded[i, :, y : y + 16, x : x + 16])
        ]
        assert len(windows) == 1
        seen |= set(windows)
    assert len(seen) > 1


def test_colours_are_numpys() -> None:
    images = toy_set(9, 0).images
    mean, std = colours(images)
    values = images.numpy() / 255
    assert np.allclose(mean.numpy(), values.mean((0, 2, 3))) and np.allclose(
        std.numpy(), values.std((0, 2, 3)), atol=1e-6
    )


def test_networks_by_name(tiny: Classifier) -> None:
    for name in [*networks.names(), "torchvision/squeezenet1_1", "pretrained"]:
        net = network_maker(name, tiny)(7).eval()
        assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert network_maker(toy_net) is toy_net
    copy = network_maker("pretrained", tiny)(7)
    assert torch.equal(copy[0].weight, tiny.module[0].weight) and copy[0].weight.requires_grad  # type: ignore[index]
    assert copy[0].weight is not tiny.module[0].weight and tiny.module[14].out_features == 5  # type: ignore[index]


def test_networks_that_there_are_not(tiny: Classifier) -> None:
    with pytest.raises(InputError, match="unknown network"):
        network_maker("big_cnn")
    with pytest.raises(InputError, match="torchvision has no"):
        network_maker("torchvision/nothing")
    with pytest.raises(InputError, match="needs a classifier"):
        network_maker("pretrained")
    headless = Classifier(tiny_net()[:12], input_size=32)  # type: ignore[index]
    with pytest.raises(InputError, match="does not end in a linear layer"):
        last_linear(headless)


def test_bad_settings() -> None:
    assert training_settings({"epochs": 2}, augment=True) == SmallTraining(epochs=2, augment=True)
    for given, words in (({"epoch": 2}, "there are epochs"), ({"lr": -1}, "lr"), ({"optimiser": "lion"}, "optimiser")):
        with pytest.raises(InputError, match=words):
            training_settings(given)
    with pytest.raises(InputError, match="fewer than two"):
        train_classifier(toy_net, toy_set(1, 0))
    with pytest.raises(InputError, match="NaN"):
        train_classifier(toy_net, toy_set(30, 0), SmallTraining(optimiser="sgd", lr=1e30))

"""A classifier's training: which weights begin anew and learn, steps by hand, runs, and what it never saw."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import end_at, tiny_net
from lightning.fabric import Fabric
from safetensors.torch import load_file
from torch import nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.classifiers.loading import classifiers
from maskwise.core.errors import InputError
from maskwise.training import recipes, train
from maskwise.training.classifier_recipe import ClassifierRecipe
from maskwise.training.classifier_training import ClassifierTrainer
from maskwise.training.fresh import begin_anew, layers_after
from maskwise.training.meter import Meter

LEARNS = ["4", "5", "8", "9", "14"]  # of tiny_net, after its finest tap


def tiny(seed: int = 0) -> Classifier:
    return Classifier(tiny_net(seed), input_size=32, name="tiny", taps=["2", "6", "10"])


def trainer(start: str, **settings: object) -> ClassifierTrainer:
    recipe = ClassifierRecipe.model_validate({"start": start, "batch_size": 6, "fresh_after": 0, **settings})
    return ClassifierTrainer(tiny(), recipe, 10, Fabric(accelerator="cpu", devices=1))


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(3)
    return torch.rand(6, 3, 32, 32, generator=draws), torch.tensor([0, 1, 2, 3, 4, 0])


def test_what_runs_after_a_tap_is_found_by_running() -> None:
    assert layers_after(tiny(), 0) == LEARNS
    assert layers_after(tiny(), -1) == ["14"]

    class Backwards(nn.Module):
        """Names its parts in the reverse of the order that it runs them in."""

        def __init__(self) -> None:
            super().__init__()
            self.head, self.second, self.first = nn.Linear(4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(3, 4, 3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.second(self.first(x)).mean((2, 3)))  # type: ignore[no-any-return]

    assert layers_after(Classifier(Backwards(), input_size=16, taps=["first"]), 0) == ["second", "head"]


def test_what_also_runs_before_the_tap_is_not_after_it() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same, self.relu, self.head = nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.same(self.relu(self.same(x))).mean((2, 3)))  # type: ignore[no-any-return]

    assert layers_after(Classifier(Twice(), input_size=16, taps=["relu"]), 0) == ["head"]


def test_there_must_be_such_a_tap_and_something_after_it() -> None:
    with pytest.raises(InputError, match="3 taps: fresh_after is one of 0…2, not 3"):
        layers_after(tiny(), 3)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(InputError, match="no weights after its tap '1'"):
        layers_after(Classifier(net, input_size=16, taps=["1"]), 0)


def test_first_weights_have_the_variance_of_their_outputs() -> None:
    """He et al. 2015, fan out: 2 / (k^2 outputs), of a group alone; with 10^5 draws to two percent."""
    net = nn.Sequential(nn.Conv2d(64, 160, 3, bias=True), nn.Conv2d(160, 320, 3, groups=4), nn.BatchNorm2d(320))
    net[2].running_mean.fill_(7)  # type: ignore[operator, union-attr]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        begin_anew(net, ["0", "1", "2"])
    assert net[0].weight.std().item() == pytest.approx((2 / (9 * 160)) ** 0.5, rel=0.02)  # type: ignore[operator, union-attr]
    assert net[1].weight.std().item() == pytest.approx((2 / (9 * 80)) ** 0.5, rel=0.02)  # type: ignore[operator, union-attr]
    assert not net[0].bias.any() and not net[2].running_mean.any()  # type: ignore[operator, union-attr]


def test_what_can_not_begin_anew_is_said() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.scale

    with pytest.raises(InputError, match=r"weights of '1' \(Scaled\) can't begin anew"):
        begin_anew(nn.Sequential(nn.Flatten(), Scaled()), ["1"])


@pytest.mark.parametrize("start", ["scratch", "pretrained", "reinitialised"])
def test_which_weights_begin_anew_and_which_learn(start: str) -> None:
    made = trainer(start)
    old, first = tiny_net().state_dict(), copy.deepcopy(made.network.state_dict())
    for _ in range(2):
        logged = made.step(*batch())
    assert set(logged) == {"loss", "right", "lr_classifier"}
    after = made.network.state_dict()
    for name in old:
        own = name.partition(".")[0] in LEARNS
        anew, learns = start == "scratch" or (start == "reinitialised" and own), start != "reinitialised" or own
        if name.endswith("weight") and old[name].ndim > 1:
            assert torch.equal(first[name], old[name]) != anew, name
        assert torch.equal(after[name], first[name]) != learns, f"{name}: batch norm's statistics too"
    assert made.classifier.fingerprint() == tiny().fingerprint(), "the one that was given stays as it was"


def test_the_seed_draws_the_first_weights_and_nothing_else_does() -> None:
    state = torch.get_rng_state()
    one, two, other = (trainer("scratch", seed=s).live.fingerprint() for s in (0, 0, 1))
    assert one == two != other and torch.equal(torch.get_rng_state(), state)


def test_two_steps_by_hand() -> None:
    """SGD with momentum and weight decay on the mean cross entropy, batch norm on the batch, in float64."""
    made = trainer("pretrained", lr=0.2, momentum=0.8, weight_decay=0.01, lr_decay="step", lr_step_epochs=1)
    made.steps_per_epoch = 1
    made.live.double()
    net = tiny_net().double().train()
    for module in (net[13], made.network[13]):  # type: ignore[index]
        module.p = 0.0  # dropout draws
    images, labels = batch()
    velocity = {name: torch.zeros_like(w) for name, w in net.named_parameters()}
    mean, std = (v.double()[:, None, None] for v in (made.classifier.mean, made.classifier.std))
    for rate in (0.2, 0.02):
        loss = F.cross_entropy(net((images.double() - mean) / std), labels)
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for (name, w), g in zip(net.named_parameters(), gradients, strict=True):
                velocity[name] = 0.8 * velocity[name] + g + 0.01 * w
                w -= rate * velocity[name]
        assert made.step(images.double(), labels)["loss"] == pytest.approx(loss.item(), abs=1e-12)
    for (name, ours), theirs in zip(made.network.named_parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0, msg=name)


RUN = ClassifierRecipe.model_validate({"start": "scratch", "batch_size": 4, "steps": 6, "lr": 0.05, "lr_decay": "none"})


def test_a_run_writes_what_load_classifier_takes(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = train(RUN, picture_folder, classifier=tiny(), out=tmp_path / "a", device="cpu")
    assert path.name == "classifier.safetensors"
    whole = load_file(path)
    assert whole.keys() == tiny_net().state_dict().keys()
    from fuzz.commands import weights_of

    monkeypatch.setitem(classifiers._entries, "efficientnet_lite0", weights_of)
    loaded = mw.load_classifier("efficientnet_lite0", weights=path)
    assert all(torch.equal(v, whole[k]) for k, v in loaded.module.state_dict().items())
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(InputError, match="damaged|changed|checksum|digest"):
        mw.load_classifier("efficientnet_lite0", weights=path)


def test_killed_and_resumed_is_the_same_run(picture_folder: Path, tmp_path: Path) -> None:
    whole = train(RUN, picture_folder, classifier=tiny(), out=tmp_path / "a", device="cpu")
    options = {"classifier": tiny(), "out": tmp_path / "b", "device": "cpu"}
    train(RUN, picture_folder, callbacks=[end_at(3)], **options)  # type: ignore[arg-type]
    resumed = train(RUN, picture_folder, resume=True, **options)  # type: ignore[arg-type]
    ours, theirs = load_file(whole), load_file(resumed)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_learns() -> None:
    """Six pictures by heart."""
    made = trainer("scratch", lr=0.1, lr_decay="none")
    first = made.step(*batch())["loss"]
    for _ in range(40):
        last = made.step(*batch())
    assert last["loss"] < first / 4


def test_the_same_seed_draws_the_same_classes_for_classifier_and_masker(picture_folder: Path, tmp_path: Path) -> None:
    own = {"classes": 2, "seed": 3}
    ours = train(RUN.model_copy(update=own), picture_folder, classifier=tiny(), out=tmp_path / "a", device="cpu")
    settings = ["classes=2", "seed=3", "steps=1", "batch_size=4", "fraction=1", "width=4", "thinning=F"]
    theirs = train("casm", picture_folder, classifier=tiny(), out=tmp_path / "b", device="cpu", overrides=settings)
    drawn = [recipes.load(path.with_name("recipe.yaml")).classes for path in (ours, theirs)]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 2


def test_classes_that_are_left_out_are_never_seen(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    step = ClassifierTrainer.train_step

    def watched(self: ClassifierTrainer, images: torch.Tensor, labels: torch.Tensor) -> Meter:
        seen.update(labels.tolist())
        return step(self, images, labels)

    monkeypatch.setattr(ClassifierTrainer, "train_step", watched)
    some = RUN.model_copy(update={"classes": 2})
    path = train(some, picture_folder, classifier=tiny(), out=tmp_path / "a", device="cpu")
    assert seen == set(recipes.load(path.with_name("recipe.yaml")).classes)
    assert load_file(path)["14.weight"].shape[0] == 5, "the others keep their outputs, so labels stay as they are"


def test_the_published_schedule() -> None:
    """He et al. 2016: 90 epochs of 256, rate .1, a tenth after 30 and 60."""
    recipe = recipes.load("classifier_subset")
    assert (recipe.epochs, recipe.batch_size, recipe.start, recipe.fraction) == (90, 256, "scratch", 1)
    rates = [recipe.lr * recipe.learning_rate_factor(epoch * 10, 10) for epoch in (0, 29, 30, 59, 60, 89)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert recipes.load("classifier_subset_lite0").start == "reinitialised"

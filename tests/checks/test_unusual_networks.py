"""Checks of networks of findings, grey, oblong, in another precision, with one output, or that end in sigmoids."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from calling import call
from checks.toys import toy_net, toy_set
from conftest import tiny_net
from torch import Tensor, nn

from maskwise.checks import (
    Labelled,
    SmallTraining,
    drt,
    f_fidelity,
    focus,
    mprt,
    roar,
    robust_judge,
    train_classifier,
    used_to_holes,
)
from maskwise.checks.f_fidelity import class_kept, says
from maskwise.checks.focus import mosaics_of
from maskwise.checks.subject import own_answers
from maskwise.classifiers import Classifier, learning_copy
from maskwise.core.errors import InputError
from maskwise.core.keyed import keyed_generator
from maskwise.explainers import explainer

SIDE = 16
IMAGES = torch.rand(6, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(9))
QUICK = SmallTraining(epochs=1, optimiser="sgd", lr=1e-3)


def findings_net(seed: int = 0, classes: int = 5, channels: int = 3) -> nn.Sequential:
    """Some of its findings are there in some of ``IMAGES`` and not in others."""
    net = tiny_net(seed, classes)
    assert isinstance(net, nn.Sequential)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if channels != 3:
            net[0] = nn.Conv2d(channels, 8, 3, padding=1)
    last = net[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        raw = net((IMAGES.mean(1, keepdim=True) if channels == 1 else IMAGES) * 4 - 2)
        scale = 2 / raw.std(0)  # each finding is there in about half of them
        last.weight.mul_(scale[:, None])
        last.bias.sub_(raw.mean(0)).mul_(scale)
    return net


@pytest.fixture
def findings() -> Classifier:
    return Classifier(
        findings_net(), mean=[0.5] * 3, std=[0.25] * 3, input_size=SIDE, activation="sigmoid", name="findings"
    )


def brightness(images: Tensor, targets: Tensor | None = None) -> Tensor:
    return images.mean(1)


# ---- findings ---------------------------------------------------------------------------------------------------


def test_what_is_found_are_the_labels_of_a_judge(findings: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    found = own_answers(findings, IMAGES)
    assert found.dtype == torch.bool and found.shape == (6, 5)
    assert torch.equal(found, findings.logits(IMAGES).detach().sigmoid() > 0.5)
    assert len(set(found.sum(1).tolist())) > 1, "pictures of several findings, of one or of none"
    judge = used_to_holes(findings, IMAGES, settings=QUICK)
    assert judge.fingerprint() != findings.fingerprint() and judge.gives_findings
    seen = []

    def watched(start: Classifier, images: Tensor, labels: Tensor, *rest: object) -> tuple[Classifier, int]:
        seen.append(labels)
        return start, 0

    monkeypatch.setattr(sys.modules["maskwise.checks.used_to_holes"], "trained_on_holes", watched)
    used_to_holes(findings, IMAGES, batch=4)
    assert torch.equal(seen[0], found)


def test_a_finding_is_kept_whatever_is_found_beside_it(findings: Classifier) -> None:
    """Copy by copy; by the likeliest class it would be lost where another finding is as sure."""
    maps = torch.rand(6, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    classes = findings.logits(IMAGES).argmax(1)
    most, least = class_kept(findings, IMAGES, maps, classes, (10, 60), draws=3, share=0.2, seed=5)
    others = 0
    for i, image in enumerate(IMAGES):
        lots = torch.rand(3, SIDE, SIDE, generator=keyed_generator(image, 5)).flatten(1)
        ranked = maps[i].flatten().argsort(descending=True)
        for k, size in enumerate((10, 60)):
            count, chance = round(size / 100 * SIDE * SIDE), min(0.5, 0.2 / (size / 100))
            for found, chosen in ((most, ranked[:count]), (least, ranked[-count:])):
                kept = 0
                for lot in lots:
                    copy = image.clone().flatten(1)
                    copy[:, chosen[lot[chosen] < chance]] = findings.mean[:, None]
                    logits = findings.logits(copy.reshape(1, 3, SIDE, SIDE))[0].detach()
                    kept += float(logits[classes[i]].sigmoid()) > 0.5
                    others += int(logits.argmax()) != int(classes[i]) and float(logits[classes[i]]) > 0
                assert float(found[i, k]) == pytest.approx(kept / 3)
    assert others > 0, "and some would have been lost"


def test_where_nothing_is_found_nothing_can_go(findings: Classifier) -> None:
    net = findings_net()
    with torch.no_grad():
        net[-1].bias.sub_(3)  # type: ignore[operator,union-attr]
    rare = findings.described(name="rare")
    rare.module = net
    there = own_answers(rare, IMAGES).any(1)
    assert 0 < int((~there).sum()) < 6
    result = f_fidelity({"m": brightness}, rare, IMAGES, IMAGES, judge=rare, draws=2)
    for score in ("f_fidelity", "ffid_plus", "ffid_minus"):
        assert torch.equal(result.values["m", score].isnan(), ~there)
    assert {row.value.undefined for row in result.rows} == {int((~there).sum())}
    kept = torch.tensor([[0.4, 0.7], [0.6, 0.7]]).log()
    assert says(rare, kept, torch.tensor([0, 0])).tolist() == [False, True]


def test_a_mosaic_of_findings_shows_the_class_in_its_own_two_alone() -> None:
    classes = torch.tensor([0, 0, 1, 2, 1, 0])
    found = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]) > 0
    made = [mosaics_of(classes, seed, found) for seed in range(20)]
    for one in made:
        assert one.classes.tolist() == [0], "of class 1 one picture alone is found"
        assert set(one.pictures[one.own].tolist()) == {0, 1}
        assert set(one.pictures[~one.own].tolist()) <= {3, 4, 5}, "the third shows class 0, too"
    assert {tuple(sorted(one.pictures[~one.own].tolist())) for one in made} == {(3, 4), (3, 5), (4, 5)}


def test_focus_asks_what_is_found() -> None:
    """Three findings, one a channel; in the last pictures two are there at once."""

    class Channels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same = nn.Conv2d(3, 3, 1)
            with torch.no_grad():
                self.same.weight.copy_(40 * torch.eye(3)[..., None, None])
                self.same.bias.fill_(-4)  # type: ignore[union-attr]

        def forward(self, images: Tensor) -> Tensor:
            return self.same(images).mean((2, 3))

    net = Classifier(Channels(), mean=[0] * 3, std=[1] * 3, input_size=8, activation="sigmoid", taps=["same"])
    images = torch.zeros(8, 3, 8, 8)
    for i, there in enumerate(((0,), (0,), (1,), (1,), (1, 0), (1, 0), (2,), (2,))):
        for rank, channel in enumerate(there):
            images[i, channel] = 0.9 - 0.2 * rank

    def evidence(pictures: Tensor, targets: Tensor | None = None) -> Tensor:
        assert targets is not None
        return (pictures[torch.arange(len(pictures)), targets] > 0.25).float()

    for seed in range(4):
        values = focus({"evidence": evidence}, net, images, seed=seed).values["evidence", "focus"]
        assert values.tolist() == [1.0] * 4, "beside the class nothing else shows it"


def test_a_leak_check_of_findings_is_refused_in_one_line(findings: Classifier) -> None:
    data = Labelled((IMAGES * 255).byte(), torch.tensor([0, 1, 0, 1, 0, 1]), tuple("abcde"))
    with pytest.raises(InputError, match=r"findings gives findings, several or none.*\(softmax\)"):
        robust_judge(findings, data)


# ---- networks that are trained ----------------------------------------------------------------------------------


def test_a_grey_network_begins_anew_on_rgb_pictures() -> None:
    """And the result is that of the same pictures in grey."""
    grey = Classifier(findings_net(channels=1), mean=[0.5], std=[0.25], input_size=24, activation="sigmoid")
    plain = torch.randint(256, (24, 1, 24, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    data = Labelled(plain.expand(-1, 3, -1, -1).contiguous(), torch.arange(24) % 3, ("a", "b", "c"))
    result = roar({"m": brightness}, grey, data, data, network="pretrained", settings=QUICK, fractions=[30], repeats=1)
    assert [row.method for row in result.rows] == ["none", "random removal", "m"]
    found = drt({"g": lambda c, *_: explainer("gradient", c)}, data, data, network="pretrained", pretrained=grey,
                settings=QUICK, again=False)  # fmt: skip
    assert {row.against for row in found.rows} == {"random labels"}
    four = Classifier(findings_net(channels=3), mean=[0.5] * 3, std=[0.25] * 3, input_size=24)
    four.channels = 4
    with pytest.raises(InputError, match="takes pictures of 4 channels"):
        roar({"m": brightness}, four, data, data, settings=QUICK, fractions=[30], repeats=1)


@pytest.mark.parametrize("ending", [[nn.Sigmoid()], [nn.LogSoftmax(1)], []])
def test_a_picture_of_one_class_is_learned_by_a_network_that_ends_in_sigmoids(ending: list[nn.Module]) -> None:
    """Its loss asked for sets of findings, and failed in torch's own words; now it is that of the same logits."""
    data = toy_set(24, 0)

    def make(classes: int) -> nn.Module:
        return nn.Sequential(toy_net(classes), *ending)

    trained = train_classifier(make, data, QUICK)
    bare = train_classifier(toy_net, data, QUICK)
    assert trained.classifier.activation == "softmax" and not trained.classifier.gives_findings
    pictures = data.floats()
    assert torch.allclose(trained.classifier.logits(pictures), bare.classifier.logits(pictures), atol=1e-6)


def test_a_network_with_one_output_gets_a_new_head() -> None:
    """No and yes are two classes; it was told that it doesn't end in a linear layer."""
    one = Classifier(tiny_net(classes=1), input_size=24, name="yesno")
    data = toy_set(24, 0)
    result = roar({"m": brightness}, one, data, data, network="pretrained", settings=QUICK, fractions=[30], repeats=1)
    assert result.classes == 3


def test_a_size_that_the_network_does_not_take_is_said_with_its_cure() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 3)

        def forward(self, images: Tensor) -> Tensor:
            assert images.shape[-1] == 32, "32 pixels"
            return self.head(images.mean((2, 3)))

    fixed = Classifier(Fixed(), input_size=32, name="fixed")
    data = toy_set(24, 0)
    with pytest.raises(InputError, match=r"Pictures of 24x24 pixels are trained on: `size` sets another"):
        roar({"m": brightness}, fixed, data, data, network="pretrained", settings=QUICK, fractions=[30], repeats=1)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_trained_in_float32(kind: torch.dtype) -> None:
    """Steps of 0.001 are lost to its rounding: of bfloat16's weights one in twenty changed at all."""
    half = Classifier(tiny_net().to(kind), input_size=SIDE, name="half")
    judge = used_to_holes(half, IMAGES, settings=QUICK)
    assert judge.dtype == torch.float32 and half.dtype == kind
    before, after = (torch.cat([w.float().flatten() for w in one.module.parameters()]) for one in (half, judge))
    assert (before != after).float().mean() > 0.9
    kept = learning_copy(half).module.state_dict()
    assert all(torch.equal(kept[name], w.float()) for name, w in half.module.state_dict().items() if w.ndim)


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_layers_are_found_in_any_precision(kind: torch.dtype) -> None:
    nets = [Classifier(tiny_net().to(one), input_size=SIDE, name="net") for one in (kind, torch.float32)]
    found, whole = (mprt(explainer("grad_cam", net), net, IMAGES[:2], modes=["cascading"]) for net in nets)
    assert found.layers == whole.layers


# ---- oblong -----------------------------------------------------------------------------------------------------


@pytest.fixture
def oblong() -> Classifier:
    return Classifier(tiny_net(), input_size=(48, 32), name="oblong")


def test_roar_trains_and_removes_in_the_shape_of_its_pictures(oblong: Classifier) -> None:
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(256, (24, 3, 48, 32), generator=draws, dtype=torch.uint8)
    data = Labelled(images, torch.arange(24) % 3, ("a", "b", "c"))
    seen = set()

    def make(classes: int) -> nn.Module:
        net = toy_net(classes)
        net.register_forward_pre_hook(lambda _, given: seen.add(tuple(given[0].shape[-2:])))
        return net

    whole = roar({"m": brightness}, oblong, data, data, network=make, settings=QUICK, fractions=[30], repeats=1)
    assert seen == {(48, 32)} and whole.protocol["size"] == whole.protocol["explained_at"] == [48, 32]
    seen.clear()
    small = roar({"m": brightness}, oblong, data, data, network=make, settings=QUICK, fractions=[30], repeats=1,
                 size=(24, 16))  # fmt: skip
    assert seen == {(24, 16)} and small.protocol["size"] == [24, 16]
    found = drt({"g": lambda c, *_: explainer("gradient", c)}, data, data, network=toy_net, settings=QUICK, again=False)
    assert found.protocol["size"] == [48, 32] and found.maps["g"]["true labels"].shape == (3, 48, 32)


@pytest.mark.parametrize(("size", "trained", "explained"), [(24, [24, 16], [48, 32]), (96, [96, 64], [96, 64])])
def test_the_command_has_the_shape_of_the_classifier(
    size: int, trained: list[int], explained: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    oblong: Classifier,
) -> None:  # fmt: skip
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda name, weights=None: oblong)
    quick = ["--train-set", "epochs=1", "--size", size, "--out", tmp_path, "--json", "--data", "shapes:n=24"]
    found = call("check", "roar", *quick, "--method", "edges", "--percent", "30", "--repeats", 1)
    assert found.exit_code == 0, found.output
    protocol = json.loads(found.stdout)["protocol"]
    assert protocol["size"] == trained and protocol["explained_at"] == explained
    found = call("check", "drt", *quick, "--network", "pretrained", "--method", "gradient", "--no-again",
                 "--out", tmp_path / "drt")  # fmt: skip
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["protocol"]["size"] == trained


def test_log_one_half_is_no_finding() -> None:
    net = Classifier(findings_net(), input_size=SIDE, activation="sigmoid")
    even = torch.full((1, 5), math.log(0.5), dtype=torch.float64)
    assert not says(net, even, torch.tensor([2]))

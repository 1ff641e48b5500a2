"""Other architectures as judges: who is drawn, at which size it looks, and what it changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from torch import Tensor
from training.test_run import SMALL, batch, trainer

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.training import recipes
from maskwise.training.judges import Judges, judged_by
from maskwise.training.objectives import Term

OTHER = """
from maskwise.classifiers import Classifier
from torch import nn
import torch

def other():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 6, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))
    return Classifier(net.eval(), mean=[0.3] * 3, std=[0.2] * 3, input_size=(24, 40), name="other")
"""


@pytest.fixture
def other(tmp_path: Path) -> str:
    (tmp_path / "nets.py").write_text(OTHER)
    return f"{tmp_path / 'nets.py'}:other"


def own(classes: int = 5) -> Classifier:
    return Classifier(tiny_net(classes=classes), input_size=32, name="tiny")


def test_each_judges_as_often_as_the_pool() -> None:
    first, second = own(), own()
    judges = Judges([first, second], own(), 3)
    drawn = [judges.drawn(step) for step in range(1200)]
    counts = Counter(0 if judge is None else 1 + (judge is second) for judge in drawn)
    assert all(330 < counts[k] < 470 for k in range(3)), counts
    assert drawn == [Judges([first, second], own(), 3).drawn(step) for step in range(1200)]
    assert {Judges([], own(), 3).drawn(step) for step in range(20)} == {None}


def test_a_judge_sees_its_own_size(other: str) -> None:
    judge = Judges.named([other], own(), 0, torch.device("cpu")).judges[0]
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = judged_by(judge, images)
    small = F.interpolate(images, (24, 40), mode="bilinear", antialias=True)
    torch.testing.assert_close(found, judge.module((small - 0.3) / 0.2))
    (gradient,) = torch.autograd.grad(found.sum(), images)
    assert (gradient != 0).float().mean() > 0.9


@pytest.mark.parametrize("update", ["averaged", "two_steps"])
@pytest.mark.parametrize("thinning", ["F", "L100"])
def test_the_mask_learns_from_what_another_network_sees(
    thinning: str, update: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = {"max_class": Term(lambda_r=0)}  # the judge alone moves the masker
    settings = {"thinning": thinning, "classifier_update": update, "judges": (other,), "objectives": only}
    t = trainer(SMALL.model_copy(update=settings))
    judge = t.judges.judges[0]
    monkeypatch.setattr(t.judges, "drawn", lambda step: judge)
    views: list[dict[str, Tensor]] = []
    real, seen = t._masked, []
    monkeypatch.setattr(t, "_masked", lambda *given: views.append(real(*given)) or views[-1])
    judges_by = t._seen_by
    monkeypatch.setattr(t, "_seen_by", lambda *given: seen.append(judges_by(*given)) or seen[-1])
    before, head = judge.fingerprint(), t.masker.decoder.head.weight.clone()
    images, labels = batch()
    logged = t.step(images, labels)
    assert logged["older"] == 1 and len(views) == len(seen) == 1
    expected = judged_by(judge, views[0]["in"])
    torch.testing.assert_close(seen[0]["in"], expected, rtol=1e-4, atol=1e-5)
    assert logged["loss"] == pytest.approx(float(F.cross_entropy(expected, labels).detach()), rel=1e-4)
    assert judge.fingerprint() == before and not torch.equal(head, t.masker.decoder.head.weight)


def test_only_judges_of_the_same_classes() -> None:
    with pytest.raises(InputError, match=r"`judges`: tiny \(4 classes, softmax\) does not name the classes") as caught:
        Judges([own(4)], own(), 0)
    assert "\n" not in str(caught.value)
    findings = Classifier(tiny_net(), input_size=32, name="findings", activation="sigmoid")
    with pytest.raises(InputError, match="sigmoid"):
        Judges([findings], own(), 0)
    assert Judges([findings], Classifier(tiny_net(), input_size=32, activation="sigmoid"), 0).judges
    with pytest.raises(InputError, match="pool_use"):
        recipes.load("casm", ["judges=[efficientnet_lite1]", "pool_use=skip"])

"""Contrasts of classes: linear goals, settled once on the clean picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.explainers.contrasts import Contrast
from maskwise.explainers.targets import described, parse_targets
from maskwise.images import load_image, packaged_pictures, resize
from maskwise.labels import Labels
from maskwise.sess import SESS

NAMES = ("cat", "dog", "horse", "cow", "black - white")
LOGITS = torch.tensor([[4.0, 3.0, 0.0, 2.5, -9.0], [0.0, 1.0, 5.0, 4.0, 4.5]])


class Linear(nn.Module):
    """Scores that are linear in the picture, so that gradients say exactly what was explained."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        return torch.einsum("nchw,kchw->nk", images, self.weight)


@pytest.fixture
def linear() -> Classifier:
    return Classifier(Linear(), mean=(0.0,) * 3, std=(1.0,) * 3, labels=Labels(NAMES), input_size=8)


def scores(target: object, classifier: Classifier) -> list[float]:
    return parse_targets(target, 2, classifier).resolved(LOGITS).scores(LOGITS)[:, 0].tolist()  # type: ignore[arg-type]


def goals(classifier: Classifier, images: Tensor) -> list[Tensor]:
    """Of the top class against its three nearest, in a plain loop."""
    found = []
    for row in classifier.logits(images).detach():
        order = (row - row.max()).abs().argsort().tolist()  # the top class itself is first
        goal = torch.zeros(len(row))
        goal[order[0]] = 1
        for other in order[1:4]:
            goal[other] = -1 / 3
        found.append(goal)
    return found


def test_scores_by_hand(linear: Classifier) -> None:
    assert scores("cat - dog", linear) == [1.0, -1.0]
    assert scores(Contrast("cat", ["dog", "cow"], weight=0.5), linear) == pytest.approx([4 - 2.75 / 2, 0 - 2.5 / 2])
    assert scores("cat - finer", linear) == pytest.approx([4 - (3 + 2.5 + 0) / 3, 0 - (1 + 4 + 4.5) / 3])
    assert scores(Contrast(nearest=1), linear) == [1.0, 0.5], "the top class against the nearest"
    assert scores("finer", linear) == pytest.approx([4 - 5.5 / 3, 5 - 9.5 / 3])
    assert scores(Contrast("dog", "cat", weight=0), linear) == scores("dog", linear), "weight 0 is the class alone"
    assert scores("black - white", linear) == [-9.0, 4.5], "a class whose own name has a minus in it"


def test_the_others_are_those_of_the_clean_picture(linear: Classifier) -> None:
    """A masked copy whose own nearest classes differ is asked about the same ones."""
    mixed: list[int | str | Contrast] = ["finer", Contrast(nearest=1)]
    targets = parse_targets(mixed, 2, linear).resolved(LOGITS)
    masked = torch.tensor([[0.0, 0.0, 9.0, 6.0, 3.0]] * 3)
    found = targets.scores(masked, torch.tensor([1, 0, 1]))[:, 0]
    torch.testing.assert_close(found, torch.tensor([6.0, -5.0, 6.0]))
    assert targets.of(torch.tensor([1])).scores(masked[:1]).item() == 6.0


def test_rows_are_of_their_pictures_also_before_they_are_settled(linear: Classifier) -> None:
    turned = parse_targets(["finer", "cat - dog"], 2, linear).of(torch.tensor([1, 0, 1]))
    assert turned.resolved(LOGITS[[1, 0, 1]]).scores(LOGITS[[1, 0, 1]])[:, 0].tolist() == pytest.approx(
        [-1.0, 4 - 5.5 / 3, -1.0]
    )


def test_the_class_that_a_method_can_name_is_the_first(linear: Classifier) -> None:
    """Also where the others weigh more."""
    heavy = parse_targets(Contrast("dog", ["cat"], weight=3), 2, linear)
    assert heavy.classes_of(LOGITS).tolist() == [[1], [1]]
    assert heavy.resolved(LOGITS).classes_of(LOGITS).tolist() == [[1], [1]]


def test_of_probabilities_it_is_their_difference(linear: Classifier) -> None:
    """In both ways: of the scores, and by a method that masks and asks for probabilities."""
    found = parse_targets("cat - dog", 2, linear).resolved(LOGITS).probabilities(LOGITS)[:, 0]
    shares = LOGITS.exp() / LOGITS.exp().sum(1, keepdim=True)
    torch.testing.assert_close(found, shares[:, 0] - shares[:, 1])
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    explain = mw.explainer("rise", linear, masks=20)
    by_function = explain(images, lambda y: y.softmax(1)[:, 0] - y.softmax(1)[:, 1])
    torch.testing.assert_close(explain(images, "cat - dog"), by_function)


def test_maps_are_those_of_the_function_of_the_same_score(linear: Classifier) -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for method, options in (
        ("gradient", {}),
        ("occlusion", {"window": 0.4, "scoring": "logit"}),
        ("rise", {"masks": 20, "scoring": "logit"}),
    ):
        explain = mw.explainer(method, linear, **options)
        torch.testing.assert_close(explain(images, "cat - dog"), explain(images, lambda y: y[:, 0] - y[:, 1]))
    both = mw.explainer("gradient", linear)(images, [["cat", "cat - dog"]] * 2)
    assert both.shape == (2, 2, 8, 8)
    torch.testing.assert_close(both[:, 0], mw.explainer("gradient", linear)(images, "cat"))
    assert not torch.allclose(both[:, 0], both[:, 1])


def test_it_reaches_explainers_from_elsewhere_and_sess(linear: Classifier) -> None:
    images, seen = torch.rand(2, 3, 8, 8), list[Tensor]()

    def foreign(given: Tensor, targets: Callable[[Tensor], Tensor] | Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        functions = targets if isinstance(targets, Sequence) else [targets]
        seen.extend(one(LOGITS[:1]) for one in functions)
        return torch.rand(len(given), 8, 8)

    SESS(foreign, linear, scales=2)(images, "finer")  # the nearest of whole pictures, for all of their patches
    asked = {round(float(one), 4) for one in seen}
    assert asked <= {round(float(one), 4) for one in (LOGITS[0] @ g for g in goals(linear, images))}
    seen.clear()
    for explain in (foreign, mw.explainer("gradient", linear)):
        enhanced = SESS(explain, linear, scales=2)
        assert enhanced(images, "cat - dog").shape == (2, 8, 8)
    assert seen and all(one.item() == 1 for one in seen)
    assert described("finer", linear.labels, "cat") == "cat - its 3 nearest"
    assert described(Contrast("dog", ["cat", "cow"]), linear.labels, "cat") == "dog - cat, cow"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("cat - mouse", "unknown class 'mouse'"),
        ("cat - cat", "against itself"),
        ("mouse - finer", "unknown class 'mouse'"),
    ],
)
def test_what_can_not_be_is_refused(linear: Classifier, target: str, message: str) -> None:
    with pytest.raises(mw.InputError, match=message):
        mw.explainer("gradient", linear)(torch.rand(1, 3, 8, 8), target)


def test_numbers_that_can_not_be_are_refused(linear: Classifier) -> None:
    for wrong in ({"weight": float("nan")}, {"nearest": 0}):
        with pytest.raises(mw.InputError, match="finite weight"):
            Contrast("cat", **wrong)
    with pytest.raises(mw.InputError, match="no 5 others"):
        mw.explainer("gradient", linear)(torch.rand(1, 3, 8, 8), Contrast(nearest=5))


def test_of_a_cat_beside_a_rocket_the_contrast_leaves_the_rocket() -> None:
    """Grad-CAM of the cat against the rocket lies on the cat's half, and the other way round."""
    pictures = {path.stem: path for path in packaged_pictures()}
    halves = [resize(load_image(pictures[name])[None], (224, 112)) for name in ("cat", "rocket")]
    maps = mw.explainer("grad_cam", mw.load_classifier())(torch.cat(halves, -1), [["281 - 657", "657 - 281"]])[0]
    left = (maps[..., :112].sum((1, 2)) / maps.sum((1, 2))).tolist()
    assert left[0] > 0.85 and left[1] < 0.15, left


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from maskwise.cli import main

    picture = str(packaged_pictures()[0])
    call = ["maskwise", "explain", picture, "--method", "grad_cam", "--out", str(tmp_path / "o"), "--target"]
    monkeypatch.setattr("sys.argv", [*call, "tabby cat - tiger cat"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert np.load(next((tmp_path / "o").rglob("map.npy"))).max() > 0.9
    told = next((tmp_path / "o").rglob("result.json")).read_text()
    assert '"target": "tabby - tiger cat"' in told

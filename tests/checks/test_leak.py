"""The leak check where the answer is known: a masker that writes the class into a corner, and one that is honest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from checks.toys import SIDE, oracle, toy_net, toy_set
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from maskwise.blending import masked_in
from maskwise.checks import Labelled, LeakResult, SmallTraining, leak, robust_judge, train_classifier
from maskwise.checks.area_controls import above_mean, centre_squares, random_blobs
from maskwise.checks.intervals import MeanInterval
from maskwise.checks.leak import lenders
from maskwise.checks.leak_result import BLOBS, OTHER, OWN, SAME, SQUARE, answer_of, deciding
from maskwise.checks.mask_probe import folds_of, mask_probe
from maskwise.checks.robust_judge import GRIDS, random_keeps
from maskwise.checks.small_training import Trained
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError

TRAIN, TEST = toy_set(90, 0), toy_set(60, 1)
QUICK = SmallTraining(epochs=6, batch_size=12, lr=0.01)
HOLED = SmallTraining(epochs=12, batch_size=12, lr=0.003)
CORNERS = torch.tensor([[0, 0], [0, SIDE - 2], [SIDE - 2, 0]])


def leaker(images: Tensor, targets: Tensor) -> Tensor:
    """Keeps two pixels of noise, in a corner that says the class."""
    maps = torch.zeros(len(images), SIDE, SIDE)
    for own, (y, x) in zip(maps, CORNERS[targets].tolist(), strict=True):
        own[y, x] = own[y + 1, x + 1] = 1
    return maps


def taught(classifier: Classifier, maps: Tensor, epochs: int) -> Classifier:
    """A judge that has learned with the masks of the training pictures."""
    shown = masked_in(TRAIN.floats(), above_mean(maps), classifier.mean[:, None, None])
    data = Labelled((255 * shown).round().to(torch.uint8), TRAIN.labels, TRAIN.classes)
    own = QUICK.model_copy(update={"epochs": epochs})
    return train_classifier(toy_net, data, own, normalisation=(classifier.mean, classifier.std)).classifier


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return train_classifier(toy_net, TRAIN, QUICK).classifier


@pytest.fixture(scope="module")
def robust(classifier: Classifier) -> Trained:
    return robust_judge(classifier, TRAIN, HOLED)


@pytest.fixture(scope="module")
def found(classifier: Classifier, robust: Trained) -> LeakResult:
    judges = {
        "leaker": taught(classifier, leaker(TRAIN.images, TRAIN.labels), 20),
        "honest": taught(classifier, oracle(TRAIN.images), 8),
    }
    methods = {"leaker": leaker, "honest": oracle, "untaught": oracle}
    return leak(methods, classifier, robust.classifier, TEST, judges=judges, probe=None)


def test_a_planted_leaker_is_found_and_an_honest_masker_is_not_flagged(found: LeakResult) -> None:
    answers = {one.method: one for one in found.summaries}
    assert answers["leaker"].answer == "leaks" and answers["leaker"].gap.low > 0.3
    assert answers["leaker"].borrowed.low > 0.5 and answers["leaker"].area == pytest.approx(2 / SIDE**2)
    accuracy = {(row.method, row.masks, row.kept, row.judge): row.accuracy.mean for row in found.rows}
    assert accuracy["leaker", OWN, "in", "own"] > 0.95 and accuracy["leaker", OWN, "in", "robust"] < 0.5
    assert accuracy["leaker", SAME, "in", "own"] > 0.95 and accuracy["leaker", OTHER, "in", "own"] < 0.05
    for name in ("honest", "untaught"):
        assert answers[name].answer == "none found", answers[name]
        assert accuracy[name, OWN, "in", "robust"] > 0.95 and accuracy[name, OWN, "out", "robust"] < 0.6


def test_the_gap_is_the_lead_on_the_masks_less_that_on_the_control(found: LeakResult) -> None:
    rows = {(row.method, row.masks, row.kept, row.judge): row.accuracy.mean for row in found.rows}
    for one in found.summaries:
        lead = {masks: rows[one.method, masks, "in", "own"] - rows[one.method, masks, "in", "robust"]
                for masks in (OWN, SQUARE, BLOBS, SAME, OTHER)}  # fmt: skip
        for control, gap in one.gaps.items():
            assert gap.mean == pytest.approx(lead[OWN] - lead[control])
        assert one.borrowed.mean == pytest.approx(lead[SAME] - lead[OTHER])
        assert one.gap.mean == min(gap.mean for gap in one.gaps.values())
    assert len(rows) == 3 * 8 * 2 and found.plain()["boxes"] is None
    assert found.protocol["among_classes"] == 3 and found.protocol["probe"] == "left out"


class Recorder(nn.Module):
    """Answers the first class, and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return torch.tensor([[2.0, 1.0, 0.0]]).expand(len(images), 3)


def test_each_judge_sees_what_is_kept_and_the_mean_colour_elsewhere(classifier: Classifier) -> None:
    """Of pictures that are white everywhere a normalised zero is a hole."""
    module = Recorder()
    white = Labelled(torch.full((6, 3, SIDE, SIDE), 255, dtype=torch.uint8), torch.arange(6) % 3, TEST.classes)
    judge = Classifier(module, mean=classifier.mean.tolist(), std=classifier.std.tolist(), input_size=SIDE,
                       labels=TEST.classes)  # fmt: skip
    module.seen.clear()
    result = leak({"block": oracle}, judge, judge, white, probe=None, batch=6)
    shown = [(seen.abs() > 1e-4).all(1) for seen in module.seen[-16:]]
    keeps = above_mean(oracle(white.images))
    masks = [keeps, ~keeps, centre_squares(keeps), ~centre_squares(keeps)]
    for k, wanted in enumerate(masks):
        assert torch.equal(shown[2 * k], wanted) and torch.equal(shown[2 * k + 1], wanted)
    areas = keeps.sum((1, 2))
    same, other = lenders(white.labels, 0)
    assert torch.equal(shown[8].sum((1, 2)), areas) and torch.equal(shown[10], ~shown[8])
    assert torch.equal(shown[12], keeps[same]) and torch.equal(shown[14], keeps[other])
    row = result.rows[0]
    assert row.accuracy.mean == pytest.approx(1 / 3)
    wanted = np.log(np.exp([2, 1, 0]).sum()) - np.mean([2, 1, 0])
    assert row.cross_entropy.mean == pytest.approx(wanted, abs=1e-6)


def test_both_judges_answer_among_the_classes_of_the_pictures(classifier: Classifier) -> None:
    """The first class, which has no picture here, is the likeliest of all; the second one wins among the others."""
    judge = Classifier(Recorder(), mean=classifier.mean.tolist(), std=classifier.std.tolist(), input_size=SIDE,
                       labels=TEST.classes)  # fmt: skip
    rest = TEST.subset((TEST.labels > 0).nonzero()[:, 0])
    result = leak({"block": oracle}, judge, judge, rest, probe=None)
    assert result.rows[0].accuracy.mean == pytest.approx(0.5)
    assert result.rows[0].cross_entropy.mean == pytest.approx(np.log(np.e + 1) - 0.5, abs=1e-6)
    assert result.summaries[0].answer == "none found"


@given(arrays("bool", (3, 5, 7)))
@settings(max_examples=50, deadline=None)
def test_controls_have_the_same_area_to_the_pixel(values: np.ndarray) -> None:
    keeps = torch.as_tensor(values)
    for own, square in zip(keeps, centre_squares(keeps), strict=True):
        pixels = sorted((max(abs(y - 2), abs(x - 3)), y, x) for y in range(5) for x in range(7))
        wanted = {(y, x) for _, y, x in pixels[: int(own.sum())]}
        assert {(y, x) for y, x in square.nonzero().tolist()} == wanted
    square = keeps[:, :5, :5]
    blobs = random_blobs(square, torch.rand(3, 3, 5, 5), 0)
    assert torch.equal(blobs.sum((1, 2)), square.sum((1, 2)))


def test_blobs_belong_to_the_picture_and_the_seed() -> None:
    images, keeps = TEST.floats()[:4], torch.zeros(4, SIDE, SIDE, dtype=torch.bool)
    keeps[:, :6] = True
    whole = random_blobs(keeps, images, 0)
    assert torch.equal(random_blobs(keeps[2:3], images[2:3], 0), whole[2:3])
    assert not torch.equal(random_blobs(keeps, images, 1), whole) and not torch.equal(whole[0], whole[1])
    neighbours = (whole[:, 1:] == whole[:, :-1]).double().mean()
    assert neighbours > 0.85  # smooth: scattered pixels would give .625


def test_random_keeps_are_half_cells_half_blobs_of_all_areas() -> None:
    keeps = random_keeps(400, 56, torch.Generator().manual_seed(0))
    assert set(keeps.unique().tolist()) == {0.0, 1.0}
    areas = keeps.mean((1, 2))
    assert torch.histc(areas, 4, 0, 1).min() > 70 and abs(float(areas.mean()) - 0.5) < 0.05
    fine = keeps.unfold(1, 2, 2).unfold(2, 2, 2).flatten(3)
    cells = (fine == fine[..., :1]).all(3).all(2).all(1)  # constant on the finest grid, as those of all three are
    assert 150 < int(cells.sum()) < 250
    for grid in GRIDS[:2]:
        coarse = keeps.unfold(1, 56 // grid, 56 // grid).unfold(2, 56 // grid, 56 // grid).flatten(3)
        those = (coarse == coarse[..., :1]).flatten(1).all(1) & (areas > 0.2) & (areas < 0.8)
        assert those.any()


@given(st.lists(st.integers(0, 3), min_size=2, max_size=20), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_masks_are_lent_within_a_class_and_across(values: list[int], seed: int) -> None:
    labels = torch.tensor(values)
    same, other = lenders(labels, seed)
    for i, label in enumerate(values):
        alone = values.count(label) == 1
        assert (same[i] == -1) == alone
        if not alone:
            assert same[i] != i and labels[same[i]] == label
        if other[i] >= 0:
            assert labels[other[i]] != label
    most = max(map(values.count, values))
    if 2 * most <= len(values):
        assert sorted(other.tolist()) == list(range(len(values)))


def test_a_judge_is_kept_under_what_it_depends_on(classifier: Classifier, robust: Trained, tmp_path: Path) -> None:
    before = classifier.fingerprint()
    short = HOLED.model_copy(update={"epochs": 1})
    steps: list[tuple[int, int]] = []
    made = robust_judge(classifier, TRAIN, short, folder=tmp_path, progress=lambda *step: steps.append(step))
    assert classifier.fingerprint() == before != made.classifier.fingerprint()
    assert steps[-1] == (8, 8)
    (path,) = tmp_path.iterdir()
    again = robust_judge(classifier, TRAIN, short, folder=tmp_path, progress=lambda *_: pytest.fail("trained again"))
    assert again.classifier.fingerprint() == made.classifier.fingerprint()
    assert (again.accuracy, again.epochs) == (made.accuracy, made.epochs) and again.epochs == 1
    fresh = robust_judge(classifier, TRAIN, short)
    assert fresh.classifier.fingerprint() == made.classifier.fingerprint()
    for change in ({"fill": "blur"}, {"size": 16}):
        robust_judge(classifier, TRAIN, short, folder=tmp_path, **change)  # type: ignore[arg-type]
    robust_judge(classifier, TRAIN.subset(torch.arange(40)), short, folder=tmp_path)
    robust_judge(classifier, TRAIN, short.model_copy(update={"seed": 1}), folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 5
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match="checksum"):
        robust_judge(classifier, TRAIN, short, folder=tmp_path)
    assert robust.accuracy > 0.95


def test_it_is_better_than_the_classifier_where_parts_are_missing(classifier: Classifier, robust: Trained) -> None:
    keeps = random_keeps(len(TEST), SIDE, torch.Generator().manual_seed(3)) > 0
    shown = masked_in(TEST.floats(), keeps, classifier.mean[:, None, None])
    nats = {
        judge.name: float(cross_entropy(judge.logits(shown), TEST.labels)) for judge in (classifier, robust.classifier)
    }
    assert nats[robust.classifier.name] < 0.8 * nats[classifier.name], nats


def test_a_probe_reads_shapes_and_nothing_in_noise() -> None:
    labels = torch.arange(24) % 2
    shapes = torch.zeros(24, 64, 64)
    shapes[labels == 0, 4:20] = 1
    shapes[labels == 1, :, 40:] = 1
    own = SmallTraining(epochs=3, batch_size=8)
    assert mask_probe(shapes, labels + 700, own, folds=2).all()
    noise = torch.rand(24, 64, 64, generator=torch.Generator().manual_seed(0)) > 0.5
    assert mask_probe(noise, labels, own, folds=2).float().mean() < 0.85
    with pytest.raises(InputError, match="3 pictures of every class"):
        mask_probe(shapes[:5], labels[:5], own)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_folds_hold_each_class_evenly(extra: list[int]) -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, *extra])
    place = folds_of(labels, 3, 0)
    for label in range(3):
        counts = (place[labels == label]).bincount(minlength=3)
        assert counts.max() - counts.min() <= 1


def interval(low: float, high: float) -> MeanInterval:
    return MeanInterval((low + high) / 2, low, high, 0)


@pytest.mark.parametrize(
    ("square", "blobs", "borrowed", "answer"),
    [
        ((0.1, 0.3), (0.2, 0.4), (0.01, 0.1), "leaks"),
        ((0.1, 0.3), (0.2, 0.4), (-0.01, 0.1), "suspected"),
        ((0.01, 0.3), (0.2, 0.4), (0.1, 0.2), "undecided"),
        ((-0.1, 0.15), (0.2, 0.4), (0.1, 0.2), "undecided"),
        ((0.1, 0.3), (-0.2, 0.05), (0.1, 0.2), "none found"),
        ((-0.3, 0.04), (0.2, 0.4), (0.1, 0.2), "none found"),
        ((0.06, 0.14), (0.02, 0.22), (0.1, 0.2), "undecided"),  # beyond the bound against one of the two alone
        ((-0.05, 0.11), (0.03, 0.049), (0.1, 0.2), "none found"),
    ],
)
def test_the_answer_in_a_word(
    square: tuple[float, float], blobs: tuple[float, float], borrowed: tuple[float, float], answer: str
) -> None:
    gaps = {SQUARE: interval(*square), BLOBS: interval(*blobs)}
    assert answer_of(gaps, interval(*borrowed), 0.05) == answer
    assert answer_of(gaps, interval(*borrowed), 0.05, independent=7) == "undecided", (
        "intervals of so few are too narrow"
    )
    least = deciding(gaps, 0.05)
    assert {"leaks": least.low > 0.05, "none found": least.high <= 0.05}.get(answer, True)
    assert answer != "undecided" or least.low <= 0.05 < least.high, "what is shown is why"


def test_a_flat_map_keeps_nothing() -> None:
    assert not above_mean(torch.full((1, 4, 4), 0.3)).any()
    assert above_mean(torch.tensor([[[0.0, 0.2], [0.3, 1.0]]])).tolist() == [[[False, False], [False, True]]]


def test_bad_options(classifier: Classifier) -> None:
    given = {"methods": {"m": oracle}, "classifier": classifier, "robust": classifier, "test": TEST}
    one = Labelled(TEST.images, torch.zeros_like(TEST.labels), TEST.classes)
    other = Labelled(TEST.images, TEST.labels, ("a", "b"))
    for change, words in (
        ({"methods": {}}, "needs a method"), ({"bound": 1.0}, "bound"), ({"test": one}, "one class"),
        ({"test": other}, "2 classes"), ({"seed": -1}, "seed"), ({"fill": "huge"}, "unknown infiller"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            leak(**{**given, **change})  # type: ignore[arg-type]
    for data, own, words in (
        (TRAIN.subset(torch.arange(1)), HOLED, "fewer than two"),
        (Labelled(TRAIN.images, TRAIN.labels + 1, TRAIN.classes), HOLED, "3 classes"),
        (TRAIN, HOLED.model_copy(update={"until": 0.9}), "until"),
    ):
        with pytest.raises(InputError, match=words):
            robust_judge(classifier, data, own)

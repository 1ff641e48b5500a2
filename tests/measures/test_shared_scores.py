"""What is asked of pictures alone is asked once for all maps of a comparison, and no number is another for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from conftest import tiny_net
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.evaluation import Contender, Settings, measure
from maskwise.measures import Metric, metric, metrics
from maskwise.measures import shared_scores as module
from maskwise.measures.shared_scores import shared, shared_scores

SIDE = 20
DRAWS = torch.Generator().manual_seed(3)
IMAGES = torch.rand(3, 3, SIDE, SIDE, generator=DRAWS)
MAPS = torch.rand(2, 3, SIDE, SIDE, generator=DRAWS)
LABELS = torch.tensor([0, 2, 1])
ASKING = [
    name for name in metrics.names() if (kind := metrics.get(name)).needs_classifier and "labels" not in kind.needs
]
CURVES = ("insertion", "deletion", "insertion_deletion", "aopc")
STEPS = {"step": 0.25}


class CountingNet(torch.nn.Module):
    """The tiny network, which counts the pictures that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.seen = tiny_net(), 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        found: Tensor = self.inner(images)
        return found


@pytest.fixture
def judge() -> Iterator[tuple[Classifier, CountingNet]]:
    net = CountingNet()
    classifier = Classifier(net, input_size=SIDE, name="counting")
    net.seen = 0  # it was looked at when it was wrapped
    yield classifier, net


def made(name: str, classifier: Classifier) -> Metric:
    return metric(name, classifier, **(STEPS if name in CURVES else {}))


@pytest.mark.parametrize("name", ASKING)
def test_numbers_are_the_same_bit_for_bit(name: str, judge: tuple[Classifier, CountingNet]) -> None:
    classifier, _ = judge
    asked = made(name, classifier)
    targets = {} if "targets" not in asked.takes else {"targets": LABELS}
    alone = [asked.per_image(maps, images=IMAGES, **targets) for maps in MAPS]
    with shared_scores():
        # Copies of the pictures, as an evaluation makes them for each method.
        together = [asked.per_image(maps, images=IMAGES.clone(), **targets) for maps in (*MAPS, *MAPS)]
    for first, again in zip([*alone, *alone], together, strict=True):
        assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("name", "first", "next_map"),
    [
        ("idsds", 1 + 16, 0), ("mu_fidelity", 1 + 200, 0), ("infidelity", 1 + 100, 0), ("average_drop", 1 + 1, 1),
        ("conciseness_preciseness", 1 + 1, 1), ("insertion", 1 + 4, 4), ("deletion", 1 + 4, 4),
        ("insertion_deletion", 1 + 8, 8), ("road", 1 + 14, 14),
    ],
)  # fmt: skip
def test_a_further_map_costs_what_depends_on_it(
    name: str, first: int, next_map: int, judge: tuple[Classifier, CountingNet]
) -> None:
    classifier, net = judge
    asked = made(name, classifier)
    with shared_scores():
        asked.per_image(MAPS[0], images=IMAGES)
        assert net.seen == first * len(IMAGES)
        net.seen = 0
        asked.per_image(MAPS[1], images=IMAGES.clone())
        assert net.seen == next_map * len(IMAGES)
        net.seen = 0
        asked.per_image(MAPS[1], images=IMAGES + 1e-3)  # other pictures
        assert net.seen == first * len(IMAGES)


def test_metrics_of_one_map_share_what_they_ask(judge: tuple[Classifier, CountingNet]) -> None:
    """Drop, gain, increase and CP show the classifier the same two pictures."""
    classifier, net = judge
    with shared_scores():
        for name in ("average_drop", "average_gain", "increase_in_confidence", "conciseness_preciseness"):
            metric(name, classifier).per_image(MAPS[0], images=IMAGES)
    assert net.seen == 2 * len(IMAGES)


def test_classes_and_options_are_told_apart(judge: tuple[Classifier, CountingNet]) -> None:
    classifier, _ = judge
    kinds = [
        metric("idsds", classifier, target="class"),
        metric("idsds", classifier, target="class", cells=5),
        metric("idsds", classifier, target="class", fill="blur"),
    ]
    rolled = LABELS.roll(1)
    alone = [kind.per_image(MAPS[0], images=IMAGES, targets=t) for kind in kinds for t in (LABELS, rolled)]
    with shared_scores():
        together = [kind.per_image(MAPS[0], images=IMAGES, targets=t) for kind in kinds for t in (LABELS, rolled)]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert len({tuple(found[:, 0].tolist()) for found in together}) == len(together)


def test_two_classifiers_are_told_apart() -> None:
    first, second = (Classifier(tiny_net(seed=seed), input_size=SIDE, name="tiny") for seed in (0, 1))
    with shared_scores():
        found = [metric("idsds", one).per_image(MAPS[0], images=IMAGES) for one in (first, second)]
    assert not torch.equal(*found)


def test_outside_and_afterwards_nothing_is_kept(judge: tuple[Classifier, CountingNet]) -> None:
    """So that a classifier in training is asked anew by who uses a metric by itself."""
    classifier, net = judge
    asked = metric("average_drop", classifier)
    for _ in range(2):
        asked.per_image(MAPS[0], images=IMAGES)
    with pytest.raises(KeyError), shared_scores():
        asked.per_image(MAPS[0], images=IMAGES)
        raise KeyError
    with shared_scores():
        asked.per_image(MAPS[0], images=IMAGES)
        with shared_scores():
            asked.per_image(MAPS[0], images=IMAGES)
        asked.per_image(MAPS[0], images=IMAGES)
    assert net.seen == 5 * 2 * len(IMAGES)


def test_the_latest_answers_are_kept_and_not_more() -> None:
    calls = list[int]()

    def answer(number: int) -> int:
        calls.append(number)
        return -number

    with shared_scores():
        for number in range(1, module.KEPT + 2):
            assert shared(answer, number) == -number
            assert shared(answer, 1) == -1  # used again and again, it stays
        assert calls == list(range(1, module.KEPT + 2))
        shared(answer, 2)
    assert calls[-1] == 2  # forgotten for a later one


def test_equal_is_by_value_and_by_kind() -> None:
    calls: list[object] = []
    one = torch.ones(2)
    for_each = [one, one.clone(), one.double(), torch.ones(1, 2), 1, True, 1.0, "1", None, [1], [1]]
    keep = calls.append  # one function: a method that is looked up anew is another object
    with shared_scores():
        for given in for_each:
            shared(keep, given)
        # The second tensor is the first by value; lists are not looked into.
        assert len(calls) == len(for_each) - 1
        assert shared(float, "1") == 1.0 and shared(str, "1") == "1"  # of one argument, by two functions


def test_a_comparison_asks_once_for_all_methods(judge: tuple[Classifier, CountingNet]) -> None:
    classifier, net = judge
    methods = [Contender.of(f"m{k}", lambda images, targets, k=k: (images.mean(1) * (k + 1)) % 1) for k in range(3)]
    data, chosen = ["shapes:n=5,size=32"], {name: metric(name, classifier) for name in ("idsds", "average_gain")}

    def seen(methods: list[Contender]) -> int:
        net.seen = 0
        measure(methods, classifier, data, chosen, Settings(batch=5))
        return net.seen

    assert [seen(methods[:count]) for count in (1, 2, 3)] == [5 * (1 + 1 + 16 + count) for count in (1, 2, 3)]

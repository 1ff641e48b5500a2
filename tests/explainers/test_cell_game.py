"""Shapley and Banzhaf values: against brute force over orders and coalitions, by their laws, and of small networks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from conftest import tiny_net
from dropping import dropped, small_transformer
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers.cell_game import cell_masks
from maskwise.explainers.coalitions import (
    any_size_coalitions,
    banzhaf_estimate,
    every_coalition,
    exact_banzhaf,
    exact_shapley,
    kernel_coalitions,
    shapley_estimate,
    size_law,
    uniform_coalitions,
    with_complements,
)
from maskwise.explainers.targets import parse_targets

Game = Callable[[frozenset[int]], float]
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def game(seed: int = 0) -> Game:
    """Any value for each coalition, by a hash of who is in it."""
    return lambda some: float(np.random.default_rng([seed, sum(1 << i for i in some)]).normal())


def shapley_by_orders(n: int, value: Game) -> list[float]:
    total = np.zeros(n)
    for order in permutations(range(n)):
        there: frozenset[int] = frozenset()
        for i in order:
            total[i] += value(there | {i}) - value(there)
            there |= {i}
    return list(total / math.factorial(n))


def shapley_by_sizes(n: int, value: Game) -> list[float]:
    found = []
    for i in range(n):
        rest, total = [j for j in range(n) if j != i], 0.0
        for k in range(n):
            gains = [value(frozenset(s) | {i}) - value(frozenset(s)) for s in combinations(rest, k)]
            total += float(np.mean(gains)) / n
        found.append(total)
    return found


def banzhaf_by_hand(n: int, value: Game) -> list[float]:
    found = []
    for i in range(n):
        rest = [j for j in range(n) if j != i]
        subsets = [frozenset(s) for k in range(n) for s in combinations(rest, k)]
        found.append(float(np.mean([value(s | {i}) for s in subsets]) - np.mean([value(s) for s in subsets])))
    return found


def valued(rows: Tensor, value: Game) -> Tensor:
    return torch.tensor([[value(frozenset(row.nonzero()[:, 0].tolist()))] for row in rows], dtype=torch.float64)


@pytest.mark.parametrize("n", [2, 4, 6])
def test_exact_values_are_brute_force(n: int) -> None:
    values = valued(every_coalition(n), game())
    np.testing.assert_allclose(exact_shapley(values)[:, 0], shapley_by_orders(n, game()), atol=1e-12)
    np.testing.assert_allclose(exact_banzhaf(values)[:, 0], banzhaf_by_hand(n, game()), atol=1e-12)


def test_exact_values_of_nine_players() -> None:
    values = valued(every_coalition(9), game(3))
    np.testing.assert_allclose(exact_shapley(values)[:, 0], shapley_by_sizes(9, game(3)), atol=1e-12)
    np.testing.assert_allclose(exact_banzhaf(values)[:, 0], banzhaf_by_hand(9, game(3)), atol=1e-12)


def expanded(n: int) -> tuple[Tensor, Tensor]:
    """Coalitions, each as often as KernelSHAP's law has it, as weights that add up to 1."""
    rows = every_coalition(n).double()[1:-1]
    sizes = rows.sum(1).long().tolist()
    weights = torch.tensor([1 / (k * (n - k) * math.comb(n, k)) for k in sizes], dtype=torch.float64)
    return rows, weights / weights.sum()


@pytest.mark.parametrize("n", [4, 7])
def test_the_law_makes_the_second_moments_of_the_paper_and_least_squares_give_shapley(n: int) -> None:
    """A = E[S S'] has 1/2 on its diagonal and a closed form beside it; WLS with v(none), v(all) kept is exact."""
    rows, weights = expanded(n)
    moments = (rows * weights[:, None]).mT @ rows
    beside = sum((k - 1) / (n - k) for k in range(2, n)) / (n * (n - 1) * sum(1 / (k * (n - k)) for k in range(1, n)))
    expected = torch.full((n, n), beside, dtype=torch.float64).fill_diagonal_(0.5)
    torch.testing.assert_close(moments, expected, atol=1e-14, rtol=0)
    np.testing.assert_allclose(size_law(n), [float(weights[rows.sum(1) == k].sum()) for k in range(1, n)], atol=1e-14)

    every = valued(every_coalition(n), game(1))
    values, nobody, total = valued(rows, game(1)), every[0], float(every[-1] - every[0])
    b = (rows * weights[:, None]).mT @ (values - nobody)
    kkt = torch.zeros(n + 1, n + 1, dtype=torch.float64)
    kkt[:n, :n], kkt[:n, n], kkt[n, :n] = moments, 1, 1
    least = torch.linalg.solve(kkt, torch.cat([b[:, 0], torch.tensor([total], dtype=torch.float64)]))[:n]
    torch.testing.assert_close(least, exact_shapley(every)[:, 0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("n", [4, 5])
def test_estimates_over_all_coalitions_are_exact(n: int) -> None:
    """In the shares that the laws give them, as repeated rows; of two games at once, and of a batch."""
    rows, weights = expanded(n)
    times = (weights / weights.min()).round(decimals=6)
    common = math.lcm(*(round(1 / (w % 1)) if w % 1 > 1e-6 else 1 for w in times.tolist()))
    repeated = rows.repeat_interleave((times * common).round().long(), 0)
    every = torch.cat([valued(every_coalition(n), game(s)) for s in (0, 1)], 1)
    index = (repeated @ (2.0 ** torch.arange(n).double())).long()
    found = shapley_estimate(repeated[None], every[index][None], every[:1], every[-1:])[0]
    torch.testing.assert_close(found, exact_shapley(every), atol=1e-10, rtol=0)
    found = banzhaf_estimate(every_coalition(n).double(), every)
    torch.testing.assert_close(found, exact_banzhaf(every), atol=1e-12, rtol=0)


def test_few_pairs_are_unbiased_and_shapley_estimates_add_up() -> None:
    """The mean of many estimates of four coalitions each, in units of its own standard error."""
    n, trials = 5, 20000
    every = valued(every_coalition(n), game(2))
    draws = torch.Generator().manual_seed(0)

    def values(some: Tensor) -> Tensor:
        return every[(some @ (2.0 ** torch.arange(n).double())).long()]

    some = with_complements(kernel_coalitions(torch.rand(trials, 2, n + 1, generator=draws, dtype=torch.float64)))
    ends = every[:1].expand(trials, -1), every[-1:].expand(trials, -1)
    shapley = shapley_estimate(some, values(some), *ends)[..., 0]
    torch.testing.assert_close(shapley.sum(1), (ends[1] - ends[0])[:, 0], atol=1e-10, rtol=0)
    other = with_complements(uniform_coalitions(torch.rand(trials, 2, n, generator=draws, dtype=torch.float64)))
    banzhaf = banzhaf_estimate(other, values(other))[..., 0]
    for found, exact in ((shapley, exact_shapley(every)), (banzhaf, exact_banzhaf(every))):
        error = found.std(0) / trials**0.5
        assert ((found.mean(0) - exact[:, 0]).abs() < 4 * error).all()
        assert (error < 0.05 * exact[:, 0].std()).all(), "or the test would say nothing"


def test_what_nobody_is_worth_is_in_no_cell_s_value() -> None:
    """A game that is worth c more, whoever plays, has the same values, of any coalitions, paired or not."""
    rows = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 0, 1]], dtype=torch.float64)  # the first plays in all of them
    values, ends = torch.rand(3, 2, dtype=torch.float64), torch.rand(2, 2, dtype=torch.float64)
    found = shapley_estimate(rows, values, *ends)
    torch.testing.assert_close(shapley_estimate(rows, values + 7, *(ends + 7)), found)
    b = (rows[:, :, None] * (values - ends[0])[:, None]).mean(0)  # by hand: H = 1 + 1/2
    torch.testing.assert_close(found, 3 * (b - b.mean(0)) + (ends[1] - ends[0]) / 3)


def test_estimates_of_a_picture_add_up_to_what_is_shown_less_the_mean_colour() -> None:
    own = tiny()
    explain = mw.explainer("kernel_shap", own, grid=2, masks=4, signed=True)
    with explain.calling(), torch.no_grad():
        maps = explain.saliency(IMAGES, mw.explainers.targets.parse_targets(3, len(IMAGES), own))[:, 0]
        whole, empty = (own.logits(x).softmax(1)[:, 3] for x in (IMAGES, own.mean[:, None, None].expand(1, 3, 32, 32)))
    torch.testing.assert_close(maps.sum((1, 2)), whole - empty, atol=1e-5, rtol=0)


def test_the_laws_that_are_drawn() -> None:
    draws, n = torch.Generator().manual_seed(1), 6
    some = kernel_coalitions(torch.rand(60000, n + 1, generator=draws))
    sizes = Counter(some.sum(1).long().tolist())
    assert set(sizes) == set(range(1, n)), "neither nobody nor everybody"
    np.testing.assert_allclose([sizes[k] / 60000 for k in range(1, n)], size_law(n), atol=0.01)
    pairs = some[some.sum(1) == 2]
    seen = Counter(tuple(row.nonzero()[:, 0].tolist()) for row in pairs)
    assert len(seen) == 15 and max(seen.values()) < 1.15 * min(seen.values()), "every coalition of one size alike"
    even = any_size_coalitions(torch.rand(60000, n + 1, generator=draws)).sum(1)
    shares = [(even == k).float().mean() for k in range(n + 1)]
    np.testing.assert_allclose(shares, [1 / (n + 1)] * (n + 1), atol=0.01)
    np.testing.assert_allclose(uniform_coalitions(torch.rand(60000, n, generator=draws)).mean(0), [0.5] * n, atol=0.01)


# ---- of pictures --------------------------------------------------------------------------------------------


def test_cells_cover_the_picture_row_by_row() -> None:
    size = (10, 7)
    covers = cell_masks(torch.eye(9), size)
    assert torch.equal(covers.sum(0), torch.ones(size))
    assert covers[5, 3:7, 5:].all() and covers[5].sum() == 4 * 2, "second row, third column: 3:7 of 10, 5:7 of 7"
    assert torch.equal(cell_masks(torch.ones(2, 3, 4), size), torch.ones(2, 3, *size))


def tiny() -> Classifier:
    return Classifier(tiny_net(), input_size=32, name="tiny")


def brute(picture: Tensor, classifier: Classifier, target: int, scoring: str, grid: int) -> Tensor:
    """Values (2^n,1) of every coalition, pixel by pixel: a cell that is out has the mean colour."""
    mean, side = classifier.mean[:, None, None], 32 // grid
    found = []
    for row in range(2 ** (grid * grid)):
        shown = mean.expand_as(picture).clone()
        for cell in range(grid * grid):
            if row >> cell & 1:
                y, x = side * (cell // grid), side * (cell % grid)
                shown[:, y : y + side, x : x + side] = picture[:, y : y + side, x : x + side]
        with torch.no_grad():
            logits = classifier.logits(shown[None])
        found.append((logits.softmax(1) if scoring == "probability" else logits)[0, target])
    return torch.stack(found)[:, None]


@pytest.mark.parametrize("scoring", ["probability", "logit"])
@pytest.mark.parametrize("name", ["kernel_shap", "banzhaf"])
def test_two_by_two_cells_of_a_network(name: str, scoring: str) -> None:
    own, exact = tiny(), {"kernel_shap": exact_shapley, "banzhaf": exact_banzhaf}[name]
    explain = mw.explainer(name, own, grid=2, masks=None, scoring=scoring, signed=True)
    with explain.calling():
        targets = mw.explainers.targets.parse_targets(torch.tensor([[1, 3]] * 2), 2, own)
        maps = explain.saliency(IMAGES, targets)
    assert maps.shape == (2, 2, 2, 2)
    for i, picture in enumerate(IMAGES):
        for k, target in enumerate((1, 3)):
            expected = exact(brute(picture, own, target, scoring, 2)).reshape(2, 2)
            torch.testing.assert_close(maps[i, k], expected, atol=1e-5, rtol=0)
    sampled = mw.explainer(name, own, grid=2, masks=800, scoring=scoring, signed=True, batch=512)
    with sampled.calling():
        near = sampled.saliency(IMAGES, targets)
    assert (near - maps).abs().max() < 0.3 * maps.abs().max()


def test_signed_maps_and_stretched_ones() -> None:
    own = tiny()
    signed = mw.explainer("kernel_shap", own, grid=2, masks=None, signed=True)(IMAGES, 2)
    assert signed.min() < 0 and signed.min() >= -1
    plain = mw.explainer("kernel_shap", own, grid=2, masks=None)(IMAGES, 2)
    low, high = (f(signed.flatten(1), 1, keepdim=True)[..., None] for f in (torch.amin, torch.amax))
    torch.testing.assert_close(plain, (signed - low) / (high - low), atol=1e-5, rtol=0)


def test_a_network_that_adds_up_cells_has_their_parts_as_values() -> None:
    """logit = mean of channel 0: each cell's Shapley and Banzhaf value is what it adds."""

    class Adds(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, 0].mean((1, 2)), x[:, 1].mean((1, 2))], 1)

    own = Classifier(Adds(), mean=(0.5,) * 3, std=(1,) * 3, input_size=32)
    parts = (IMAGES[:, 0] - 0.5).unflatten(1, (2, 16)).unflatten(3, (2, 16)).mean((2, 4)) / 4
    for name in ("banzhaf", "kernel_shap"):
        explain = mw.explainer(name, own, grid=2, masks=None, scoring="logit", signed=True)
        with explain.calling():
            maps = explain.saliency(IMAGES, mw.explainers.targets.parse_targets(0, 2, own))
        torch.testing.assert_close(maps[:, 0], parts, atol=1e-6, rtol=0)


def test_bad_options_are_named() -> None:
    for options, said in (
        ({"masks": 5}, "even number, not 5"), ({"grid": 1}, "grid is at least 2"), ({"scoring": "x"}, "scoring"),
        ({"grid": 5, "masks": None}, "grid is 4 at most"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            mw.explainer("kernel_shap", tiny(), **options)


def cells_of(explain: mw.Explainer, pictures: Tensor, label: int) -> Tensor:
    """Values (N,g,g), before they are enlarged."""
    with explain.calling():
        return explain.saliency(pictures, parse_targets(label, len(pictures), explain.classifier))[:, 0]


@pytest.mark.parametrize("method", ["kernel_shap", "banzhaf"])
def test_missing_cells_are_tokens_that_are_dropped(method: str) -> None:
    """Against brute force, over all orders or coalitions of four cells, of a network from which the tokens are cut."""
    net = small_transformer()  # 4x4 patches of 64 pixels
    own = Classifier(net, input_size=64)
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    found = cells_of(mw.explainer(method, own, grid=2, masks=None, holes="tokens", signed=True), pictures, 1)
    by_hand = shapley_by_orders if method == "kernel_shap" else banzhaf_by_hand
    for k, picture in enumerate(own.normalise(pictures)):

        def value(some: frozenset[int], picture: Tensor = picture) -> float:
            there = torch.zeros(4, 4, dtype=torch.bool)
            for cell in some:
                there[2 * (cell // 2) : 2 * (cell // 2) + 2, 2 * (cell % 2) : 2 * (cell % 2) + 2] = True
            with torch.no_grad():
                return float(dropped(net, picture[None], there[None]).softmax(1)[0, 1])

        np.testing.assert_allclose(found[k].flatten(), by_hand(4, value), atol=1e-5)
    colour = cells_of(mw.explainer(method, own, grid=2, masks=None, signed=True), pictures, 1)
    assert (colour - found).abs().max() > 1e-4, "another game"


def test_drawn_coalitions_of_tokens_add_up() -> None:
    own = Classifier(small_transformer(), input_size=64)
    pictures = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    explain = mw.explainer("kernel_shap", own, grid=4, masks=20, holes="tokens", signed=True, batch=7)
    maps = cells_of(explain, pictures, 2)
    with torch.no_grad():
        whole = own.probabilities(own.logits(pictures))[:, 2]
        none = own.probabilities(own.logits(pictures, token_mask=torch.zeros(3, 16, dtype=torch.bool)))[:, 2]
    torch.testing.assert_close(maps.sum((1, 2)), whole - none, atol=1e-5, rtol=0)
    torch.testing.assert_close(cells_of(explain, pictures[1:2], 2)[0], maps[1], atol=1e-5, rtol=0)


def test_tokens_are_refused_by_name_where_there_are_none() -> None:
    with pytest.raises(InputError, match="timm's VisionTransformer"):
        mw.explainer("kernel_shap", Classifier(tiny_net(), input_size=32), holes="tokens")
    own = Classifier(small_transformer(), input_size=64)
    with pytest.raises(InputError, match="grid"):
        mw.explainer("banzhaf", own, grid=5, holes="tokens")  # of 4x4 tokens
    with pytest.raises(InputError, match="holes"):
        mw.explainer("banzhaf", own, holes="nothing")

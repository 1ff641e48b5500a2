"""Ranking: soft orders, their curves against the hard ones of the metrics, the gradient, the file and its stamp."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from lightning.fabric import Fabric
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.evaluation import Contender, leaderboard, measure
from maskwise.evaluation.own_objective import own_objective
from maskwise.infill import infiller
from maskwise.maskers import load_masker, read_header
from maskwise.maskers.store import trained_on
from maskwise.measures import metric
from maskwise.measures.filling import fill_of
from maskwise.measures.perturbation import area_under, curves
from maskwise.training import recipes
from maskwise.training.ranking import RankingTrainer, _Draw, followed, roughness
from maskwise.training.ranking_recipe import RankingRecipe
from maskwise.training.soft_order import first_of, gumbel_noise, quantile_gate, sinkhorn_order, standardised

SMALL = RankingRecipe(
    input_size=32, batch_size=4, steps=6, width=4, mix=6, fractions=2, cells=(4, 4), crop_area=(0.4, 1.0), warm_up=0.0
)


def classifier() -> Classifier:
    return Classifier(tiny_net(), input_size=32, name="tiny")


def trainer(recipe: RankingRecipe = SMALL, network: Classifier | None = None) -> RankingTrainer:
    return RankingTrainer(network or classifier(), recipe, 6, Fabric(accelerator="cpu", devices=1))


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed(**settings: object) -> RankingRecipe:
    return SMALL.model_copy(update=settings)


# ---- soft orders --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4, 7, 15])
def test_a_sharp_gate_is_the_first_cells(count: int) -> None:
    scores = torch.randn(5, 16, generator=draws()) * 3 + 7
    found = quantile_gate(scores, count / 16, 1e-5)
    expected = torch.zeros(5, 16).scatter_(1, scores.argsort(1, descending=True)[:, :count], 1.0)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_a_gate_by_hand_and_whatever_the_scale() -> None:
    scores = torch.tensor([[0.0, 1.0, 3.0, 8.0]])
    z = (scores - 3) / scores.std(unbiased=False)
    half = (z[0, 1] + z[0, 2]) / 2
    torch.testing.assert_close(
        quantile_gate(scores, 0.5, 0.2), 1 / (1 + torch.exp(-(z - half) / 0.2)), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(quantile_gate(100 * scores - 50, 0.5, 0.2), quantile_gate(scores, 0.5, 0.2))
    between = z[0, 3] + (z[0, 2] - z[0, 3]) * (0.3 * 4 - 0.5)  # 1.2 cells are in: a part of the way to the second
    torch.testing.assert_close(quantile_gate(scores, 0.3, 0.2), torch.sigmoid((z - between) / 0.2), atol=1e-5, rtol=0)
    torch.testing.assert_close(standardised(scores), z, atol=1e-5, rtol=0)
    assert torch.equal(standardised(torch.full((2, 5), 3.0)), torch.zeros(2, 5)), "flat scores have no order"


def test_the_gate_s_threshold_has_no_gradient() -> None:
    """Against the derivative at a threshold held still."""
    scores = torch.randn(1, 9, generator=draws(), dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1, 9, generator=draws(1), dtype=torch.float64)
    (found,) = torch.autograd.grad((quantile_gate(scores, 4 / 9, 0.3) * weight).sum(), scores)
    ordered = standardised(scores).detach().sort(1, descending=True).values
    still = (ordered[:, 3] + ordered[:, 4]) / 2
    held = (torch.sigmoid((standardised(scores) - still) / 0.3) * weight).sum()
    torch.testing.assert_close(found, torch.autograd.grad(held, scores)[0])


@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
def test_sinkhorn_is_doubly_stochastic_at_any_scale_of_the_scores(scale: float) -> None:
    scores = scale * torch.randn(3, 20, generator=draws())
    order = sinkhorn_order(scores, 0.3, sweeps=200)
    torch.testing.assert_close(order.sum(1), torch.ones(3, 20), atol=1e-5, rtol=0)
    torch.testing.assert_close(order.sum(2), torch.ones(3, 20), atol=1e-3, rtol=0)
    best = scores.argsort(1, descending=True)[:, :5]
    quarter = first_of(order, 0.25)
    assert (quarter.gather(1, best).sum(1) / quarter.sum(1) > 0.6).all(), "the trap: at a raw scale it would be .25"
    torch.testing.assert_close(quarter.sum(1), torch.full((3,), 5.0), atol=0.05, rtol=0)


def test_sinkhorn_in_plain_loops_and_its_limit() -> None:
    scores, noise = torch.randn(1, 4, generator=draws()), torch.randn(1, 4, 4, generator=draws(1))
    z = (scores[0] - scores.mean()) / scores.std(unbiased=False) * 2
    matrix = torch.empty(4, 4)
    for k in range(4):
        for c in range(4):
            matrix[k, c] = torch.exp((-((z[c] - (1 - k / 3)) ** 2) + noise[0, k, c]) / 0.5)
    for _ in range(7):
        matrix = matrix / matrix.sum(1, keepdim=True)
        matrix = matrix / matrix.sum(0, keepdim=True)
    torch.testing.assert_close(sinkhorn_order(scores, 0.5, 7, noise, 2.0)[0], matrix, atol=1e-4, rtol=1e-3)
    hard = sinkhorn_order(scores, 1e-3, sweeps=2000)
    assert torch.equal(hard[0].argmax(1), scores[0].argsort(descending=True))
    torch.testing.assert_close(first_of(matrix[None], 0.375)[0], matrix[0] + 0.5 * matrix[1])
    drawn = gumbel_noise((4000, 5), scores)
    assert (
        abs(float(drawn.mean()) - 0.5772) < 0.03 and abs(float(drawn.var()) - 1.6449) < 0.1 and drawn.isfinite().all()
    )


# ---- curves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["mean", "black", "blur:sigma=3"])
def test_with_tau_to_zero_the_areas_are_those_of_the_metrics(fill: str) -> None:
    """Insertion and deletion of ``measures`` on the same 4x4 cells, the same fill and the same four steps."""
    own = classifier()
    t = trainer(changed(drawn=False, fractions=3), own)
    images, scores = torch.rand(3, 3, 32, 32, generator=draws()), torch.randn(3, 4, 4, generator=draws(2))
    asked = torch.tensor([0, 3, 4])
    gates = t.gates(scores, _Draw(t.recipe.shares(0.5), 4, infiller(fill), 1e-6), (32, 32))
    with torch.no_grad():
        whole = own.logits(images).softmax(1).gather(1, asked[:, None])[:, 0]
    areas, _ = t.areas(images, gates, asked, whole, infiller(fill))
    maps = scores.repeat_interleave(8, 1).repeat_interleave(8, 2)
    for mode, found in areas.items():
        hard = curves(own, images, maps, asked, mode, step=4 * 64, fill=fill_of(fill))  # type: ignore[arg-type]
        assert hard.shape == (3, 5)
        torch.testing.assert_close(found.double(), area_under(hard), atol=1e-4, rtol=0)


def test_cells_of_oblong_pictures_are_square() -> None:
    """As many cells as the recipe says on the longer side: of 32x64 pixels and four, 2x4 cells of 16x16."""
    scores = torch.randn(2, 8, 16, generator=draws(2))
    [gate] = trainer().gates(scores, _Draw([0.25], 4, infiller("black"), 1e-6), (32, 64))
    for found, own in zip(gate, scores, strict=True):
        means = own.reshape(2, 4, 4, 4).mean((1, 3))
        highest = (means >= means.flatten().sort(descending=True).values[1]).float()
        assert torch.equal(found.round(), highest.repeat_interleave(16, 0).repeat_interleave(16, 1))


def test_edges_of_gates_are_blurred_as_the_recipe_says() -> None:
    scores = torch.randn(2, 4, 4, generator=draws(2))
    found = {}
    for sigma in (0.0, 1.5):
        t = trainer(changed(mask_blur=sigma))
        found[sigma] = t.gates(scores, _Draw([0.25, 0.5], 4, infiller("black"), 1e-6), (32, 32))
    for sharp, soft in zip(found[0.0], found[1.5], strict=True):
        assert set(sharp.unique().tolist()) <= {0.0, 1.0}
        blurred = gaussian_filter(sharp.double().numpy(), (0, 1.5, 1.5), mode="nearest")
        torch.testing.assert_close(soft.double(), torch.from_numpy(blurred), atol=1e-4, rtol=0)


def test_drawn_shares_have_the_area_as_their_mean() -> None:
    recipe = changed(fractions=4)
    assert recipe.shares(0.25) == pytest.approx([0.0625, 0.3125, 0.5625, 0.8125])
    assert changed(drawn=False, fractions=3).shares(0.9) == [0.25, 0.5, 0.75]
    every = torch.tensor([recipe.shares((i + 0.5) / 100) for i in range(100)])
    torch.testing.assert_close(every.square().mean(), torch.tensor(1 / 3), atol=1e-4, rtol=0)  # of any curve, as q^2
    t = trainer(changed(fractions=1))
    images, asked = torch.rand(2, 3, 32, 32, generator=draws()), torch.tensor([1, 2])
    gate = torch.rand(2, 32, 32, generator=draws(1))
    areas, _ = t.areas(images, [gate], asked, torch.zeros(2), infiller("black"))
    with torch.no_grad():
        kept = t.judge.logits(images * gate[:, None]).softmax(1).gather(1, asked[:, None])[:, 0]
        left = t.judge.logits(images * (1 - gate[:, None])).softmax(1).gather(1, asked[:, None])[:, 0]
    torch.testing.assert_close(areas["insertion"], kept)
    torch.testing.assert_close(areas["deletion"], left)


@pytest.mark.parametrize("sorter", ["gate", "sinkhorn"])
def test_the_gradient_is_that_of_one_graph(sorter: str) -> None:
    """The judge's graphs are forgotten one by one; the decoder's gradient is that of all in one, loss by hand."""
    recipe = changed(sorter=sorter, noise=False, follows="two", fills=["mean"], tau=0.4)
    t = trainer(recipe)
    images, labels = torch.rand(3, 3, 32, 32, generator=draws()), torch.tensor([0, 1, 2])
    recorded: dict[str, Tensor] = {}
    t.update.add = lambda loss, part, keep_graph=False: recorded.update(  # type: ignore[method-assign]
        loss=loss.detach(), **{str(i): g for i, g in enumerate(torch.autograd.grad(loss, t.weights))}
    )
    t.update.update = lambda rate: None  # type: ignore[method-assign]
    t.step(images, labels)
    t.steps = 0
    draw = t._drawn()
    with torch.no_grad():
        clean, taps = t.judge.features(images)
    asked = followed("two", clean, labels)
    scores = t.masker.logits_of(taps, (32, 32), asked)
    total = torch.zeros(())
    for b in range(3):
        for m in range(2):
            for share in draw.shares:
                cells = F.adaptive_avg_pool2d(scores[b, m][None, None], 4).reshape(1, 16)
                soft = quantile_gate(cells, share, 0.4)
                if sorter == "sinkhorn":
                    soft = first_of(sinkhorn_order(cells, 0.4), share)
                gate = soft.reshape(4, 4).repeat_interleave(8, 0).repeat_interleave(8, 1)
                fill = t.judge.mean.reshape(3, 1, 1)
                kept, left = images[b] * gate + fill * (1 - gate), images[b] * (1 - gate) + fill * gate
                p = t.judge.logits(torch.stack([left, kept])).softmax(1)[:, asked[b, m]]
                total = total + (p[0] - p[1]) / (3 * 2 * len(draw.shares))
    total = 1 + total + recipe.smoothness * roughness(scores.flatten(0, 1), (32, 32), recipe.smooth_window)
    torch.testing.assert_close(recorded["loss"], total.detach(), atol=1e-5, rtol=0)
    for i, gradient in enumerate(torch.autograd.grad(total, t.weights)):
        torch.testing.assert_close(recorded[str(i)], gradient, atol=1e-5, rtol=1e-3)


class LinearInCells(nn.Module):
    """Two classes, whose first logit is a weighted sum of the picture's cells of 8x8 pixels."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.grid = nn.Conv2d(3, 1, 8, 8, bias=False)
        self.last = nn.Linear(len(weights), 2, bias=False)
        with torch.no_grad():
            self.grid.weight.fill_(1 / 192)
            self.last.weight[0], self.last.weight[1] = weights, -weights

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.grid(x).flatten(1))  # type: ignore[no-any-return]


def linear(weights: Tensor) -> Classifier:
    side = 8 * round(len(weights) ** 0.5)
    return Classifier(LinearInCells(weights), mean=(0, 0, 0), std=(1, 1, 1), input_size=side, taps=["grid"])


def loss_of(t: RankingTrainer, scores: Tensor, tau: float, shift: float = 0.5) -> Tensor:
    """Deletion - insertion of class 0 of a white picture, as a number with the slope by the scores (1,g,g)."""
    images, asked, black = torch.ones(1, 3, *t.judge.size), torch.tensor([0]), infiller("black")
    gates = t.gates(scores, _Draw(t.recipe.shares(shift), scores.shape[-1], black, tau), t.judge.size)
    areas, slopes = t.areas(images, gates, asked, torch.zeros(1), black)
    sloped = (torch.stack(gates) * torch.stack(slopes)).sum()
    return areas["deletion"].sum() - areas["insertion"].sum() + sloped - sloped.detach()


def test_of_all_orders_the_weights_own_is_the_best() -> None:
    weights = torch.tensor([0.3, -0.5, 1.0, 0.1])
    t = trainer(changed(drawn=False, fractions=3, class_tap=False, decoder="added"), linear(weights))
    losses = {
        order: float(loss_of(t, torch.tensor(order, dtype=torch.float32).reshape(1, 2, 2), 1e-5))
        for order in permutations(range(4))
    }
    best = min(losses, key=losses.__getitem__)
    assert best == tuple(weights.argsort().argsort().tolist())
    assert sorted(losses.values())[1] > losses[best] + 1e-3


@pytest.mark.parametrize("sorter", ["gate", "sinkhorn"])
def test_descent_finds_the_order_of_a_linear_classifier_s_weights(sorter: str) -> None:
    """From a random order, with a softness that falls: a sharp gate has no slope for cells far apart."""
    weights = torch.tensor([0.3, -0.5, 1.0, 0.0, 0.7, -0.2, -0.9, 0.5, -0.7])
    settings = {"fractions": 4, "sorter": sorter, "noise": False, "class_tap": False, "decoder": "added"}
    t = trainer(changed(**settings), linear(weights))
    scores = torch.randn(1, 3, 3, generator=draws(3)).requires_grad_(True)
    adam = torch.optim.Adam([scores], 0.05)
    for k in range(200):
        adam.zero_grad()
        loss_of(t, scores, 1 - 0.8 * k / 200, (0.618 * k) % 1).backward()
        adam.step()
    assert torch.equal(scores.flatten().argsort(), weights.argsort())


def test_whose_probability_is_followed() -> None:
    clean, labels = torch.tensor([[1.0, 3, 2], [0, 1, 2]]), torch.tensor([1, 0])
    assert followed("predicted", clean, labels).tolist() == [[1], [2]]
    assert followed("label", clean, labels).tolist() == [[1], [0]]
    assert followed("two", clean, labels).tolist() == [[1, 2], [2, 0]]


def test_roughness_in_loops() -> None:
    scores = torch.randn(2, 6, 5, generator=draws())
    total = 0.0
    for n in range(2):
        for y in range(6):
            for x in range(5):
                around = scores[n, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean()
                total += float((scores[n, y, x] - around).clamp(min=0) ** 2)
    assert float(roughness(scores, (24, 20), 12)) == pytest.approx(total / 60, abs=1e-6)


# ---- the training -------------------------------------------------------------------------------------------


def test_a_step_draws_for_the_whole_batch_and_the_classifier_stays() -> None:
    """In two micro-batches the same gates and fills; eval-mode batch norm, so that parts give the whole's numbers."""
    images, labels = torch.rand(4, 3, 32, 32, generator=draws()), torch.tensor([0, 1, 2, 3])
    rows = []
    for parts in (1, 2):
        t = trainer(changed(sorter="sinkhorn", follows="two", masker_lr=0.01))
        t.masker.decoder.eval()
        t.accumulate = parts
        before = t.judge.fingerprint()
        rows.append(t.step(images, labels))
        assert t.judge.fingerprint() == before and not any(p.requires_grad for p in t.judge.module.parameters())
        weights = torch.cat([p.detach().flatten() for p in t.weights])
        rows[-1]["weights"] = float(weights.double().square().sum())
    assert rows[0] == pytest.approx(rows[1], abs=1e-5)


def test_softness_and_rate_over_a_training() -> None:
    recipe = changed(tau=1.0, tau_end=0.3, warm_up=0.5, lr_decay="none", steps=8)
    assert [recipe.tau_at(x) for x in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.65, 0.3])
    assert SMALL.tau_at(0.7) == SMALL.tau
    assert [recipe.learning_rate_factor(s, 9) for s in (0, 1, 3, 6)] == pytest.approx([0.25, 0.5, 1, 1])


def test_it_learns_an_order_and_its_file_says_on_what(picture_folder: Path, tmp_path: Path) -> None:
    own = classifier()
    path = mw.train(SMALL, picture_folder, classifier=own, out=tmp_path / "run", device="cpu", page=False)
    assert read_header(path)["trained_on"] == '["insertion", "deletion"]'
    assert load_masker(path, own).needs_class
    made = mw.explainer("casm", own, masker=path)
    names = {"insertion": "insertion", "overall": "insertion_deletion", "aopc": "aopc", "road": "road", "le": "le"}
    measured = {key: metric(name, *([] if name == "le" else [own])) for key, name in names.items()}
    for explainer in (made, mw.SESS(made, own, scales=2)):
        assert own_objective(explainer, measured) == ["insertion", "overall", "aopc"]
    assert own_objective(mw.explainer("cam", own), measured) == own_objective(lambda images: images, measured) == []
    rows = {name: measured[name] for name in ("insertion", "le")}
    contenders = [Contender.of("ranked", made), Contender.of("cam", mw.explainer("cam", own))]
    board = leaderboard(measure(contenders, own, [picture_folder], rows))
    (line,) = (line for line in board.protocol["in_words"] if "trained on" in line)
    assert line.startswith("ranked: its masker was trained on insertion:")
    assert board.protocol["trained_on"] == {"ranked": ["insertion"]}


def test_a_header_that_says_nonsense_is_refused_in_a_line() -> None:
    assert trained_on({}) == () and trained_on({"trained_on": '["road"]'}) == ("road",)
    for wrong in ("{", "3", "[3]", json.dumps(["a"] * 1000)):
        with pytest.raises(InputError, match="header says what it was trained on"):
            trained_on({"trained_on": wrong})


def test_wrong_settings_are_said_in_a_line() -> None:
    for override, said in (
        ("cells=[5, 3]", "the smaller first"), ("cells=[1, 3]", "from 2 on"), ("tau=0", "greater than 0"),
        ("fills=[]", "at least 1"), ("class_tap=false", "class_tap=true"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            recipes.load("ranking_lite0", [override, "follows=two"])
    with pytest.raises(InputError, match="unknown infiller 'wite'"):
        trainer(changed(fills=["wite"]))

"""The objectives against loops over images, classes and pixels written from the formulas."""

import importlib
import math
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.total_variation import total_variation
from maskwise.training import objectives as package
from maskwise.training import recipes
from maskwise.training.class_wise import ByClass, ClassMasks
from maskwise.training.mask_recipe import Recipe
from maskwise.training.objectives import Judged, Term, Total, objectives
from maskwise.training.objectives.area_band import area_outside


def judged(seed: int, batch: int = 12, classes: int = 4) -> Judged:
    g = torch.Generator().manual_seed(seed)
    clean, inside, outside = torch.randn(3, batch, classes, generator=g, dtype=torch.float64) * 2
    labels = torch.randint(classes, (batch,), generator=g)
    masks = torch.rand(batch, 5, 6, generator=g, dtype=torch.float64)
    own = ClassMasks(
        torch.rand(batch, 2, 5, 6, generator=g, dtype=torch.float64), torch.rand(batch, 2, generator=g) < 0.7
    )
    others = ClassMasks(
        torch.rand(batch, 3, 5, 6, generator=g, dtype=torch.float64), torch.rand(batch, 3, generator=g) < 0.7
    )
    return Judged(clean, {"in": inside, "out": outside}, labels, masks, by_class=ByClass(own, others))


def probabilities(logits: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in logits)
    return [math.exp(v) / total for v in logits]


def best(values: list[float]) -> int:
    return values.index(max(values))


def variation(mask: list[list[float]], form: str) -> float:
    total = 0.0
    if form == "l1":  # beyond the border lies what is as far inside of it
        for y in range(5):
            for x in range(6):
                total += abs(mask[y][x] - mask[y + 1 if y < 4 else 3][x])
                total += abs(mask[y][x] - mask[y][x + 1 if x < 5 else 4])
        return total / 30
    for y in range(5):
        for x in range(6):
            total += (mask[y + 1][x] - mask[y][x]) ** 2 if y < 4 else 0
            total += (mask[y][x + 1] - mask[y][x]) ** 2 if x < 5 else 0
            if form == "released":
                total += 0.3 * mask[y][x] ** 2 * ((y in (0, 4)) + (x in (0, 5)))
    return total / 2 if form == "released" else total


def flat(mask: list[list[float]]) -> list[float]:
    return [v for row in mask for v in row]


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def outside_of_band(mask: list[list[float]], least: float, most: float) -> float:
    """Pixel after pixel, largest first, with their ranks counted from 1."""
    values = sorted(flat(mask), reverse=True)
    low = [max(1 - v, 0) if rank <= round(least * 30) else 0 for rank, v in enumerate(values, 1)]
    high = [v if rank > round(most * 30) else 0 for rank, v in enumerate(values, 1)]
    return mean(low) + mean(high)


def by_hand(j: Judged, name: str, when: str, term: Term, form: str, within: bool = False) -> float:
    total = 0.0
    assert j.by_class is not None and j.by_class.others is not None
    own, others = (
        [[m for m, is_there in zip(masks, there, strict=True) if is_there] for masks, there in zip(*both, strict=True)]
        for both in ((c.masks.tolist(), c.there.tolist()) for c in (j.by_class.own, j.by_class.others))
    )
    for clean, inside, outside, label, mask, mine, theirs in zip(
        j.clean.tolist(), j.masked["in"].tolist(), j.masked["out"].tolist(), j.labels.tolist(), j.masks.tolist(),
        own, others, strict=True,
    ):  # fmt: skip
        about = [mask]
        right = best(clean) == label
        wrong = best(outside) != label
        out_gone = {"changed": best(clean) != best(outside), "wrong": wrong, "fooled": right and wrong}[when]
        if name == "max_class":
            loss, shrinks = -math.log(probabilities(inside)[label]), best(inside) == label
        elif name == "min_class":
            loss, shrinks = math.log(probabilities(outside)[label]), out_gone
        elif name == "area_band":
            loss, shrinks = mean([outside_of_band(m, *term.band) for m in mine]), False
        elif name == "mean_area":
            loss, shrinks = mean(flat(mask)), False
        elif name == "non_target":
            about = [[[max([m[y][x] for m in theirs], default=0.0) for x in range(6)] for y in range(5)]]
            loss, shrinks = mean(flat(about[0])), False
        elif name == "area_power":
            about = [*mine, *theirs]
            loss, shrinks = mean([mean([(v + 0.0005) ** term.power for v in flat(m)]) for m in about]), False
        else:
            assert name == "max_entropy"
            loss = sum(p * math.log(p) for p in probabilities(outside)) if right else 0.0
            shrinks = out_gone
        area = sum(sum(row) for row in mask) / 30
        regulariser = (term.lambda_r * (area - 1) if shrinks else 0.0) + term.tv * sum(
            variation(m, form) for m in about
        )
        total += term.weight * loss + (term.weight if within else 1) * regulariser
    return total / len(j.labels)


@pytest.mark.parametrize("name", objectives.names())
@pytest.mark.parametrize("when", ["fooled", "wrong", "changed"])
@pytest.mark.parametrize("form", ["paper", "released", "l1"])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_loss_equals_the_loop(name: str, when: str, form: str, inside: bool, seed: int) -> None:
    term = Term(weight=0.7, lambda_r=3.5, tv=0.02, band=(0.1, 0.4), power=0.6)
    j = judged(seed)
    total = Total({name: term}, when, form, inside)  # type: ignore[arg-type]
    assert total(j).item() == pytest.approx(by_hand(j, name, when, term, form, inside), abs=1e-12)


def test_objectives_add_up() -> None:
    terms = {
        "max_class": Term(weight=0.5, lambda_r=1, tv=0.001),
        "max_entropy": Term(weight=0.5, lambda_r=15, tv=0.001),
    }
    j = judged(7)
    for inside in (False, True):
        expected = sum(by_hand(j, name, "fooled", term, "paper", inside) for name, term in terms.items())
        assert Total(terms, inside_weights=inside)(j).item() == pytest.approx(expected, abs=1e-12)
    assert Total(terms).sides == {"in": 0.5, "out": 0.5}
    assert Total({**terms, "min_class": Term(weight=2)}).sides == {"in": 0.5, "out": 2.5}


def test_only_the_pictures_that_are_needed_are_looked_at() -> None:
    j = judged(0)
    alone = Judged(j.clean, {"out": j.masked["out"]}, j.labels, j.masks)
    assert Total({"max_entropy": Term()})(alone) == Total({"max_entropy": Term()})(j)


WRONG, RIGHT, OTHER = [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]  # the label is class 0


@pytest.mark.parametrize(
    ("clean", "masked", "fooled", "wrong", "changed"),
    [
        (RIGHT, RIGHT, False, False, False),
        (RIGHT, WRONG, True, True, True),
        (WRONG, WRONG, False, True, False),
        (WRONG, OTHER, False, True, True),
        (WRONG, RIGHT, False, False, True),  # better without what the mask covers
    ],
)
def test_whose_mask_shrinks_by_each_rule(
    clean: list[float], masked: list[float], fooled: bool, wrong: bool, changed: bool
) -> None:
    """CASM section 4, Phang et al. A.1, and nobody's, case by case."""
    j = Judged(torch.tensor([clean]), {"out": torch.tensor([masked])}, torch.tensor([0]), torch.ones(1, 2, 2))
    for name in ("max_entropy", "min_class"):
        found = {when: objectives.get(name)(when).shrinks(j).item() for when in ("fooled", "wrong", "changed")}
        assert found == {"fooled": fooled, "wrong": wrong, "changed": changed}


def test_each_paper_s_recipes_have_its_rule() -> None:
    rules = {name: getattr(recipes.load(name), "regularise_when", None) for name in recipes.names()}
    ours = {name: rule for name, rule in rules.items() if rule is not None}
    assert ours.pop("phang/ca_released") == "fooled", "the released code takes CASM's"
    assert {rule for name, rule in ours.items() if name.startswith("phang/")} == {"wrong"}
    assert {rule for name, rule in ours.items() if name.startswith("casm")} == {"fooled"}
    assert (
        not recipes.load("phang/ca").lambda_inside_weights and recipes.load("phang/ca_released").lambda_inside_weights
    )


def test_masks_of_pictures_that_are_always_wrong_are_left_alone_by_casm() -> None:
    """With the rule that existed they feel nothing but L1, and vanish."""
    shrunk = {}
    for when in ("fooled", "changed"):
        logits = torch.ones(4, requires_grad=True)
        total, adam = Total({"max_entropy": Term()}, when), torch.optim.Adam([logits], 0.1)  # type: ignore[arg-type]
        for _ in range(50):
            masks = logits.sigmoid()[:, None, None].expand(4, 3, 3)
            answers = torch.tensor([OTHER]).repeat(4, 1) + 0 * logits[:, None]
            loss = total(Judged(torch.tensor([WRONG]).repeat(4, 1), {"out": answers}, torch.zeros(4).long(), masks))
            adam.zero_grad()
            loss.backward()
            adam.step()
        shrunk[when] = float(logits.detach().sigmoid().mean())
    assert shrunk["fooled"] == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-6) and shrunk["changed"] < 0.05


def two_pixels(logits: Tensor, side: str) -> Judged:
    """A picture of two pixels, the left one shows class 0 and the right one nothing; one mask value for each."""
    mask = logits.sigmoid()
    seen = {"in": mask[0], "out": 1 - mask[0]}
    answers = {key: torch.stack([8 * value - 4, -(8 * value - 4)])[None] for key, value in seen.items()}
    return Judged(torch.tensor([[4.0, -4.0]]), {side: answers[side]}, torch.tensor([0]), mask[None, None])  # type: ignore[dict-item]


@pytest.mark.parametrize("name", [name for name in objectives.names() if objectives.get(name).side is not None])
def test_the_optimum_of_two_pixels_is_the_one_that_matters(name: str) -> None:
    """The class pixel is kept, since all three objectives need it; the other one only costs area."""
    logits = torch.ones(2, requires_grad=True)
    side = objectives.get(name).side
    total = Total({name: Term(lambda_r=1.0)})
    adam = torch.optim.Adam([logits], 0.1)
    for _ in range(300):
        adam.zero_grad()
        total(two_pixels(logits, side)).backward()
        adam.step()
    mask = logits.sigmoid().tolist()
    assert mask[1] < 0.1
    assert mask[0] > 0.45, "out: entropy is largest where the answer is undecided, half of the pixel"


def test_total_variation_of_what_has_a_closed_form() -> None:
    """A square of ones, h x w, has 2(h+w) unit edges; at the border in the released form 0.3 a border pixel."""
    mask = torch.zeros(2, 9, 9)
    mask[:, 2:5, 3:8] = 1
    assert total_variation(mask).mean().item() == 2 * (3 + 5)
    assert total_variation(mask, "released").mean().item() == 3 + 5
    assert total_variation(torch.ones(3, 4, 4), "released").mean().item() == pytest.approx(0.3 * 16 / 2)


def test_the_l1_variation_is_two_convolutions_over_a_reflected_border() -> None:
    """As Stalder et al. have it: each pixel less its right, and less its lower neighbour; one of its own twice."""
    maps = torch.rand(3, 2, 5, 7, dtype=torch.float64)
    beyond = F.pad(maps, (0, 1, 0, 1), mode="reflect")
    across, down = (beyond[..., :-1, :-1] - other for other in (beyond[..., :-1, 1:], beyond[..., 1:, :-1]))
    expected = (across.abs() + down.abs()).mean((2, 3))
    torch.testing.assert_close(total_variation(maps, "l1"), expected)
    torch.testing.assert_close(total_variation(maps, "l1", beta=3.0), expected)


@settings(max_examples=50)
@given(least=st.integers(0, 40), more=st.integers(0, 40), covered=st.integers(0, 40), grey=st.floats(0, 1))
def test_the_band_of_masks_with_a_closed_form(least: int, more: int, covered: int, grey: float) -> None:
    """Of 5 x 8 pixels: zeros and ones that cover A, and one grey value everywhere."""
    most = min(least + more, 40)
    low, high, area = least / 40, most / 40, covered / 40
    mask = (torch.arange(40) < covered).double()[torch.randperm(40)].reshape(1, 5, 8)
    expected = max(low - area, 0) + max(area - high, 0)
    assert area_outside(mask, low, high).item() == pytest.approx(expected, abs=1e-12)
    plain = torch.full((1, 5, 8), grey, dtype=torch.float64)
    assert area_outside(plain, low, high).item() == pytest.approx(low * (1 - grey) + (1 - high) * grey, abs=1e-12)


def test_descending_on_the_band_alone_ends_inside_of_it() -> None:
    """Too small a mask grows by its largest pixels and too large a one loses its smallest: order is kept."""
    for start in (-3.0, 3.0):
        logits = (start + torch.linspace(-1, 1, 100)).reshape(1, 10, 10).requires_grad_()
        adam = torch.optim.Adam([logits], 0.1)
        for _ in range(200):
            adam.zero_grad()
            area_outside(logits.sigmoid(), 0.1, 0.3).mean().backward()
            adam.step()
        found = logits.detach().sigmoid().flatten()
        assert found[-10:].min() > 0.95 and found[:70].max() < 0.05


def test_a_picture_without_findings_has_no_band_and_an_empty_union() -> None:
    masks = ClassMasks(torch.rand(2, 3, 4, 4), torch.tensor([[True, False, True], [False, False, False]]))
    assert torch.equal(masks.union()[0], torch.maximum(masks.masks[0, 0], masks.masks[0, 2]))
    assert masks.union()[1].count_nonzero() == 0
    band = area_outside(masks.masks, 0.05, 0.3)
    assert masks.mean(band).item() == pytest.approx(((band[0, 0] + band[0, 2]) / 2 + 0).item() / 2)


def test_terms_and_recipes_that_say_nothing_are_refused() -> None:
    for band in ([0.5, 0.2], [-0.1, 0.2], [0.2, 1.1]):
        with pytest.raises(InputError, match=r"band is two parts"):
            recipes.load("nn_explainer_lite0", [f"objectives.area_band.band={band}"])
    with pytest.raises(InputError, match="non_target looks at masks of classes that are not there"):
        recipes.load("nn_explainer_lite0", ["negatives=0"])
    with pytest.raises(InputError, match="negatives are for a masker that reads a class"):
        recipes.load("nn_explainer_lite0", ["class_tap=false"])
    with pytest.raises(InputError, match="must look at masked pictures"):
        recipes.load("casm", ["objectives={mean_area: {}}"])
    with pytest.raises(InputError, match="needs labels: explains=label"):
        recipes.load("casm", ["explains=prediction"])


def test_steering_moves_lambda_towards_the_target_area() -> None:
    total = Total({"max_entropy": Term()}, target_area=0.4)
    total.steer(torch.tensor(0.4))
    assert float(total.factor) == pytest.approx(1)
    total.steer(torch.tensor(0.6))
    larger = float(total.factor)
    assert larger > 1, "masks too large: lambda grows"
    total.steer(torch.tensor(0.1))
    assert float(total.factor) < larger


def test_steering_is_this_formula() -> None:
    """Step by step against plain numbers, with areas that drive each part to its bound."""
    total = Total({"max_entropy": Term()}, target_area=0.4, area_gain=0.9, area_lookahead=4.0)
    drift, before = 0.0, None
    for area in [0.5, 0.45, 1.0, 1.0, 1.0, 1.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.01]:
        total.steer(torch.tensor(area, dtype=torch.float64))
        off = (area - 0.4) / 0.4
        drift = min(max(drift + 0.9 * off, -3), 3)
        ahead = 0.0 if before is None else min(max(4 * (area - before) / 0.4, -3), 3)
        before = area
        assert float(total.factor) == pytest.approx(math.exp(drift + 1.5 * (min(max(off, -1), 1) + ahead)), rel=1e-12)
        assert float(total.drift) == pytest.approx(drift, abs=1e-12)
    assert drift == -3, "the bound was reached"


def test_looking_ahead_damps_masks_that_momentum_carries_on() -> None:
    """A mask of one logit with Adam's memory, which lambda alone pulls down and all else pushes up."""

    def areas(lookahead: float) -> list[float]:
        total = Total({"max_entropy": Term()}, target_area=0.4, area_lookahead=lookahead)
        logit, speed, found = 1.5, 0.0, []
        for _ in range(150):
            area = 1 / (1 + math.exp(-logit))
            total.steer(torch.tensor(area, dtype=torch.float64))
            speed = 0.9 * speed + 0.1 * (1 - float(total.factor))
            logit += speed
            found.append(area)
        return found

    alone, damped = areas(0.0), areas(5.0)
    assert min(alone) < 0.1, "without it they are nearly lost before they come back"
    assert min(damped) > 0.35 and max(damped[50:]) - min(damped[50:]) < 0.02
    assert damped[-1] == pytest.approx(0.4, abs=0.02)
    still, ahead = (Total({"max_entropy": Term()}, target_area=0.4, area_lookahead=steps) for steps in (0.0, 5.0))
    for total in (still, ahead):
        total.steer(torch.tensor(0.5))
        total.steer(torch.tensor(0.5))
    assert torch.equal(still.factor, ahead.factor), "masks that stay as they are need no looking ahead"


def test_papers_recipes_never_steer() -> None:
    recipe = Recipe()
    total = Total(recipe.objectives, target_area=recipe.target_area)
    total.steer(torch.tensor(0.9))
    assert total.factor == 1


NEW = """
from typing import ClassVar

from torch import Tensor

from maskwise.training.objectives.base import Judged, Objective, Side, objectives


@objectives.register("bright", paper="nobody's")
class Bright(Objective):
    side: ClassVar[Side] = "in"

    def loss(self, judged: Judged) -> Tensor:
        return -judged.masks.mean()

    def shrinks(self, judged: Judged) -> Tensor:
        return judged.right
"""


def test_a_new_objective_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beside the others is found, here in a copy of their folder, and a recipe may name it."""
    shutil.copytree(package.__path__[0], tmp_path / "copied_objectives")
    (tmp_path / "copied_objectives" / "bright.py").write_text(NEW)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(objectives, "_entries", {})
    monkeypatch.setattr(objectives, "_facts", {})
    importlib.import_module("copied_objectives")
    own = ["area_band", "area_power", "bright", "max_class", "max_entropy", "mean_area", "min_class", "non_target"]
    assert objectives.names() == own
    recipe = recipes.load("casm", ["objectives={bright: {weight: 2, lambda_r: 0}}"])
    j = judged(0)
    assert Total(recipe.objectives)(j).item() == pytest.approx(-2 * j.masks.mean().item())

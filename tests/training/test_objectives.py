"""The objective against loops over images, classes and pixels written from Eq. 5-7."""

import math

import pytest
import torch

from maskwise.training.objectives import Judged, MaskOut
from maskwise.training.recipe import Recipe


def judged(seed: int, batch: int = 12, classes: int = 4) -> Judged:
    g = torch.Generator().manual_seed(seed)
    clean, masked = torch.randn(2, batch, classes, generator=g, dtype=torch.float64) * 2
    labels = torch.randint(classes, (batch,), generator=g)
    return Judged(clean, masked, labels, torch.rand(batch, 5, 6, generator=g, dtype=torch.float64))


def by_hand(j: Judged, objective: str, when: str, lambda_r: float) -> float:
    total = 0.0
    for clean, masked, label, mask in zip(
        j.clean.tolist(), j.masked.tolist(), j.labels.tolist(), j.masks.tolist(), strict=True
    ):
        z = sum(math.exp(v) for v in masked)
        p = [math.exp(v) / z for v in masked]
        right, guess = clean.index(max(clean)) == label, masked.index(max(masked))
        if objective == "entropy":
            score = -sum(q * math.log(q) for q in p) if right else 0.0
        else:
            score = -math.log(p[label])
        shrinks = clean.index(max(clean)) != guess if when == "disagree" else right and guess != label
        area = sum(sum(row) for row in mask) / 30
        total += -score + (lambda_r * (area - 1) if shrinks else 0.0)
    return total / len(j.labels)


@pytest.mark.parametrize("objective", ["entropy", "classification"])
@pytest.mark.parametrize("when", ["disagree", "fooled"])
@pytest.mark.parametrize("seed", range(4))
def test_loss_equals_the_loop(objective: str, when: str, seed: int) -> None:
    recipe = Recipe(objective=objective, regularise_when=when, lambda_r=3.5)  # type: ignore[arg-type]
    j = judged(seed)
    assert MaskOut(recipe)(j).item() == pytest.approx(by_hand(j, objective, when, 3.5), abs=1e-12)


def test_the_two_readings_of_the_condition_differ_where_they_should() -> None:
    """Clean wrong, masked yet another class: the paper regularises, the released code does not."""
    j = Judged(torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([0]), torch.ones(1, 2, 2))
    assert MaskOut(Recipe(regularise_when="disagree")).regularised(j).item()
    assert not MaskOut(Recipe(regularise_when="fooled")).regularised(j).item()


def test_steering_moves_lambda_towards_the_target_area() -> None:
    objective = MaskOut(Recipe(target_area=0.4, lambda_r=10))
    objective.steer(0.4)
    assert objective.lambda_r == pytest.approx(10)
    objective.steer(0.6)
    larger = objective.lambda_r
    assert larger > 10, "masks too large: lambda grows"
    objective.steer(0.1)
    assert objective.lambda_r < larger


def test_papers_recipes_never_steer() -> None:
    objective = MaskOut(Recipe(lambda_r=10))
    objective.steer(0.9)
    assert objective.lambda_r == 10

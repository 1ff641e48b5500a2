"""Algorithm 1 line by line: what happens in which order, in which mode, and in whose batch statistics."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from torch import Tensor
from training.test_run import SMALL, batch, mask_in_training, trainer

from maskwise.classifiers import Classifier
from maskwise.training import Recipe
from maskwise.training.mask import MaskTrainer
from maskwise.training.objectives import Term

BOTH = {"max_class": Term(weight=0.5, lambda_r=1), "max_entropy": Term(weight=0.5, lambda_r=5)}


def recorded(recipe: Recipe, monkeypatch: pytest.MonkeyPatch, steps: int = 1) -> list[str]:
    """What one training does to the pool and to its networks, in order."""
    t, events = trainer(recipe), list[str]()
    for name, what in (("offer", "offered"), ("draw", "drawn")):
        real = getattr(t.pool, name)

        def call(*args: Any, real: Any = real, what: str = what) -> Any:
            events.append(what)
            return real(*args)

        monkeypatch.setattr(t.pool, name, call)
    for name, step in t.optimizers().items():
        update = step.update

        def updated(rate: float, name: str = name, update: Any = update) -> None:
            events.append(f"{name} moved")
            update(rate)

        monkeypatch.setattr(step, "update", updated)
    for k in range(steps):
        t.step(*batch(k))
    return events


def test_the_paper_s_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classifier before this step is offered, a judge is drawn; nothing moves before all gradients are there."""
    events = recorded(SMALL, monkeypatch)
    assert events == ["offered", "drawn", "classifier moved", "masker moved"]


def test_the_released_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clean step, then the offer, then the draw, then the masked step if the live one was drawn, then the mask."""
    live = SMALL.model_copy(update={"classifier_update": "two_steps", "p_history": 0.0})
    events = recorded(live, monkeypatch)
    assert events == ["classifier moved", "offered", "drawn", "classifier moved", "masker moved"]
    older = live.model_copy(update={"p_history": 1.0})
    assert recorded(older, monkeypatch) == ["classifier moved", "offered", "drawn", "masker moved"]


def test_fl_keeps_the_pretrained_classifier_itself() -> None:
    """Offered before the first step, so that the first entry is f(0) to the bit; the released code's is one step on."""
    t = trainer(SMALL.model_copy(update={"thinning": "FL"}))
    before = {key: value.clone() for key, value in t.live.module.state_dict().items()}
    t.step(*batch())
    (entry,) = t.pool.entries
    assert all(torch.equal(entry[key], before[key]) for key in before)
    released = trainer(SMALL.model_copy(update={"thinning": "FL", "classifier_update": "two_steps"}))
    released.step(*batch())
    assert any(not torch.equal(released.pool.entries[0][key], before[key]) for key in before)


def sizes_of_forwards(t: MaskTrainer) -> list[tuple[int, bool]]:
    """Pictures of each forward of the live classifier in one step, and whether it was in train mode."""
    found: list[tuple[int, bool]] = []
    t.live.module.register_forward_hook(lambda module, given, output: found.append((len(output), module.training)))
    t.step(*batch())
    return found


@pytest.mark.parametrize("update", ["averaged", "two_steps"])
def test_each_side_has_its_own_batch_where_statistics_are_taken(update: str) -> None:
    both = SMALL.model_copy(update={"objectives": BOTH, "classifier_update": update, "p_history": 0.0})
    assert sizes_of_forwards(trainer(both)) == [(4, True)] * 3, "clean, masked-in, masked-out"
    frozen = both.model_copy(update={"batch_norm": "frozen"})
    assert sizes_of_forwards(trainer(frozen)) == [(4, False), (8, False)]
    older = both.model_copy(update={"p_history": 1.0, "thinning": "FL"})
    # The judge is in eval mode; with the paper's update the live one then learns from each side, too.
    live = [(4, True)] * 2 if update == "averaged" else []
    found = sizes_of_forwards(trainer(older))
    assert sorted(found) == sorted([(4, True), (8, False), *live])


def test_masked_pictures_are_judged_by_their_own_statistics() -> None:
    """Against three forwards by hand in train mode: the classifier's gradient, and its running means after them."""
    recipe = SMALL.model_copy(
        update={
            "objectives": BOTH, "thinning": "L", "p_history": 0.0, "momentum": 0.0, "weight_decay": 0.0,
        }
    )  # fmt: skip
    t = trainer(recipe)
    for part in t.live.module.modules():  # its draws are not this test's matter
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    images, labels = batch()
    stats = {key: value.clone() for key, value in t.live.module.state_dict().items()}
    mask = mask_in_training(t, images)
    t.live.module.load_state_dict(stats)
    twin = Classifier(tiny_net(), input_size=32)
    twin.train().module.requires_grad_(True)
    for part in twin.module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    hole = twin.mean.reshape(1, 3, 1, 1)
    views: list[Tensor] = [images, images * mask + hole * (1 - mask), images * (1 - mask) + hole * mask]
    clean, kept, left = (F.cross_entropy(twin.logits(view), labels) for view in views)
    gradients = torch.autograd.grad((clean + (kept + left) / 2) / 2, list(twin.module.parameters()))
    t.step(images, labels)
    for mine, theirs, gradient in zip(t.live.module.parameters(), twin.module.parameters(), gradients, strict=True):
        torch.testing.assert_close(mine, theirs - recipe.classifier_lr * gradient, atol=1e-6, rtol=1e-5)
    for key, value in twin.module.state_dict().items():
        if "running" in key:
            torch.testing.assert_close(t.live.module.state_dict()[key], value, atol=1e-6, rtol=1e-5)


def test_the_infiller_is_told_where_the_hole_is() -> None:
    """Masked-out the hole is the mask, masked-in what the mask leaves; an infiller that paints white shows both."""
    t = trainer(SMALL.model_copy(update={"objectives": BOTH, "thinning": "F"}))
    told: list[Tensor] = []

    def white(images: Tensor, holes: Tensor, mean: Tensor) -> Tensor:
        told.append(holes)
        return torch.where(holes[:, None] > 0.5, torch.ones(()), torch.zeros(()))

    t.infill = white  # type: ignore[assignment]
    masks = (torch.rand(4, 32, 32, generator=torch.Generator().manual_seed(5)) > 0.5).float()
    views = t._masked(torch.full((4, 3, 32, 32), 0.5), masks)
    for holes, side in zip(told, views, strict=True):
        assert torch.equal(holes, masks if side == "out" else 1 - masks)
        assert torch.equal(views[side][:, 0], torch.where(holes == 1, 1.0, 0.5)), "kept pixels are kept"

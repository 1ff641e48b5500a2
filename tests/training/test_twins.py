"""One step of every family of recipes against the same step written out from the papers, in float64."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from lightning.fabric import Fabric
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.training import Recipe
from maskwise.training.mask import MaskTrainer
from maskwise.training.objectives import Term

SMALL: dict[str, Any] = {"batch_size": 6, "input_size": 32, "seed": 3, "masker_lr": 1e-2, "classifier_lr": 1e-2}
TWO = {"max_class": Term(weight=0.5, lambda_r=2), "max_entropy": Term(weight=0.5, lambda_r=5, tv=1e-3)}
RELEASED: dict[str, Any] = {"classifier_update": "two_steps", "first_tap": "raw", "tv_form": "released"}
FAMILIES: dict[str, dict[str, Any]] = {
    "CASM's Baseline": {"thinning": "F", "objectives": {"max_entropy": Term(lambda_r=2.5)}},
    "CASM, the newest judges": {"thinning": "L100", "p_history": 0.0},
    "CASM, an older one judges": {"thinning": "FL", "p_history": 1.0},
    "CASM by classification": {"thinning": "L", "p_history": 0.0, "objectives": {"min_class": Term(lambda_r=17)}},
    "CASM as released, the newest judges": {"thinning": "L", "p_history": 0.0, **RELEASED},
    "CASM as released, an older one judges": {"thinning": "FL", "p_history": 1.0, **RELEASED},
    "FIX, masked-in": {"thinning": "F", "objectives": {"max_class": Term(lambda_r=1, tv=1e-3)}},
    "FIX": {"thinning": "F", "objectives": TWO, "regularise_when": "wrong", "taps": (-2, -1)},
    "CA": {"thinning": "L100", "p_history": 0.0, "objectives": TWO, "regularise_when": "wrong"},
    "CA, an older one judges": {"thinning": "FL", "p_history": 1.0, "objectives": TWO, "regularise_when": "wrong"},
    "CA as released": {
        "thinning": "FL", "p_history": 1.0, "objectives": TWO, "pool_use": "skip", "lambda_inside_weights": True,
        **RELEASED,
    },
    "CA, frozen statistics": {"thinning": "L", "p_history": 0.0, "objectives": TWO, "batch_norm": "frozen"},
}  # fmt: skip


def network() -> nn.Module:
    """Without dropout, whose draws are no matter of this test, and certain enough that answers differ."""
    net = tiny_net(seed=1).double()
    for part in net.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    with torch.no_grad():
        net[14].weight.mul_(6)  # type: ignore[operator, union-attr]
    return net


def trainer(settings: dict[str, Any]) -> MaskTrainer:
    recipe = Recipe(**SMALL, **settings)
    t = MaskTrainer(Classifier(network().float(), input_size=32), recipe, 5, Fabric(accelerator="cpu", devices=1))
    t.masker.double()
    t.live.double()
    for step in t.optimizers().values():
        assert step.parameters[0].dtype == torch.float64
    return t


# ---- the twin: nothing of the package but the decoder's module ----------------------------------------------------


def taps_of(net: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    found = []
    for i, layer in enumerate(net):  # type: ignore[arg-type]
        x = layer(x)
        if i in (2, 6, 10):
            found.append(x)
    return x, found


def variation(m: Tensor, released: bool) -> Tensor:
    squares = (m[:, 1:] - m[:, :-1]).square().sum((1, 2)) + (m[:, :, 1:] - m[:, :, :-1]).square().sum((1, 2))
    if not released:
        return squares.mean()
    edges = (m[:, 0], m[:, -1], m[:, :, 0], m[:, :, -1])
    border = torch.stack([edge.square().sum(1) for edge in edges]).sum(0)
    return (squares + 0.3 * border).mean() / 2


def mask_loss(recipe: Recipe, clean: Tensor, seen: dict[str, Tensor], labels: Tensor, m: Tensor) -> Tensor:
    total = m.new_zeros(())
    right = clean.argmax(1) == labels
    for name, term in recipe.objectives.items():
        side = "in" if name == "max_class" else "out"
        logits = seen[side]
        guess = logits.argmax(1)
        log_p = logits.log_softmax(1)
        if name == "max_class":
            loss, shrinks = -log_p.gather(1, labels[:, None]).mean(), guess == labels
        else:
            if name == "min_class":
                loss = log_p.gather(1, labels[:, None]).mean()
            else:
                loss = (log_p.exp() * log_p).sum(1).where(right, m.new_zeros(())).mean()
            shrinks = (guess != labels) & (right if recipe.regularise_when == "fooled" else torch.ones_like(right))
        regulariser = term.lambda_r * ((m.mean((1, 2)) - 1) * shrinks).mean()
        regulariser = regulariser + term.tv * variation(m, recipe.tv_form == "released")
        total = total + term.weight * loss + (term.weight if recipe.lambda_inside_weights else 1) * regulariser
    return total


def sgd(
    weights: list[Tensor], gradients: tuple[Tensor, ...], recipe: Recipe, speed: list[Tensor] | None = None
) -> list[Tensor]:
    """A step, and its speed: of a first one, without any before, the gradient itself."""
    new = []
    with torch.no_grad():
        for k, (w, g) in enumerate(zip(weights, gradients, strict=True)):
            pull = g + recipe.weight_decay * w
            new.append(pull if speed is None else recipe.momentum * speed[k] + pull)
            w -= recipe.classifier_lr * new[-1]
    return new


def adam(weights: list[Tensor], gradients: tuple[Tensor, ...], recipe: Recipe) -> None:
    """The first step: both means, corrected, are the gradient's own; the norm is clipped before."""
    norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    scale = min(1.0, recipe.clip / (float(norm) + 1e-6))
    with torch.no_grad():
        for w, g in zip(weights, gradients, strict=True):
            step = g * scale + recipe.weight_decay * w
            w -= recipe.masker_lr * step / (step.abs() + 1e-8)


def twin_step(t: MaskTrainer, images: Tensor, labels: Tensor) -> tuple[nn.Module, nn.Module]:
    """The live network and the decoder after one step."""
    recipe = t.recipe
    net, decoder = copy.deepcopy(t.live.module), copy.deepcopy(t.masker.decoder)
    adapts, released = recipe.thinning != "F", recipe.classifier_update == "two_steps"
    weights, own = list(net.parameters()), list(decoder.parameters())
    mean, std = (x.reshape(1, 3, 1, 1) for x in (t.live.mean, t.live.std))
    first = copy.deepcopy(net).eval()  # which the pool holds

    def ask(judge: nn.Module, x: Tensor) -> Tensor:
        return judge((x - mean) / std)

    clean, taps = taps_of(net, (images - mean) / std)
    taps = [tap.detach() for tap in taps]
    if recipe.taps is not None:
        taps = [taps[i] for i in recipe.taps]
    m = decoder(taps, (32, 32)).sigmoid()
    m = F.interpolate(m[:, None], (32, 32), mode="nearest")[:, 0]
    sides = dict.fromkeys("in" if name == "max_class" else "out" for name in recipe.objectives)
    whole = m[:, None]
    views = {
        side: images * whole + mean * (1 - whole) if side == "in" else images * (1 - whole) + mean * whole
        for side in sides
    }
    side_weight = {
        side: sum(x.weight for n, x in recipe.objectives.items() if ("in" if n == "max_class" else "out") == side)
        for side in sides
    }
    older = recipe.p_history == 1
    if released:
        speed = sgd(weights, torch.autograd.grad(F.cross_entropy(clean, labels), weights), recipe)
        first.load_state_dict(net.state_dict())  # offered after the clean step
        judge = first if older and recipe.pool_use == "judge" else net
        seen = {side: ask(judge, view) for side, view in views.items()}
        loss = mask_loss(recipe, clean.detach(), seen, labels, m)
        gradient = torch.autograd.grad(loss, own, retain_graph=True)
        if not older:
            masked = sum(side_weight[side] * F.cross_entropy(logits, labels) for side, logits in seen.items())
            sgd(weights, torch.autograd.grad(masked, weights), recipe, speed)
        adam(own, gradient, recipe)
        return net, decoder
    older = adapts and older
    live_seen = {side: ask(net, view) for side, view in views.items()} if adapts or not older else {}
    if recipe.batch_norm == "frozen" or not adapts:
        live_seen = dict(zip(views, ask(net, torch.cat(list(views.values()))).chunk(len(views)), strict=True))
    seen = {side: ask(first, view) for side, view in views.items()} if older else live_seen
    loss = mask_loss(recipe, clean.detach(), seen, labels, m)
    gradient = torch.autograd.grad(loss, own, retain_graph=True)
    if adapts:
        masked = sum(side_weight[side] * F.cross_entropy(logits, labels) for side, logits in live_seen.items())
        sgd(weights, torch.autograd.grad((F.cross_entropy(clean, labels) + masked) / 2, weights), recipe)
    adam(own, gradient, recipe)
    return net, decoder


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_is_the_papers(name: str) -> None:
    settings = FAMILIES[name]
    t = trainer(settings)
    draws = torch.Generator().manual_seed(1)
    images = torch.rand(6, 3, 32, 32, generator=draws, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    clean = t.live.logits(images)
    labels[:3] = clean.argmax(1)[:3]  # some are right
    net, decoder = twin_step(t, images, labels)
    t.step(images, labels)
    for ours, twins in ((t.masker.decoder, decoder), (t.live.module, net)):
        for (key, mine), theirs in zip(ours.state_dict().items(), twins.state_dict().values(), strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-13, rtol=1e-12, msg=lambda m, key=key: f"{key}: {m}")

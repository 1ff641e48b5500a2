"""Amortised Shapley values: their loss, the two phases, what is learned against exact values, and its file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from dropping import dropped, small_transformer
from lightning.fabric import Fabric
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers.coalitions import any_size_coalitions, every_coalition, exact_shapley, kernel_coalitions
from maskwise.maskers import Masker, ShapleyMasker, load_masker, save_masker
from maskwise.training import Callback, TrainingState, recipes, train
from maskwise.training.shapley import ShapleyTrainer, divergence, shapley_loss
from maskwise.training.shapley_recipe import ShapleyRecipe

SMALL = ShapleyRecipe(
    grid=2, masks=4, others=2, width=8, input_size=32, batch_size=4, surrogate_steps=3, steps=7, crop_area=(0.4, 1.0)
)


def sharp(classes: int = 5) -> nn.Module:
    """The tiny network with answers that a cell may change."""
    net = tiny_net(classes=classes)
    with torch.no_grad():
        net[-1].weight *= 150  # type: ignore[index,operator]
    return net


def classifier() -> Classifier:
    return Classifier(sharp(), input_size=32, name="tiny")


def trainer(recipe: ShapleyRecipe = SMALL, own: Classifier | None = None) -> ShapleyTrainer:
    return ShapleyTrainer(own or classifier(), recipe, 5, Fabric(accelerator="cpu", devices=1))


def pictures(count: int, seed: int = 0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return F.interpolate(torch.rand(count, 3, 4, 4, generator=draws), (32, 32), mode="bicubic").clamp(0, 1)


# ---- the loss -----------------------------------------------------------------------------------------------


def test_the_least_loss_that_adds_up_is_the_shapley_value() -> None:
    """Over all coalitions of five players, each as often as the exact law has it; by hand for one of them."""
    n = 5
    every = torch.randn(2**n, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = every_coalition(n).double()[1:-1]
    shares = torch.tensor([60 / (k * (n - k) * math.comb(n, k)) for k in rows.sum(1).long().tolist()])
    often = rows.repeat_interleave((shares * 2).round().long(), 0)
    assert torch.allclose(shares * 2, (shares * 2).round()), "whole numbers of each"
    index = (often @ (2.0 ** torch.arange(n).double())).long()
    exact = exact_shapley(every)[:, 0]
    phi = exact.clone().reshape(1, 1, n).requires_grad_(True)
    loss = shapley_loss(phi, often[None], every[index][None], every[:1])
    said = [float(every[0, 0] + row @ exact - every[i, 0]) ** 2 for row, i in zip(often, index.tolist(), strict=True)]
    assert float(loss.detach()) == pytest.approx(n * sum(said) / len(said))
    (slope,) = torch.autograd.grad(loss, phi)
    assert (slope - slope.mean()).abs().max() < 1e-12, "only the sum, which is fixed, could lower it"


def test_divergence_by_hand() -> None:
    draws = torch.Generator().manual_seed(0)
    whole, seen = torch.randn(3, 5, generator=draws), torch.randn(3, 5, generator=draws)
    found = divergence(classifier(), whole, seen)
    kl = torch.distributions.kl_divergence
    softmax = torch.distributions.Categorical
    torch.testing.assert_close(found, kl(softmax(logits=whole), softmax(logits=seen)))
    findings = Classifier(sharp(), input_size=32, activation="sigmoid")
    binary = torch.distributions.Bernoulli
    expected = kl(binary(logits=whole), binary(logits=seen)).sum(1)
    torch.testing.assert_close(divergence(findings, whole, seen), expected)


# ---- the network --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_tap", [True, False])
def test_values_begin_as_the_even_split_and_always_add_up(class_tap: bool) -> None:
    own = classifier()
    torch.manual_seed(0)
    masker = ShapleyMasker.build(own, grid=3, width=8, class_tap=class_tap)
    masker.decoder.nobody.copy_(torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25]))
    classes = torch.tensor([[0, 3], [4, 1]])
    logits, values = masker(pictures(2), classes)
    total = logits.softmax(1).gather(1, classes) - masker.decoder.nobody[classes]
    torch.testing.assert_close(values, (total / 9)[..., None, None].expand(-1, -1, 3, 3))
    nn.init.normal_(masker.decoder.out.weight)
    values = masker(pictures(2), classes)[1]
    assert values.std() > 0.01
    torch.testing.assert_close(values.sum((2, 3)), total)
    one = masker(pictures(2), classes[:, 1:])[1]
    torch.testing.assert_close(values[:, 1:], one, msg="a class's values are its own")


# ---- the phases ---------------------------------------------------------------------------------------------


def test_the_surrogate_learns_what_the_classifier_says_of_whole_pictures_which_stays() -> None:
    own = classifier()
    recipe = SMALL.model_copy(update={"surrogate_steps": 60, "steps": 61, "surrogate_lr": 2e-3, "batch_size": 16})
    made = trainer(recipe, own)
    images, before = pictures(16), own.fingerprint()
    holed = torch.cat([made._holed(images, row.expand(16, -1)) for row in every_coalition(2 * 2)])

    def off() -> float:
        with torch.no_grad():
            return float(divergence(own, own.logits(images).repeat(16, 1), made.surrogate.logits(holed)).mean())

    first = off()
    head = [weight.clone() for weight in made.head_weights]
    for _ in range(60):
        made.step(images, torch.zeros(16, dtype=torch.int64))
    assert off() < 0.9 * first and own.fingerprint() == before
    assert all(torch.equal(a, b) for a, b in zip(head, made.head_weights, strict=True))
    judge = made.surrogate.fingerprint()
    made.step(images, torch.zeros(16, dtype=torch.int64))
    assert made.surrogate.fingerprint() == judge and not torch.equal(head[0], made.head_weights[0])
    empty = made.surrogate.logits(own.mean[:, None, None].expand(1, 3, 32, 32)).softmax(1)[0]
    torch.testing.assert_close(made.masker.decoder.nobody, empty.detach())


def test_values_of_coalitions_by_hand_and_which_classes_are_asked_for() -> None:
    made = trainer()
    images = pictures(3)
    coalitions = torch.tensor([[[1.0, 0, 0, 1], [0, 1, 1, 1]]] * 3)
    classes = torch.tensor([[0, 1], [2, 3], [4, 0]])
    with torch.no_grad():
        values, whole = made.values(images, coalitions, classes)
        for i in range(3):
            torch.testing.assert_close(whole[i], made.classifier.logits(images[i : i + 1]).softmax(1)[0, classes[i]])
            shown = images[i].clone()
            shown[:, :16, :16] = made.classifier.mean[:, None, None]  # of 0 1 1 1 the first cell is out
            expected = made.classifier.logits(shown[None]).softmax(1)[0, classes[i]]
            torch.testing.assert_close(values[i, 1], expected)
        logits = made.classifier.logits(images)
        recipe = SMALL.model_copy(update={"others_among": 3})
        [part] = trainer(recipe).parts(images, torch.zeros(3))
        asked = trainer(recipe)._asked(logits, part)
    order = logits.argsort(1, descending=True)
    assert torch.equal(asked[:, 0], order[:, 0])
    for row, ranked in zip(asked, order, strict=True):
        assert len(set(row.tolist())) == 3 and set(row[1:].tolist()) <= set(ranked[1:4].tolist())


def test_the_surrogate_and_no_other_says_what_coalitions_are_worth() -> None:
    made = trainer()
    with torch.no_grad():
        made.surrogate.module[-1].weight.neg_()  # type: ignore[index]
    images, classes = pictures(2), torch.tensor([[0, 1], [2, 3]])
    coalitions = torch.tensor([[[1.0, 0, 0, 1]]] * 2)
    with torch.no_grad():
        values, whole = made.values(images, coalitions, classes)
        shown = images * coalitions[0, 0].reshape(1, 1, 2, 2).repeat_interleave(16, 2).repeat_interleave(16, 3)
        hidden = (1 - coalitions[0, 0]).reshape(1, 1, 2, 2).repeat_interleave(16, 2).repeat_interleave(16, 3)
        shown = shown + hidden * made.classifier.mean[:, None, None]
        for said, seen in ((values[:, 0], shown), (whole, images)):
            expected = made.surrogate.logits(seen).softmax(1).gather(1, classes)
            torch.testing.assert_close(said, expected)
            assert (expected - made.classifier.logits(seen).softmax(1).gather(1, classes)).abs().max() > 0.1


def test_coalitions_of_a_step_are_by_the_exact_law_with_complements() -> None:
    made = trainer(SMALL.model_copy(update={"grid": 3, "masks": 6, "surrogate_steps": 0, "steps": 2}))
    seen: list[Tensor] = []
    values = made.values
    made.values = lambda *given: seen.append(given[1]) or values(*given)  # type: ignore[method-assign,func-returns-value]
    images = pictures(3)
    [part] = made.parts(images, torch.zeros(3))
    expected = kernel_coalitions(made._uniform(part, 3))
    made.step(images, torch.zeros(3, dtype=torch.int64))
    assert torch.equal(seen[0], torch.cat([expected, 1 - expected], 1))
    assert seen[0].sum(2).min() >= 1 and seen[0].sum(2).max() <= 8


def test_each_step_draws_coalitions_of_its_own() -> None:
    made = trainer()
    [part] = made.parts(pictures(3), torch.zeros(3))
    first = made._uniform(part, 4)
    assert torch.equal(first, made._uniform(part, 4)) and len(first.unique()) == first.numel()
    made.steps = 1
    assert not torch.equal(first, made._uniform(part, 4))


def test_what_the_head_is_told_of_a_class() -> None:
    """Its probability, its log-probability in fifths, and what speaks for it in each cell, in quarters."""
    own, images, classes = classifier(), pictures(2), torch.tensor([[0, 3], [4, 1]])
    masker = ShapleyMasker.build(own, grid=2, width=8)
    told: list[Tensor] = []
    masker.decoder.register_forward_pre_hook(lambda _, given: told.append(given[2]))
    with torch.no_grad():
        logits, _ = masker(images, classes)
        last = own.features(images)[1][-1]
    p = logits.softmax(1).gather(1, classes)
    [facts] = told
    torch.testing.assert_close(facts[..., 0], p[..., None].expand(-1, -1, 4))
    torch.testing.assert_close(facts[..., 1], (p.log() / 5)[..., None].expand(-1, -1, 4))
    rows = own.module[-1].weight[classes]  # type: ignore[index]
    speaks = torch.einsum("nkc,nchw->nkhw", rows, F.adaptive_avg_pool2d(last, 2)).flatten(2)
    torch.testing.assert_close(facts[..., 2], speaks.detach() / 4, atol=1e-4, rtol=1e-4)


def test_missing_cells_of_a_transformer_are_tokens_that_are_dropped() -> None:
    """Values of all coalitions of 2x2 cells of 4x4 patches, to 1e-5; and of nobody, where the class token is alone."""
    own = Classifier(small_transformer(), input_size=64, name="small")
    recipe = {"holes": "tokens", "class_tap": False, "input_size": 64, "surrogate_steps": 1, "steps": 2}
    made = trainer(SMALL.model_copy(update=recipe), own)
    images, every = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), every_coalition(4)
    classes = torch.tensor([[0, 3], [2, 1]])
    with torch.no_grad():
        values, whole = made.values(images, every.expand(2, -1, -1), classes)
        for k, row in enumerate(every):
            there = row.bool().reshape(1, 2, 2).repeat_interleave(2, 1).repeat_interleave(2, 2).expand(2, -1, -1)
            answers = dropped(small_transformer(), own.normalise(images), there).softmax(1)
            torch.testing.assert_close(values[:, k], answers.gather(1, classes), atol=1e-5, rtol=0)
            if not row.any():
                torch.testing.assert_close(made.of_nobody((64, 64)), answers[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(values[:, -1], whole, atol=1e-5, rtol=0)
        assert (values[:, 1:-1] - whole[:, None]).abs().mean() > 0.01, "or it would not matter"
    weights = [weight.clone() for weight in made.judge_weights]
    loss = made.step(images, torch.zeros(2, dtype=torch.int64))["loss"]
    [part] = made.parts(images, torch.zeros(2))
    made.steps = 0
    shown = any_size_coalitions(made._uniform(part, 1))[:, 0].reshape(2, 2, 2).bool()
    seen = dropped(small_transformer(), own.normalise(images), shown.repeat_interleave(2, 1).repeat_interleave(2, 2))
    expected = divergence(own, own.logits(images), seen).mean()
    assert loss == pytest.approx(float(expected.detach()), abs=1e-5), "the surrogate learns from dropped tokens, too"
    assert any(not torch.equal(a, b) for a, b in zip(weights, made.judge_weights, strict=True))


def test_tokens_are_dropped_of_a_transformer_alone() -> None:
    tokens = SMALL.model_copy(update={"holes": "tokens", "class_tap": False, "grid": 5})
    with pytest.raises(InputError, match="`token_mask` is for timm's VisionTransformer, and this is Sequential"):
        trainer(tokens)
    with pytest.raises(InputError, match="small has 4x4 patches, too few for grid=5"):
        trainer(tokens, Classifier(small_transformer(), input_size=64, name="small"))


def test_what_is_learned_is_the_exact_shapley_value_of_other_pictures() -> None:
    """Less than half as far off as the even split and the mean map, on 24 pictures that training never saw."""
    own = classifier()
    recipe = SMALL.model_copy(
        update={"surrogate_steps": 0, "steps": 120, "masks": 8, "batch_size": 16, "width": 32, "masker_lr": 1e-2}
    )
    made = trainer(recipe, own)
    seen = pictures(256)
    for step in range(120):
        at = torch.arange(16) + 16 * (step % 16)
        made.step(seen[at], torch.zeros(16, dtype=torch.int64))
    fresh = pictures(24, seed=1)
    with torch.no_grad():
        top = own.logits(fresh).argmax(1, keepdim=True)
        said = made.masker(fresh, top)[1][:, 0]
        exact = mw.explainer("kernel_shap", own, grid=2, masks=None, signed=True)
        with exact.calling():
            truth = exact.saliency(fresh, mw.explainers.targets.parse_targets(top, 24, own))[:, 0]
    torch.testing.assert_close(said.sum((1, 2)), truth.sum((1, 2)), atol=1e-4, rtol=0)
    left = float((said - truth).square().sum())
    mean_map = float((truth.mean(0) - truth).square().sum())
    even = float((truth.mean((1, 2), keepdim=True) - truth).square().sum())
    assert left < 0.5 * min(mean_map, even)


def test_each_phase_has_a_cosine_of_its_own() -> None:
    """From the phase's rate down: 1/2 (1 + cos(pi k / K)) at step k of its K."""
    made = trainer(SMALL.model_copy(update={"surrogate_steps": 3, "steps": 7, "lr_decay": "cosine"}))
    rates: dict[str, list[float]] = {"surrogate": [], "masker": []}
    for name, update in made.optimizers().items():
        update.update = rates[name].append  # type: ignore[method-assign,assignment]
    for _ in range(7):
        made.step(pictures(2), torch.zeros(2, dtype=torch.int64))
    for name, first, count in (("surrogate", SMALL.surrogate_lr, 3), ("masker", SMALL.masker_lr, 4)):
        expected = [first * math.cos(math.pi * k / count / 2) ** 2 for k in range(count)]
        assert rates[name] == pytest.approx(expected)


class StopAt(Callback):
    def on_step(self, state: TrainingState) -> None:
        if state.step >= 5:
            state.end("far enough")


def test_resumed_equals_never_stopped_and_the_file_is_for_fast_shap(picture_folder: Path, tmp_path: Path) -> None:
    def run(out: str, callbacks: tuple[Callback, ...] = (), resume: bool = False, accumulate: int = 1) -> Path:
        return train(
            SMALL, picture_folder, classifier=classifier(), out=tmp_path / out, device="cpu", callbacks=callbacks,
            resume=resume, accumulate=accumulate,
        )  # fmt: skip

    straight = run("straight")
    run("halted", (StopAt(),))
    (tmp_path / "halted" / "masker.safetensors").unlink()
    assert run("halted", resume=True).read_bytes() == straight.read_bytes()
    rows = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("straight", run("parts", accumulate=2).parent.name)
    ]
    for one, two in zip(*rows, strict=True):  # draws go by a picture's place in the whole batch
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-3, abs=1e-7)
    own = classifier()
    maps = mw.explainer("fast_shap", own, masker=straight, signed=True)(pictures(2), [[0, 1], [2, 3]])
    assert maps.shape == (2, 2, 32, 32)
    with pytest.raises(InputError, match="fast_shap"):
        load_masker(straight, own)
    with pytest.raises(InputError, match="fast_shap"):
        mw.explainer("casm", own, masker=straight)
    save_masker(tmp_path / "mask.safetensors", Masker.build(own), own, {})
    with pytest.raises(InputError, match="knows no classes"):
        mw.explainer("fast_shap", own, masker=tmp_path / "mask.safetensors")


@pytest.mark.parametrize("name", ["shapley", "shapley_vit"])
def test_the_transformers_recipes_train_a_small_one(name: str, picture_folder: Path, tmp_path: Path) -> None:
    own = Classifier(small_transformer(), input_size=64, name="small")
    small = ["grid=4", "masks=2", "batch_size=2", "surrogate_steps=1", "steps=2", "input_size=64", "others=1"]
    file = train(
        name, picture_folder, classifier=own, out=tmp_path / "out", device="cpu", overrides=[*small, "width=4"],
        page=False,
    )  # fmt: skip
    maps = mw.explainer("fast_shap", own, masker=file, signed=True)(torch.rand(1, 3, 64, 64), [[0, 2]])
    assert maps.shape == (1, 2, 64, 64) and maps.isfinite().all()


def test_impossible_recipes_are_named() -> None:
    for words, said in ((["masks=5"], "multiple of 2"), (["steps=100"], "both phases"), (["grid=1"], "grid")):
        with pytest.raises(InputError, match=said):
            recipes.load("shapley_lite0", words)

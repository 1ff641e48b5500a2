"""Training by Dabkowski & Gal: the objective against loops, the alternative picture, fakes, phases, and a short run."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from lightning.fabric import Fabric
from scipy.ndimage import convolve1d
from torch import Tensor, nn

from maskwise.class_objective import Alternative, Paper, Released, Seen
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data.scene import SHAPES, draw_scene
from maskwise.maskers import load_class_masker
from maskwise.training import recipes, train
from maskwise.training.class_mask import ClassMaskTrainer, fake_classes
from maskwise.training.class_mask_recipe import ClassMaskRecipe

SMALL = ClassMaskRecipe(
    widths=(8, 4), input_size=32, batch_size=4, masker_batch_size=None, selector_steps=3, warm_up_steps=2, steps=8,
    blur_size=9, blur_sigma=2, embedding="classifier", crop_area=(0.5, 1.0), seed=3,
)  # fmt: skip


def trainer(recipe: ClassMaskRecipe = SMALL) -> ClassMaskTrainer:
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    return ClassMaskTrainer(classifier, recipe, 5, Fabric(accelerator="cpu", devices=1))


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(4, 3, 32, 32, generator=g), torch.randint(5, (4,), generator=g)


# ---- the objective ------------------------------------------------------------------------------------------


def seen() -> Seen:
    g = torch.Generator().manual_seed(5)
    return Seen(
        torch.rand(4, 3, 4, generator=g),
        4 * torch.randn(4, 6, generator=g),
        4 * torch.randn(4, 6, generator=g),
        torch.tensor([0, 5, 2, 2]),
        torch.tensor([True, False, True, False]),
    )


def squares(mask: list[list[float]]) -> float:
    rows, columns = len(mask), len(mask[0])
    down = sum((mask[i + 1][j] - mask[i][j]) ** 2 for i in range(rows - 1) for j in range(columns))
    return down + sum((mask[i][j + 1] - mask[i][j]) ** 2 for i in range(rows) for j in range(columns - 1))


def test_the_papers_objective_in_loops() -> None:
    """l1 TV + l2 AV - log f_c(kept) + l3 f_c(gone)^l4; for a fake class the two pictures change places."""
    batch, expected = seen(), 0.0
    for mask, kept, gone, c, real in zip(*(t.tolist() for t in vars(batch).values()), strict=True):
        probability = [math.exp(row[c]) / sum(map(math.exp, row)) for row in (kept, gone)]
        shows, lacks = probability if real else probability[::-1]
        area = sum(map(sum, mask)) / 12
        expected += 0.2 * squares(mask) + 3 * area - math.log(shows) + 5 * lacks**0.3
    total = sum(Paper(tv=0.2, area=3)(batch).values())
    assert float(total) == pytest.approx(expected / 4, rel=1e-5)


def test_the_released_objective_in_loops() -> None:
    batch, expected = seen(), 0.0
    for mask, kept, gone, c, real in zip(*(t.tolist() for t in vars(batch).values()), strict=True):
        gaps = [max(z for k, z in enumerate(row) if k != c) - row[c] for row in (kept, gone)]
        preserver = max(gaps[0] + 1, 0) if real else max(1 - gaps[0], 0)
        destroyer = max(5 - gaps[1], 0) if real else max(gaps[1] + 1, 0)
        border = sum(v * v for line in (mask[0], mask[-1], [r[0] for r in mask], [r[-1] for r in mask]) for v in line)
        smooth = (squares(mask) + 0.3 * border) / 2
        area = sum((v + 0.0005) ** 0.3 for row in mask for v in row) / 12
        expected += destroyer + 8 * area + 0.005 * smooth + 0.3 * preserver
    total = sum(Released()(batch).values())
    assert float(total) == pytest.approx(expected / 4, rel=1e-5)


@pytest.mark.parametrize("objective", [Paper(), Released()])
def test_slopes_are_finite_where_nothing_is_left(objective: Paper | Released) -> None:
    masks = torch.zeros(2, 4, 4, requires_grad=True)
    kept, gone = torch.zeros(2, 5, requires_grad=True), torch.tensor([[-200.0, 0, 0, 0, 0]] * 2, requires_grad=True)
    labels, real = torch.zeros(2, dtype=torch.long), torch.tensor([True, True])
    sum(objective(Seen(masks, kept, gone, labels, real)).values()).backward()  # type: ignore[union-attr]
    assert all(t.grad is None or t.grad.isfinite().all() for t in (masks, kept, gone))


# ---- the alternative picture --------------------------------------------------------------------------------


def test_the_blur_is_centred_and_sees_grey_outside() -> None:
    """Against scipy's correlation with the released kernel, 55 pixels of sigma 11, in the domain [-1,1]."""
    images = torch.rand(2, 3, 40, 64, generator=torch.Generator().manual_seed(0))
    offsets = np.arange(-27, 28)
    kernel = np.exp(-(offsets**2) / (2 * 11.0**2))
    kernel /= kernel.sum()
    signed = images.numpy() * 2 - 1
    for axis in (2, 3):
        signed = convolve1d(signed, kernel, axis, mode="constant", cval=0)
    assert np.allclose(Alternative(p_blur=1).fill(images).numpy(), (signed + 1) / 2, atol=1e-5)


def test_the_coloured_alternative_is_what_was_released() -> None:
    torch.manual_seed(0)
    fill = Alternative(p_blur=0).fill(torch.rand(400, 3, 16, 16)) * 2 - 1
    colours = fill.mean((2, 3))
    assert colours.abs().max() < 0.33 + 0.05 and colours.std().item() == pytest.approx(0.33 / math.sqrt(3), rel=0.05)
    assert (fill - colours[:, :, None, None]).std().item() == pytest.approx(0.11, rel=0.02)


def test_draws_are_fresh_and_gradients_go_through_the_mask_alone() -> None:
    images = torch.rand(3, 3, 16, 16, requires_grad=True)
    masks = torch.full((3, 16, 16), 0.5, requires_grad=True)
    alternative = Alternative(9, 2.0)
    first, second = alternative(images, masks), alternative(images, masks)
    assert not torch.allclose(first, second, atol=0.01)
    by_images, by_masks = torch.autograd.grad(first.sum(), (images, masks), allow_unused=True)
    assert by_images is None and by_masks is not None
    whole = alternative(images, torch.ones(3, 16, 16))
    assert (whole - images).std().item() == pytest.approx(0.015, rel=0.1), "only the noise of X"


def test_half_of_the_alternatives_are_blurs() -> None:
    torch.manual_seed(0)
    images = torch.rand(600, 3, 8, 8)
    blurs = Alternative(9, 2.0, p_blur=1).fill(images)
    share = torch.isclose(Alternative(9, 2.0).fill(images), blurs).flatten(1).all(1).float().mean()
    assert 0.43 < share < 0.57


def test_draws_of_a_picture_do_not_depend_on_its_batch() -> None:
    images, masks = torch.rand(3, 3, 16, 16), torch.rand(3, 16, 16)
    alternative = Alternative(9, 2.0)
    together = alternative(images, masks, [torch.Generator().manual_seed(i) for i in range(3)])
    alone = alternative(images[1:2], masks[1:2], [torch.Generator().manual_seed(1)])
    assert torch.allclose(together[1:2], alone, atol=1e-6)


def test_fake_classes_are_all_the_others() -> None:
    torch.manual_seed(0)
    labels = torch.arange(5).repeat(400)
    fakes = fake_classes(labels, 5)
    assert (fakes != labels).all() and ((fakes >= 0) & (fakes < 5)).all()
    for label in range(5):
        counts = torch.bincount(fakes[labels == label], minlength=5)
        assert counts[label] == 0 and (counts[torch.arange(5) != label] > 60).all()


# ---- the two phases -----------------------------------------------------------------------------------------


def test_each_phase_trains_its_own_part() -> None:
    t = trainer()
    before, embedding = t.classifier.fingerprint(), t.masker.decoder.filter.embedding.clone()
    rest = [p.clone() for p in t.masker_parameters]
    for k in range(3):
        assert set(t.step(*batch(k))) == {"loss", "right", "lr_selector", "lr_masker"}
    assert not torch.equal(embedding, t.masker.decoder.filter.embedding)
    assert all(torch.equal(a, b) for a, b in zip(rest, t.masker_parameters, strict=True)), "phase 1 is the selector's"
    embedding = t.masker.decoder.filter.embedding.clone()
    logged = [t.step(*batch(k)) for k in range(5)]
    assert "off" in logged[1] and {"smooth", "small", "preserve", "destroy"} <= set(logged[2])
    assert logged[2]["loss"] == pytest.approx(
        sum(logged[2][k] for k in ("smooth", "small", "preserve", "destroy")), rel=1e-5
    )
    assert torch.equal(embedding, t.masker.decoder.filter.embedding), "phase 2 is the mask's"
    assert any(not torch.equal(a, b) for a, b in zip(rest, t.masker_parameters, strict=True))
    assert t.classifier.fingerprint() == before and t.masker.encoder is t.classifier


def test_an_encoder_from_scratch_learns_with_the_mask_and_the_classifier_does_not() -> None:
    t = trainer(ClassMaskRecipe(**{**vars(SMALL), "encoder": "scratch", "selector_steps": 0, "warm_up_steps": 0}))
    before = t.classifier.fingerprint(), t.masker.encoder.fingerprint(), t.masker.decoder.filter.embedding.clone()
    t.step(*batch())
    assert t.classifier.fingerprint() == before[0] and t.masker.encoder.fingerprint() != before[1]
    assert not torch.equal(t.masker.decoder.filter.embedding, before[2])


def test_the_selectors_loss_is_cross_entropy_of_half_logits() -> None:
    t = trainer(ClassMaskRecipe(**{**vars(SMALL), "selector_fakes": 0.0}))
    images, labels = batch()
    with torch.no_grad():
        _, taps = t.classifier.features(images)
        e = t.masker.existence(taps, labels[:, None])[:, 0]
    expected = F.cross_entropy(torch.stack([-e / 2, e / 2], 1), torch.ones(4, dtype=torch.long))
    assert t.step(images, labels)["loss"] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("stop", [2, 4, 6])
def test_a_state_that_is_loaded_goes_on_the_same(stop: int) -> None:
    """In each phase: killed after ``stop`` steps and resumed, the logs are what they were."""
    straight, first, second = trainer(), trainer(), trainer()
    expected = [straight.step(*batch(k)) for k in range(8)]
    for k in range(stop):
        first.step(*batch(k))
    second.load_state_dict(first.state_dict())
    for k in range(stop, 8):
        assert second.step(*batch(k)) == pytest.approx(expected[k], rel=1e-5)


def test_a_whole_run(picture_folder: Path, tmp_path: Path) -> None:
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    path = train(SMALL, picture_folder, classifier=classifier, out=tmp_path / "run", device="cpu", half_encoder=True)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    masks = load_class_masker(path, classifier)(torch.rand(2, 3, 32, 32), torch.tensor([1, 2]))[1]
    assert masks.shape == (2, 1, 32, 32) and masks.std() > 0


# ---- recipes ------------------------------------------------------------------------------------------------


def test_it_begins_with_the_decoder_of_a_file(tmp_path: Path) -> None:
    first = trainer()
    for k in range(8):
        first.train_step(*batch(k))
    first.save(tmp_path / "first.safetensors")
    again = trainer(SMALL.model_copy(update={"start": str(tmp_path / "first.safetensors"), "seed": 4}))
    wanted, found = first.masker.decoder.state_dict(), again.masker.decoder.state_dict()
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value)
    assert any(not torch.equal(value, trainer().masker.decoder.state_dict()[name]) for name, value in wanted.items())
    with pytest.raises(InputError, match="give widths, upsampling, kernel and bottlenecks"):
        trainer(SMALL.model_copy(update={"start": str(tmp_path / "first.safetensors"), "widths": (6, 4)}))


def test_packaged_recipes_are_their_readings() -> None:
    paper, released = recipes.load("dabkowski_gal"), recipes.load("dabkowski_gal_released")
    assert isinstance(paper.objective(), Paper) and paper.upsampling == "transposed" and paper.bottlenecks is None
    assert released.objective() == Released(8, 0.3, 0.005, 0.3, 1, 5, 1) and released.upsampling == "pixel_shuffle"
    for recipe in (paper, released):
        assert (recipe.selector_steps, recipe.steps - recipe.selector_steps) == (8500, 3000)
        assert (recipe.selector_fakes, recipe.masker_fakes) == (0.5, 0.3)
        assert (recipe.batch_size, recipe.masker_batch_size, recipe.selector_lr_steps) == (128, 64, 4000)
        assert not recipe.warm_up_steps and recipe.skip_gain == 1
    cifar = recipes.load("dabkowski_gal_cifar")
    assert cifar.encoder == "scratch" and cifar.objective().tv == 0.5 and cifar.masker_fakes == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("steps=100", "must leave some"),
        ("blur_size=8", "must be odd"),
        ("weights={depth: 1}", "depth"),
        ("encoder=scratch", "selector_steps=0"),
        ("widths=[]", "widths"),
        ("reading=guess", "reading"),
    ],
)
def test_bad_recipes_are_named(settings: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        recipes.load("dabkowski_gal", [settings])


# ---- it learns ----------------------------------------------------------------------------------------------

KINDS, SIDE = ("circle", "cross", "ring"), 48


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scenes of one object, its class told by a tint too so that a small classifier learns it in seconds."""
    draws, names = np.random.default_rng(seed), list(SHAPES)
    drawn = [draw_scene(names.index(KINDS[i % 3]), SIDE, 1, draws) for i in range(count)]
    masks = torch.tensor(np.stack([s.masks[0] for s in drawn]))
    labels = torch.arange(count) % 3
    images = 0.2 + 0.6 * torch.tensor(np.stack([s.image for s in drawn]), dtype=torch.float32).permute(0, 3, 1, 2)
    tinted = images / 2 + torch.eye(3)[labels][:, :, None, None] / 2
    return torch.where(masks[:, None], tinted, images).contiguous(), masks, labels


def classifier_of(images: Tensor, labels: Tensor) -> Classifier:
    def block(i: int, o: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]

    net = nn.Sequential(
        *block(3, 8), *block(8, 16), *block(16, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 3)
    )
    adam = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(80):
        rows = torch.randint(len(images), (32,))
        loss = F.cross_entropy(net(2 * images[rows] - 1), labels[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()
    return Classifier(net, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=SIDE, labels=KINDS)


def test_the_map_moves_to_the_named_object() -> None:
    """Trained on single objects; in scenes of two, the map's maximum is on the one that is asked for."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        images, _, labels = scenes(240, seed=0)
        classifier = classifier_of(images, labels)
    recipe = ClassMaskRecipe(
        widths=(16, 16), embedding="classifier", skip_gain=0.1, input_size=SIDE, blur_size=15, blur_sigma=3.0,
        selector_steps=30, selector_lr=1e-2, steps=130, masker_lr=5e-3, weight_decay=0, lr_decay="cosine",
        masker_batch_size=None, weights={"tv": 0.02, "area": 4},
    )  # fmt: skip
    t = ClassMaskTrainer(classifier, recipe, 50, Fabric(accelerator="cpu", devices=1))
    draws = torch.Generator().manual_seed(0)
    for _ in range(recipe.steps):
        rows = torch.randint(len(images), (16,), generator=draws)
        t.step(images[rows], labels[rows])
    images, masks, labels = scenes(60, seed=1)
    other = torch.arange(1, 61) % 60  # whose class is another one
    apart = ~(masks & masks[other]).flatten(1).any(1)
    both = torch.stack([torch.arange(60), other], 1)[apart]
    two = torch.where(masks[both[:, 1], None], images[both[:, 1]], images[both[:, 0]])
    t.masker.decoder.eval()
    with torch.no_grad():
        maps = t.masker(two, labels[both])[1]
    best = F.one_hot(maps.flatten(2).argmax(2), SIDE * SIDE).float()
    hits = torch.einsum("map,mop->ao", best, masks[both].flatten(2).float()) / len(both)  # [asked for, on whose object]
    chance = masks[both].float().mean().item()
    assert len(both) > 25 and chance < 0.1
    assert hits.diagonal().min() > 0.65, hits
    assert max(hits[0, 1], hits[1, 0]) < 0.2, hits

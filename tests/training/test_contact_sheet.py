"""Contact sheets: what they show, how few are kept, and that looking changes nothing."""

from __future__ import annotations

import io
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_net
from lightning.fabric import Fabric
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.images import packaged_pictures
from maskwise.training import Recipe, TrainingState, train
from maskwise.training.class_mask import ClassMaskTrainer
from maskwise.training.class_mask_recipe import ClassMaskRecipe
from maskwise.training.infiller import InfillerRecipe
from maskwise.training.mask import MaskTrainer
from maskwise.training.objectives import Term
from maskwise.training.trainer import Trainer
from maskwise.training.watch.contact_sheet import (
    HEAVIEST,
    KEPT,
    ContactSheets,
    asked_classes,
    draw,
    has_masks,
    jpeg,
    look,
    superfluous,
)
from maskwise.training.watch.views import Views, middle

BOTH = {"max_class": Term(weight=0.5, lambda_r=1), "max_entropy": Term(weight=0.5, lambda_r=5)}
MASK: dict[str, Any] = {"epochs": 1, "fraction": 1.0, "batch_size": 4, "input_size": 32, "objectives": BOTH}
CLASS = ClassMaskRecipe(steps=6, selector_steps=2, batch_size=4, masker_batch_size=4, input_size=32, widths=(8, 4))
TRAINERS = {
    "adapting": (MaskTrainer, Recipe(thinning="L100", **MASK)),
    "fixed": (MaskTrainer, Recipe(thinning="F", **MASK)),
    "own encoder": (MaskTrainer, Recipe(thinning="L", shared=False, **MASK)),
    "random": (MaskTrainer, Recipe(thinning="F", gumbel="hard", infill="colour_noise", **MASK)),
    "class": (ClassMaskTrainer, CLASS),
    "class from scratch": (ClassMaskTrainer, CLASS.model_copy(update={"encoder": "scratch", "selector_steps": 0})),
}


def trainer(kind: str, steps: int = 3) -> Trainer:
    made, recipe = TRAINERS[kind]
    found = made(Classifier(tiny_net(), input_size=32, name="tiny"), recipe, 5, Fabric(accelerator="cpu", devices=1))
    for k in range(steps):
        draws = torch.Generator().manual_seed(k)
        found.step(torch.rand(4, 3, 32, 32, generator=draws), torch.randint(5, (4,), generator=draws))
    return found


def images(count: int = 5) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(9))


def flat(state: Any, name: str = "") -> dict[str, Any]:
    """Nested plain data as one level."""
    if isinstance(state, dict):
        return {k: v for key, value in state.items() for k, v in flat(value, f"{name}.{key}").items()}
    if isinstance(state, (list, tuple)):
        return {k: v for key, value in enumerate(state) for k, v in flat(value, f"{name}.{key}").items()}
    return {name: state.clone() if isinstance(state, Tensor) else state}


def everything(trainer: Trainer) -> dict[str, Any]:
    """All that a look could move: states, modes, gradients, the original classifier, and global generators."""
    found = flat(trainer.state_dict(), "state")
    networks = [trainer.classifier, trainer.masker, getattr(trainer, "live", trainer.classifier)]  # type: ignore[attr-defined]
    for k, network in enumerate(networks):
        found |= flat(network.state_dict(), f"network {k}")
        found |= {f"{k} {name} trains": part.training for name, part in network.named_modules()}
        for name, weight in network.named_parameters():
            found |= {f"{k} {name} grad": weight.grad, f"{k} {name} asks": weight.requires_grad}
    numpy = np.random.get_state(legacy=False)
    return found | {"torch": torch.get_rng_state(), "python": random.getstate(), **flat(numpy, "numpy")}


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else a == b


@pytest.mark.parametrize("kind", TRAINERS)
def test_looking_changes_nothing(kind: str, tmp_path: Path) -> None:
    """Bit for bit, and the next step is what it would have been."""
    looked, other = trainer(kind), trainer(kind)
    sheets = ContactSheets(looked, Views(images(), "noise", (None,) * 5))
    before = everything(looked)
    sheets.on_look(TrainingState(looked, tmp_path, 6))
    after = everything(looked)
    assert (tmp_path / "looks" / "000003.jpg").is_file() and before.keys() == after.keys()
    assert [name for name in before if not equal(before[name], after[name])] == []
    draws = torch.Generator().manual_seed(7)
    batch = torch.rand(4, 3, 32, 32, generator=draws), torch.randint(5, (4,), generator=draws)
    assert looked.step(*batch) == other.step(*batch)
    assert all(equal(a, b) for a, b in zip(everything(looked).values(), everything(other).values(), strict=True))


def test_a_run_with_looks_at_every_step_is_the_run_without(picture_folder: Path, tmp_path: Path) -> None:
    recipe = Recipe(thinning="L100", seed=3, gumbel="soft", infill="colour_noise", **MASK)
    for name, options in (("a", {"look_minutes": 0.0}), ("b", {"page": False})):
        tiny = Classifier(tiny_net(), input_size=32, name="tiny")
        train(recipe, picture_folder, classifier=tiny, out=tmp_path / name, device="cpu", **options)  # type: ignore[arg-type]
    assert len(list((tmp_path / "a" / "looks").iterdir())) == 6 and not (tmp_path / "b" / "looks").exists()
    a, b = (load_file(tmp_path / name / "masker.safetensors") for name in "ab")
    assert all(torch.equal(a[key], b[key]) for key in a)
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in "ab"]
    assert [s.partition(', "seconds')[0] for s in logs[0]] == [s.partition(', "seconds')[0] for s in logs[1]]


@pytest.mark.parametrize("kind", ["adapting", "class"])
def test_what_is_shown_is_the_mask_blended_by_hand(kind: str) -> None:
    """x m + c (1 - m) and x (1 - m) + c m with the mean colour, and the softmax of what the judge says of each."""
    t, pictures, classes = trainer(kind), images(3), torch.tensor([1, 4, 2])
    seen = look(t, pictures, classes)
    judge = t.live if kind == "adapting" else t.classifier  # type: ignore[attr-defined]
    colour = judge.mean.reshape(3, 1, 1)
    t.masker.eval()  # type: ignore[attr-defined]
    judge.eval()
    with torch.no_grad():
        for n in range(3):
            mask = t.masker(pictures[n : n + 1], classes[n : n + 1, None])[1][0, 0]  # type: ignore[attr-defined]
            kept, gone = pictures[n] * mask + colour * (1 - mask), pictures[n] * (1 - mask) + colour * mask
            assert torch.allclose(seen.masks[n], mask, atol=1e-6)
            assert torch.allclose(seen.masked_in[n], kept, atol=1e-6)
            assert torch.allclose(seen.masked_out[n], gone, atol=1e-6)
            for row, shown in enumerate((pictures[n], kept, gone)):
                chance = judge.logits(shown[None])[0].softmax(0)[classes[n]]
                assert float(seen.chances[row, n]) == pytest.approx(float(chance), abs=1e-5)


def test_holes_are_filled_as_in_training() -> None:
    """Masked-in the hole is what the mask leaves out, masked-out the mask itself; what fills them shows there."""
    t, asked = trainer("fixed"), []

    def fill(pictures: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
        asked.append(holes)
        return torch.full_like(pictures, 1.0 if len(asked) % 2 else 2.0)  # masked-in, masked-out, picture by picture

    t.infill = fill  # type: ignore[attr-defined]
    pictures = images(3)
    seen = look(t, pictures, torch.tensor([0, 1, 2]))
    mask = seen.masks[:, None]
    assert torch.equal(torch.cat(asked[0::2]), 1 - seen.masks) and torch.equal(torch.cat(asked[1::2]), seen.masks)
    assert torch.allclose(seen.masked_in, pictures * mask + 1 - mask, atol=1e-6)
    assert torch.allclose(seen.masked_out, pictures * (1 - mask) + 2 * mask, atol=1e-6)


def test_the_sheet_has_a_row_of_each_kind(tmp_path: Path) -> None:
    """Red pictures, a full mask, white and blue ones: each is found in the middle of its cell."""
    from maskwise.training.watch.contact_sheet import CAPTION, GAP, LABEL, Look

    ones = torch.ones(8, 1, 32, 32)
    red, white, blue = (torch.cat([r * ones, g * ones, b * ones], 1) for r, g, b in ((1, 0, 0), (1, 1, 1), (0, 0, 1)))
    sheet = draw(red, Look(torch.ones(8, 32, 32), white, blue, torch.zeros(3, 8)), ["a long name that is cut off"] * 8)
    cell = 125
    assert sheet.size == (LABEL + 8 * (cell + GAP) - GAP, 4 * (cell + CAPTION + GAP))
    for row, colour in ((0, (255, 0, 0)), (2, (255, 255, 255)), (3, (0, 0, 255))):
        for column in range(8):
            place = (LABEL + column * (cell + GAP) + cell // 2, row * (cell + CAPTION + GAP) + cell // 2)
            assert sheet.getpixel(place) == colour
    hot = sheet.getpixel((LABEL + cell // 2, cell + CAPTION + GAP + cell // 2))
    inferno = (0.988362, 0.998364, 0.644924)  # its hottest colour, over the grey of red
    assert hot == tuple(round(255 * (0.45 / 3 + 0.55 * c)) for c in inferno)


def test_a_sheet_of_noise_is_no_larger_than_it_may_be() -> None:
    array = np.random.default_rng(0).integers(0, 255, (600, 1110, 3), dtype=np.uint8)
    data = jpeg(Image.fromarray(array))
    assert len(data) <= HEAVIEST and Image.open(io.BytesIO(data)).size == (1110, 600)


def test_few_sheets_are_kept_the_first_and_the_last_among_them() -> None:
    kept: list[int] = []
    for step in range(0, 5000, 10):
        kept.append(step)
        kept = [s for s in kept if s not in superfluous(kept)]
        assert len(kept) <= KEPT and kept[0] == 0 and kept[-1] == step
    gaps = [b - a for a, b in pairwise(kept)]
    assert max(gaps) <= 4 * sorted(gaps)[len(gaps) // 2], "spread over the whole training"


def test_sheets_past_the_step_that_is_gone_on_from_are_dropped(tmp_path: Path) -> None:
    t = trainer("fixed", 2)
    (tmp_path / "looks").mkdir()
    for step in (0, 1, 5):
        (tmp_path / "looks" / f"{step:06}.jpg").write_bytes(b"old")
    ContactSheets(t, Views(images(2), "noise", (3, 99))).on_look(TrainingState(t, tmp_path, 6))
    assert sorted(p.name for p in (tmp_path / "looks").iterdir()) == ["000000.jpg", "000001.jpg", "000002.jpg"]


def test_which_pictures_and_which_classes(picture_folder: Path, tiny: Classifier) -> None:
    views = Views.of([read_data(picture_folder)], 32)
    assert views.images.shape == (8, 3, 32, 32) and views.origin.startswith("8 of 20 held-out pictures (")
    assert views.labels == tuple(k * 20 // 8 % 5 for k in range(8))
    data = read_data(picture_folder)
    assert torch.equal(views.images[1:2], middle(data.image(data.records[2]), 32))
    classes, names = asked_classes(tiny, Views(views.images[:2], "", (3, 99)))
    own = tiny.logits(views.images[1:2]).argmax(1)
    assert classes.tolist() == [3, int(own)] and names[0] == tiny.labels.name(3)
    packaged = Views.of(None, 48)
    assert packaged.images.shape == (len(packaged_pictures()), 3, 48, 48) and packaged.origin.startswith("the package")
    with pytest.raises(InputError, match="no held-out pictures"):
        Views.of([data.subset([])], 32)


def test_a_square_in_the_middle_is_cut_and_not_squashed() -> None:
    picture = torch.zeros(3, 20, 40)
    picture[:, :, 10:30] = 1
    assert bool((middle(picture, 20) == 1).all()) and bool((middle(picture.transpose(1, 2), 20) == 1).all())


def test_trainings_without_masks_have_a_page_and_no_sheet(tmp_path: Path) -> None:
    recipe = InfillerRecipe(steps=1, batch_size=2, input_size=32)
    tiny = Classifier(tiny_net(), input_size=32, name="tiny")
    train(recipe, "shapes:n=4,size=40", classifier=tiny, out=tmp_path / "i", device="cpu")
    assert (tmp_path / "i" / "index.html").is_file() and not (tmp_path / "i" / "looks").exists()
    assert has_masks(trainer("class", 0))

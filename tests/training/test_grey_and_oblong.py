"""Networks of one channel, and of pictures that are not square, in every kind of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import maskwise as mw
from maskwise.class_objective import Alternative
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.explainers import explainer
from maskwise.explainers.targets import Targets
from maskwise.maskers import load_masker
from maskwise.training import Recipe, train
from maskwise.training.crop_size import crop_size
from maskwise.training.crops import MOST, Crop, PackedCrops, resized, resized_map
from maskwise.training.fitting import fit
from maskwise.training.loader import Loader
from maskwise.training.pasted import pasted
from maskwise.training.teacher import Lesson, Teacher
from maskwise.training.validation import Validation
from maskwise.training.watch.contact_sheet import Look, draw
from maskwise.training.watch.views import Views, middle

SIZE = HEIGHT, WIDTH = 48, 40
LUMA = torch.tensor([0.299, 0.587, 0.114])[:, None, None]


def net(channels: int = 1, classes: int = 14) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes),
        ).eval()  # fmt: skip


def fixed() -> nn.Module:
    """Takes pictures of 48x40 and no others."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 24 * 20, 14)).eval()


def chest(module: nn.Module | None = None, channels: int = 1, **said: Any) -> Classifier:
    facts = {"mean": [0.5] * channels, "std": [0.25] * channels, "input_size": SIZE, "name": "chest", **said}
    return Classifier(module or net(channels), **facts)


@pytest.fixture
def xrays(tmp_path: Path) -> Path:
    """Twelve 16-bit grey pictures, taller than wide."""
    folder, draws = tmp_path / "xrays", np.random.default_rng(0)
    folder.mkdir()
    for k in range(12):
        Image.fromarray(draws.integers(0, 65536, (60, 44), dtype=np.uint16)).save(folder / f"{k:02}.png")
    return folder


# ---- every training -------------------------------------------------------------------------------------------------

MASK = ["batch_size=4", "fraction=1", "taps=null", "steps=2", "input_size=null"]
TRAININGS: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "mask": ("casm_lite0", MASK, {"activation": "sigmoid"}),
    "mask of its own encoder, inpainted": ("casm_unshared", [*MASK, "infill=telea"], {}),
    "by a neural infiller": ("casm_lite0", [*MASK, "infill=partial_conv"], {}),
    "distil": ("distilled", [*MASK, "teacher.views={cam: {}}", "pasted=0.5"], {"activation": "sigmoid"}),
    "class_mask": (
        "dabkowski_gal", ["batch_size=4", "masker_batch_size=4", "steps=3", "selector_steps=1", "warm_up_steps=1"], {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAININGS)
def test_a_masker_of_grey_oblong_pictures_is_trained_and_explains(name: str, xrays: Path, tmp_path: Path) -> None:
    recipe, settings, said = TRAININGS[name]
    classifier = chest(**said)
    path = train(recipe, xrays, classifier=classifier, out=tmp_path / "run", overrides=settings, device="cpu")
    assert (tmp_path / "run" / "looks" / "000000.jpg").is_file()
    assert "48x40" in (tmp_path / "run" / "index.html").read_text(encoding="utf-8")
    masker = load_masker(path, classifier)
    asked = torch.tensor([[3]])
    _, masks = masker(torch.rand(1, 1, *SIZE), asked)
    assert masks.shape == (1, 1, *SIZE) and masks.isfinite().all()
    method = "dabkowski_gal" if name == "class_mask" else "distilled" if name == "distil" else "casm"
    made = mw.explainer(method, classifier, masker=path)
    found = made(classifier.prepare(mw.load_images(xrays / "00.png")), 3)
    assert found.shape[-2:] == SIZE and found.isfinite().all()


def test_a_classifier_of_grey_oblong_pictures_is_trained(xrays: Path, tmp_path: Path) -> None:
    settings = ["batch_size=4", "fraction=1", "steps=2", "classes=null", "start=pretrained"]
    classifier = chest(net(classes=3))
    path = train("classifier_subset_lite0", xrays, classifier=classifier, out=tmp_path / "c", overrides=settings, device="cpu")  # fmt: skip  # noqa: E501
    assert path.is_file()


@pytest.mark.parametrize("teacher", ["both", "none"])
@pytest.mark.parametrize("module", ["any size", "its own size"])
def test_fit(module: str, teacher: str, xrays: Path, tmp_path: Path) -> None:
    """A network that takes one size gets it; another the size that was asked for, in its shape."""
    classifier = chest(fixed() if module == "its own size" else None, activation="sigmoid")
    size = None if module == "its own size" else 36
    fitted = fit(
        xrays, classifier, out=tmp_path / "f", teacher=teacher, size=size, max_steps=2, device="cpu",
        overrides=["batch_size=4", "taps=null"],
    )  # fmt: skip
    wanted = "48x40" if module == "its own size" else "36x30"
    assert wanted in (tmp_path / "f" / "index.html").read_text(encoding="utf-8")
    assert fitted.masker.area > 0
    _, masks = load_masker(fitted.path, classifier)(torch.rand(1, 1, *SIZE), torch.tensor([[3]]))
    assert masks.shape == (1, 1, *SIZE)


def test_a_size_that_a_network_does_not_take_is_refused(xrays: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="chest takes no pictures of 36 pixels"):
        fit(xrays, chest(fixed(), activation="sigmoid"), out=tmp_path / "f", size=36, device="cpu")
    with pytest.raises(InputError, match="chest takes no pictures of 36x30 pixels: input_size=null trains at"):
        train("casm_lite0", xrays, classifier=chest(fixed()), out=tmp_path / "r", overrides=["taps=null", "input_size=36"], device="cpu")  # fmt: skip  # noqa: E501


def test_channels_that_are_not_made_of_rgb_are_refused(xrays: Path, tmp_path: Path) -> None:
    for recipe in ("casm_lite0", "distilled"):
        with pytest.raises(InputError, match="trainings read RGB or grey pictures, and chest takes 4 channels"):
            train(
                recipe, xrays, classifier=chest(channels=4), out=tmp_path / "a", overrides=["taps=null"], device="cpu"
            )
    with pytest.raises(InputError, match="infillers are trained on RGB, and chest takes grey"):
        train("infiller", xrays, classifier=chest(), out=tmp_path / "i", device="cpu")


def test_an_infiller_is_trained_on_oblong_pictures(tmp_path: Path) -> None:
    settings = ["steps=1", "batch_size=2", "input_size=null"]
    path = train("infiller", "shapes:n=4,size=40", classifier=chest(channels=3), out=tmp_path / "i", overrides=settings, device="cpu")  # fmt: skip  # noqa: E501
    assert path.is_file()


# ---- pictures -------------------------------------------------------------------------------------------------------


def test_crops_have_the_classifiers_shape() -> None:
    assert [crop_size(chest(), n) for n in (None, 48, 24, 37)] == [(48, 40), (48, 40), (24, 20), (37, 31)]
    assert crop_size(chest(input_size=(20, 200)), 4) == (1, 4)
    assert crop_size(chest(input_size=41), 27) == (27, 27)


def test_a_loader_gives_the_luma_of_what_it_gives_in_rgb(picture_folder: Path) -> None:
    recipe = Recipe(batch_size=4, fraction=1.0)
    for device in ("cpu", "meta"):  # any but a CPU has the pictures packed; that is undone by hand below
        loaders = [Loader([read_data(picture_folder)], recipe, SIZE, channels=c) for c in (3, 1)]
        for loader in loaders:
            loader.labels = [0] * len(loader.items)
        if device == "meta":
            packed = [PackedCrops.of([loader.picture(k) for k in range(4)], [Crop(3, 4, 20, 25, k > 1) for k in range(4)], SIZE) for loader in loaders]  # fmt: skip  # noqa: E501
            (rgb, grey) = (
                loader._there(crops, None, torch.zeros(4))[0] for loader, crops in zip(loaders, packed, strict=True)
            )
        else:
            rgb, grey = (loader.batch(0)[0] for loader in loaders)
        assert rgb.shape == (4, 3, *SIZE) and grey.shape == (4, 1, *SIZE)
        assert torch.allclose(grey, (rgb * LUMA).sum(1, keepdim=True), atol=1e-6)


@pytest.mark.parametrize("size", [(10, 26), (26, 10)])
def test_packed_crops_are_the_single_ones(size: tuple[int, int]) -> None:
    """Also of a region that is made smaller before it travels, and of one that just is not."""
    draws = torch.Generator().manual_seed(0)
    pictures = [torch.randint(0, 256, (3, 80, 90), dtype=torch.uint8, generator=draws) for _ in range(3)]
    assert MOST * size[0] * size[1] < 80 * 90
    crops = [Crop(5, 7, 30, 40, True), Crop(0, 0, 90, 80, True), Crop(1, 2, 60, 39, False)]
    singly = torch.stack([resized(p, crop, size) for p, crop in zip(pictures, crops, strict=True)])
    together = PackedCrops.of(pictures, crops, size).on(torch.device("cpu"))
    assert together.shape == (3, 3, *size)
    assert torch.allclose(together[[0, 2]], singly[[0, 2]], atol=1e-5)
    assert (together[1] - singly[1]).abs().max() < 1 / 255, "rounded to bytes on its way"
    assert torch.equal(PackedCrops.of(pictures, crops, size).pixels[1, :, : size[0], : size[1]].flip(-1).float(), (singly[1].flip(-1) * 255).round())  # fmt: skip  # noqa: E501


def test_a_map_is_cut_as_its_picture() -> None:
    """A map of the picture's own size, and a crop that is not resized: the pixels themselves."""
    squashed = torch.rand(20, 30)
    crop = Crop(4, 3, 12, 9, True)
    cut = resized_map(squashed, crop, (20, 30), (9, 12))
    assert torch.allclose(cut, squashed[3:12, 4:16].flip(-1), atol=1e-5)


def test_smaller_pictures_are_pasted_in_their_own_shape() -> None:
    """White on black: what is white is the pasted rectangle, and the map lies under it."""
    images = torch.stack([torch.zeros(1, 60, 30), torch.ones(1, 60, 30)])
    maps = torch.stack([torch.zeros(60, 30), torch.ones(60, 30)])
    for seed in range(20):
        found, wanted, classes = pasted(images, maps, torch.tensor([3, 5]), 0.5, torch.Generator().manual_seed(seed))
        rows, columns = found[0, 0].amax(1).nonzero()[:, 0], found[0, 0].amax(0).nonzero()[:, 0]
        tall, wide = len(rows), len(columns)
        assert found[0, 0].sum() == tall * wide and abs(tall / wide - 2) < 0.15 and 0.34 < tall / 60 < 0.71
        assert torch.equal(wanted[0, 1], found[0, 0]) and not wanted[0, 0].any() and classes[0].tolist() == [3, 5]
        assert torch.equal(found[1], images[1]), "only the first half"


# ---- what judges ----------------------------------------------------------------------------------------------------


def test_held_out_pictures_their_boxes_and_middles_have_the_classifiers_shape(picture_folder: Path) -> None:
    data = read_data(picture_folder)  # 48 wide, 40 high, boxes 4,5,30,25
    validation = Validation([(data, r) for r in data.records], [0] * len(data), chest(), (60, 24))
    whole = F.interpolate(data.image(data.records[0])[None], (60, 24), mode="bilinear", antialias=True)
    assert torch.allclose(validation.images[:1], (whole * LUMA).sum(1, keepdim=True), atol=1e-5)
    assert validation.truth[0].tolist() == [[2, 7.5, 15, 37.5]]
    masks = torch.full((len(data), 60, 24), 0.25)
    middles = validation.centre(masks)
    expected = torch.zeros(60, 24)
    expected[15:45, 6:18] = 1
    assert torch.equal(middles[0], expected)
    assert validation.quality(middles).area == pytest.approx(0.25)


def test_a_teacher_sees_what_the_classifier_takes(picture_folder: Path) -> None:
    classifier, data = chest(), read_data(picture_folder)
    images = [data.image(record) for record in data.records[:2]]
    for scales, size in ((None, SIZE), ([96], (96, 80))):
        lesson = Lesson.model_validate({"views": {"grad_cam": {"scales": scales}}, "stretch": False, "grid": 8})
        given = F.interpolate(torch.stack(images), size, mode="bilinear", antialias=True)
        grey = (given * LUMA).sum(1, keepdim=True)
        method = explainer("grad_cam", classifier)
        with method.calling():
            maps = method.saliency(grey, Targets(torch.tensor([[2], [3]])))[:, :1].detach()
        expected = F.interpolate(maps, (8, 8), mode="bilinear", antialias=True)[:, 0].clamp(0, 1)
        assert torch.allclose(Teacher(classifier, lesson)(images, [2, 3]), expected, atol=1e-5)


# ---- what is looked at ----------------------------------------------------------------------------------------------


def test_the_middle_of_a_picture_keeps_its_proportions() -> None:
    """By hand: of a picture 20x40 a view of 40x10 is the 20x5 in the middle; of one 20x20 a view of 10x40 its 5x20."""
    wide, square = torch.zeros(3, 20, 40), torch.zeros(3, 20, 20)
    wide[:, :, 17:22], square[:, 7:12] = 1, 1
    for picture, size in ((wide, (40, 10)), (square, (10, 40))):
        found = middle(picture, size)
        assert found.shape == (1, 3, *size) and bool((found == 1).all())
    noise = torch.rand(3, 20, 40)
    assert torch.equal(middle(noise, (10, 40))[0], noise[:, 5:15]), "and it is the largest one"


def test_a_contact_sheet_of_grey_oblong_pictures() -> None:
    views = Views.of(None, (80, 40), 1)
    assert views.images.shape == (5, 1, 80, 40)
    images = torch.full((2, 1, 80, 40), 0.5)
    seen = Look(torch.zeros(2, 80, 40), images, 1 - images, torch.full((3, 2), 0.5))
    sheet = draw(images, seen, ["a", "b"])
    assert sheet.size == (86 + 2 * (80 + 3) - 3, 4 * (160 + 18 + 3))
    assert sheet.getpixel((86 + 79, 159)) == (128, 128, 128) and sheet.getpixel((86 + 81, 159)) != (128, 128, 128)
    assert sheet.getpixel((86 + 40, 161)) != (128, 128, 128), "below it is its caption"


def test_the_alternative_picture_has_the_channels_of_the_picture() -> None:
    images: Tensor = torch.rand(4, 1, 12, 10)
    kept = Alternative(blur_size=5, blur_sigma=1.0)(images, torch.ones(4, 12, 10))
    assert kept.shape == images.shape and (kept - images).abs().max() < 0.2
    assert Alternative(p_blur=0).fill(images).shape == images.shape

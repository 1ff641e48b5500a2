"""A map for each class of a picture: the pointing game of COCO's layout, against the same in plain loops."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from calling import call, refused
from conftest import DATA, tiny_net
from evaluation.coco_scenes import CLASSES, SCENES, SIZE, write_scenes
from safetensors.torch import save_file
from torch import Tensor

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.data.difficult import DifficultCases
from maskwise.evaluation import Contender, Settings, leaderboard, measure
from maskwise.evaluation.items import class_of
from maskwise.evaluation.leaderboard import Cell
from maskwise.evaluation.presets import chosen_metrics
from maskwise.measures import metric

SPOTS = {0: (10, 10), 1: (44, 8)}  # x, y where the map of each class is brightest
PAIRS = [(i, kind) for i, objects in enumerate(SCENES) for kind in sorted({o[0] for o in objects})]


def spots(images: Tensor, targets: Tensor) -> Tensor:
    """A map whose brightest pixel depends on the class that is asked for, and on nothing else."""
    maps = torch.zeros(len(images), *SIZE)
    for saliency, target in zip(maps, targets.tolist(), strict=True):
        x, y = SPOTS[target]
        saliency[y, x] = 1
    return maps


def hit(picture: int, kind: int, tolerance: float) -> bool:
    x, y = SPOTS[kind]
    boxes = [box for k, *box in SCENES[picture] if k == kind]
    pixels = [(u, v) for x0, y0, x1, y1 in boxes for u in range(x0, x1) for v in range(y0, y1)]
    return any(math.dist((x, y), pixel) < tolerance for pixel in pixels)


def difficult(picture: int, kind: int) -> bool:
    """By rule: less than a quarter of a picture that has another class, too."""
    area = sum((x1 - x0) * (y1 - y0) for k, x0, y0, x1, y1 in SCENES[picture] if k == kind)
    return len({k for k, *_ in SCENES[picture]}) > 1 and area < SIZE[0] * SIZE[1] / 4


def by_hand(pairs: list[tuple[int, int]], tolerance: float) -> float:
    found = []
    for kind in {kind for _, kind in pairs}:
        mine = [hit(i, k, tolerance) for i, k in pairs if k == kind]
        found.append(sum(mine) / len(mine))
    return 100 * sum(found) / len(found)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_scenes(tmp_path / "coco")


@pytest.fixture
def judge() -> Classifier:
    return Classifier(tiny_net(classes=3), input_size=32, labels=["dog", "nothing", "car"], name="tiny")


def measured(root: Path, judge: Classifier, tolerance: float, settings: Settings, batch: int = 8) -> dict[str, Cell]:
    measures = {name: metric(name, tolerance=tolerance, classes=3) for name in ("pointing", "pointing_difficult")}
    measures |= {"pxap": metric("pxap"), "le": metric("le")}

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        """The classifier has the same classes in another order."""
        return spots(images, torch.tensor([{2: 0, 0: 1}[t] for t in targets.tolist()]))

    board = leaderboard(measure([Contender.of("s", explain)], judge, [f"coco:{root}"], measures, settings), 20)
    return board.lines[0].cells


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("tolerance", [1.0, 6.0, 15.0])
def test_the_pointing_game_of_each_class(root: Path, judge: Classifier, tolerance: float, batch: int) -> None:
    cells = measured(root, judge, tolerance, Settings("none", "each", batch=batch))
    assert cells["pointing"].pictures == len(PAIRS) == 6
    assert cells["pointing"].value == pytest.approx(by_hand(PAIRS, tolerance))
    hard = [pair for pair in PAIRS if difficult(*pair)]
    assert 0 < len(hard) < len(PAIRS) and cells["pointing_difficult"].pictures == len(hard)
    assert cells["pointing_difficult"].value == pytest.approx(by_hand(hard, tolerance))


def test_difficult_by_list(root: Path, judge: Classifier) -> None:
    cases = DifficultCases("list", {"0": frozenset({"dog"}), "4": frozenset({"car"}), "3": frozenset({"car"})}, False)
    cells = measured(root, judge, 6, Settings("none", "each", difficult=cases))
    assert cells["pointing"].pictures == 6 and cells["pointing_difficult"].pictures == 2
    assert cells["pointing_difficult"].value == pytest.approx(by_hand([(0, 1), (4, 0)], 6))


@pytest.mark.parametrize("target", ["car", 2, "2"])
def test_one_class_of_every_picture(root: Path, judge: Classifier, target: str | int) -> None:
    """Counted where a picture shows the class; boxes of another one say nothing of where this one is."""
    asked: list[int] = []

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        asked.extend(targets.tolist())
        return spots(images, torch.zeros_like(targets))

    games = {"pointing": metric("pointing", tolerance=6.0, classes=3), "le": metric("le"), "pxap": metric("pxap")}
    board = leaderboard(
        measure([Contender.of("s", explain)], judge, [f"coco:{root}"], games, Settings("none", target)), 20
    )
    assert asked == [2] * len(SCENES) and board.protocol["target"] == target

    def near(kind: int, picture: int) -> bool:
        boxes = [box for k, *box in SCENES[picture] if k == kind]
        return any(
            math.dist(SPOTS[0], (u, v)) < 6 for x0, y0, x1, y1 in boxes for u in range(x0, x1) for v in range(y0, y1)
        )

    shown = [i for i, objects in enumerate(SCENES) if any(kind == 0 for kind, *_ in objects)]
    cells = board.lines[0].cells
    assert [cells[name].pictures for name in games] == [len(shown)] * 3 == [3] * 3
    assert cells["pointing"].value == pytest.approx(100 * sum(near(0, i) for i in shown) / len(shown))
    area = sum((x1 - x0) * (y1 - y0) for i in shown for k, x0, y0, x1, y1 in SCENES[i] if k == 0)
    inside, pixels = sum(hit(i, 0, 0.5) for i in shown), len(shown) * SIZE[0] * SIZE[1]
    expected = inside / len(shown) * inside / area + area / pixels * (1 - inside / area)
    assert cells["pxap"].value == pytest.approx(100 * expected), "foreground is the class's own"


def test_a_class_that_the_classifier_does_not_have(root: Path, judge: Classifier) -> None:
    with pytest.raises(InputError, match=r"target is predicted, label, each or a class: unknown class 'cat'"):
        measured(root, judge, 6, Settings("none", "cat"))


def test_masks_and_boxes_are_those_of_the_class(root: Path, judge: Classifier) -> None:
    """A map that is one at a single pixel: its recall of the class's own pixels shows in the average precision."""
    cells = measured(root, judge, 6, Settings("none", "each"))
    assert cells["pxap"].pictures == cells["le"].pictures == 6
    areas = [sum((x1 - x0) * (y1 - y0) for k, x0, y0, x1, y1 in SCENES[i] if k == kind) for i, kind in PAIRS]
    inside = sum(hit(i, kind, 0.5) for i, kind in PAIRS)
    foreground, pixels = sum(areas), len(PAIRS) * SIZE[0] * SIZE[1]
    first = inside / len(PAIRS) * inside / foreground  # precision x recall of the brightest pixels
    rest = foreground / pixels * (1 - inside / foreground)
    assert cells["pxap"].value == pytest.approx(100 * (first + rest))


def test_classes_that_the_classifier_does_not_know(root: Path) -> None:
    named = Classifier(tiny_net(classes=3), input_size=32, labels=["cat", "dog", "x"], name="t")
    with pytest.raises(InputError, match="must know the data's classes"):
        measured(root, named, 6, Settings("none", "each"))
    numbered = Classifier(tiny_net(classes=2), input_size=32, name="t")
    assert class_of(1, None, numbered) == 1
    with pytest.raises(InputError, match="the data have a class 2, and t knows 2 classes"):
        class_of(2, None, numbered)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Weights of a network of two classes, and their names."""
    import timm

    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet.r160_in1k", num_classes=2).state_dict(), tmp_path / "two.safetensors")
    (tmp_path / "names.txt").write_text("dog\ncar\n")
    return tmp_path / "two.safetensors", tmp_path / "names.txt"


def test_a_classifier_from_files(root: Path, files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("0 car\n2 dog\n")
    given = ("evaluate", "--data", f"coco:{root}", "--classifier", "timm/test_resnet.r160_in1k", "--weights", files[0])
    options = (
        "--method",
        "grad_cam",
        "--target",
        "each",
        "--resize",
        "none",
        "--metrics",
        "pointing,pointing_difficult",
    )
    told = call(*given, *options, "--labels", files[1], "--difficult", tmp_path / "list.txt", "--json")
    assert told.exit_code == 0, (told.output, told.exception)
    board = json.loads(told.stdout)
    cells = board["rows"][0]["metrics"]
    assert cells["pointing"]["pictures"] == 6 and cells["pointing_difficult"]["pictures"] == 2
    assert board["protocol"]["target"] == "each" and board["protocol"]["difficult"].startswith("list.txt#")
    assert board["protocol"]["metrics"]["pointing_difficult"]["options"]["cases"].startswith("list.txt#")
    (tmp_path / "names.txt").write_text("dog\n")
    refused(call(*given, *options, "--labels", files[1]), "names 1 classes", "has 2")
    refused(call(*given, *options, "--labels", tmp_path / "none.txt"), "none.txt: no such file")
    assert CLASSES == ("car", "dog")


@pytest.mark.data
def test_real_pictures_of_many_classes() -> None:
    """A point in the middle of every second COCO picture, against the game in plain loops over pictures and classes."""
    data = read_data(f"{DATA / 'coco256.zip'}@val")

    def middle(images: Tensor, targets: Tensor) -> Tensor:
        maps = torch.zeros(len(images), *images.shape[-2:])
        maps[:, images.shape[-2] // 2, images.shape[-1] // 2] = 1
        return maps

    games = {name: metric(name) for name in ("pointing", "pointing_difficult")}
    judge = Classifier(tiny_net(classes=80), input_size=32)
    made = measure([Contender.of("middle", middle)], judge, [data], games, Settings("none", "each", limit=64))
    cells = leaderboard(made, 20).lines[0].cells
    for name in games:
        hits: dict[int, list[bool]] = {}
        for i in range(0, 128, 2):
            regions = data[i].regions()
            for kind, region in regions.items():
                if name == "pointing" or (len(regions) > 1 and region.double().mean() < 0.25):
                    rows, columns = region.nonzero().T
                    height, width = region.shape
                    near = (rows - height // 2) ** 2 + (columns - width // 2) ** 2 < 15**2
                    hits.setdefault(kind, []).append(bool(near.any()))
        assert cells[name].pictures == sum(map(len, hits.values())) > 100
        assert cells[name].value == pytest.approx(100 * sum(sum(v) / len(v) for v in hits.values()) / len(hits))


@pytest.mark.parametrize("target", ["each", "car"])
def test_metrics_follow_the_class_that_is_explained(root: Path, judge: Classifier, target: str) -> None:
    """Deletion of the map of one class is of that class's probability, also where another one is likelier."""
    names, data = ["deletion", "increase_in_confidence", "average_drop"], f"coco:{root}"
    asked = mw.compare({"s": ramps}, data, judge, names, target=target)
    told = {name: metric(name, judge, target="class") for name in names}
    likeliest = {name: metric(name, judge, target="predicted") for name in names}
    same = mw.compare({"s": ramps}, data, judge, told, target=target)
    other = mw.compare({"s": ramps}, data, judge, likeliest, target=target)
    values = [[board.cell("s", name).value for name in names] for board in (asked, same, other)]
    assert values[0] == values[1]
    assert values[0][0] != values[2][0], "the scenes tell the two apart"
    assert asked.protocol["metrics"]["deletion"]["options"]["target"] == "class"


def test_the_likeliest_class_is_followed_where_it_is_explained_and_what_is_said_counts(
    root: Path, judge: Classifier
) -> None:
    board = mw.compare({"s": ramps}, f"coco:{root}", judge, ["deletion"])
    assert board.protocol["metrics"]["deletion"]["options"]["target"] == "predicted"
    assert chosen_metrics("paper:rise,le").options_in(Settings(target="each"))["le"] == {}


def ramps(images: Tensor, targets: Tensor) -> Tensor:
    """Maps that rise to the right for one class and to the left for another."""
    rising = torch.linspace(0, 1, images.shape[-1]).expand(len(images), *images.shape[-2:])
    return torch.where(targets[:, None, None] > 0, rising, rising.flip(-1))


def test_where_no_picture_names_its_classes(tmp_path: Path, judge: Classifier) -> None:
    from PIL import Image

    (tmp_path / "images").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "images" / "a.png")
    with pytest.raises(InputError, match="no picture names its classes.*boxes.csv the columns class and name"):
        mw.compare({"s": ramps}, str(tmp_path), judge, ["deletion"], target="each")


@pytest.mark.parametrize(
    ("side", "resize", "is_told"), [(32, "squash", True), (60, "squash", False), (32, "none", False)]
)
def test_a_tolerance_that_is_most_of_the_picture_is_told(side: int, resize: Any, is_told: bool) -> None:
    judge = Classifier(tiny_net(classes=8), input_size=side)
    board = mw.compare(["center"], "shapes:n=2,size=64", judge, ["pointing", "le"], resize=resize)
    told = [line for line in board.warnings if "pixels of the object" in line]
    assert len(told) == is_told and (not told or "pointing.tolerance=2," in told[0])


def test_metrics_that_choose_among_pictures_say_that_there_is_none(judge: Classifier, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "images").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "images" / "a.png")
    with pytest.raises(InputError, match="no picture is one that pointing, pointing_difficult counts"):
        mw.compare({"s": ramps}, str(tmp_path), judge, ["pointing", "pointing_difficult"])

"""The classifier panel: masks whose effect is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.evaluation import Contender
from maskwise.evaluation.panel import REFERENCES, Panel, PanelSettings, classifier_panel
from maskwise.labels import Labels
from maskwise.report.panel import panel_figure


class Quadrants(nn.Module):
    """Logits are the brightness of the four quadrants: the class is where the light is."""

    def forward(self, x: Tensor) -> Tensor:
        return 10 * nn.functional.adaptive_avg_pool2d(x.mean(1, keepdim=True), 2).flatten(1)


def quadrants(size: int, name: str) -> Classifier:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), Quadrants())
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(3)[:, :, None, None])
        net[0].bias.zero_()
    return Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=size, taps=["1"], name=name)


@pytest.fixture
def lights(tmp_path: Path) -> str:
    """Dim pictures with one bright quadrant, which is the label; half of them have a label."""
    (tmp_path / "images").mkdir()
    rows = ["file,label"]
    for i in range(8):
        array = np.full((64, 64, 3), 60, np.uint8)
        y, x = divmod(i % 4, 2)
        array[32 * y + 4 : 32 * y + 28, 32 * x + 4 : 32 * x + 28] = 220
        Image.fromarray(array).save(tmp_path / "images" / f"{i}.png")
        if i < 4:
            rows.append(f"{i}.png,{i % 4}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    return str(tmp_path)


def bright(images: Tensor, targets: Tensor) -> Tensor:
    return (images.mean(1) > 0.5).float()


def dark(images: Tensor, targets: Tensor) -> Tensor:
    return (images.mean(1) < 0.5).float()


@pytest.fixture
def found(lights: str) -> Panel:
    judges = {"small": quadrants(32, "small"), "large": quadrants(64, "large")}
    contenders = [Contender.of("bright", bright), Contender.of("dark", dark)]
    return classifier_panel(contenders, judges["large"], judges, [lights], PanelSettings(batch=3))


class TestPanel:
    def test_what_the_masks_keep_and_leave(self, found: Panel) -> None:
        assert found.masks == [*REFERENCES, "bright", "dark"] and found.right.shape == (6, 2, 3, 8)
        assert found.clean.all()
        accuracy = dict(zip(found.masks, found.accuracy.tolist(), strict=True))
        for judge in range(2):
            assert accuracy["everything"][judge][0] == 100  # masked-in by all is the picture
            assert accuracy["nothing"][judge][1:] == [100, 100]  # masked-out by nothing, too
            assert accuracy["everything"][judge][1] == 25  # black: the first class, right on every fourth picture
            assert accuracy["bright"][judge][0] == 100 and accuracy["bright"][judge][1] == 0
            assert accuracy["dark"][judge][0] == 0 and accuracy["dark"][judge][1] == 100
        assert found.plain()["protocol"]["binarise"] == "rank"

    def test_random_masks_are_of_the_picture_not_of_the_batch(self, lights: str) -> None:
        judge = quadrants(64, "large")
        one, many = (
            classifier_panel([], judge, {"j": judge}, [lights], PanelSettings(batch=b, fill="mean")) for b in (1, 8)
        )
        assert torch.equal(one.right, many.right)

    def test_without_labels_the_clean_answer_counts(self, lights: str) -> None:
        shifted = quadrants(64, "shifted")
        with torch.no_grad():
            shifted.module[0].weight.mul_(-1)  # type: ignore[index, operator, union-attr]
            shifted.module[0].bias.fill_(1)  # type: ignore[index, union-attr]
        found = classifier_panel([], shifted, {"s": shifted}, [lights], PanelSettings(truth="clean"))
        assert found.clean.all()
        by_label = classifier_panel([], shifted, {"s": shifted}, [lights])
        assert by_label.clean[0].tolist() == [False] * 4 + [True] * 4

    def test_damaged_pictures_are_said_or_left_out_and_the_others_count_as_before(self, lights: str) -> None:
        judges = {"small": quadrants(32, "small")}
        given = ([Contender.of("bright", bright)], judges["small"], judges)
        whole = classifier_panel(*given, [lights], PanelSettings(batch=3))
        path = Path(lights) / "images" / "2.png"
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(InputError, match=r"2\.png: .* damaged .*`skip_damaged=True` passes over such pictures"):
            classifier_panel(*given, [lights], PanelSettings(batch=3))
        with pytest.warns(UserWarning, match=r"1 picture could not be read and was passed over: 2\.png"):
            found = classifier_panel(*given, [lights], PanelSettings(batch=3, skip_damaged=True))
        left = [0, 1, 3, 4, 5, 6, 7]
        assert torch.equal(found.right, whole.right[..., left]) and torch.equal(found.clean, whole.clean[..., left])
        assert found.protocol["pictures"] == 7 and found.protocol["damaged"] == {lights: ["2.png"]}

    def test_bad_input(self, lights: str) -> None:
        judge = quadrants(64, "large")
        with pytest.raises(InputError, match="at least one"):
            classifier_panel([], judge, {}, [lights])
        other = Classifier(nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), taps=["0"])
        with pytest.raises(InputError, match="same classes"):
            classifier_panel([], judge, {"o": other}, [lights])
        with pytest.raises(InputError, match="fill"):
            PanelSettings(fill="white")  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("theirs", "said"),
        [
            (("cat", "dog", "cow", "hen"), None),
            (("dog", "cat", "cow", "hen"), "j has 'dog' as class 0, which is class 1 of"),
            (("cat", "hen", "Kuh", "Huhn"), "'hen' as class 1, which is class 3 of"),
            (("Katze", "Hund", "Kuh", "cat, Huhn"), "'cat' as class 3, which is class 0 of"),
            (("cat", "hen", "cow", "hen"), None),  # which of the two is meant nobody knows
            (("0", "1", "2", "3"), None),
        ],
    )
    def test_a_judge_whose_classes_stand_in_another_order_is_refused(
        self, lights: str, theirs: tuple[str, ...], said: str | None
    ) -> None:
        """Their numbers were compared, and every answer of such a judge was another class's: wrong without a word."""
        own, judge = quadrants(64, "own"), quadrants(32, "judge")
        own.labels, judge.labels = Labels(("cat", "dog", "cow", "hen")), Labels(theirs)
        if said is None:
            assert classifier_panel([], own, {"j": judge}, [lights], PanelSettings(limit=1)).clean.all()
        else:
            with pytest.raises(InputError, match=f"same classes in one order: .*{said}"):
                classifier_panel([], own, {"j": judge}, [lights])

    def test_drawn(self, found: Panel, tmp_path: Path) -> None:
        panel_figure(found, tmp_path / "panel.png")
        assert Image.open(tmp_path / "panel.png").width > 600

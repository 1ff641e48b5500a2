"""The localisation error of whole methods, on drawn maps and on real pictures."""

from pathlib import Path

import pytest
import torch
from conftest import DATA, tiny_net

from maskwise.box import boxes
from maskwise.classifiers import Classifier, load_classifier
from maskwise.evaluation import Contender, Settings, leaderboard, measure
from maskwise.explainers import explainer
from maskwise.explainers.base import Explainer
from maskwise.explainers.targets import Targets
from maskwise.measures import localisation_error, metric


def error_of(explain: Explainer, classifier: Classifier, source: str, limit: int | None = None) -> float:
    measured = measure([Contender.of("it", explain)], classifier, [source], {"le": metric("le")}, Settings(limit=limit))
    return leaderboard(measured, resamples=20).lines[0].cells["le"].value


def test_localisation_error_by_hand() -> None:
    """IoU of exactly 0.5 is a miss (strict); any of several boxes will do."""
    predicted = torch.tensor([[0, 0, 10, 10]] * 3)
    truth = [
        torch.tensor([[0, 0, 10, 5]]),  # IoU 0.5
        torch.tensor([[0, 0, 10, 6], [50, 50, 60, 60]]),  # 0.6 with the first
        torch.tensor([[20, 20, 30, 30]]),  # 0
    ]
    assert localisation_error(predicted, truth) == pytest.approx(200 / 3)
    assert localisation_error(predicted, truth, threshold=0.4) == pytest.approx(100 / 3)


def test_evaluation_squashes_boxes_with_their_pictures(picture_folder: Path) -> None:
    """A map that marks exactly the squashed box has no error, one beside it has 100%."""

    class Fixed(Explainer):
        normalise = False

        def __init__(self, classifier: Classifier, x: int) -> None:
            super().__init__(classifier)
            self.x = x

        def map(self, images: torch.Tensor, targets: Targets) -> torch.Tensor:
            maps = torch.zeros(len(images), 48, 48)
            maps[:, 6:30, self.x : self.x + 26] = 1  # 5..25 of 40 rows; 4..30 of 48 columns
            return maps

    classifier = Classifier(tiny_net(), input_size=48)
    assert error_of(Fixed(classifier, 4), classifier, str(picture_folder)) == 0
    assert error_of(Fixed(classifier, 22), classifier, str(picture_folder)) == 100


@pytest.mark.data
def test_casm_beats_grad_cam_and_its_baseline_on_real_pictures() -> None:
    """The packaged maskers on 100 birds that no choice was made on; Grad-CAM's error is about 48."""
    classifier = load_classifier("efficientnet_lite0")
    source = str(DATA / "cub10.zip@test")
    error = {
        name: error_of(explainer(name, classifier), classifier, source, 100)
        for name in ("casm", "casm_baseline", "grad_cam")
    }
    assert error["casm"] <= 35
    assert error["casm"] <= error["casm_baseline"] - 5
    assert error["casm"] < error["grad_cam"]


def test_boxes_of_a_packaged_masker_are_inside_the_picture() -> None:
    from maskwise.images import load_images, packaged_pictures

    explain = explainer("casm", load_classifier("efficientnet_lite0"))
    for path in packaged_pictures():
        image = load_images(path)
        x0, y0, x1, y1 = boxes(explain(image))[0].tolist()
        assert 0 <= x0 < x1 <= image.shape[-1] and 0 <= y0 < y1 <= image.shape[-2]

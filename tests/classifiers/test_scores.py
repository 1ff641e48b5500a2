"""Detectors, segmenters and similarity as classifiers: closed forms, and torchvision's networks with random weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import maskwise as mw

DRAWS = torch.Generator().manual_seed(2)
IMAGE = torch.rand(1, 3, 16, 16, generator=DRAWS)
SLOPE = torch.rand(3, 16, 16, generator=DRAWS) / 768  # so that scores stay below 1


class FixedBox(nn.Module):
    """A detector whose box is fixed and whose score is linear in the pixels."""

    def __init__(self, box: tuple[float, ...] = (4, 4, 12, 12), label: int = 1, cut: float = 0.0) -> None:
        super().__init__()
        self.box, self.label, self.cut = box, label, cut

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        found = []
        for image in images:
            score = (image * SLOPE).sum()[None]
            kept = score > self.cut
            boxes = torch.tensor([self.box])[kept]
            found.append({"boxes": boxes, "labels": torch.tensor([self.label])[kept], "scores": score[kept]})
        return found


class Linear(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([1 - (images * SLOPE).sum((1, 2, 3)), (images * SLOPE).sum((1, 2, 3))], 1)


LINEAR = mw.Classifier(Linear(), mean=(0, 0, 0), std=(1, 1, 1), input_size=16, activation="none")


# ---- detectors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gradient", "input_x_gradient", "occlusion", "rise", "integrated_gradients"])
def test_a_fixed_box_with_a_linear_score_has_the_maps_of_a_linear_network(name: str) -> None:
    options = {"rise": {"masks": 40}, "occlusion": {"window": 0.25, "stride": 0.25}}.get(name, {})
    detector = mw.DetectorScore(FixedBox(), IMAGE, least=0.01).classifier()
    assert detector.labels.name(1).startswith("0 label 1 0.") and detector.activation == "none"
    maps = mw.explainer(name, detector, **options)(IMAGE, 1)
    assert torch.allclose(maps, mw.explainer(name, LINEAR, **options)(IMAGE, 1), atol=1e-4) and maps.std() > 0.01


@pytest.mark.parametrize(
    ("box", "label", "share"),
    [
        ((4, 4, 12, 12), 1, 1.0),
        ((4, 4, 12, 8), 1, 0.5),  # the upper half of it
        ((8, 4, 16, 12), 1, 1 / 3),  # 32 of 96 pixels are both's
        ((12, 12, 16, 16), 1, 0.0),
        ((4, 4, 12, 12), 2, 0.0),  # another thing
    ],
)
def test_the_score_of_another_box(box: tuple[float, ...], label: int, share: float) -> None:
    score = mw.DetectorScore(FixedBox(), IMAGE, least=0.01)
    score.detector = FixedBox(box, label)
    other = torch.rand(2, 3, 16, 16, generator=DRAWS)
    assert torch.allclose(score(other)[:, 0], share * (other * SLOPE).sum((1, 2, 3)), atol=1e-6)


def test_nothing_found_is_a_zero_that_can_be_differentiated() -> None:
    score = mw.DetectorScore(FixedBox(), IMAGE, least=0.01)
    score.detector = FixedBox(cut=2.0)
    x = IMAGE.clone().requires_grad_()
    found = score(x)
    (slope,) = torch.autograd.grad(found.sum(), x)
    assert found.tolist() == [[0.0]] and not slope.any()


class TwoBoxes(nn.Module):
    """With probabilities of three classes for each box."""

    def __init__(self, second: tuple[float, ...]) -> None:
        super().__init__()
        self.kinds = torch.tensor([[1.0, 0.0, 0.0], second])

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 8.0]])
        found = {"boxes": boxes, "labels": torch.tensor([1, 2]), "scores": torch.tensor([0.4, 0.9])}
        return [{**found, "probabilities": self.kinds}] * len(images)


def test_kinds_are_compared_by_their_cosine_and_the_best_detection_counts() -> None:
    score = mw.DetectorScore(TwoBoxes((0.0, 1.0, 0.0)), IMAGE, least=0.3, names=["", "cat", "dog"])
    assert score.names == ("0 dog 0.90", "1 cat 0.40")
    assert torch.allclose(score(IMAGE), torch.tensor([[0.9, 0.4]]))
    score.detector = TwoBoxes((3.0, 4.0, 0.0))  # cosines of .8 with dog and .6 with cat, confidence .9
    assert torch.allclose(score(IMAGE), torch.tensor([[0.72, 0.54]]))
    assert len(mw.DetectorScore(TwoBoxes((0.0, 1.0, 0.0)), IMAGE, least=0.3, most=1).names) == 1


def test_what_is_no_detector() -> None:
    with pytest.raises(mw.InputError, match="finds no box of confidence 0.99.*lower `least`"):
        mw.DetectorScore(FixedBox(), IMAGE, least=0.99)
    with pytest.raises(mw.InputError, match="it finds none"):
        mw.DetectorScore(FixedBox(cut=3), IMAGE)
    with pytest.raises(mw.InputError, match="a list of dictionaries"):
        mw.DetectorScore(Tokens(), IMAGE)
    with pytest.raises(mw.InputError, match="of one picture"):
        mw.DetectorScore(FixedBox(), torch.rand(2, 3, 16, 16))


class Tokens(nn.Module):
    def forward(self, images: Any) -> list[int]:
        return [1] * len(images)


@pytest.mark.parametrize("kind", ["fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large"])
def test_torchvision_detectors(kind: str) -> None:
    """Layers are those of the backbone, not what a head has of each proposal; Grad-CAM tells boxes apart."""
    rcnn = kind.startswith("faster")
    keep_all = {"box_score_thresh": 0.0, "min_size": 96, "max_size": 96} if rcnn else {"score_thresh": 0.0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = getattr(torchvision.models.detection, kind)(
            weights=None, weights_backbone=None, num_classes=4, **keep_all
        )
        for weight in net.parameters():
            if weight.ndim > 1 and not rcnn:  # whose boxes would grow beyond all pictures
                nn.init.kaiming_normal_(weight)
    image = torch.rand(1, 3, 96, 96, generator=DRAWS)
    score = mw.DetectorScore(net.eval(), image, least=0, most=3)
    classifier = score.classifier()
    assert all(name.startswith("detector.backbone") for name in classifier.tap_names)
    assert torch.allclose(classifier.logits(image)[0], score.confidences, atol=1e-5)  # each box matches itself
    explain = mw.explainer("grad_cam", classifier, layer=classifier.tap_names[2])
    maps = explain(image, [[0, 1, 2]])
    assert maps.shape == (1, 3, 96, 96) and maps.amax() > 0.5


# ---- segmenters ---------------------------------------------------------------------------------------------


def segmenter(classes: int = 4) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, classes, 3, padding=1))
        net[-1].weight.data *= 20  # type: ignore[operator, union-attr]
        net[-1].bias.data -= net(IMAGE * 2 - 1).mean((0, 2, 3)).detach()  # type: ignore[operator, union-attr]
        return net


HALF = {"mean": (0.5,) * 3, "std": (0.5,) * 3}


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_a_region_is_fixed_by_the_clean_picture(score: Any) -> None:
    net, other = segmenter(), torch.rand(2, 3, 16, 16, generator=DRAWS)
    made = mw.RegionScore(net, IMAGE, score=score, **HALF)
    won = net(IMAGE * 2 - 1)[0].argmax(0)
    sizes = [int((won == k).sum()) for k in made.classes]
    assert sizes == sorted(sizes, reverse=True) and sum(sizes) == 64 and len(sizes) > 1
    places = net(other * 2 - 1)
    places = places if score == "logit" else places.softmax(1)
    expected = torch.stack([places[:, k][:, won == k].mean(1) for k in made.classes], 1)
    found = made.classifier()
    assert torch.allclose(found.logits(other), expected, atol=1e-5)
    assert found.labels.names == tuple(f"class {k}" for k in made.classes)
    maps = mw.explainer("grad_cam", found)(IMAGE, [list(range(len(sizes)))])
    assert maps.shape[1] == len(sizes) and maps.amax() > 0.5


def test_the_map_of_a_region_lies_in_what_it_sees() -> None:
    """A pixel whose receptive field ends before the region has no gradient at all."""
    region = torch.zeros(16, 16, dtype=torch.bool)
    region[:8, :8] = True
    made = mw.RegionScore(segmenter(), IMAGE, classes=[0], region=region, names=["thing"], **HALF).classifier()
    assert made.labels.names == ("not thing", "thing")
    saliency = mw.explainer("gradient", made)(IMAGE, "thing")[0]
    assert not saliency[12:].any() and not saliency[:, 12:].any() and saliency[:8, :8].mean() > 0.05


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"classes": [9]}, "indices below 4"),
        ({"classes": []}, "at least one"),
        ({"region": torch.zeros(16, 16)}, "has no region"),
        ({"region": torch.zeros(8, 8)}, r"\(H,W\) of the picture"),
        ({"score": "sum"}, "logit or probability"),
        ({"segmenter": nn.Flatten()}, "scores of each place"),
    ],
)
def test_what_makes_no_region(said: dict[str, Any], line: str) -> None:
    with pytest.raises(mw.InputError, match=line):
        mw.RegionScore(**{"segmenter": segmenter(), "image": IMAGE, **said})


def test_torchvision_segmenter() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=3
        ).eval()
    image = torch.rand(1, 3, 64, 64, generator=DRAWS)
    made = mw.RegionScore(net, image, classes=None)
    classifier = made.classifier()
    assert any("backbone" in name for name in classifier.tap_names)
    assert mw.explainer("gradient", classifier)(image, len(classifier.labels) - 1).amax() > 0.3


# ---- similarity ---------------------------------------------------------------------------------------------


def test_similarity_to_pictures_and_to_one_rather_than_another() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    own, others, images = (torch.rand(2, 3, 16, 16, generator=DRAWS) for _ in range(3))

    def cosines(references: Tensor) -> Tensor:
        rows = net(references * 2 - 1)
        return torch.stack([F.cosine_similarity(net(images * 2 - 1), row[None]) for row in rows], 1)

    alike = mw.SimilarityScore(net, own, names=["a", "b"], **HALF).classifier()
    assert torch.allclose(alike.logits(images), cosines(own), atol=1e-5) and alike.labels.names == ("a", "b")
    rather = mw.SimilarityScore(net, own, others, **HALF).classifier()
    assert torch.allclose(rather.logits(images), cosines(own) - cosines(others), atol=1e-5)
    maps = mw.explainer("grad_cam", rather)(images, [[0, 1]] * 2)
    assert maps.amax() > 0.5
    one = mw.SimilarityScore(net, own[0], **HALF).classifier()
    assert one.labels.names == ("not reference 0", "reference 0")
    assert torch.allclose(one.logits(images), torch.cat([1 - cosines(own[:1]), cosines(own[:1])], 1), atol=1e-5)
    with pytest.raises(mw.InputError, match="as many `others`"):
        mw.SimilarityScore(net, own, others[:1], **HALF)
    with pytest.raises(mw.InputError, match="1 names for 2 references"):
        mw.SimilarityScore(net, own, names=["a"], **HALF)
    with pytest.raises(mw.InputError, match="references are pictures"):
        mw.SimilarityScore(net, own[0, 0])


def test_the_example_runs(tmp_path: Path) -> None:
    """As its page says, offline."""
    script = Path(__file__).parents[2] / "examples" / "other_networks.py"
    ran = subprocess.run([sys.executable, str(script), "--out", str(tmp_path)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert {path.stem for path in tmp_path.glob("*.png")} == {"detector", "segmenter", "similarity"}

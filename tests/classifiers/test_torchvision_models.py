"""Names of torchvision's weights: which are taken, what is written down, and what is said of wrong ones."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import maskwise as mw
from maskwise.checks.networks import network_maker
from maskwise.classifiers import torchvision_models
from maskwise.classifiers.torchvision_models import released_weights, tags_of
from maskwise.core.errors import InputError
from maskwise.planning.skeleton import skeleton

V1, V2 = "mobilenet_v2-b0353104.pth", "mobilenet_v2-7ebf99e0.pth"  # torchvision's files of mobilenet_v2


def weights(seed: int) -> dict[str, Tensor]:
    from torchvision import models

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return models.mobilenet_v2(weights=None).state_dict()


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Torchvision's download gives other random weights for each file; which files it was asked for."""
    seen: list[str] = []

    def fetch(url: str, *args: object, **kwargs: object) -> dict[str, Tensor]:
        seen.append(url.rpartition("/")[2])
        return weights([V1, V2].index(seen[-1]))

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    yield seen


@pytest.mark.parametrize(
    ("name", "tag", "file"),
    [
        ("torchvision/mobilenet_v2@IMAGENET1K_V1", "IMAGENET1K_V1", V1),
        ("torchvision/mobilenet_v2@IMAGENET1K_V2", "IMAGENET1K_V2", V2),
        ("torchvision/mobilenet_v2@DEFAULT", "IMAGENET1K_V2", V2),
        ("torchvision/mobilenet_v2", "IMAGENET1K_V2", V2),
    ],
)
def test_the_tag_s_weights_are_taken_and_the_name_says_which(
    fetched: list[str], name: str, tag: str, file: str
) -> None:
    classifier = mw.load_classifier(name)
    assert fetched == [file] and classifier.name == f"torchvision/mobilenet_v2@{tag}"
    again = mw.load_classifier(classifier.name)
    assert again.name == classifier.name and again.fingerprint() == classifier.fingerprint()
    expected = weights([V1, V2].index(file))["classifier.1.weight"]
    assert torch.equal(classifier.module.state_dict()["classifier.1.weight"], expected)


def test_a_default_is_said_aloud(fetched: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "maskwise"):
        mw.load_classifier("torchvision/mobilenet_v2@IMAGENET1K_V1")
        assert "default" not in caplog.text
        mw.load_classifier("torchvision/mobilenet_v2")
    assert "torchvision/mobilenet_v2: its weights are IMAGENET1K_V2, torchvision's default" in caplog.text


@pytest.mark.parametrize("tag", ["V1", "imagenet1k_v1", "", "IMAGENET1K_V1@IMAGENET1K_V2"])
@pytest.mark.parametrize("load", [mw.load_classifier, skeleton])
def test_an_unknown_tag_lists_the_tags(tag: str, load: object) -> None:
    with pytest.raises(InputError, match="use @IMAGENET1K_V1 or @IMAGENET1K_V2$") as caught:
        load(f"torchvision/resnet50@{tag}")  # type: ignore[operator]
    assert "torchvision/resnet50 has no weights" in str(caught.value) and "\n" not in str(caught.value)


def test_weights_without_scores_are_no_classifier_s() -> None:
    """VGG-16's FEATURES hold NaN where the classifier's layers are."""
    assert list(tags_of("vgg16")) == ["IMAGENET1K_V1"]
    with pytest.raises(InputError, match="has no weights 'IMAGENET1K_FEATURES': use @IMAGENET1K_V1$"):
        mw.load_classifier("torchvision/vgg16@IMAGENET1K_FEATURES")


def test_each_tag_has_its_own_size() -> None:
    """ViT-B/16 by SWAG was trained at 384 pixels, that is 24 x 24 patches and a class token."""
    sizes = {tag: released_weights(f"vit_b_16@{tag}").input_size for tag in tags_of("vit_b_16")}
    assert sizes == {"IMAGENET1K_V1": 224, "IMAGENET1K_SWAG_E2E_V1": 384, "IMAGENET1K_SWAG_LINEAR_V1": 224}
    with torch.device("meta"):
        network = released_weights("vit_b_16@IMAGENET1K_SWAG_E2E_V1").architecture(classes=7)
    positions = network.get_parameter("encoder.pos_embedding")
    assert positions.shape[1] == 24 * 24 + 1 and network.get_parameter("heads.head.weight").shape[0] == 7


def test_normalisation_is_the_tag_s(fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_models.ReleasedWeights, "input_size", 64)
    monkeypatch.setattr(torchvision_models.ReleasedWeights, "normalisation", ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    classifier = mw.load_classifier("torchvision/mobilenet_v2@IMAGENET1K_V1")
    assert classifier.input_size == 64 and classifier.mean.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert classifier.std.tolist() == pytest.approx([0.4, 0.5, 0.6])


def test_every_released_normalisation_can_be_read() -> None:
    assert released_weights("resnet50").normalisation == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class TestFiles:
    """A file whose SHA-256 begins as torchvision's name of it says is that release."""

    @pytest.fixture
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        torch.save(weights(5), tmp_path / "mine.pth")
        digest = hashlib.sha256((tmp_path / "mine.pth").read_bytes()).hexdigest()
        real = torchvision_models.tags_of("mobilenet_v2")
        entries = {
            "IMAGENET1K_V1": SimpleNamespace(url=f"https://somewhere/x-{digest[:8]}.pth", transforms=None),
            "IMAGENET1K_V2": SimpleNamespace(url="https://somewhere/x-00000000.pth", transforms=None),
        }
        for tag, entry in entries.items():
            entry.transforms = real[tag].transforms
        monkeypatch.setattr(torchvision_models, "tags_of", lambda model: entries)
        return tmp_path / "mine.pth"

    def test_is_recognised(self, file: Path) -> None:
        for name in ("torchvision/mobilenet_v2", "torchvision/mobilenet_v2@IMAGENET1K_V1"):
            assert mw.load_classifier(name, file).name == "torchvision/mobilenet_v2@IMAGENET1K_V1"

    def test_another_release_than_was_asked_for_is_refused(self, file: Path) -> None:
        with pytest.raises(InputError, match="holds torchvision.s IMAGENET1K_V1.*name torchvision"):
            mw.load_classifier("torchvision/mobilenet_v2@IMAGENET1K_V2", file)

    def test_weights_of_one_s_own_have_no_tag(self, file: Path, tmp_path: Path) -> None:
        torch.save(weights(6), tmp_path / "other.pth")
        for name in ("torchvision/mobilenet_v2", "torchvision/mobilenet_v2@IMAGENET1K_V1"):
            assert mw.load_classifier(name, tmp_path / "other.pth").name == "torchvision/mobilenet_v2"


def test_plans_take_the_name_and_fetch_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **k: pytest.fail("fetched"))
    made = skeleton("torchvision/mobilenet_v2@IMAGENET1K_V1")
    assert made.name == "torchvision/mobilenet_v2@IMAGENET1K_V1" and made.input_size == 224
    assert skeleton("torchvision/mobilenet_v2").name == "torchvision/mobilenet_v2@IMAGENET1K_V2"


def test_networks_from_scratch_have_no_weights_to_name() -> None:
    with pytest.raises(InputError, match="trained from scratch"):
        network_maker("torchvision/resnet18@IMAGENET1K_V1")


def test_timm_s_default_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    real = timm.create_model

    def create(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        return real(name, pretrained=False, **options)

    monkeypatch.setattr("timm.create_model", create)
    assert mw.load_classifier("timm/resnet18").name == "timm/resnet18.a1_in1k"
    assert mw.load_classifier("timm/resnet18.tv_in1k").name == "timm/resnet18.tv_in1k"

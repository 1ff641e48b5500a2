"""Classifiers of transformers, at toy size with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calling import call, refused, save_picture
from PIL import Image

import maskwise as mw
from maskwise.classifiers.hf import from_hf, is_hf
from maskwise.classifiers.normalisation import IMAGENET_MEAN
from maskwise.core.errors import InputError

transformers = pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture(scope="module")
def vit() -> Any:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=48, image_size=64, patch_size=8,
        num_labels=3, id2label={0: "cat", 1: "dog", 2: "<b>"}, label2id={"cat": 0, "dog": 1, "<b>": 2},
    )  # fmt: skip
    return transformers.ViTForImageClassification(config)


def test_a_loaded_model(vit: Any) -> None:
    classifier = from_hf(vit)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = vit(pixel_values=classifier.normalise(images)).logits
    assert torch.equal(classifier.logits(images), expected)
    assert classifier.labels.names == ("cat", "dog", "<b>") and classifier.input_size == 64
    maps = mw.explainer("grad_cam", classifier)(torch.rand(2, 3, 70, 50), ["dog", "cat"])
    assert maps.shape == (2, 70, 50) and maps.amax() > 0.9


def test_scales_of_a_network_of_stages() -> None:
    config = transformers.ConvNextConfig(depths=[1, 1, 2, 1], hidden_sizes=[8, 12, 16, 20], num_labels=4, image_size=64)
    classifier = from_hf(transformers.ConvNextForImageClassification(config))
    _, taps = classifier.features(torch.rand(1, 3, 64, 64))
    assert [tuple(t.shape[1:]) for t in taps] == [(8, 16, 16), (12, 8, 8), (16, 4, 4), (20, 2, 2)]


def test_a_folder_by_name(vit: Any, tmp_path: Path) -> None:
    vit.save_pretrained(tmp_path / "vit")
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    size = {"height": 64, "width": 64}
    transformers.ViTImageProcessor(image_mean=mean, image_std=std, size=size).save_pretrained(tmp_path / "vit")
    classifier = mw.load_classifier(f"hf/{tmp_path / 'vit'}")
    assert torch.allclose(classifier.mean, torch.tensor(mean)) and torch.allclose(classifier.std, torch.tensor(std))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = vit(pixel_values=(images - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1))
    assert torch.allclose(classifier.logits(images), expected.logits, atol=1e-5)


def test_a_folder_on_the_command_line(vit: Any, tmp_path: Path) -> None:
    """`explain` and `layers` of what save_pretrained wrote; the map is that of the loaded model."""
    vit.save_pretrained(tmp_path / "vit")
    size = {"height": 64, "width": 64}
    processor = transformers.ViTImageProcessor(size=size)
    processor.save_pretrained(tmp_path / "vit")
    picture, out = save_picture(tmp_path / "noise.png", 70, 50), tmp_path / "out"
    asked = ("explain", picture, "--classifier", f"hf/{tmp_path / 'vit'}", "--method", "grad_cam", "--target", "dog")
    ran = call(*asked, "--out", out, "--device", "cpu")
    assert ran.exit_code == 0 and ran.stderr == "", ran.output
    expected = mw.explainer("grad_cam", from_hf(vit, processor))(mw.load_images(picture), "dog")[0]
    found = torch.from_numpy(np.load(out / "noise" / "map.npy"))
    assert found.amax() > 0.9 and torch.allclose(found, expected, atol=1e-4)
    result = json.loads((out / "noise" / "result.json").read_text())
    assert result["target"] == "dog" and {name for name, _ in result["top"]} == {"cat", "dog", "<b>"}
    with Image.open(out / "noise" / "figure.png") as figure:
        assert min(figure.size) > 50
    read = json.loads(call("layers", "--classifier", f"hf/{tmp_path / 'vit'}", "--json").stdout)
    (grad_cam,) = (row for row in read["methods"] if row["name"] == "grad_cam")
    assert grad_cam["layers"] == ["model.vit.layers.1"] and len(read["layers"]) > 3
    missing = call("explain", picture, "--classifier", f"hf/{tmp_path / 'nothing'}", "--out", tmp_path / "none")
    refused(missing, "can't be loaded")


@pytest.mark.parametrize("broken", ['{"image_mean": [0.5, ', "[]", '{"image_processor_type": "NoSuchProcessor"}'])
def test_a_broken_processor_is_no_missing_one(vit: Any, tmp_path: Path, broken: str) -> None:
    """With ImageNet's mean in place of its own the maps would be of other pictures, without a word."""
    vit.save_pretrained(tmp_path / "vit")
    with pytest.warns(UserWarning, match="no preprocessor_config.json, so how its pictures are prepared is a guess"):
        assert torch.allclose(mw.load_classifier(f"hf/{tmp_path / 'vit'}").mean, torch.tensor(IMAGENET_MEAN))
    (tmp_path / "vit" / "preprocessor_config.json").write_text(broken)
    with pytest.raises(InputError, match="can't be loaded"):
        mw.load_classifier(f"hf/{tmp_path / 'vit'}")


def test_the_size_of_its_pictures() -> None:
    """Said by the processor, by the configuration, or by that of its half that sees; not always square."""
    tiny = {
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "patch_size": 8,
    }
    config = transformers.ViTConfig(**tiny, image_size=[32, 48], num_labels=3)
    net = transformers.ViTForImageClassification(config)
    assert from_hf(net).size == (32, 48)
    assert from_hf(net, transformers.ViTImageProcessor(size={"height": 32, "width": 48})).size == (32, 48)
    seeing = transformers.SiglipConfig(vision_config={**tiny, "image_size": 40}, num_labels=3)
    assert from_hf(transformers.SiglipForImageClassification(seeing)).size == (40, 40)


def test_a_pickle_is_not_opened(vit: Any, tmp_path: Path) -> None:
    vit.config.save_pretrained(tmp_path)
    torch.save(vit.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(mw.InputError, match="hf/"):
        mw.load_classifier(f"hf/{tmp_path}")


def test_what_is_no_image_classifier(vit: Any) -> None:
    assert is_hf(vit) and not is_hf(torch.nn.Linear(2, 2))
    with pytest.raises(mw.InputError, match="no image classifier"):
        from_hf(vit.vit)

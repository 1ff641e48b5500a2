"""Headers of maskers, which anyone may have written: nothing is built before they agree with the tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_net
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.maskers import ClassMasker, Masker, load_masker, save_masker
from maskwise.maskers.decoder import Decoder
from maskwise.maskers.mixing import MixingDecoder
from maskwise.maskers.unet import UNet


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(tiny_net(), input_size=32, name="tiny")


def stored(folder: Path, classifier: Classifier, kind: str, **changed: Any) -> Path:
    """A masker's file under a header of which settings are others."""
    path = folder / "m.safetensors"
    built = Masker.build(classifier, width=4) if kind == "recipe" else ClassMasker.build(classifier, widths=(8, 4))
    save_masker(path, built, classifier, {"width": 4})
    with safe_open(path, framework="pt") as file:
        header = {key: value for key, value in file.metadata().items() if key != "sha256"}
    header |= {"format": "maskwise-masker-1", kind: json.dumps({**json.loads(header[kind]), **changed})}
    save_file(load_file(path), path, header)
    return path


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders may be built where they take no memory only."""
    for kind in (Decoder, MixingDecoder, UNet):
        built = kind.__init__

        def on_meta(self: nn.Module, *args: Any, built: Any = built, **options: Any) -> None:
            assert torch.get_default_device().type == "meta"
            built(self, *args, **options)

        monkeypatch.setattr(kind, "__init__", on_meta)


RECIPES = (
    {"width": 4096}, {"width": 5}, {"width": 10**9}, {"width": -1}, {"decoder": "mixed", "mix": 4096}, {"taps": [0]},
    {"taps": [0] * 100_000}, {"taps": "01"}, {"gate_scales": [1e9], "class_gate": 0.3}, {"gate_scales": [1.5] * 100},
    {"superpixels": 10**12}, {"superpixels": -1}, {"superpixels": 0}, {"superpixels": True}, {"superpixels": 2.5},
    {"temperature": float("nan")}, {"sharpness": "a"}, {"sharpness": 0}, {"sharpness": float("inf")},
    {"class_gate": "a"}, {"class_gate": 2**64}, {"class_gate": 1.5}, {"class_gate": 0}, {"class_gate": [0.5]},
    {"gate_scales": []}, {"gate_scales": [0.5]}, {"gate_scales": [[1]]}, {"gate_scales": ["1"]},
    {"pamr": -1}, {"pamr": 1000}, {"pamr": "2"}, {"pamr": True}, {"gumbel": "loud"}, {"gumbel": 1},
    {"shared": 0}, {"shared": "true"}, {"taps": [1.5]}, {"taps": [9]}, {"taps": []}, {"encoder": 5},
    {"encoder": "timm/vit_giant"}, {"decoder": "nothing"}, {"decoder": ["added"]}, {"channel": 3}, {"width": "4"},
)  # fmt: skip
SETTINGS = (
    {"widths": [4096, 4096]}, {"widths": [8, 4] * 1000}, {"widths": [10**12, 4]}, {"bottlenecks": 4000},
    {"bottlenecks": 9}, {"kernel": 3}, {"unknown": 1}, {"empty": False}, {"empty": True}, {"widths": []},
    {"widths": 4}, {"widths": [8.5, 4]}, {"widths": [True, 4]}, {"widths": None}, {"bottlenecks": 0}, {"kernel": "2"},
    {"encoder": "timm/vit_giant"}, {"upsampling": "none"}, {"x" * 10_000: 1},
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "changed"), [*(("recipe", one) for one in RECIPES), *(("settings", one) for one in SETTINGS)]
)
def test_refused_before_it_is_built(
    kind: str, changed: dict[str, Any], classifier: Classifier, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = stored(tmp_path, classifier, kind, **changed)
    request.getfixturevalue("no_memory")
    with pytest.raises(InputError, match=r"m\.safetensors|tiny") as caught:
        load_masker(path, classifier)
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 300


@pytest.mark.parametrize("kind", ["recipe", "settings"])
@pytest.mark.usefixtures("classifier")
def test_read_without_a_random_number(kind: str, classifier: Classifier, tmp_path: Path) -> None:
    path = stored(tmp_path, classifier, kind)
    before = torch.get_rng_state()
    masker = load_masker(path, classifier)
    assert torch.equal(torch.get_rng_state(), before)
    tensors = load_file(path)
    for name, value in masker.decoder.state_dict().items():
        assert torch.equal(value, tensors[f"decoder.{name}"]) and not value.requires_grad


def test_half_values_are_widened(classifier: Classifier, tmp_path: Path) -> None:
    masker = Masker.build(classifier, width=4)
    save_masker(tmp_path / "h.safetensors", masker, classifier, {"width": 4}, half_decoder=True)
    found = load_masker(tmp_path / "h.safetensors", classifier).decoder.state_dict()
    for name, value in masker.decoder.state_dict().items():
        assert found[name].dtype == value.dtype and torch.allclose(found[name].float(), value.float(), atol=1e-3)


def test_an_encoder_of_another_shape(classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The classifier, which others use, is not even copied for it."""
    adapted = Masker.build(classifier, width=4)
    with torch.no_grad():
        for weight in adapted.encoder.module.parameters():
            weight.add_(1)
    path = tmp_path / "e.safetensors"
    save_masker(path, adapted, classifier, {"width": 4})
    with safe_open(path, framework="pt") as file:
        header = {key: value for key, value in file.metadata().items() if key != "sha256"}
    tensors = load_file(path)
    load_masker(path, classifier)
    name = next(key for key in tensors if key.startswith("encoder."))
    for changed in ({name: torch.zeros(3)}, {"encoder.more": torch.zeros(3)}):
        save_file(tensors | changed, path, header | {"format": "maskwise-masker-1"})
        with pytest.raises(InputError, match=r"encoder\.\S+ is \(3,\), where the header has"):
            load_masker(path, classifier)

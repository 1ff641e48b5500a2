"""ONNX graphs of both kinds of masker: equal to PyTorch at any batch size, one file, whole or not there."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torchvision.models.resnet import BasicBlock, ResNet
from typer.testing import CliRunner

from maskwise.classifiers import Classifier
from maskwise.cli import app
from maskwise.core.errors import InputError
from maskwise.exporting import export
from maskwise.maskers import ClassMasker, Masker, save_masker
from maskwise.maskers.finish import Finish


def resnet() -> Classifier:
    """One block where ResNet-18 has two alike: every kind of layer and path, in a graph half as long."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5)
        return Classifier(net, input_size=64, name="resnet10")


def run(path: Path, **feed: torch.Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {name: value.numpy() for name, value in feed.items()})


def built(kind: str, classifier: Classifier) -> Masker | ClassMasker:
    if kind == "decoder":
        return Masker.build(classifier)
    if kind.startswith("gated"):
        scales = (1.0, 1.5) if kind == "gated, enlarged" else (1.0,)
        return Masker.build(classifier, finish=Finish(class_gate=0.6, gate_scales=scales))
    return ClassMasker.build(classifier, (16, 8, 4), kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["decoder", "gated", "gated, enlarged", "transposed", "pixel_shuffle"])
def test_the_graph_gives_what_pytorch_gives(kind: str, tmp_path: Path) -> None:
    classifier = resnet()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        masker = built(kind, classifier).eval()
    written = export(masker, tmp_path / "m.onnx")
    assert written.difference <= 1e-4 and written.bytes == (tmp_path / "m.onnx").stat().st_size
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"], "one file, weights included"
    for batch in (1, 2, 5):
        images = torch.rand(batch, 3, 64, 64, generator=torch.Generator().manual_seed(batch))
        feed = {"images": images}
        if kind != "decoder":
            feed["classes"] = torch.arange(batch) % 5
        with torch.no_grad():
            logits, masks = masker(*(v if n == "images" else v[:, None] for n, v in feed.items()))
        got = run(tmp_path / "m.onnx", **feed)
        assert np.abs(got[0] - logits.numpy()).max() < 1e-4
        assert np.abs(got[1] - masks.reshape(batch, 64, 64).numpy()).max() < 1e-4
    facts = {entry.key: entry.value for entry in onnx.load(str(tmp_path / "m.onnx")).metadata_props}
    assert facts["classifier"] == "resnet10" and json.loads(facts["labels"]) == list("01234")


def test_a_graph_that_is_off_is_not_written(tiny: Classifier, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="differs from PyTorch"):
        export(Masker.build(tiny).eval(), tmp_path / "m.onnx", tolerance=-1)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_said(tiny: Classifier, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="superpixels"):
        export(Masker.build(tiny, finish=Finish(superpixels=10)), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="encoder of its own"):
        export(ClassMasker.build(tiny, encoder="scratch"), tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"ends in \.onnx"):
        export(Masker.build(tiny), tmp_path / "m.bin")
    with pytest.raises(InputError, match="one of casm"):
        export("grad_cam", tmp_path / "m.onnx", tiny)
    with pytest.raises(InputError, match="does not exist"):
        export("nothing.safetensors", tmp_path / "m.onnx", tiny)


def test_the_command(tiny: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_masker(tmp_path / "m.safetensors", ClassMasker.build(tiny, (8, 4)), tiny, {})
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda *_: tiny)
    onnx_file = str(tmp_path / "m.onnx")
    done = CliRunner().invoke(app, ["export", str(tmp_path / "m.safetensors"), "--onnx", onnx_file, "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.output)
    assert facts["inputs"] == ["images", "classes"] and facts["size"] == 32 and facts["difference"] <= 1e-4
    bad = CliRunner().invoke(app, ["export", "grad_cam", "--onnx", onnx_file])
    assert bad.exit_code == 2


def test_whose_the_logits_are_is_told(tmp_path: Path) -> None:
    """A CASM brings its own copy of the classifier, which its training has adapted: its logits are other ones."""
    judge = resnet()
    masker = Masker.build(resnet()).eval()
    for adapted in (False, True):
        if adapted:
            with torch.no_grad():
                next(masker.encoder.module.parameters()).mul_(1.5)
        made = export(masker, tmp_path / "m.onnx", judge)
        images = torch.rand(2, 3, 64, 64)
        (logits, _), own = run(tmp_path / "m.onnx", images=images), judge(images).detach().numpy()
        assert made.adapted == adapted == (np.abs(logits - own).max() > 1e-3)
        facts = {entry.key: entry.value for entry in onnx.load(str(tmp_path / "m.onnx")).metadata_props}
        assert facts["logits"] == "of resnet10" + ", as the masker's training has adapted it" * adapted

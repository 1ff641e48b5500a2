"""``scripts/multilabel_head.py``: which classes a cut-out shows, the regression's optimum, and the file it writes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from script_files import ROOT, loaded

from maskwise import load_classifier
from maskwise.data import Sample, read_data


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return loaded(ROOT / "scripts" / "multilabel_head.py")


def test_a_cut_out_shows_the_classes_of_boxes_that_are_at_least_half_inside(script: ModuleType) -> None:
    boxes = torch.tensor([[0, 0, 40, 40], [30, 0, 70, 40], [60, 60, 100, 100]], dtype=torch.float64)
    sample = Sample("a", torch.rand(3, 100, 100), boxes=boxes, box_classes=torch.tensor([2, 0, 2]))
    images, shown = script.views(sample, 32, 4, cut=True)
    assert images.shape == (8, 3, 32, 32) and torch.equal(images[4:], images[:4].flip(-1))
    whole, first, second, third = shown[:4].tolist()
    assert whole == [1, 0, 1, 0], "of the whole picture all"
    # The cut-outs are 60 pixels wide: x of 0 to 50, 20 to 80, 50 to 100.
    assert first == [1, 0, 1, 0], "half of the second box, 30 to 50 of 30 to 70, lies in the first's"
    assert second == [1, 0, 1, 0], "as does half of the first, 20 to 40 of 0 to 40, in the second's"
    assert third == [0, 0, 1, 0] and shown[4:].tolist() == shown[:4].tolist()


def test_the_regression_is_at_its_optimum(script: ModuleType) -> None:
    """There the gradient of cross entropy and pull vanishes; written out for the standardised features."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, generator=draw) * torch.tensor([1, 2, 3, 4, 50.0]) + 7
    y = (torch.rand(60, 3, generator=draw) < torch.sigmoid(x[:, :1] - 7)).float()
    w, b = script.fitted(x, y, pull=0.1)
    z, plain = (x - x.mean(0)) / x.std(0), w * x.std(0)
    over = torch.sigmoid(x @ w.T + b) - y
    torch.testing.assert_close(over.T @ z / 60 + 2 * 0.1 * plain, torch.zeros(3, 5), atol=1e-3, rtol=0)
    torch.testing.assert_close(over.mean(0), torch.zeros(3), atol=1e-3, rtol=0)


def test_the_file_is_a_network_that_knows_the_classes(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, file = "shapes:n=16,size=64,objects=2", tmp_path / "head.safetensors"
    monkeypatch.setattr(script, "PULLS", (0.01,))
    monkeypatch.setattr(sys, "argv", ["x", "--data", data, "--test-data", f"{data},seed=1", "--out", str(file)])
    script.main()
    assert "mean average precision on 16 other pictures" in capsys.readouterr().out
    network, pictures = load_classifier("timm/tf_efficientnet_lite0", file), read_data(data)
    samples = [pictures[i] for i in range(16)]
    shown = torch.stack([script.present(sample, len(network.labels)) for sample in samples])
    with torch.inference_mode():
        scores = network.logits(torch.cat([network.prepare(sample.image[None]) for sample in samples]))
    value, _ = script.precision(scores, shown)
    assert value > 0.95, "it has learned the pictures that it saw"

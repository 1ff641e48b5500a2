"""The example scripts that write maps of other libraries, run with those libraries, and their folders judged."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import maskwise as mw

EXAMPLES = Path(__file__).parents[2] / "examples" / "foreign_maps"
DATA = "shapes:n=3,size=64"


@pytest.mark.parametrize(
    ("script", "library", "size"),
    [
        ("captum_maps", "captum", (224, 224)),
        ("grad_cam_maps", "pytorch_grad_cam", (224, 224)),
        ("torchcam_maps", "torchcam", (7, 7)),
    ],
)
def test_a_script_writes_a_folder_that_compare_reads(
    script: str, library: str, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library)
    monkeypatch.setattr(sys, "argv", [script, DATA, str(tmp_path / "maps"), "--limit", "2"])
    monkeypatch.syspath_prepend(str(EXAMPLES))
    runpy.run_path(str(EXAMPLES / f"{script}.py"), run_name="__main__")
    files = sorted((tmp_path / "maps").rglob("*.npy"))
    assert len(files) == 2 and all(np.load(path).shape == size for path in files)
    classifier = mw.load_classifier("efficientnet_lite0")
    board = mw.compare(
        {"theirs": tmp_path / "maps", "ours": "grad_cam"}, DATA, classifier, ["area", "average_drop"], limit=2
    )
    assert board.lines[0].pictures == 2 and 0 < board.cell("theirs", "area").value < 100
    if library != "captum":  # of the same layer: another library's CAM is ours nearly
        assert board.cell("theirs", "average_drop").value == pytest.approx(
            board.cell("ours", "average_drop").value, abs=15
        )

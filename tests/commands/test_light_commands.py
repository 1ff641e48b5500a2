"""Commands that only look, or refuse, do not wait for the libraries of those that train and measure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SLOW = ("lightning", "torchmetrics", "captum", "skimage", "scipy.stats", "gradio")  # seconds of processor time each
PROGRAM = """
import contextlib, io, json, sys
from maskwise.cli import app
found = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            app(words)
            code = 0
        except SystemExit as end:
            code = end.code or 0
    found.append([code, [name for name in json.loads(sys.argv[2]) if name in sys.modules]])
print(json.dumps(found))
"""
PICTURE = Path(__file__).parents[2] / "src" / "maskwise" / "assets" / "pictures" / "cat.jpg"


def test_none_of_them_loads_what_takes_seconds(tmp_path: Path) -> None:
    """In one process, one after the other, so that the first which loads something is seen."""
    commands = {
        "methods": 0, "classifiers": 0, "recipes": 0, "datasets": 0, "layers": 0,
        "plan casm_lite0": 0, "plan casm_lite0 --set nothing=1": 2,
        f"train casm_lite0 --data {tmp_path / 'nothing'} --out {tmp_path / 'out'}": 2,
        f"train nothing --data {tmp_path} --out {tmp_path / 'out'}": 2,
        f"pack shapes:n=2,size=32 --out {tmp_path / 'packed'}": 0,
        f"explain {PICTURE} --method grad_cam --out {tmp_path / 'explained'}": 0,
    }  # fmt: skip
    asked = json.dumps([words.split() for words in commands])
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, asked, json.dumps(SLOW)], capture_output=True, text=True, check=True
    )
    found = dict(zip(commands, json.loads(ran.stdout), strict=True))
    assert found == {words: [code, []] for words, code in commands.items()}, ran.stderr

"""An audit that is ended in any of its parts goes on: the same numbers and the same page as of one that never was."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from pathlib import Path

import pytest
import torch
from audit.scenes import scenes
from faults.commanding import called, tiny

from maskwise.core.modes import eval_mode
from maskwise.data import read_data

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")

TYPED = shlex.split("audit --data scenes --method gradient --batch 4 --out out")
STRIKES = (
    ("maskwise.infill.telea:Telea.fill", 5, signal.SIGKILL),  # rows of single pictures
    ("maskwise.audit.figures:save_figure", 1, signal.SIGTERM),
    ("maskwise.audit.errors:_card", 3, signal.SIGKILL),
    ("maskwise.audit.conflict:masked_in", 3, signal.SIGINT),
    ("maskwise.audit.spurious:square_of", 3, signal.SIGKILL),
    ("maskwise.audit.shortcut:probe", 1, signal.SIGTERM),
    ("maskwise.audit.sanity:moved", 1, signal.SIGKILL),
    ("maskwise.core.files:_sync", 6, signal.SIGKILL),  # a file is written and has not got its name
    ("maskwise.report.audit_page:audit_page", 1, signal.SIGKILL),  # JSON and CSV are there, the page is not
)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit that nothing disturbed."""
    folder = tmp_path_factory.mktemp("audit")
    scenes(folder / "scenes", 36)
    label_as_answered(folder / "scenes")
    code, said = called(TYPED, folder, folder / "said")
    assert code == 0, said
    sections = json.loads((folder / "out" / "audit.json").read_text())["sections"]
    assert not [name for name in ("errors", "background", "spurious") if sections[name]["not_done"]]
    assert "lost" in sections["background"]
    return folder


def label_as_answered(data: Path) -> None:
    """The toy network is right on all but three of the pictures: else half of an audit has nothing to ask."""
    network, read = tiny(), read_data(str(data))
    images = torch.stack([read[i].resized(network.input_size).image for i in range(len(read))])
    with eval_mode(network), torch.no_grad():
        said = network.logits(network.prepare(images)).argmax(1).tolist()
    assert len(set(said)) > 1
    said[:3] = [(c + 1) % 8 for c in said[:3]]
    lines = [f"{record.id.removeprefix('images/')},{c}" for record, c in zip(read.records, said, strict=True)]
    (data / "labels.csv").write_text("\n".join(["file,label", *lines]) + "\n")


def files(out: Path) -> dict[str, bytes]:
    """Everything but the store of rows, whose pages depend on when they were written."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*")) if path.is_file() and "rows.db" not in path.name
    }  # fmt: skip


@pytest.mark.parametrize(("strike", "call", "number"), STRIKES)
def test_what_goes_on_is_what_was_never_ended(
    strike: str, call: int, number: signal.Signals, straight: Path, tmp_path: Path
) -> None:
    (tmp_path / "scenes").symlink_to(straight / "scenes")
    code, said = called(TYPED, tmp_path, tmp_path / "said", (strike, call, number))
    assert code == (-number if number == signal.SIGKILL else 128 + number), said
    left = files(tmp_path / "out")
    assert "audit.html" not in left
    for name, content in left.items():  # what has its name is whole
        if name.endswith(".json"):
            json.loads(content)
        if not Path(name).name.startswith(".") and not name.startswith("parts"):
            assert content == files(straight / "out")[name], name
    code, said = called(TYPED, tmp_path, tmp_path / "said")
    assert code == 0, said
    assert files(tmp_path / "out") == files(straight / "out")

"""A study's worker that is killed: its cell is reported, the others go on, and the next run does it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from faults.breaking import STUDY
from faults.killable import context

from maskwise.studies import SCALES, run_study
from maskwise.studies.run_config import RunConfig, sources_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")


def test_a_killed_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forked = context()  # which start at once
    monkeypatch.setattr("maskwise.studies.processes.mp.get_context", lambda _: forked)
    smoke = SCALES["smoke"]
    train, test = sources_of([], [], smoke)
    config = RunConfig(smoke, train, test, {"tiny": None}, (), smoke.limit)
    found = run_study(STUDY, config, tmp_path, devices=2)
    assert set(found.failures) == {"killed"} and "killed by signal 9" in found.failures["killed"]
    assert found.made == 2 and set(found.rows) == {"a", "b"}
    again = run_study(STUDY, config, tmp_path, devices=2)
    assert again.made == 1 and not again.failures
    assert again.numbers["killed", "area"].value == pytest.approx(again.numbers["b", "area"].value)

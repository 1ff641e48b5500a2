"""Two writers of one folder: the second is told who is first; a lock goes with its process, however it ends."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import tiny_net

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.lock import check_free, holds_nothing, locked
from maskwise.studies import SCALES, run_study, studies
from maskwise.studies.run_config import RunConfig, sources_of
from maskwise.training import Recipe, train

HOLD = """
import sys
from maskwise.core.lock import locked
with locked(sys.argv[1], "training"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def training(out: Path) -> Path:
    recipe = Recipe(epochs=1, fraction=1.0, batch_size=4, input_size=32, thinning="F")
    classifier = Classifier(tiny_net(classes=8), input_size=32, name="tiny")
    return train(recipe, "shapes:n=4,size=40,labels=own", classifier=classifier, out=out, device="cpu", resume=True)


def test_the_second_is_told_who_is_first_and_a_kill_frees_the_folder(tmp_path: Path) -> None:
    out, smoke = tmp_path / "out", SCALES["smoke"]
    with another(out) as process:
        with pytest.raises(InputError, match=f"another training writes there \\(process {process.pid} on "):
            training(out)
        with pytest.raises(InputError, match=f"process {process.pid} "):
            check_free(out)
        assert sorted(p.name for p in out.iterdir()) == [".lock", ".lock-owner"], "nothing of the second"
    assert holds_nothing(out)
    (out / ".masker.123.tmp.safetensors").write_bytes(b"half of a file")
    assert training(out).is_file()
    assert not list(out.glob(".*"))
    study, (trained, tested) = studies.get("casm-statistics"), sources_of([], [], smoke)
    with another(out / "cells" / study.name), pytest.raises(InputError, match="another run of this study writes"):
        run_study(study, RunConfig(smoke, trained, tested), out)


def test_a_folder_made_for_nothing_goes_again(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / "a" / "b"):
        raise KeyError
    assert not (tmp_path / "a").exists()
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "kept").touch()
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["kept"]


def test_who_waits_gets_the_folder_when_its_owner_ends(tmp_path: Path) -> None:
    got = threading.Event()

    def wait() -> None:
        with locked(tmp_path, wait=True):
            got.set()

    waiting = threading.Thread(target=wait)
    with another(tmp_path):
        waiting.start()
        assert not got.wait(0.5), "while another process holds it"
    assert got.wait(30)
    waiting.join()


def test_the_same_process_twice(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(InputError, match="another run writes there"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass

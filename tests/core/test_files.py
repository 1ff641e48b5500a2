"""Atomic writes: all or nothing, also when the disk or the place is bad (the plain cases: test_small_rooms)."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskwise.core import files
from maskwise.core.errors import InputError
from maskwise.core.files import atomic_folder, atomic_write, check_writable, writable_folder


def test_the_check_creates_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("check", [check_writable, writable_folder])
@pytest.mark.parametrize("below", ["file", "file/a/b", "n" * 300])
def test_places_that_can_not_be_written(tmp_path: Path, check: Callable[[Path], Any], below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can't write to .*`out`"):
        check(tmp_path / below)


def test_folders_above_are_made(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a" / "b" / "c.txt") as temporary:
        temporary.write_text("x")
        assert temporary.parent == tmp_path / "a" / "b", "a rename is only atomic within one disk"
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


def test_a_full_disk_is_bad_input_and_leaves_nothing(tmp_path: Path) -> None:
    for context in (atomic_write, atomic_folder):
        with pytest.raises(InputError, match="No space left"), context(tmp_path / "x"):
            raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_folder_never_takes_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(InputError, match="can't write"), atomic_folder(tmp_path / "x") as temporary:
        (temporary / "new").touch()
    assert [p.name for p in tmp_path.rglob("*")] == ["x"] and (tmp_path / "x").read_text() == "mine"


def test_the_old_folder_comes_back_if_the_new_one_can_not_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "old").touch()
    rename, calls = os.replace, []

    def second_fails(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(InputError, match="Input/output"), atomic_folder(tmp_path / "f") as temporary:
        (temporary / "new").touch()
    assert [p.name for p in tmp_path.rglob("*")] == ["f", "old"]


def killed(code: str, folder: Path) -> None:
    """A process that is killed within ``atomic_folder``."""
    script = f"""
import os, sys
from pathlib import Path
from maskwise.core import files
{code}
with files.atomic_folder(Path({str(folder)!r}) / "f") as temporary:
    (temporary / "new").touch()
    if not {code!r}:
        os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": SOURCE})
    assert done.returncode == -9


SOURCE = str(Path(files.__file__).parents[2])
BETWEEN = "files._sync = lambda path: None; rename = os.replace\n\
os.replace = lambda a, b: (rename(a, b), os.kill(os.getpid(), 9))"


@pytest.mark.skipif(os.name == "nt", reason="can't kill so, nor ask whether a process is there")
@pytest.mark.parametrize("code", ["", BETWEEN])
def test_what_a_kill_left_goes_with_the_next_run(tmp_path: Path, code: str) -> None:
    """Also between the two renames, when the old folder stands aside: it comes back, and is replaced as ever."""
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "old").touch()
    killed(code, tmp_path)
    assert [p for p in tmp_path.iterdir() if p.name.startswith((".writing-", ".old-"))]
    foreign = tmp_path / ".writing-another+1-x"
    mine = tmp_path / f".writing-{files._owner()}-x"
    foreign.mkdir(), mine.mkdir()
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "f"):
        raise KeyboardInterrupt
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([foreign.name, mine.name, "f"])
    assert [p.name for p in (tmp_path / "f").iterdir()] == ["old"]


@pytest.mark.skipif(os.name == "nt", reason="can't ask whether a process is there")
def test_an_old_folder_that_was_replaced_goes_too(tmp_path: Path) -> None:
    """Killed after the second rename, before the old folder was removed."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    left = tmp_path / f".old-{files._owner().partition('-')[0]}-{ended.pid}-x"
    (left / "f").mkdir(parents=True)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "new").touch()
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "f"):
        raise KeyboardInterrupt
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["f", "new"]


def test_long_names(tmp_path: Path) -> None:
    name = "n" * 240
    with atomic_folder(tmp_path / name), atomic_write(tmp_path / f"{name}.txt") as temporary:
        temporary.touch()
    assert {p.name for p in tmp_path.iterdir()} == {name, f"{name}.txt"}


def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.skipif(sys.platform == "win32", reason="has no harmless way to ask for a process")
def test_what_a_kill_left_goes_at_the_next_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a process of this machine that is gone was making; a folder that was set aside comes back."""
    number, mine = gone(), files._owner().partition("-")[0]
    kept = {
        f".writing-{mine}-{os.getpid()}-abc", f".writing-{int(mine, 16) ^ 1:08x}-{number}-abc", ".writing-mine",
        f".backup-{mine}-{number}-abc", f".a-{mine}-{os.getpid()}.tmp.txt", "seen.txt",
    }  # fmt: skip
    for name in kept | {f".writing-{mine}-{number}-a_1", f".a-{mine}-{number}.tmp.txt", f".a\n-{mine}-{number}.tmp"}:
        (tmp_path / name).touch()
    (tmp_path / f".old-{mine}-{number}-a" / "result").mkdir(parents=True)
    (tmp_path / f".old-{mine}-{number}-a" / "result" / "map").touch()
    (tmp_path / f".old-{mine}-{number}-b" / "seen.txt").mkdir(parents=True)
    files._sweep.cache_clear()
    with atomic_write(tmp_path / "new.txt") as temporary:
        temporary.touch()
    assert {p.name for p in tmp_path.iterdir()} == kept | {"new.txt", "result"}
    assert (tmp_path / "result" / "map").is_file() and (tmp_path / "seen.txt").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="has no harmless way to ask for a process")
@pytest.mark.parametrize("context", [atomic_write, atomic_folder])
def test_a_killed_writer_s_half_is_swept(tmp_path: Path, context: Callable[[Path], Any]) -> None:
    code = (
        f"import os; from maskwise.core.files import {context.__name__} as begin\n"
        f"with begin({str(tmp_path / 'x')!r}) as half:\n"
        "    half.touch(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert len(list(tmp_path.iterdir())) == 1, "the half"
    files._sweep.cache_clear()
    check_writable(tmp_path)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_between_the_two_renames_brings_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "old").touch()
    rename = os.replace

    def stopped(source: Path, target: Path) -> None:
        if Path(source).name.startswith(".writing-"):
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "f") as temporary:
        (temporary / "new").touch()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["f", "old"]

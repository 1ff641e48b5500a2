"""Data that is not there is refused before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from calling import call, refused

from maskwise.commands.sources import check_there
from maskwise.core.errors import InputError
from maskwise.data import read_data


@pytest.mark.parametrize("source", ["no/such", "no/such.zip", "no/such.zip@test", "gone.zip", "./gone"])
def test_what_is_not_there_is_said_as_the_reader_says_it(source: str) -> None:
    for read in (check_there, read_data):
        with pytest.raises(InputError) as error:
            read(source)
        assert str(error.value) == f"{source}: neither a folder nor a zip archive of pictures"


@pytest.mark.parametrize("source", ["imagenet:/no/such", "cub:no/such@train", "twins:no/such.zip"])
def test_of_a_named_data_set_too(source: str) -> None:
    with pytest.raises(InputError, match="nothing is there"):
        check_there(source)


@pytest.mark.parametrize(
    "source",
    ["shapes", "shapes:n=3,size=40", "twins:shapes:n=3", "http://a.b/c.tar", "s3://a/b.tar", "pipe:cat no/such.tar",
     "no/x-{000..127}.tar", "C:/no/such", "x" * 5000 + "/y"],
)  # fmt: skip
def test_what_is_no_plain_path_is_left_to_the_reader(source: str) -> None:
    check_there(source)


def test_what_is_there_passes(tmp_path: Path) -> None:
    folder = tmp_path / "a@b.c"
    folder.mkdir()
    for source in (folder, f"{folder}@val", f"folder:{folder}", f"folder:{folder}@val"):
        check_there(str(source))


@pytest.mark.parametrize("words", [["evaluate", "--data"], ["explain"], ["explain", "--method", "grad_cam"]])
def test_commands_refuse_without_torch(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom maskwise.cli import app\n"
        f"try:\n    app({[*words, str(tmp_path / 'gone')]!r})\n"
        "except SystemExit as end:\n    print(end.code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"], done.stderr
    if words != ["explain"]:
        return
    refused(call("explain", tmp_path / "gone.jpg"), "gone.jpg: no such file")
    for words in (["train", "casm_lite0", "--out", tmp_path / "o"], ["compare", "--methods", "center"]):
        refused(call(*words, "--data", tmp_path / "gone"), "neither a folder nor a zip")

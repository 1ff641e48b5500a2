"""What is no data, no picture and no file of the kind that is wanted is refused before anything heavy is loaded."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from calling import call, refused
from PIL import Image

from maskwise.commands import completion
from maskwise.commands.given_files import NO_TEXTS, TEXTS, check_file, check_files
from maskwise.commands.groups.ungrouped import ungrouped
from maskwise.commands.registration import commands
from maskwise.commands.serve import _offline
from maskwise.commands.sources import DATA, NOT_A_LAYOUT, check_data
from maskwise.core.errors import InputError
from maskwise.core.walk import none_below
from maskwise.data import datasets, read_data
from maskwise.data.picture_list import read_sources

# A call of every command that reads something, with what is tried in place of @.
CALLS = {
    "explain": "explain @",
    "evaluate": "evaluate --data @ --method center",
    "compare": "compare --data @ --methods center --out o",
    "panel": "panel --data @ --out o",
    "audit": "audit --data @ --out o",
    "train": "train casm_lite0 --data @ --out o",
    "train, held out": "train casm_lite0 --data shapes:n=9 --held-out @ --out o",
    "fit": "fit @ --out o",
    "pack": "pack @ --out o",
    "study": "study landscape --data @ --out o",
    "study, test data": "study landscape --test-data @ --out o",
    "study, pictures with masks": "study learned --scale smoke --mask-data @ --out o",
    "live": "live --folder @ --out o",
    **{
        f"check {name}": f"check {name} --data @ --out o"
        for name in ("arcc", "drt", "focus", "leak", "max-sensitivity", "mprt", "roar")
    },
    "check f-fidelity": "check f-fidelity --data @ --train-data shapes:n=3 --out o",
    "to fine-tune on": "check f-fidelity --train-data @ --data shapes:n=3 --out o",
    "a layout": "evaluate --data imagenet:@ --method center",
    "twins": "evaluate --data twins:@ --method center",
    "maps": "evaluate --data shapes:n=3 --maps @",
    "named maps": "compare --data shapes:n=3 --maps theirs=@ --out o",
    "a video": "live --video @ --out o.mp4",
    "a checkpoint": "convert @ o.safetensors",
    "weights": "layers --weights @",
    "a masker": "evaluate --data shapes:n=3 --masker @",
    "a masker to export": "export casm --masker @ --onnx o.onnx",
    "another checkpoint": "audit --data shapes:n=3 --compare-with @ --out o",
    "a part": "evaluate --data shapes:n=3 --apart @",
    "your own code": "methods --import @",
}
TEXT_IS_RIGHT = {"labels": "serve --labels @", "recipe": "plan @", "training": "train @ --data shapes:n=3 --out o"}
# What an audit is asked for that it does not know.
UNDER_OPTIONS = {
    "worse": "--fail-on worse", "no criterion": "--fail-on nothing", "no bound": "--limit-set nothing=1"
}  # fmt: skip
_AUDIT = ("audit", "--data", "shapes:n=3", "--out", "o")
OUTPUTS = {"out", "onnx", "web", "new", "judges"}
OTHERWISE = {"imports", "runtime"}  # looked at by who reads them: one is read first of all, the other needs no network

RUN = """
import json, sys, time
from typer.testing import CliRunner
from maskwise.cli import app
said = []
for words in json.load(sys.stdin):
    began = time.process_time()
    result = CliRunner().invoke(app, words)
    line = result.stderr or repr(result.exception)
    said.append([result.exit_code, line, "torch" in sys.modules, time.process_time() - began])
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | str]:
    """Places with nothing in them to be explained."""
    home = tmp_path_factory.mktemp("wrong")
    for folder in ("empty", "texts", "deep"):
        (home / folder).mkdir()
    for folder in ("texts", "deep/a/b"):
        (home / folder).mkdir(parents=True, exist_ok=True)
        (home / folder / "notes.txt").write_text("no picture")
    (home / "notes.txt").write_text("no picture")
    return {
        "empty": home / "empty", "missing": home / "gone", "texts": home / "texts", "deep texts": home / "deep",
        "text": home / "notes.txt", "everything": "/",
    }  # fmt: skip


@pytest.fixture(scope="module")
def said(
    wrong: dict[str, Path | str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[int, str, bool, float]]:
    """What every call says of every place, all of them in one process, which has seen no library before."""
    cases = {f"{name}: {place}": _words(line, path) for name, line in CALLS.items() for place, path in wrong.items()}
    cases |= {
        f"{name}: {place}": _words(line, wrong[place])
        for name, line in TEXT_IS_RIGHT.items()
        for place in ("empty", "everything", "missing", *(() if name == "labels" else ("text",)))
    }
    fake = tmp_path_factory.mktemp("fake") / "dog.jpg"
    fake.write_text("no picture")
    for name in ("explain", "fit", "evaluate", "pack"):
        cases[f"{name}: no picture"] = _words(CALLS[name], fake)
    cases["explain: several"] = ["explain", str(fake), str(fake)]
    cases |= {f"audit: {what}": [*_AUDIT, *words.split()] for what, words in UNDER_OPTIONS.items()}
    cases["frames: text"] = _words("live --folder @ --out o", wrong["text"])
    if len(_offline()) > 1:
        cases["labels: of several"] = _words(TEXT_IS_RIGHT["labels"], wrong["text"])
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps(list(cases.values())), capture_output=True, text=True, check=True,
        cwd=tmp_path_factory.mktemp("here"),
    )  # fmt: skip
    return dict(zip(cases, map(tuple, json.loads(done.stdout)), strict=True))


def _words(line: str, path: Path | str) -> list[str]:
    return [word.replace("@", str(path)) for word in line.split()]


@pytest.mark.skipif(os.name == "nt", reason="the folder of all files has another name there")
def test_every_command_refuses_wrong_places_at_once(said: dict[str, tuple[int, str, bool, float]]) -> None:
    """In one line, within a second of work, and without PyTorch."""
    wanted = {name: 2 if name == "explain: several" else 1 for name in said}
    bad = {
        name: told
        for name, told in said.items()
        if told[0] != 2 or told[1].count("\n") != wanted[name] or not told[1].startswith("maskwise: ") or told[3] > 1
    }
    assert not bad
    assert not [name for name, told in said.items() if told[2]], "loads PyTorch (the first of these, and all after it)"


def test_the_line_names_the_place_and_the_option(said: dict[str, tuple[int, str, bool, float]]) -> None:
    endings = {
        "explain: empty": "the folder holds no pictures", "explain: no picture": "not a picture in a format that is kn",
        "explain: everything": "/: is the folder of all files; name the one that is meant",
        "evaluate: everything": "/: has no folder images/, and no pictures of its own",
        "evaluate: text": "notes.txt: neither a folder nor a zip archive of pictures",
        "a layout: texts": "texts: holds no pictures", "a layout: text": "notes.txt: is a file, not a folder",
        "maps: empty": "the folder holds no maps (.npy, .npz, .png)", "maps: text": "maps come in a folder",
        "audit: worse": "add --compare-with", "audit: no criterion": "there is no criterion nothing",
        "audit: no bound": "--limit-set takes criterion=value", "frames: text": "notes.txt: is a file, not a folder",
        "weights: missing": "gone: no such file", "weights: empty": "empty: is a folder; name the file",
        "a video: text": "notes.txt: is a file of text", "fit: no picture": "dog.jpg: not a picture",
    }  # fmt: skip
    for name, ending in endings.items():
        assert ending in said[name][1], (name, said[name][1])
    for name, option in (("weights", "--weights"), ("a masker to export", "--masker"), ("a video", "--video"),
                         ("another checkpoint", "--compare-with"), ("your own code", "--import")):  # fmt: skip
        assert said[f"{name}: missing"][1].startswith(f"maskwise: {option} "), said[f"{name}: missing"]


def _paths() -> Iterator[tuple[str, str]]:
    """(command, parameter) of all that take a path or data."""
    for name, one in commands.items():
        for option, parameter in inspect.signature(ungrouped(one.function)).parameters.items():
            if "Path" in str(parameter.annotation) or "data" in option or option in ("held_out", "maps", "recipe"):
                yield name, option


def test_every_option_that_reads_a_path_is_looked_at() -> None:
    """So that a new command, or a new option, is not forgotten here."""
    looked_at = {*DATA, *TEXTS, *NO_TEXTS, "pictures", "folder", "maps", "recipe"}
    assert not {option for _, option in _paths()} - looked_at - OUTPUTS - OTHERWISE
    reading = {name for name, option in _paths() if option in (*DATA, "pictures", "folder", "video", "old", "recipe")}
    called = " ".join(f" {line} " for line in (*CALLS.values(), *TEXT_IS_RIGHT.values()))
    assert not {name for name in reading if f" {name} " not in called and name != "recipes"}


# Data


@pytest.mark.parametrize("source", ["no/such", "no/such.zip", "no/such.zip@test", "gone.zip", "./gone", "a\0b/c"])
def test_what_is_not_there_is_said_as_the_reader_says_it(source: str) -> None:
    for read in (check_data, read_data):
        with pytest.raises(InputError) as error:
            read(source)
        assert str(error.value) == f"{source}: neither a folder nor a zip archive of pictures"


@pytest.mark.parametrize("source", ["imagenet:/no/such", "cub:no/such@train", "twins:imagenet:/no/such"])
def test_of_a_named_data_set_too(source: str) -> None:
    with pytest.raises(InputError, match="nothing is there"):
        check_data(source)


@pytest.mark.parametrize("place", ["empty", "texts", "deep texts", "text"])
@pytest.mark.parametrize("form", ["{}", "folder:{}", "{}@links=follow"])
def test_the_reader_says_the_same(place: str, form: str, wrong: dict[str, Path | str]) -> None:
    if place == "text" and form != "{}":
        return
    said = []
    for read in (check_data, read_data):
        with pytest.raises(InputError) as error:
            read(form.format(wrong[place]))
        said.append(str(error.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("name", sorted({*completion.registered("data", "datasets")} - {*NOT_A_LAYOUT}))
def test_a_file_in_place_of_the_folder_of_a_named_data_set(name: str, wrong: dict[str, Path | str]) -> None:
    for read in (check_data, read_data):
        with pytest.raises(InputError) as error:
            read(f"{name}:{wrong['text']}")
        assert str(error.value) == f"{wrong['text']}: is a file, not a folder"


@pytest.mark.parametrize(
    "source",
    ["shapes", "shapes:n=3,size=40", "twins:shapes:n=3", "http://a.b/c.tar", "s3://a/b.tar", "pipe:cat no/such.tar",
     "no/x-{000..127}.tar", "C:/no/such", "x" * 5000 + "/y", "mine:anything"],
)  # fmt: skip
def test_what_is_no_plain_path_is_left_to_the_reader(source: str) -> None:
    check_data(source)


def test_what_is_there_passes(tmp_path: Path) -> None:
    folder = tmp_path / "a@b.c"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.PNG")
    for source in (folder, f"{folder}@val", f"folder:{folder}", f"folder:{folder}@val", f"twins:{folder}"):
        check_data(str(source))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("images.csv", "file\n")
    for source in (tmp_path / "a.zip", f"{tmp_path / 'a.zip'}@test", f"mine:{tmp_path}"):
        check_data(str(source))
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "index.json").write_text("{}")
    check_data(str(tmp_path / "shards"))
    (tmp_path / "x.tar").write_bytes(b"")
    check_data(str(tmp_path / "x.tar"))


def test_layouts_that_hold_pictures_are_all_but_those_that_are_named(tmp_path: Path) -> None:
    """A data set of another kind, of none but drawn scenes or of archives, would be refused for want of pictures."""
    known = set(completion.registered("data", "datasets"))
    assert known == set(datasets.names()) and set(NOT_A_LAYOUT) < known
    for name in known - set(NOT_A_LAYOUT):
        with pytest.raises(InputError):
            check_data(f"{name}:{tmp_path}")


def test_all_pictures_that_are_named_one_by_one_are_looked_at(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.jpg", tmp_path / "good.png"
    bad.write_text("no picture")
    Image.new("RGB", (8, 8)).save(good)
    refused(call("fit", bad, bad, "--out", tmp_path / "o"), "bad.jpg: not a picture")
    assert len(read_sources([str(good), str(bad)])[0]) == 2, "of some that are none it says so when it reads them"


# The walk


def test_the_walk_ends_where_it_can_not_be_sure(tmp_path: Path) -> None:
    for folder in ("a", "b/c", "b/d"):
        (tmp_path / folder).mkdir(parents=True)
    assert none_below(tmp_path, (".png",))
    (tmp_path / "b" / "d" / "x.PNG").touch()
    assert not none_below(tmp_path, (".png",))
    (tmp_path / "b" / "d" / "x.PNG").unlink()
    for number in range(9):
        (tmp_path / "a" / f"{number}.txt").touch()
    assert none_below(tmp_path, (".png",)) and not none_below(tmp_path, (".png",), most=8)
    (tmp_path / "b" / "link").symlink_to(tmp_path / "a")
    assert not none_below(tmp_path, (".png",)), "it may lead to pictures"
    assert not none_below(tmp_path / "gone", (".png",))


# Files


def test_files(tmp_path: Path) -> None:
    text, weights = tmp_path / "a.txt", tmp_path / "a.pth"
    text.write_text("one\ntwo\n")
    weights.write_bytes(b"PK\x03\x04\0\0")
    recipe = tmp_path / "mine.yml"
    recipe.write_text("base: casm\n")
    pointer = tmp_path / "lfs.pth"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    check_files({"labels": text, "weights": weights, "masker": "hf://owner/name", "recipe": "casm", "classifier": "x"})
    check_files({"classifier": ["timm/resnet18.a1_in1k", "efficientnet_lite0"], "recipe": str(recipe)})
    check_files({"masker": "distilled"})  # as `export` has it
    for given, words in (
        ({"weights": text}, "a file of text"),
        ({"masker": "gone.safetensors"}, "gone.safetensors`: no such file"),
        ({"weights": pointer}, "only a pointer of Git LFS"),
        ({"classifier": str(tmp_path / "gone.py:net")}, "gone.py`: no such file"),
        ({"classifier": [str(tmp_path / "gone.onnx")]}, "gone.onnx`: no such file"),
        ({"recipe": str(tmp_path / "mine.yaml")}, "no recipe '.*mine.yaml': name a .yaml file"),
        ({"recipe": "casn"}, "such as casm"),
        ({"recipe": str(text)}, "expected lines of `key: value`"),
        ({"folder": tmp_path / "gone"}, "no such folder"),
        ({"maps": f"{tmp_path / 'gone'}"}, "gone: no such folder; maps come in a folder"),
        ({"maps": f"theirs={text}"}, "is a file; maps come in a folder"),
    ):
        with pytest.raises(InputError, match=words):
            check_files(given)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_names_that_no_system_has(name: str) -> None:
    with pytest.raises(InputError, match="no such file"):
        check_file(name, "weights")


def test_a_file_that_may_not_be_read_is_left_to_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.pth").write_text("text")
    # There alone: other threads of the process open files, too.
    monkeypatch.setattr("maskwise.commands.given_files.open", denied, raising=False)
    check_file(tmp_path / "a.pth", "weights", text=False)


def test_a_folder_with_a_recipe_s_name_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "casm").mkdir()
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {"recipe": "casm"}
    check_files(given)


# What the readers say where commands leave it to them


def test_commands_and_their_words(tmp_path: Path) -> None:
    refused(call("explain", tmp_path / "gone.jpg"), "gone.jpg: no such file")
    for words in (["train", "casm_lite0", "--out", tmp_path / "o"], ["compare", "--methods", "center"]):
        refused(call(*words, "--data", tmp_path / "gone"), "neither a folder nor a zip")

"""Messages of the library name parameters; the command line puts its options there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from calling import call, refused
from torch import nn

import maskwise
from maskwise.commands.flags import flags_of, with_flags, with_setting
from maskwise.commands.groups.sess import key_values
from maskwise.commands.groups.ungrouped import ungrouped
from maskwise.commands.registration import commands

ROOT = Path(maskwise.__file__).parent
FLAG = re.compile(r"(?<![\w-])--[a-z]")
OTHERS = {  # options of pip, custom properties of style sheets, and the page that shows commands to be copied
    "doctor.py", "web/panel.py", "report/show.py", "training/watch/page.py",
}  # fmt: skip


def texts(path: Path) -> Iterator[str]:
    """String constants that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_no_text_of_the_library_names_an_option() -> None:
    named = {
        f"{path.relative_to(ROOT)}: {text}"
        for path in ROOT.rglob("*.py")
        if (inside := path.relative_to(ROOT).as_posix()) not in OTHERS and not inside.startswith("commands/")
        for text in texts(path)
        if FLAG.search(text)
    }
    assert not named


def test_options_stand_where_the_command_has_the_parameter() -> None:
    flags = {"out": "--out", "resume": "--resume", "accumulate": "--accumulate"}
    assert with_flags("name another `out`", flags) == "name another --out"
    assert with_flags("go on with `resume=True`, or `accumulate=2`", flags) == "go on with --resume, or --accumulate 2"
    assert with_flags("`seed=3` and `maskwise methods`", flags) == "`seed=3` and `maskwise methods`"
    assert with_flags("`out` outside a command") == "`out` outside a command"


def test_the_option_of_each_parameter() -> None:
    found = flags_of(ungrouped(commands["check roar"].function))
    assert found["fractions"] == "--percent" and found["preset"] == "--sess-preset" and found["out"] == "--out"
    assert flags_of(ungrouped(commands["train"].function))["compiler"] == "--compile"
    assert "pictures" not in flags_of(ungrouped(commands["explain"].function)), "an argument has no option"


def test_a_setting_is_named_as_it_was_given() -> None:
    assert with_setting("needs masks >= 2", "--set", {"masks": 1, "ask": 2}) == "needs masks >= 2 (--set masks=1)"
    assert with_setting("no picture", "--set", {"masks": 1}) == "no picture"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evaluate", "--data", "shapes:n=2", "--save-maps"), ("--save-maps needs a folder: add --out",)),
        (("evaluate", "--data", "shapes:n=2", "--mean", "a,b"), ("--mean takes numbers",)),
        (("evaluate", "--data", "shapes:n=2", "--std", "0,1,1"), ("--std above 0",)),
        (("pack", "shapes:n=2", "--out", "OUT", "--size-mb", "0"), ("--size-mb above 0, or --count",)),
        (("study", "sess-pointing", "--scale", "huge", "--out", "OUT"), ("--scale is smoke",)),
        (("evaluate", "--data", "shapes:n=2", "--method", "rise", "--set", "masks=1"), ("(--set masks=1)",)),
        (("evaluate", "--data", "shapes:n=2", "--import", "none.py"), ("--import none.py: no such Python file",)),
    ],
)
def test_what_the_command_line_says(tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    refused(call(*(str(tmp_path / "out") if word == "OUT" else word for word in arguments)), *words)


def test_a_layer_that_looks_like_a_number_is_taken_as_it_was_written() -> None:
    """0.10 is no other writing of 0.1 where both are layers; as a number it is."""
    body = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(11)))
    classifier = maskwise.Classifier(nn.Sequential(body, nn.Flatten(), nn.Linear(192, 4)), input_size=8)
    for text in ("0.1", "0.10"):
        made = maskwise.explainer("grad_cam", classifier, **key_values([f"layer={text}"], "--set"))
        assert made.layer == text  # type: ignore[attr-defined]
    made = maskwise.explainer("occlusion", classifier, **key_values(["window=0.50", "stride=0.50"], "--set"))
    assert made.identity["window"] == 0.5 and type(made.identity["window"]) is float

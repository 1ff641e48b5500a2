"""What ``--json`` prints is what its schema says; a schema is one, and says no to something else."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from audit.scenes import reader, scenes
from calling import call
from convert.test_convert import save_casm
from faults.commanding import WORKS, called, prepare, released

from maskwise.audit import audit
from maskwise.audit.limits import CRITERIA
from maskwise.commands.registration import commands
from maskwise.schemas import SCHEMAS, schema

jsonschema = pytest.importorskip("jsonschema")
LISTS = ("methods", "metrics", "classifiers", "recipes", "datasets")


def check(found: Any, command: str) -> None:
    jsonschema.Draft202012Validator(schema(command)).validate(found)


@pytest.mark.parametrize("command", SCHEMAS)
def test_each_is_a_schema_of_a_command(command: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(command))
    assert command in commands
    with pytest.raises(jsonschema.ValidationError):
        check({"other": 1}, command)


@pytest.mark.parametrize("command", LISTS)
def test_lists(command: str) -> None:
    check(json.loads(call(command, "--json").stdout), command)


def test_every_command_that_prints_json_has_a_schema() -> None:
    printing = {name for name in commands if any(line.split()[:1] == ["--json"] for line in help_of(name))}
    assert printing == set(SCHEMAS), printing ^ set(SCHEMAS)


def help_of(name: str) -> list[str]:
    return call(*name.split(), "--help").stdout.splitlines()


def printed(said: str) -> Any:
    """The JSON among what was said on both streams."""
    lines = said.splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line[0] in "[{")
    return json.JSONDecoder().raw_decode("".join(lines[start:]))[0]


@pytest.mark.skipif(sys.platform == "win32", reason="runs in forked processes")
@pytest.mark.parametrize("name", sorted({*WORKS, "live"} - {"audit", "evaluate", "compare"}))
def test_real_output(name: str, tmp_path: Path) -> None:
    prepare(tmp_path)
    if name == "convert":
        save_casm(tmp_path / "old.chk", *released())
    typed = "live --folder pictures --method grad_cam --out out" if name == "live" else WORKS[name].arguments
    code, said = called([*shlex.split(typed), "--json"], tmp_path, tmp_path / "said")
    assert code == 0, said
    check(printed(said), name)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("doctor", ("--offline",)), ("layers", ("--classifier", "efficientnet_lite0")),
        ("study", ("--list", "--scale", "smoke")),
        ("plan", ("--evaluate", "center", "--images", 9)),
    ],
)  # fmt: skip
def test_real_output_of_lists(command: str, said: tuple[object, ...]) -> None:
    found = call(command, *said, "--json")
    assert found.exit_code in (0, 1), found.stderr
    check(json.loads(found.stdout), command)


def test_the_demo(tmp_path: Path) -> None:
    found = call("demo", "--out", tmp_path / "demo", "--json")
    assert found.exit_code == 0, found.stderr
    check(json.loads(found.stdout), "demo")


def test_leaderboards(picture_folder: Path, tmp_path: Path) -> None:
    said = ["--data", picture_folder, "--limit", 2, "--json", "--metrics", "le,energy_lift", "--out", tmp_path / "out"]
    for command in (["evaluate", "--method", "center"], ["compare", "--methods", "center,uniform"]):
        found = call(*command, *said)
        assert found.exit_code == 0, found.stderr
        check(json.loads(found.stdout), command[0])


def test_audits_with_and_without_truth(tmp_path: Path) -> None:
    full, bare = scenes(tmp_path / "full"), scenes(tmp_path / "bare", 9, boxes=False, labels=False)
    lines = (full / "labels.csv").read_text().replace("000.png,0", "000.png,1")  # so that it makes an error
    (full / "labels.csv").write_text(lines)
    for name, data in (("full", full), ("bare", bare)):
        found = audit(reader("object"), data, "gradient", compare_with=reader("ground"), out=tmp_path / name / "out")
        plain = json.loads(json.dumps(found.plain(), allow_nan=False))
        check(plain, "audit")
        changed = json.loads(json.dumps(plain))
        changed["criteria"][0]["holds"] = "yes"
        with pytest.raises(jsonschema.ValidationError):
            check(changed, "audit")
    named = schema("audit")["properties"]["criteria"]["items"]["properties"]["name"]["enum"]
    assert tuple(named) == CRITERIA

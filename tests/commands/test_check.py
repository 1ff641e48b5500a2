"""``maskwise check``: what each command writes and prints, and one clear line and exit 2 for bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import tiny_net
from typer.testing import CliRunner

import maskwise as mw
from maskwise.checks import SmallTraining, checks, mask_probe
from maskwise.checks.networks import networks
from maskwise.classifiers import Classifier
from maskwise.cli import app
from maskwise.commands.check.options import makers_with_sess
from maskwise.commands.groups import Model

if TYPE_CHECKING:
    from typer.testing import Result

SHORT = ("--train-set", "epochs=1", "--train-set", "batch_size=8")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def done(result: Result, out: Path) -> dict[str, Any]:
    """What ``result.json`` holds, after a run that went well."""
    assert result.exit_code == 0, result.output + str(result.exception)
    assert (out / "plot.png").stat().st_size > 1000
    found: dict[str, Any] = json.loads((out / "result.json").read_text())
    return found


@pytest.fixture
def small(tiny: Classifier, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    """The toy classifier in place of the one that a command would load, and in place of the network it trains."""
    # Not in place of load_classifier: a module first imported meanwhile would keep the toy for good.
    monkeypatch.setattr(Model, "load", lambda self: tiny.to(self.on()))
    monkeypatch.setitem(networks._entries, "small_cnn", lambda classes: tiny_net(classes=classes))
    return tiny


def test_mprt(small: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = call("mprt", "--data", picture_folder, "--limit", 4, "--method", "grad_cam", "--out", out)
    found = done(ran, out)
    assert found["protocol"]["pictures"] == 4 and found["protocol"]["data"] == [str(picture_folder)]
    assert len(found["rows"]) == 2 * 7 * 4
    assert "cascading" in ran.stdout and "ssim" in ran.stdout
    one = call(
        "mprt", "--data", picture_folder, "--limit", 4, "--method", "random", "--set", "seed=2",
        "--mode", "independent", "--depth", 0, "--init", "released", "--undefined", "left_out", "--out", out, "--json",
    )  # fmt: skip
    found = done(one, out)
    assert json.loads(one.stdout) == found
    assert {row["mean"] for row in found["rows"]} == {1.0}


def test_drt(small: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = ("drt", "--data", picture_folder, "--size", 32, "--method", "edges", "--method", "gradient", *SHORT)
    found = done(call(*given, "--out", out), out)
    assert {row["method"] for row in found["rows"]} == {"edges", "gradient"}
    assert {row["mean"] for row in found["rows"] if row["method"] == "edges"} == {1.0}
    assert found["protocol"]["pictures"] == {"train": 15, "test": 5}
    assert set(found["trainings"]) == {"true labels", "random labels", "true labels again"}
    again = call(*given, "--out", out, "--json")
    assert json.loads(again.stdout)["rows"] == found["rows"]


def test_roar(small: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = call(
        "roar", "--data", picture_folder, "--test-data", picture_folder, "--test-limit", 10, "--size", 32,
        "--method", "edges", "--percent", "50", "--repeats", 2, "--network", "pretrained", *SHORT, "--out", out,
    )  # fmt: skip
    found = done(ran, out)
    assert [(row["method"], row["removed"]) for row in found["rows"]] == [
        ("none", 0), ("random removal", 50), ("edges", 50),
    ]  # fmt: skip
    assert found["protocol"]["training"]["augment"] is True
    assert len((out / "rows.jsonl").read_text().splitlines()) == 7 and list((out / "maps").iterdir())
    assert "±" in ran.stdout


def test_leak(small: Classifier, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_probe, "PROBE", SmallTraining(epochs=1))
    out, judges = tmp_path / "out", tmp_path / "judges"
    given = ("leak", "--data", picture_folder, "--method", "grad_cam", "--judge-size", 24, *SHORT, "--judges", judges)
    ran = call(*given, "--data", picture_folder, "--test-data", picture_folder, "--out", out)
    found = done(ran, out)
    facts = found["protocol"]
    assert facts["pictures"] == 20 and facts["training_pictures"] == 40 and facts["robust_judge_size"] == 24
    assert facts["training"]["lr"] == 1e-4 and facts["training"]["epochs"] == 1 and facts["fill"] == "mean"
    (one,) = found["summaries"]
    assert one["answer"] in ("leaks", "suspected", "undecided", "none found") and one["answer"] in ran.stdout
    assert 0 <= one["probe"]["mean"] <= 1 and -1 <= one["over_boxes"]["mean"] <= 1 and found["boxes"]["mean"] <= 1
    assert len(found["rows"]) == 16 and "Label leak" in (out / "check.html").read_text()
    again = call(*given, "--limit", 10, "--no-probe", "--out", tmp_path / "b", "--json")
    assert again.exit_code == 2 and "too few" in again.output
    assert len(list(judges.iterdir())) == 1
    again = call(*given, "--no-probe", "--out", tmp_path / "b", "--json")
    found = json.loads(again.stdout)
    assert found["summaries"][0]["probe"] is None and found["protocol"]["pictures"] == 5
    unknown = call("leak", "--data", "shapes:n=8", "--method", "grad_cam", "--out", tmp_path / "c")
    assert unknown.exit_code == 2 and "no label among the" in unknown.output


def test_mprt_of_a_method_inside_sess(small: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    given = ("mprt", "--data", picture_folder, "--limit", 3, "--method", "grad_cam", "--mode", "cascading")
    found = done(call(*given, "--sess", "--scales", 2, "--out", tmp_path / "s"), tmp_path / "s")
    assert found["protocol"]["explainer"]["sess"]["scales"] == [32, 41]
    assert found["protocol"]["explainer"]["of"]["method"] == "grad_cam"
    plain = done(call(*given, "--out", tmp_path / "p"), tmp_path / "p")
    assert [row["mean"] for row in plain["rows"]] != [row["mean"] for row in found["rows"]]


def test_drt_and_roar_with_and_without_sess(small: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    drt, roar = tmp_path / "drt", tmp_path / "roar"
    sess = ("--sess", "both", "--scales", 2, "--size", 32, *SHORT)
    found = done(call("drt", "--data", picture_folder, "--method", "gradient", *sess, "--out", drt), drt)
    assert {row["method"] for row in found["rows"]} == {"gradient", "gradient + SESS"}
    assert "sess" in found["protocol"]["methods"]["gradient + SESS"]["explainer"]
    given = ("--data", picture_folder, "--method", "edges", "--percent", "50", "--repeats", 1)
    found = done(call("roar", *given, *sess, "--out", roar), roar)
    assert [row["method"] for row in found["rows"]] == ["none", "random removal", "edges", "edges + SESS"]


def test_a_masker_is_trained_once_for_both() -> None:
    trained: list[str] = []

    def make(classifier: Classifier, data: object, folder: Path) -> object:
        trained.append(folder.name)
        return mw.explainer("gradient", classifier)

    one, two = (Classifier(tiny_net(seed), input_size=32) for seed in range(2))
    makers = makers_with_sess({"m": make}, "both", {"scales": 2})  # type: ignore[dict-item]
    for name, making in makers.items():
        for classifier in (one, two):
            made = making(classifier, None, Path(name))  # type: ignore[arg-type]
            assert isinstance(made, mw.SESS) == name.endswith("SESS") and made.classifier is classifier
    assert trained == ["m", "m"]
    assert list(makers_with_sess({"m": make}, "yes", {})) == ["m + SESS"]  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mprt", "--method", "no_such"], "unknown method"),
        (["mprt", "--mode", "sideways"], "modes are"),
        (["mprt", "--init", "ones"], "unknown initialisation"),
        (["mprt", "--undefined", "maybe"], "zero or left_out"),
        (["mprt", "--device", "abacus"], "device 'abacus' is unknown"),
        (["mprt", "--data", "nowhere"], "nowhere"),
        (["drt", "--method", "no_such"], "unknown method"),
        (["drt", "--random-labels", "mixed"], "shuffled or uniform"),
        (["drt", "--train-set", "epoch=3"], "there are epochs"),
        (["drt", "--train-set", "epochs"], "key=value"),
        (["drt", "--method", "casm", "--recipe", "no_such"], "no recipe"),
        (["drt", "--test-limit", "3"], "--test-data"),
        (["drt", "--network", "huge"], "unknown network"),
        (["roar", "--percent", "ten"], "--percent"),
        (["roar", "--percent", "0,10"], "above 0"),
        (["roar", "--sess", "perhaps"], "no, yes or both"),
        (["drt", "--scales", "3"], "--scales belongs to SESS"),
        (["mprt", "--sess", "--sess-set", "pools=max"], "pools"),
        (["roar", "--method", "edges", "--method", "center", "--set", "a=1"], "one --method"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    small: Classifier, picture_folder: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    data = [] if "--data" in arguments else ["--data", str(picture_folder)]
    method = [] if "--method" in arguments else ["--method", "edges"]
    result = call(*arguments, *data, *method, "--out", tmp_path / "out")
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("maskwise: ") and words in lines[0], result.stderr


def test_a_folder_that_cannot_be_written_is_said_first(small: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = call("mprt", "--data", "nowhere", "--out", tmp_path / "file" / "out")
    assert result.exit_code == 2 and "can't write" in result.stderr


def test_every_check_has_a_command_that_asks_what_it_asks() -> None:
    assert checks.names() == ["arcc", "drt", "f_fidelity", "focus", "leak", "max_sensitivity", "mprt", "roar"]
    listed = " ".join(call("--help").stdout.split())
    for check, facts in checks.items():
        name = check.replace("_", "-")
        assert f" {name} " in listed
        told = " ".join(call(name, "--help").stdout.split())
        assert facts["title"].lower() in told.lower() and facts["paper"] in told

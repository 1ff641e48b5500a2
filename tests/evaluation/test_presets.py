"""Presets of metrics: each can be built, what it says is asked for, and runs that differ from a paper's are told."""

from __future__ import annotations

import csv
import inspect
import json
import re
from pathlib import Path

import pytest
from calling import call, refused
from conftest import tiny_net

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.commands.evaluate import evaluate_command
from maskwise.core.errors import InputError
from maskwise.evaluation import Settings
from maskwise.evaluation.presets import chosen_metrics, metric_presets
from maskwise.measures import metric, metrics

PRESETS = sorted(metric_presets())


@pytest.fixture
def judge() -> Classifier:
    return Classifier(tiny_net(classes=8), input_size=32, name="tiny")


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_can_be_built_and_run(name: str, judge: Classifier) -> None:
    preset, chosen = metric_presets()[name], chosen_metrics(name)
    assert chosen.metrics == preset.metrics and len(set(preset.metrics)) == len(preset.metrics) and preset.title
    assert set(preset.options) <= set(preset.metrics)
    for one in chosen.metrics:
        made, own = metric(one, judge, **chosen.options.get(one, {})), dict(chosen.options.get(one, {}))
        assert {key: made.protocol()[key] for key in own} == own
    Settings(**preset.run)  # type: ignore[arg-type]
    assert name not in metrics and name != "all", "a name has one meaning"


@pytest.mark.parametrize("name", ["paper:rise", "paper:sess"])
def test_curves_of_papers_take_equal_pixels_as_the_released_evaluator_does(name: str) -> None:
    """RISE's, which Group-CAM and SESS use as well, flips an ascending sort: of equal pixels the last goes first."""
    for one in chosen_metrics(name).metrics:
        assert chosen_metrics(name).options[one]["ties"] == "reversed", one


def test_names_are_put_together_in_order_each_once() -> None:
    assert chosen_metrics("quick, pxap,le").metrics == ("le", "f1", "pointing", "area", "pxap")
    assert chosen_metrics(["pxap", "quick"]).metrics == ("pxap", "le", "f1", "pointing", "area")
    everything = chosen_metrics("all").metrics
    assert set(everything) == set(metrics.names()) and metrics.facts(everything[0])["family"] == "localisation"
    with_options = chosen_metrics("le,paper:casm")
    assert with_options.options["le"] == {"rule": "rank", "truth": "truncated"}


@pytest.mark.parametrize(
    ("names", "words"),
    [("", "names no metric"), ("localization", "localisation"), ("paper:casn", "paper:casm"), ("lee", "le"),
     ("quick,paper:casm", "quick and paper:casm set le differently")],
)  # fmt: skip
def test_what_is_refused(names: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        chosen_metrics(names)


def test_a_run_that_is_set_otherwise_is_told(judge: Classifier) -> None:
    with pytest.warns(UserWarning, match="paper:casm is measured with resize crop, and this run has squash"):
        chosen_metrics("paper:casm").told(Settings())
    with pytest.warns(UserWarning, match="target label, and this run has predicted"):
        chosen_metrics("paper:wsol").told(Settings())


def test_from_python(judge: Classifier) -> None:
    board = mw.compare(["center"], "shapes:n=3,size=40,labels=own", judge, "paper:casm", resize="crop")
    assert board.protocol["metrics"]["le"]["options"]["rule"] == "rank"
    assert {"om", "le", "f1", "tv_sum"} <= set(board.metrics)


def test_the_command_line_lists_them_and_takes_them(judge: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda name, weights=None: judge)
    rows = {row["name"]: row for row in json.loads(call("metrics", "--json").stdout)}
    assert "paper:casm" in rows["le"]["presets"] and rows["mae"]["presets"] == []
    assert all(name in call("metrics").stdout for name in PRESETS)
    given = ("evaluate", "--data", "shapes:n=3,size=40", "--method", "center", "--metrics")
    with pytest.warns(UserWarning, match="this run has squash"):
        result = call(*given, "paper:casm", "--metric-set", "le.component=false", "--json")
    assert result.exit_code == 0, result.output
    options = json.loads(result.stdout)["protocol"]["metrics"]["le"]["options"]
    assert options["rule"] == "rank" and options["component"] is False
    refused(call(*given, "paper:casm", "--metric-set", "le.alpha=2"), "alpha=2 is of rule='value' only, not 'rank'")
    refused(call(*given, "paper:sass"), "paper:sess")


def test_completion_reads_the_same_names() -> None:
    from maskwise.commands.completion import metric_list

    assert set(PRESETS) == {name for name in metric_list("") if name in metric_presets()}


def test_docs_name_each_preset() -> None:
    text = (Path(__file__).parents[2] / "docs" / "measuring.md").read_text(encoding="utf-8")
    assert set(PRESETS) <= set(re.findall(r"`([a-z][\w:-]*)`", text))


def test_what_is_measured_unasked_is_what_the_study_recommends() -> None:
    """The study's best metric of faithfulness, and no other one, from Python and on the command line."""
    path = Path(__file__).parents[2] / "docs" / "results" / "metric-trust.csv"
    with path.open(encoding="utf-8", newline="") as file:
        values = {row["row"]: float(row["value"]) for row in csv.DictReader(file) if row["column"] == "all"}
    best = max(values, key=lambda row: values[row])
    assert best.startswith("insertion - deletion,"), "the recommendation has changed: let the default follow"
    unasked = {inspect.signature(one).parameters["metrics"].default for one in (mw.evaluate, mw.compare)}
    unasked.add(inspect.signature(evaluate_command).parameters["metrics"].default)
    (name,) = unasked
    chosen = chosen_metrics(name).metrics
    faithful = [one for one in chosen if metrics.facts(one)["family"] == "faithfulness"]
    assert faithful == ["insertion_deletion"]
    assert len(chosen) > len(faithful), "where the object is, too"

"""The protocol in words: from the metrics' own settings, in the table's lines, the JSON and the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calling import call
from conftest import tiny_net

from maskwise.classifiers import Classifier
from maskwise.evaluation.protocol_words import metric_in_words, run_in_words
from maskwise.measures import metric, metrics


@pytest.fixture
def judge() -> Classifier:
    return Classifier(tiny_net(classes=8), input_size=32, name="tiny")


@pytest.mark.parametrize("name", metrics.names())
def test_every_setting_of_every_metric_is_said(name: str, judge: Classifier) -> None:
    """Each of a metric's values changes the words, or is said as it stands."""
    options = metric(name, judge).protocol()
    said = metric_in_words(name, options, 224 * 224)
    assert said.startswith(f"{name}: ") if options else said == ""
    assert "None" not in said
    for key in options:
        if key not in ("classifier", "fingerprint", "classes"):
            assert metric_in_words(name, {**options, key: "another"}, 224 * 224) != said, key


@pytest.mark.parametrize("name", metrics.names())
def test_no_setting_is_said_by_its_bare_name(name: str, judge: Classifier) -> None:
    options = metric(name, judge).protocol()
    said = metric_in_words(name, options, 224 * 224).removeprefix(f"{name}: ").split("; ")
    for key, value in options.items():
        assert key == "seed" or f"{key} {value}" not in said
        if isinstance(value, str):
            assert not any(part.endswith(f" {key} {value}") for part in said)


def test_a_threshold_is_of_what_the_metric_cuts(judge: Classifier) -> None:
    """Of one name, and of three metrics three things."""
    said = {name: metric_in_words(name, metric(name, judge).protocol()) for name in ("le", "hallucination", "pxap")}
    assert "found by an IoU above 0.5" in said["le"]
    assert "IoU" not in said["hallucination"] and "slopes above 0.1" in said["hallucination"]
    assert "100 thresholds" in said["pxap"]


@pytest.mark.parametrize("name", ["deletion", "aopc", "insertion_deletion"])
def test_what_goes_becomes_what_the_fill_says(name: str, judge: Classifier) -> None:
    plain, filled = (metric_in_words(name, metric(name, judge, **o).protocol()) for o in ({}, {"fill": "blur"}))
    assert "become the mean colour" in plain and "filled" not in plain
    assert "mean colour" not in filled and "holes are filled by blur" in filled and "anew at every step" in filled
    once = metric_in_words(name, metric(name, judge, fill="colour_noise", refill="once", draws=3).protocol())
    assert "once for all steps" in once and "mean over 3 fills" in once


def test_cells_come_before_their_sets(judge: Classifier) -> None:
    said = metric_in_words("mu_fidelity", metric("mu_fidelity", judge).protocol())
    assert said.startswith("mu_fidelity: 9x9 cells; 200 random sets of them; each in a set with the chance 0.2; holes ")


@pytest.mark.parametrize(
    ("step", "words"),
    [(1792, "1,792 pixels (3.6%) a step"), (0.25, "25% of the pixels a step"), ("3.571%", "3.571% of the pixels a"),
     (1, "1 pixel (0.002%) a step")],
)  # fmt: skip
def test_a_step(step: object, words: str) -> None:
    assert words in metric_in_words("insertion", {"step": step}, 224 * 224)
    assert "1,792 pixels a step" in metric_in_words("insertion", {"step": 1792})


def test_fill_and_followed_class(judge: Classifier) -> None:
    words = metric_in_words("insertion", metric("insertion", judge, blur="rise11", target="class").protocol())
    assert "the 11 pixels of RISE" in words and "follows the class that is explained" in words
    assert "become the mean colour" in metric_in_words("deletion", metric("deletion", judge).protocol())


@pytest.mark.parametrize(
    ("resize", "target", "words"),
    [("squash", "predicted", ("squashed to 224x224", "lite0 finds likeliest")), ("crop", "label", ("central", "label")),
     ("none", "each", ("own size", "each class", "1,200 cases of val")), ("none", "cat", ("class cat of lite0",))],
)  # fmt: skip
def test_a_run(resize: str, target: str, words: tuple[str, ...]) -> None:
    said = " ".join(run_in_words("lite0", (224, 224), {"val": 1200}, resize, target))
    assert all(word in said for word in words), said


def test_pictures_of_a_network_that_is_not_square_are_of_its_shape() -> None:
    assert "squashed to 512x128 pixels" in run_in_words("wide", (128, 512), {"val": 12}, "squash", "predicted")[0]
    assert "512x512 pixels after" in run_in_words("wide", (128, 512), {"val": 12}, "crop", "predicted")[0]


def test_in_terminal_json_and_page(judge: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda name, weights=None: judge)
    result = call("evaluate", "--data", "shapes:n=3,size=40", "--method", "center", "--metrics", "deletion", "--out",
                  tmp_path, "--metric-set", "deletion.step=128")  # fmt: skip
    lines = json.loads((tmp_path / "leaderboard.json").read_text())["protocol"]["in_words"]
    page = (tmp_path / "leaderboard.html").read_text()
    assert len(lines) == 3 and "128 pixels (12%) a step" in lines[2]
    assert all(line in result.stdout for line in lines)
    shown, folded = page.replace("&#39;", "'").split("</summary>", 1)
    assert all(f"<li>{line}</li>" in shown for line in lines[:2])
    # How a metric is set stands behind the fold, with its exact settings.
    assert lines[2].removeprefix("deletion: ") in folded and lines[2].removeprefix("deletion: ") not in shown

"""An audit of some parts says of them what the whole one says, and of the others that they were not asked for."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from audit.scenes import criterion, reader
from calling import call
from matplotlib.figure import Figure

from maskwise.audit import CRITERIA, audit
from maskwise.audit.figures import estimates_figure
from maskwise.audit.finding import Criterion, Interval, Section
from maskwise.audit.limits import DECIDED_BY, part_of
from maskwise.audit.run import SECTIONS, which_cannot_fail
from maskwise.audit.verdict import fit_to_show, verdict_section
from maskwise.core.errors import InputError
from maskwise.report.audit_page import audit_page

OWN = "from audit.scenes import reader\n\n\ndef ground():\n    return reader('ground')\n"


def test_every_criterion_has_its_part_and_every_part_its_section(data: Path, tmp_path: Path) -> None:
    assert list(SECTIONS) == list(DECIDED_BY)
    assert [name for name in CRITERIA if part_of(name) is None] == ["worse"]
    found = audit(reader("object"), data, "gradient", out=tmp_path, limit=6)
    for section in found.sections[1:]:
        assert {one.name for one in section.criteria} <= {*DECIDED_BY[section.name]}


def test_some_parts_are_those_of_the_whole(data: Path, tmp_path: Path) -> None:
    part = audit(reader("ground"), data, "gradient", parts=["background", "accuracy"], out=tmp_path / "a")
    assert [one.name for one in part.sections] == ["verdict", "accuracy", "background"]
    assert not (tmp_path / "a" / "parts" / "shortcut.json").exists(), "what takes long is not done"
    left_out = ["errors", "evidence", "spurious", "shortcut", "sanity"]
    assert [name for name, why in part.stamp["not_done"].items() if why == "it was not asked for"] == left_out
    assert f"Not asked for: {', '.join(left_out)}." in part.sections[0].says[2] and "Not asked for" in audit_page(part)
    whole = audit(reader("ground"), data, "gradient", out=tmp_path / "a")
    for name in ("accuracy", "background"):
        assert part.plain()["sections"][name] == whole.plain()["sections"][name]
    assert criterion(whole, "background").holds is criterion(part, "background").holds is False
    assert "Not asked for" not in " ".join(whole.sections[0].says)
    alone = audit(reader("ground"), data, "gradient", parts="errors", out=tmp_path / "a")
    assert alone.sections[0].says[0] == "No question was asked that holds or fails."


def test_what_was_not_asked_is_not_known() -> None:
    good = [Criterion(name, "", True, "", of_explainer=True) for name in ("accuracy", "evidence", "mprt")]
    assert fit_to_show(good)[0] is True and fit_to_show(good, ["errors", "spurious"])[0] is True
    for part in ("accuracy", "evidence", "shortcut", "sanity"):
        assert fit_to_show(good, [part]) == (None, f"not known: {part} was not asked for")
    assert fit_to_show([Criterion("evidence", "", False, ""), *good], ["sanity"])[0] is False


def test_of_a_class_without_an_interval_chance_is_not_excluded() -> None:
    """Of pictures of one subject alone there is none, which is null."""
    found = Section("evidence", "", numbers={"classes": [{"class": "a", "low": None}, {"class": "b", "low": 1.2}]})
    assert any("Look at the pictures of a: for it" in line for line in verdict_section([found]).says)
    found.numbers["classes"].pop(0)
    assert not any("Look at the pictures" in line for line in verdict_section([found]).says)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_figure_shows_what_has_no_interval(swapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr("maskwise.audit.figures.save_figure", lambda figure, *_: drawn.append(figure))
    found = [("one", Interval(4, math.nan, math.nan, 1)), ("nine", Interval(2, 1.5, 2.5, 9))]
    estimates_figure(found[::-1] if swapped else found, tmp_path / "a.png", "lift", (1.0, "chance"))
    low, high = drawn[0].axes[0].get_xlim()
    assert low == 0 and 4 < high < 4.5


def test_a_criterion_that_no_part_asks_can_not_pass_unseen(data: Path, tmp_path: Path) -> None:
    found = audit(reader("object"), data, "gradient", parts=["accuracy"], out=tmp_path / "a")
    assert which_cannot_fail(found, ["classes", "leak", "worse"]) == [
        "classes is not known, so it does not fail: it was not asked for",
        "leak is not known, so it does not fail: it was not asked for",
        "worse is not known, so it does not fail: it was not asked",
    ]
    for wrong, match in (("sanety", "no part sanety: they are accuracy, errors"), ([], "at least one part")):
        with pytest.raises(InputError, match=match):
            audit(reader("object"), data, "gradient", parts=wrong, out=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_command(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    said = ["audit", "--classifier", f"{file}:ground", "--data", data, "--method", "grad_cam", "--out", tmp_path / "a"]
    refused = call(*said, "--parts", "accuracy", "--fail-on", "accuracy,classes")
    assert refused.exit_code == 2 and "classes is decided by the part background: add it to --parts" in refused.stderr
    assert not (tmp_path / "a").exists()
    failing = call(*said, "--parts", "background", "--fail-on", "background")
    assert failing.exit_code == 1 and "Not asked for: accuracy, errors, evidence" in failing.stdout
    assert call(*said, "--parts", "nothing").exit_code == 2

"""Several pictures of one subject say no more than one: intervals of copies are those of the originals."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from audit.scenes import reader, scenes

from maskwise.core.bootstrap import interval
from maskwise.evaluation import Contender, Settings, measure
from maskwise.evaluation.agreement import agreement
from maskwise.evaluation.leaderboard import leaderboard
from maskwise.explainers import explainer
from maskwise.measures import metric

COPIES = 3


def copied(home: Path, into: Path, copies: int = COPIES, subjects: bool = True) -> Path:
    """Each picture so many times, under names of its own, with its label and boxes; and whose each one is."""
    (into / "images").mkdir(parents=True)
    rows = ["file,subject"]
    for file in sorted((home / "images").iterdir()):
        for copy in range(copies):
            shutil.copy(file, into / "images" / f"{file.stem}_{copy}.png")
            rows.append(f"{file.stem}_{copy}.png,{file.stem}")
    for table in [name for name in ("boxes.csv", "labels.csv", "findings.csv") if (home / name).exists()]:
        head, *lines = (home / table).read_text().splitlines()
        again = [line.replace(".png", f"_{copy}.png") for line in lines for copy in range(copies)]
        (into / table).write_text("\n".join([head, *again]) + "\n")
    if subjects:
        (into / "subjects.csv").write_text("\n".join(rows) + "\n")
    return into


def measured(*data: Path) -> Any:
    classifier = reader("object")
    three = [Contender.of(name, explainer(name, classifier)) for name in ("gradient", "center", "random")]
    asked = {name: metric(name) for name in ("le", "energy_pointing", "area")}
    return measure(three, classifier, [str(one) for one in data], asked, Settings())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes(tmp_path_factory.mktemp("subjects") / "home", 20)


def test_copies_of_pictures_leave_every_interval_as_it_was(home: Path, tmp_path: Path) -> None:
    once, thrice = (leaderboard(measured(one)) for one in (home, copied(home, tmp_path / "copies")))
    apart = leaderboard(measured(copied(home, tmp_path / "apart", subjects=False)))
    for line, other, wrong in zip(once.lines, thrice.lines, apart.lines, strict=True):
        for name, cell in line.cells.items():
            same = other.cells[name]
            assert (same.value, same.low, same.high) == pytest.approx((cell.value, cell.low, cell.high), abs=1e-5)
            assert same.pictures == COPIES * cell.pictures
            if cell.difference is not None:
                assert same.difference == pytest.approx(cell.difference, abs=1e-5)
            if cell.high - cell.low > 1e-6:  # taken one by one they would be surer
                assert wrong.cells[name].high - wrong.cells[name].low < 0.8 * (cell.high - cell.low)
    assert "bootstrap over subjects" in thrice.protocol["interval"]
    assert "bootstrap over pictures" in once.protocol["interval"] == apart.protocol["interval"]
    [line] = [line for line in thrice.protocol["in_words"] if line.startswith("Subjects")]
    assert "the 60 pictures of" in line and "are of 20 subjects" in line


def test_agreement_of_metrics_draws_subjects_too(home: Path, tmp_path: Path) -> None:
    once, thrice = (agreement(measured(one), 200) for one in (home, copied(home, tmp_path / "copies")))
    for part in ("low", "high"):
        assert torch.allclose(getattr(once.over_methods, part), getattr(thrice.over_methods, part), equal_nan=True)
    assert "over subjects" in thrice.protocol["interval"]


def test_a_subject_of_two_data_sets_is_drawn_once(home: Path, tmp_path: Path) -> None:
    """Of three copies in two sets each original is one subject still, though a set by itself has other rows."""
    whole = copied(home, tmp_path / "whole")
    for part, keep in (("left", "_0"), ("right", "_1")):
        shutil.copytree(whole, tmp_path / part)
        for file in (tmp_path / part / "images").iterdir():
            if not file.stem.endswith(keep):
                file.unlink()
        for table in ("boxes.csv", "labels.csv", "subjects.csv"):
            lines = (tmp_path / part / table).read_text().splitlines()
            (tmp_path / part / table).write_text("\n".join([lines[0], *(x for x in lines if keep in x)]) + "\n")
    once, both = leaderboard(measured(home)), leaderboard(measured(tmp_path / "left", tmp_path / "right"))
    for name in ("le", "energy_pointing"):
        one, two = once.cell("random", name), both.cell("random", name)
        assert (two.low, two.high) == pytest.approx((one.low, one.high), abs=1e-5)


def test_pictures_without_a_subject_are_each_their_own(home: Path, tmp_path: Path) -> None:
    made = copied(home, tmp_path / "some", 2)
    rows = (made / "subjects.csv").read_text().splitlines()
    (made / "subjects.csv").write_text("\n".join(rows[:11]) + "\n")  # of five originals
    with pytest.warns(UserWarning, match="names no subject of 30 of 40 pictures"):
        found = measured(made)
    [source] = found.pictures
    groups = found.groups([source])
    assert len(groups.unique()) == 35 and groups[:10].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    values = found.rows("random", "energy_pointing")
    own = torch.tensor([i // 2 if i < 10 else i for i in range(40)])
    wanted = interval(metric("energy_pointing"), values, groups=own)
    assert (cell := leaderboard(found).cell("random", "energy_pointing")) and (cell.low, cell.high) == wanted


def test_few_subjects_are_said_however_many_pictures_they_have(home: Path, tmp_path: Path) -> None:
    few = scenes(tmp_path / "few", 4)
    [line] = [x for x in leaderboard(measured(copied(few, tmp_path / "a", 5))).warnings if "subjects" in x]
    assert "all pictures are of 4 subjects" in line and "too narrow to trust" in line
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not [x for x in leaderboard(measured(home)).warnings if "subject" in x]

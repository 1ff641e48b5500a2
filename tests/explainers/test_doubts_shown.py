"""Warnings of maps reach everyone who sees the map: JSON, figure, pages, leaderboard and command line."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from calling import call, save_picture
from conftest import tiny_net
from PIL import Image
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.evaluation import Contender, Settings, leaderboard, measure
from maskwise.explain import explain_picture
from maskwise.explainers import explainer
from maskwise.explainers.doubts import doubts, line_of
from maskwise.measures import metric
from maskwise.report.explained import write_explanation
from maskwise.report.figure import CAPTION
from maskwise.report.leaderboard import write_html
from maskwise.report.page import write
from maskwise.report.page_explained import card_of

DOCS = Path(__file__).parents[2] / "docs"
ZERO = doubts.facts("zero_gradient")["cause"]


@pytest.fixture
def dead() -> Classifier:
    """The last layer weighs nothing, so that no gradient reaches any other."""
    net = tiny_net()
    with torch.no_grad():
        net[-1].weight.zero_()  # type: ignore[index, operator, union-attr]
    return Classifier(net, input_size=32, name="dead")


@pytest.fixture
def named(dead: Classifier, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda *given, **options: dead)
    return dead


def test_the_folder_and_the_page_of_a_picture(dead: Classifier, tmp_path: Path) -> None:
    path = save_picture(tmp_path / "dog.png", 40, 50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explanation, panels = explain_picture(path, explainer("grad_cam", dead), dead, "grad_cam", None)
    said = [line_of("zero_gradient", "grad_cam at 10", "dead")]
    assert list(explanation.warnings) == list(panels.warnings) == said and "warnings" not in explanation.measured
    write_explanation(explanation, panels, tmp_path / "dog")
    assert json.loads((tmp_path / "dog" / "result.json").read_text())["warnings"] == said
    write([card_of(explanation, panels, dead)], tmp_path / "r.html")
    assert ZERO in (tmp_path / "r.html").read_text()


def test_the_figure_has_a_line_for_it(tiny: Classifier, dead: Classifier, tmp_path: Path) -> None:
    path = save_picture(tmp_path / "dog.png", 40, 50)
    pages = []
    for classifier in (tiny, dead):
        explanation, panels = explain_picture(path, explainer("grad_cam", classifier), classifier, "grad_cam", "1")
        write_explanation(explanation, panels, tmp_path / classifier.name)
        pages.append(np.asarray(Image.open(tmp_path / classifier.name / "figure.png").convert("RGB")).astype(int))
    assert len(pages[1]) - len(pages[0]) == CAPTION
    assert (np.abs(pages[1][-CAPTION:] - [0xB3, 0x40, 0x0F]).sum(-1) < 30).any()


def test_explain_says_each_warning_once_with_its_pictures(named: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "c"):
        save_picture(tmp_path / "in" / f"{name}.png", 40, 50)
    ran = call("explain", tmp_path / "in", "--method", "grad_cam", "--out", tmp_path / "out", "--json")
    assert ran.exit_code == 0
    (said,) = ran.stderr.splitlines()
    assert said.startswith("maskwise: warning: grad_cam at 10 on dead: ") and said.endswith("(3 of 3 pictures)")
    assert [len(facts["warnings"]) for facts in json.loads(ran.stdout)] == [1, 1, 1]


def test_strict_explains_nothing_doubtful(named: Classifier, tmp_path: Path) -> None:
    path = save_picture(tmp_path / "dog.png", 40, 50)
    ran = call("explain", path, "--method", "grad_cam", "--strict", "--out", tmp_path / "out")
    assert ran.exit_code == 2 and ZERO in ran.stderr and not (tmp_path / "out" / "dog").exists()
    assert len(ran.stderr.splitlines()) == 1


def board(contenders: list[Contender], classifier: Classifier, folder: Path, out: Path | None = None):  # noqa: ANN201
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measure(contenders, classifier, [str(folder)], {"area": metric("area")}, Settings(batch=8), out)
    return leaderboard(found)


def test_an_evaluation_counts(tiny: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    """One line a kind, over all pictures; also when the rows come from disk."""

    def blank(images: Tensor, targets: Tensor) -> Tensor:
        return torch.zeros_like(images[:, 0])

    given = [Contender.of("edges", explainer("edges", tiny)), Contender("blank", blank, {})]
    first = board(given, tiny, picture_folder, tmp_path / "rows")
    assert first.warnings == [line_of("flat_map", "blank", "tiny", torch.ones(20))]
    again = board(given, tiny, picture_folder, tmp_path / "rows")
    assert again.warnings == first.warnings == again.plain()["warnings"]
    write_html(again, tmp_path / "board.html")
    assert "blank on tiny: the map is flat" in (tmp_path / "board.html").read_text()


def test_pictures_of_one_colour_are_one_line(tiny: Classifier, picture_folder: Path) -> None:
    for i in (3, 11):
        Image.new("RGB", (48, 40), "black").save(picture_folder / "images" / f"{i:02}.png")
    found = board([Contender.of("edges", explainer("edges", tiny))], tiny, picture_folder)
    (said,) = found.warnings
    assert said.startswith("edges on tiny: the map is flat") and said.endswith("(2 of 20 pictures)")


def test_a_comparison_on_another_classifier(tiny: Classifier, picture_folder: Path) -> None:
    other = Classifier(tiny_net(seed=1), input_size=32, name="other")
    found = board([Contender.of("grad_cam", explainer("grad_cam", tiny))], other, picture_folder)
    assert any(doubts.facts("other_classifier")["cause"] in line for line in found.warnings)


def test_evaluate_says_it_on_stderr(named: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    ran = call(
        "evaluate", "--data", picture_folder, "--method", "grad_cam", "--metrics", "area", "--out", tmp_path / "o"
    )
    assert ran.exit_code == 0 and ran.stderr.count("maskwise: warning: ") == 1 and "(20 of 20 pictures)" in ran.stderr


def test_a_strict_explainer_ends_an_evaluation(dead: Classifier, picture_folder: Path) -> None:
    with pytest.raises(InputError, match="no gradient of the class"):
        board([Contender.of("grad_cam", explainer("grad_cam", dead, strict=True))], dead, picture_folder)


def test_the_web_page_shows_it(dead: Classifier) -> None:
    from maskwise.report.page_cards import Stored
    from maskwise.web.job import ExplainJob
    from maskwise.web.panel import answers_panel
    from maskwise.web.pictures import Picture

    image = torch.rand(3, 40, 50)
    (found,) = ExplainJob(image, dead, ["grad_cam"]).answers(lambda progress: None)
    picture = Picture("a.png", (255 * image).byte(), Stored(50, 40))
    assert ZERO in answers_panel(picture, [found], dead.mean, "grad_cam", 1)


def test_the_documentation_lists_every_warning() -> None:
    text = (DOCS / "methods.md").read_text(encoding="utf-8")
    section = text.partition("## Warnings\n")[2].partition("\n## ")[0]
    for kind, facts in doubts.items():
        assert f"`{kind}`" in section and facts["cause"] in section and facts["cure"] in section, kind

"""``maskwise explain --target findings``: one map of each, nothing where there is none, a clear line elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from calling import call, refused
from finder import NAMES, colours, finder, scene, stored
from PIL import Image

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.walk import files_below
from maskwise.explain import explain_findings, explain_picture, look_at
from maskwise.explainers.targets import Targets
from maskwise.report.explained import folder_name, free_name
from maskwise.report.figure import CAPTION
from maskwise.report.page import write
from maskwise.report.page_explained import card_of
from maskwise.schemas import schema

OPTIONS = ("--method", "rise", "--set", "masks=16", "--target", "findings")
NOTHING = "finder finds nothing: no class has a probability above 0.5 (the likeliest is red, 0.0"


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Classifier:
    loaded = finder()
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda *given, **options: loaded)
    return loaded


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name, shown in (("none", ()), ("one", ("green",)), ("two", ("red", "blue"))):
        Image.fromarray(stored(scene(*shown))).save(tmp_path / "in" / f"{name}.png")
    return tmp_path / "in"


def test_each_finding_has_a_map(network: Classifier, pictures: Path, tmp_path: Path) -> None:
    ran = call("explain", pictures / "two.png", *OPTIONS, "--json", "--out", tmp_path / "out")
    assert ran.exit_code == 0 and not ran.stderr
    found = json.loads(ran.stdout)
    assert [facts["target"] for facts in found] == ["red", "blue"], "the likeliest first"
    folder = tmp_path / "out" / "two"
    assert {p.name for p in folder.iterdir()} == {"red", "blue", "figure.png", "findings.json"}
    assert json.loads((folder / "findings.json").read_text()) == found
    images = mw.load_images([pictures / "two.png"])
    with torch.no_grad():
        p = network.probabilities(network(network.prepare(images)))[0]
    for facts in found:
        own = folder / facts["target"]
        assert json.loads((own / "result.json").read_text()) == facts
        assert facts["probability"] == pytest.approx(float(p[NAMES.index(facts["target"])])) and facts["warnings"] == []
        alone = mw.explainer("rise", network, masks=16)(images, facts["target"])[0]
        assert np.allclose(np.load(own / "map.npy"), alone.numpy(), atol=1e-5)
        assert facts["measured"]["masks"] == 16
    rows = [np.asarray(Image.open(path)).shape[0] for path in (folder / "figure.png", folder / "red" / "figure.png")]
    assert rows[0] > rows[1] + 3 * CAPTION, "one row a finding"


def test_where_there_is_none_it_is_said(network: Classifier, pictures: Path, tmp_path: Path) -> None:
    ran = call("explain", pictures / "none.png", *OPTIONS, "--json", "--out", tmp_path / "out")
    assert ran.exit_code == 0
    (line,) = ran.stderr.splitlines()
    assert NOTHING in line and line.endswith("; no map") and "none.png" in line
    (facts,) = json.loads(ran.stdout)
    assert facts["target"] is facts["box"] is facts["area"] is None and facts["top"][0][0] == "red"
    assert [p.name for p in (tmp_path / "out" / "none").iterdir()] == ["findings.json"]
    assert json.loads((tmp_path / "out" / "none" / "findings.json").read_text()) == [facts]


def test_many_pictures(network: Classifier, pictures: Path, tmp_path: Path) -> None:
    Image.fromarray(stored(scene(dark=0.1))).save(pictures / "dark.png")
    ran = call("explain", pictures, *OPTIONS, "--report", "--out", tmp_path / "out")
    assert ran.exit_code == 0
    (line,) = ran.stderr.splitlines()
    assert "finds nothing in 2 of 4 pictures" in line and line.endswith("no map of dark.png, none.png")
    rows = [row.split("\t")[:3] for row in ran.stdout.splitlines()[1:-1]]
    assert [row[:2] for row in rows] == [
        ["dark.png", "nothing found"], ["none.png", "nothing found"], ["one.png", "green"], ["two.png", "red"],
        ["two.png", "blue"],
    ]  # fmt: skip
    assert [row[2] for row in rows[:2]] == ["", ""] and all(float(row[2]) > 0.5 for row in rows[2:])
    page = (tmp_path / "out" / "report.html").read_text()
    island = page.partition('type="application/json"')[2].partition(">")[2].partition("</script>")[0]
    cards = json.loads(island)["cards"]
    assert [[a["target"] for a in card["answers"]] for card in cards] == [[], [], ["green"], ["red", "blue"]]
    assert [bool(card["note"] and NOTHING in card["note"]) for card in cards] == [True, True, False, False]


def test_results_are_replaced_and_are_no_pictures(network: Classifier, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for target in ("findings", "predicted", "findings"):
        assert call("explain", pictures, *OPTIONS[:-1], target, "--out", out).exit_code == 0
        assert (out / "two" / "findings.json").is_file() == (target == "findings")
        assert (out / "two" / "result.json").is_file() == (target == "predicted")
    assert files_below(out, (".png",), lambda link: None) == []


def test_a_doubt_is_of_the_finding_that_it_is_of(network: Classifier, pictures: Path) -> None:
    """Asked for together, several classes share their lines: then each is asked for alone."""
    explain = mw.explainer("rise", network, masks=16)
    blue = NAMES.index("blue")

    def doubt_blue(images: torch.Tensor, targets: Targets, logits: torch.Tensor | None) -> None:
        assert targets.classes is not None
        explain.doubt("flat_map", bool((targets.classes == blue).any()))

    explain.doubt_findings = doubt_blue  # type: ignore[method-assign]
    look = look_at(pictures / "two.png", network)
    found = {e.target: e.warnings for e, _ in explain_findings(look, explain, "rise")}
    assert found["red"] == () and len(found["blue"]) == 1


def test_refusals(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = ("explain", pictures, "--target", "findings", "--out", tmp_path / "out")
    for activation, why in (("softmax", "classes exclude each other"), ("none", "no probabilities of classes")):
        loaded = finder(activation)
        monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda *given, made=loaded, **options: made)
        refused(call(*ask, "--method", "gradient"), "finder has no findings", why, "--activation sigmoid")
    loaded = finder()
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda *given, made=loaded, **options: made)
    refused(call(*ask, "--method", "center"), "center has one map", "--target findings")
    assert not (tmp_path / "out").exists()


def test_one_output_is_one_finding(pictures: Path, tmp_path: Path) -> None:
    network = colours()
    network.append(torch.nn.Linear(4, 1))
    with torch.no_grad():
        network[-1].weight.copy_(torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
        network[-1].bias.zero_()
    classifier = Classifier(network, mean=[0] * 3, std=[1] * 3, input_size=32, labels=["no green", "green"])
    explain = mw.explainer("rise", classifier, masks=16)
    found = {n: [e.target for e, _ in explain_findings(look_at(pictures / f"{n}.png", classifier), explain, "rise")]
             for n in ("one", "two")}  # fmt: skip
    assert found == {"one": ["green"], "two": []}


def test_names_of_findings_make_safe_folders() -> None:
    assert folder_name("Pleural Thickening") == "Pleural Thickening"
    for title in ("..", "../../etc", "a/b", "a\\b", "x\0y", "C:", " . ", "", "aux", "Com1.x", "é" * 200, "\ud800"):
        name = folder_name(title)
        assert name and not set(name) & set('/\\:\0*?"<>|') and name not in (".", "..")
        assert len(name.encode()) <= 81 and name == name.strip(" .")
    assert free_name("mass", {"Mass", "mass-2"}) == "mass-3"


def test_findings_of_one_name_and_of_a_files_name(pictures: Path, tmp_path: Path) -> None:
    from maskwise.report.explained import write_findings

    classifier = finder().described(labels=["figure.png", "b", "FIGURE.PNG", "b"])
    look = look_at(pictures / "two.png", classifier)
    made = explain_findings(look, mw.explainer("gradient", classifier), "gradient")
    done = write_findings(made, look.nothing("gradient"), tmp_path / "out")
    assert [e.target for e in done] == ["0", "2"], "names that are one but for their case name no class"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"0", "2", "figure.png", "findings.json"}
    alike = finder().described(labels=["figure.png", "b", "FINDINGS.JSON", "c"])
    look = look_at(pictures / "two.png", alike)
    made = explain_findings(look, mw.explainer("gradient", alike), "gradient")
    write_findings(made, look.nothing("gradient"), tmp_path / "own")
    assert {p.name for p in (tmp_path / "own").iterdir()} == {
        "figure.png", "findings.json", "figure.png-2", "FINDINGS.JSON-2"
    }  # fmt: skip


def test_the_json_is_what_its_schema_says(network: Classifier, pictures: Path, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    ran = call("explain", pictures, *OPTIONS, "--json", "--out", tmp_path / "out")
    jsonschema.Draft202012Validator(schema("explain")).validate(json.loads(ran.stdout))


def test_the_table_says_what_is_explained_where_a_class_is_named(
    network: Classifier, pictures: Path, tmp_path: Path
) -> None:
    for target, said in (("green", "green 0.0"), ("red - green", "red - green")):
        ran = call("explain", pictures / "two.png", *OPTIONS[:-1], target, "--out", tmp_path / "out")
        head, row = (line.split("\t") for line in ran.stdout.splitlines()[:2])
        assert row[1] == "red" and row[head.index("explained")].startswith(said)


def test_of_grey_pictures_the_page_knows_the_colour_of_the_hole(pictures: Path, tmp_path: Path) -> None:
    """One value is no colour of a style sheet's: masked pictures looked as if nothing were hidden."""
    grey = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3, 2, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    classifier = Classifier(grey, mean=[0.4], std=[0.2], input_size=(32, 48), activation="sigmoid")
    explanation, panels = explain_picture(
        pictures / "two.png", mw.explainer("gradient", classifier), classifier, "gradient", None
    )
    write([card_of(explanation, panels, classifier)], tmp_path / "r.html", colour=classifier.mean.tolist())
    island = (tmp_path / "r.html").read_text().partition('type="application/json"')[2].partition(">")[2]
    assert json.loads(island.partition("</script>")[0])["colour"] == [102, 102, 102]

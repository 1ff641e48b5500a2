"""Audits of one finding of a network that says several, each by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audit.lungs import NAMES, SPOT, lung_network, lungs
from audit.scenes import SIDE, criterion, reader, scenes
from calling import call, refused
from jsonschema import Draft202012Validator
from safetensors.torch import save_file
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from torch import Tensor

import maskwise as mw
from maskwise.audit import audit
from maskwise.audit.conflict import triples
from maskwise.audit.detection import auroc, auroc_interval
from maskwise.audit.finding_data import FindingTruth
from maskwise.audit.finding_reliance import with_holes
from maskwise.audit.spurious import pasted_pairs, square_of
from maskwise.audit.subject import collect
from maskwise.audit.wilson import difference, wilson
from maskwise.blending import masked_out
from maskwise.classifiers import Classifier
from maskwise.classifiers.one_finding import OneFinding
from maskwise.core.errors import InputError
from maskwise.data import DataSet, read_data
from maskwise.explainers import explainer
from maskwise.infill import infiller
from maskwise.report.audit_page import write_audit
from maskwise.schemas import schema


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lungs(tmp_path_factory.mktemp("finding") / "lungs")


@pytest.fixture(scope="module")
def twins(chest: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("twins")
    return {
        what: audit(lung_network(what), chest, "gradient", finding="pneumonia", out=out / what, seed=2)
        for what in ("finding", "mark")
    }


def asked(what: str, data: Path, out: Path, method: str = "gradient") -> Any:
    classifier = OneFinding(lung_network(what), "pneumonia")
    return collect(classifier, explainer(method, classifier), method, [str(data)], out)


def test_a_planted_shortcut_of_a_finding_is_named_and_its_clean_twin_passes(twins: dict[str, Any]) -> None:
    clean, bad = twins["finding"], twins["mark"]
    assert clean.failed == [] and clean.fit_to_show is True
    assert {one.name for one in clean.criteria if one.holds} >= {"accuracy", "evidence", "background", "classes",
                                                                "spurious", "shortcut"}  # fmt: skip
    for name in ("evidence", "background", "classes", "spurious"):
        assert criterion(bad, name).holds is False, name
    assert criterion(bad, "accuracy").holds is True, "it is better than chance all the same"
    plain = bad.plain()
    assert "pneumonia: a thing beside it is enough" in " ".join(plain["sections"]["spurious"]["says"])
    assert "pneumonia is said without being seen" in " ".join(plain["sections"]["background"]["says"])
    assert plain["stamp"]["finding"] == "pneumonia" and plain["stamp"]["activation"] == "sigmoid"
    assert plain["sections"]["shortcut"]["class"] == "pneumonia"


def test_figures_of_the_twins_are_what_was_planted(twins: dict[str, Any]) -> None:
    """Of 48 pictures with pneumonia 40 have a mark, of the others 4 have."""
    found = twins["mark"].plain()["sections"]
    part = found["accuracy"]
    assert part["sensitivity"]["value"] == 40 / 48 and part["specificity"]["value"] == 44 / 48
    assert part["auroc"]["value"] == pytest.approx((40 * 44 + 0.5 * (40 * 4 + 8 * 44)) / 48**2, abs=1e-9)
    assert part["youden"]["value"] == pytest.approx(40 / 48 + 44 / 48 - 1)
    hidden = found["background"]
    assert hidden["object"]["value"] == 0 and hidden["background"]["value"] == hidden["whole"]["value"] == 40 / 48
    assert hidden["others"]["value"] <= 4 / 48, "a hole may hide a mark"
    (carried,) = found["spurious"]["classes"]
    assert (carried["class"], carried["own"], carried["others"]) == ("pneumonia", 1, 0)
    clean = twins["finding"].plain()["sections"]
    assert clean["accuracy"]["sensitivity"]["value"] == clean["accuracy"]["auroc"]["value"] == 1
    assert clean["background"]["background"]["value"] == clean["background"]["lost"]["value"] == 0
    assert clean["evidence"]["lift"]["value"] == pytest.approx(SIDE**2 / SPOT**2, rel=0.01)
    assert clean["evidence"]["lift"]["count"] == 48, "of pictures that show it alone"


def test_a_finding_without_a_shortcut_passes_beside_one_with_it(chest: Path, tmp_path: Path) -> None:
    parts = ("accuracy", "evidence", "background", "spurious")
    found = audit(lung_network("mark"), chest, "gradient", finding="mass", parts=parts, out=tmp_path)
    assert not {"evidence", "background", "classes", "spurious"} & set(found.failed)
    assert found.plain()["sections"]["accuracy"]["sensitivity"]["value"] == 1


def test_maps_are_the_network_s_own_of_the_finding(chest: Path, tmp_path: Path) -> None:
    audited = asked("finding", chest, tmp_path, method="grad_cam")
    network = lung_network("finding")
    for place in (0, 2, 3):
        image = audited.picture(place)[1].image[None]
        own = explainer("grad_cam", network)(image, torch.tensor([1]))
        small = torch.nn.functional.adaptive_avg_pool2d(own[:, None], 14).flatten()
        assert torch.allclose(audited.rows("maps")[place].float(), small, atol=1e-6)


# ---- the truth ----------------------------------------------------------------------------------------------------


def truths(data: DataSet, finding: str, network: Classifier | None = None) -> list[int | None]:
    found = FindingTruth.of(data, OneFinding(network or lung_network(), finding))
    by_sample = [sample.label for sample in found]
    listed = [record.label for record in found.records]
    assert all(one in (None, known) for one, known in zip(listed, by_sample, strict=True))
    return by_sample


def test_a_table_says_all_findings_of_a_picture(chest: Path) -> None:
    data = read_data(chest)
    assert truths(data, "pneumonia")[:4] == [1, 1, 0, 0] and truths(data, "mass")[:4] == [1, 0, 1, 0]
    assert set(truths(data, "edema")) == {0}
    found = FindingTruth.of(data, OneFinding(lung_network(), "pneumonia"))
    for i, boxes in ((0, 1), (1, 1), (2, 0), (3, 0)):
        sample = found[i]
        assert len(sample.boxes) == boxes and sample.mask is None and sample.box_classes is None
        wanted = data[i].boxes[data[i].box_classes == 1]
        assert torch.equal(sample.boxes, wanted) and torch.equal(sample.image, data[i].image)


def test_what_the_table_leaves_open_is_unknown_and_what_it_can_t_mean_is_refused(tmp_path: Path) -> None:
    data = lungs(tmp_path / "lungs", 8)
    lines = (data / "findings.csv").read_text().splitlines()
    for i, value in enumerate(("", "-1", "-1.0", "1.0", "0.0")):
        file, mass, _, *rest = lines[4 + i].split(",")
        lines[4 + i] = ",".join([file, mass, value, *rest])
    (data / "findings.csv").write_text("\n".join(lines[:-1]) + "\n")
    (data / "boxes.csv").unlink()
    assert truths(read_data(data), "pneumonia") == [1, 1, 0, None, None, None, 1, None]
    (data / "findings.csv").write_text("\n".join([*lines[:4], "003.png,1,maybe,0,0"]) + "\n")
    with pytest.raises(InputError, match=r"findings.csv: line 5: pneumonia of '003.png' is 'maybe'; it is 1 where"):
        truths(read_data(data), "pneumonia")
    (data / "findings.csv").write_text("\n".join([*lines[:4], lines[2]]) + "\n")
    with pytest.raises(InputError, match=r"line 3 and line 5 are both of '001.png'"):
        read_data(data)
    (data / "findings.csv").write_text("picture,pneumonia\n001.png,1\n")
    with pytest.raises(InputError, match="needs the columns file"):
        read_data(data)


def test_without_a_table_boxes_tell_and_a_picture_without_any_says_nothing(tmp_path: Path) -> None:
    data = read_data(lungs(tmp_path / "lungs", 8, table=False))
    assert truths(data, "pneumonia") == [1, 1, 0, None] * 2 and truths(data, "mass") == [1, 0, 1, None] * 2
    assert truths(data, "edema") == [None] * 8, "the boxes know of no such finding"


def test_one_label_is_all_that_a_picture_shows(tmp_path: Path) -> None:
    data = scenes(tmp_path / "scenes", 6)
    assert truths(read_data(data), "pneumonia") == [0, 1] * 3 and truths(read_data(data), "mass") == [1, 0] * 3
    found = FindingTruth.of(read_data(data), OneFinding(lung_network(), "pneumonia"))
    assert [len(sample.boxes) for sample in found] == [0, 1] * 3, "the box of a mass is none of pneumonia"
    (data / "labels.csv").write_text("file,label\n000.png,7\n")
    with pytest.raises(InputError, match="has label 7, and finding knows 3 classes.*take the classifier"):
        truths(read_data(data), "mass")
    bare = read_data(scenes(tmp_path / "bare", 4, labels=False))
    assert truths(bare, "mass") == [None] * 4


def test_folders_and_class_maps_tell_by_name(tmp_path: Path) -> None:
    source = lungs(tmp_path / "lungs", 4, table=False) / "images"
    for i, folder in enumerate(("edema", "Pneumonia", "normal", "edema")):
        (tmp_path / "own" / "images" / folder).mkdir(parents=True, exist_ok=True)
        (source / f"{i:03}.png").rename(tmp_path / "own" / "images" / folder / f"{i}.png")
    data = read_data(tmp_path / "own")
    assert truths(data, "pneumonia") == [1, 0, 0, 0] and truths(data, "edema") == [0, 1, 1, 0]
    assert truths(data, "mass") == [None] * 4, "no folder is of that"
    drawn = torch.full((SIDE, SIDE), -1)
    drawn[3:9, 4:20] = 2
    first = data[0]

    class Mapped(type(data)):  # type: ignore[misc]
        def sample(self, record: Any) -> Any:
            return replace(first, label=None, category=None, class_map=drawn)

    mapped = Mapped("m", data.records[:1], ("mass", "edema", "pneumonia"), store=data.store, below=data.below)
    (sample,) = FindingTruth.of(mapped, OneFinding(lung_network(), "pneumonia"))
    assert sample.label == 1 and torch.equal(sample.mask, drawn == 2)
    (sample,) = FindingTruth.of(mapped, OneFinding(lung_network(), "edema"))
    assert sample.label == 0 and sample.mask is None


# ---- figures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_auroc_is_scikit_learn_s_and_that_of_all_pairs(seed: int) -> None:
    draws = np.random.default_rng(seed)
    there = draws.random(60) < 0.3
    score = (draws.random(60) + 0.4 * there).round(1)  # with ties
    ours = auroc(torch.tensor(score), torch.tensor(there))
    pairs = [(a > b) + 0.5 * (a == b) for a in score[there] for b in score[~there]]
    assert ours == pytest.approx(roc_auc_score(there, score)) == pytest.approx(float(np.mean(pairs)))


@pytest.mark.parametrize(("area", "count", "others"), [(0.8, 20, 50), (0.5, 30, 30), (1.0, 12, 40), (0.0, 9, 9)])
def test_the_ends_of_its_interval_are_where_a_score_test_ends(area: float, count: int, others: int) -> None:
    found = auroc_interval(area, count, others)
    assert 0 <= found.low <= area <= found.high <= 1 and found.low < found.high and found.count == count + others
    for end in (found.low, found.high):
        if end in (0, 1):
            continue
        q1, q2, same = end / (2 - end), 2 * end**2 / (1 + end), (count + others) / 2  # Hanley and McNeil 1982, m = n
        variance = end * (1 - end) + (same - 1) * (q1 - end**2 + q2 - end**2)
        assert abs(area - end) == pytest.approx(norm.ppf(0.975) * (variance / (count * others)) ** 0.5, rel=1e-6)


def test_its_interval_covers_the_truth() -> None:
    draws = np.random.default_rng(5)
    truth, inside = float(norm.cdf(1.2 / 2**0.5)), 0
    for _ in range(400):
        score = np.concatenate([draws.normal(1.2, 1, 25), draws.normal(0, 1, 60)])
        there = torch.arange(85) < 25
        found = auroc_interval(auroc(torch.tensor(score), there), 25, 60)
        inside += found.low <= truth <= found.high
    assert inside / 400 == pytest.approx(0.95, abs=0.03)


def test_what_is_told_but_parted_at_the_wrong_place_is_said_to_be(chest: Path, tmp_path: Path) -> None:
    network = lung_network()
    with torch.no_grad():
        network.module.head.bias[1] = -60.0  # type: ignore[union-attr,index,operator]
    found = audit(network, chest, "gradient", finding="pneumonia", parts=("accuracy", "spurious"), out=tmp_path)
    assert criterion(found, "accuracy").holds is not True
    said = found.plain()["sections"]["accuracy"]
    assert said["sensitivity"]["value"] == 0 and said["specificity"]["value"] == 1 and said["auroc"]["value"] == 1
    assert "1/2 is not the place to part them" in " ".join(said["says"])
    assert (
        criterion(found, "spurious").holds is None
        and "right on no picture that shows" in criterion(found, "spurious").figure
    )


def test_what_is_said_with_the_finding_hidden_by_hand(twins: dict[str, Any]) -> None:
    """Against pictures without it that have the same holes."""
    found = twins["mark"].plain()["sections"]["background"]
    false = round(found["others"]["value"] * 48)
    assert found["hidden"] == difference((40, 48), (false, 48)).plain() and found["hidden"]["low"] > 0.5
    assert twins["finding"].plain()["sections"]["background"]["hidden"] == difference((0, 48), (0, 48)).plain()


def test_pictures_without_the_finding_get_the_holes_of_those_with_it(chest: Path, tmp_path: Path) -> None:
    audited = asked("mark", chest, tmp_path)
    known = audited.labels == 1
    rows = with_holes(audited, known)
    assert [place for place, _, _ in rows] == (audited.labels == 0).nonzero()[:, 0].tolist()
    assert sorted(giver for _, giver, _ in rows) == known.nonzero()[:, 0].tolist(), "each gives once"
    place, giver, said = rows[5]
    hole = audited.object_of(giver)[1][None].float()
    image = audited.picture(place)[1].image[None]
    changed = masked_out(image, hole, infiller("telea")(image, hole, audited.classifier.mean))
    assert hole.sum() == SPOT**2 and not torch.equal(changed, image)
    assert said == int(audited.classifier.logits(changed).argmax(1))


def test_objects_are_put_into_pictures_without_the_finding() -> None:
    truth = torch.tensor([1, 1, 1, 0, 0, 0, 0])
    known, absent = truth == 1, truth == 0
    found = triples(truth, known, 10, torch.Generator().manual_seed(0), absent)
    assert [place for place, _, _ in found] == [0, 1, 2]
    assert all(truth[same] == 1 and same != place and truth[other] == 0 for place, same, other in found)
    assert len({other for _, _, other in found}) == 3


def test_squares_and_their_controls(chest: Path, tmp_path: Path) -> None:
    audited = asked("mark", chest, tmp_path)
    pairs = pasted_pairs(audited)
    own = [pair for pair in pairs if audited.top[pair[0]] == 1]
    control = [pair for pair in pairs if audited.top[pair[0]] == 0]
    assert {int(audited.labels[donor]) for donor, _, _ in own} == {1} and len(own) == 40 * 5
    assert {int(audited.labels[donor]) for donor, _, _ in control} == {0} and len(control) == 40 * 4
    assert all(audited.labels[other] == audited.top[other] == 0 for _, other, _ in control)
    into = [other for _, other, _ in own if audited.top[other] == 0]
    assert into == [other for _, other, _ in control], "the same pictures"
    donor, other, said = own[0]
    sample, square = square_of(audited, donor)
    changed = torch.where(square, sample.image, audited.picture(other)[1].image)[None]
    assert said == int(audited.classifier.logits(changed).argmax(1))


# ---- all of it ----------------------------------------------------------------------------------------------------


def test_another_checkpoint_is_asked_the_same(chest: Path, tmp_path: Path) -> None:
    good, bad = lung_network("finding"), lung_network("mark")
    found = audit(bad, chest, "gradient", finding="pneumonia", parts="accuracy", compare_with=good, out=tmp_path)
    verdicts = {name: one["verdict"] for name, one in found.plain()["sections"]["against"]["differences"].items()}
    assert set(verdicts.values()) == {"worse"} and len(verdicts) == 3 and "worse" in found.failed
    (data,) = [FindingTruth.of(read_data(chest), OneFinding(good, 1))]
    assert len(data) == 96


def test_without_truth_it_says_what_it_does_not_know(tmp_path: Path) -> None:
    data = lungs(tmp_path / "bare", 30, table=False)
    (data / "boxes.csv").unlink()
    found = audit(lung_network(), data, "gradient", finding="pneumonia", out=tmp_path / "out")
    unknown = {one.name for one in found.criteria if one.holds is None}
    assert unknown >= {"accuracy", "calibration", "evidence", "background", "classes", "spurious"}
    assert criterion(found, "stability").holds is not None, "of those that it is said of"
    never = audit(lung_network(), data, "gradient", finding="edema", parts="sanity", out=tmp_path / "never")
    assert criterion(never, "mprt").holds is criterion(never, "stability").holds is None
    assert "no picture shows the finding" in criterion(never, "mprt").figure
    write_audit(never)


def test_a_network_with_one_output_and_a_black_box(chest: Path, tmp_path: Path) -> None:
    inner = lung_network()

    class One(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner.module

        def forward(self, images: Tensor) -> Tensor:
            scores: Tensor = self.inner(images)[:, 1:2]
            return scores

    single = Classifier(
        One(), mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, labels=("healthy", "pneumonia"), name="one"
    )
    found = audit(single, chest, "gradient", out=tmp_path / "one")
    assert found.stamp["finding"] == "pneumonia" and not {"evidence", "background", "spurious"} & set(found.failed)
    assert found.plain()["sections"]["accuracy"]["sensitivity"]["value"] == 1
    assert criterion(found, "shortcut").holds is None and "no last linear layer" in criterion(found, "shortcut").figure

    def ask(pictures: Tensor) -> np.ndarray:
        with torch.no_grad():
            return inner.probabilities(inner.logits(pictures)).numpy()

    box = Classifier(ask, input_size=SIDE, labels=NAMES, activation="none", name="box")
    found = audit(box, chest, finding="pneumonia", parts=("evidence", "sanity"), out=tmp_path / "box", limit=24)
    assert found.stamp["method"] == "banzhaf" and criterion(found, "evidence").holds is True
    assert criterion(found, "mprt").holds is None and "black box" in criterion(found, "mprt").figure


def test_what_makes_no_sense_is_refused(chest: Path, tmp_path: Path) -> None:
    network = lung_network()
    with pytest.raises(InputError, match="several findings.*name it with `finding`, one of mass, pneumonia, edema"):
        audit(network, chest, "gradient", out=tmp_path)
    with pytest.raises(InputError, match="unknown class 'flu'; its findings are mass, pneumonia, edema"):
        audit(network, chest, "gradient", finding="flu", out=tmp_path)
    with pytest.raises(InputError, match=r"one class of each picture \(softmax\).*leave `finding` out"):
        audit(reader("object"), chest, "gradient", finding=0, out=tmp_path)
    with pytest.raises(InputError, match="give the method's name"):
        audit(network, chest, explainer("gradient", network), finding=1, out=tmp_path)
    view = OneFinding(network, "mass")
    assert audit(view, chest, explainer("gradient", view), limit=4, out=tmp_path).stamp["finding"] == "mass"


def test_the_public_function_and_a_function_of_yours(chest: Path, tmp_path: Path) -> None:
    seen: set[int] = set()

    def green(images: Tensor, targets: Any = None) -> Tensor:
        seen.update(torch.as_tensor(targets).flatten().tolist())
        return (images[:, 1] - images[:, 0]).clamp(min=0)

    found = mw.audit(lung_network(), chest, green, finding="pneumonia", parts="evidence", out=tmp_path)
    assert criterion(found, "evidence").holds is True and seen == {1}, "the finding, of every picture"


OWN = "from audit.lungs import lung_network\n\n\ndef {name}():\n    return lung_network({name!r})\n"


def test_the_command_its_page_and_its_exit_code(chest: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN.format(name="mark"))
    said = ["audit", "--classifier", f"{file}:mark", "--data", chest, "--method", "gradient", "--out", tmp_path / "a"]
    refused(call(*said), "several findings", "--target", "mass, pneumonia, edema")
    refused(call(*said, "--target", "flu"), "unknown class 'flu'")
    save_file({"weight": torch.zeros(1)}, tmp_path / "masker.safetensors")
    masker = ["--masker", tmp_path / "masker.safetensors", "--out", tmp_path / "m"]
    refused(call(*said[:-4], "--target", "mass", *masker), "leave --masker out")
    found = call(*said, "--target", "Pneumonia", "--fail-on", "spurious", "--json")
    assert found.exit_code == 1
    plain = json.loads(found.stdout)
    Draft202012Validator(schema("audit")).validate(plain)
    page = (tmp_path / "a" / "audit.html").read_text()
    assert "be trusted with pneumonia?" in page and "whether a picture shows <strong>pneumonia</strong>" in page
    assert "of the finding pneumonia; pictures" in page and "the class that is predicted" not in page
    assert "no pneumonia, taken for pneumonia" in page
    assert call(*said, "--target", 0, "--fail-on", "spurious,evidence").exit_code == 0
    (tmp_path / "soft.py").write_text("from audit.scenes import reader\n\n\ndef soft():\n    return reader('object')\n")
    refused(
        call("audit", "--classifier", f"{tmp_path}/soft.py:soft", "--data", chest, "--target", 0),
        "softmax",
        "leave --target out",
    )


def test_wilson_of_shares_is_said_of_both(twins: dict[str, Any]) -> None:
    part = twins["mark"].plain()["sections"]["accuracy"]
    for name, right in (("sensitivity", 40), ("specificity", 44)):
        assert part[name] == wilson(right, 48).plain()

"""Audits of classifiers whose mechanism is known."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from audit.scenes import SIDE, reader, scenes
from calling import call
from scipy.stats import binomtest, spearmanr
from torch import Tensor

from maskwise.audit import Limits, audit
from maskwise.audit.accuracy import CalibrationError, calibration_rows
from maskwise.audit.errors import nearest_right
from maskwise.audit.figures import estimates_figure
from maskwise.audit.finding import Interval
from maskwise.audit.sanity import SHIFT, compressed, moved, stability
from maskwise.audit.shortcut import absent_class, probe, taught, with_patch
from maskwise.audit.subject import collect
from maskwise.audit.wilson import wilson
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer
from maskwise.report.audit_page import write_audit


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes(tmp_path_factory.mktemp("audit") / "scenes")


def middle(images: Tensor, targets: Any = None) -> Tensor:
    """Looks at nothing: a bump in the middle of every picture."""
    across = 1 - torch.linspace(-1, 1, images.shape[-1]).abs()
    return (across[:, None] * across).expand(len(images), -1, -1).clone()


def criterion(found: Any, name: str) -> Any:
    return next(one for one in found.criteria if one.name == name)


def test_chance_beyond_every_estimate_is_within_the_figure(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as of a layout that collapses around a label far outside
        estimates_figure([("all", Interval(0.05, 0.01, 0.09, 20))], tmp_path / "lift.png", "lift", 1.0)
    assert (tmp_path / "lift.png").stat().st_size > 1000


@pytest.mark.parametrize(("right", "count"), [(0, 5), (8, 10), (10, 10), (377, 500)])
def test_wilson_is_scipy_s(right: int, count: int) -> None:
    ends = binomtest(right, count).proportion_ci(method="wilson")
    ours = wilson(right, count)
    assert (ours.value, ours.low, ours.high) == pytest.approx((right / count, ends.low, ends.high), abs=1e-9)


@pytest.mark.parametrize("count", range(1, 80))
def test_wilson_ends_are_exact(count: int) -> None:
    assert wilson(count, count).high == 1 and wilson(0, count).low == 0


def test_always_right_and_wholly_sure_is_not_too_sure(data: Path, tmp_path: Path) -> None:
    said = audit(reader("ground"), data, "gradient", out=tmp_path).plain()["sections"]["accuracy"]["says"]
    assert "about as sure as it should be" in said[1], said


def test_calibration_error_by_hand() -> None:
    draws = torch.Generator().manual_seed(0)
    confidence = torch.cat([torch.rand(200, generator=draws), torch.tensor([0.0, 1.0])])
    right = torch.rand(202, generator=draws) < confidence**2
    wanted = 0.0
    for b in range(15):
        those = [i for i in range(202) if min(int(float(confidence[i]) * 15), 14) == b]
        if those:
            share = sum(bool(right[i]) for i in those) / len(those)
            mean = sum(float(confidence[i]) for i in those) / len(those)
            wanted += len(those) / 202 * abs(share - mean)
    rows = calibration_rows(confidence, right)
    found = CalibrationError().value(rows.sum(0), torch.tensor(202.0))
    assert float(found) == pytest.approx(wanted, abs=1e-6)


def test_a_classifier_of_objects_and_one_of_backgrounds(data: Path, tmp_path: Path) -> None:
    """Both are right on every picture; what they need, and where their evidence lies, tells them apart."""
    of_object = audit(reader("object"), data, "gradient", out=tmp_path / "o")
    of_ground = audit(reader("ground"), data, "gradient", out=tmp_path / "g")
    for found in (of_object, of_ground):
        assert found.plain()["sections"]["accuracy"]["accuracy"]["value"] == 1
        assert found.plain()["sections"]["errors"]["not_done"] == "it makes none here"
    hidden = [found.plain()["sections"]["background"]["background"]["value"] for found in (of_object, of_ground)]
    assert hidden == [0.5, 1.0], "without its object the first says one class of both"
    assert criterion(of_object, "background").holds is True and criterion(of_ground, "background").holds is False
    assert "background" in of_ground.failed and "background" not in of_object.failed
    lifts = [found.plain()["sections"]["evidence"]["lift"]["value"] for found in (of_object, of_ground)]
    assert lifts[0] > 1 > lifts[1]
    assert criterion(of_object, "evidence").holds is True and criterion(of_ground, "evidence").holds is False


def test_shortcut_is_seen_by_a_method_that_follows_the_class_and_not_by_one_that_looks_at_nothing(
    data: Path, tmp_path: Path
) -> None:
    classifier = reader("object")
    before = {name: value.clone() for name, value in classifier.module.state_dict().items()}
    seeing = audit(classifier, data, "grad_cam", out=tmp_path / "g")
    blind = audit(classifier, data, middle, out=tmp_path / "m")
    assert criterion(seeing, "shortcut").holds is True
    assert criterion(blind, "shortcut").holds is False
    assert "can't see shortcuts" in " ".join(blind.plain()["sections"]["shortcut"]["says"])
    assert "failed its positive control" in " ".join(blind.plain()["sections"]["verdict"]["says"])
    assert blind.fit_to_show is False and "mprt" in blind.failed
    assert seeing.plain()["sections"]["shortcut"]["class"] in ("third", "fourth")
    after = classifier.module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()), "the last layer is what it was"


def test_probe_is_the_minimum_and_stands_in_the_row_while_it_is_taught() -> None:
    classifier = reader("object")
    draws = torch.Generator().manual_seed(0)
    clean = torch.rand(20, 3, SIDE, SIDE, generator=draws)
    patched, where = with_patch(clean, draws)
    assert where.flatten(1).sum(1).tolist() == [14 * 14] * 20
    assert torch.equal(patched.masked_fill(where[:, None], 0), clean.masked_fill(where[:, None], 0))
    inside = [patched[i][:, where[i]] for i in range(20)]
    assert all(torch.equal(one, inside[0]) for one in inside) and not torch.equal(patched, clean)
    module: Any = classifier.module
    with torch.no_grad():
        features = module.colours(torch.cat([clean, patched])).relu().mean((2, 3)).double()
        others = module(torch.cat([clean, patched])).double()[:, [0, 1, 3]].logsumexp(1)
    wanted = torch.cat([torch.zeros(20), torch.ones(20)]).double()
    row, bias = probe(features, wanted)
    spread = features.std(0).clamp(min=1e-6)
    scaled, offset = (row * spread).requires_grad_(True), bias.clone().requires_grad_(True)
    said = (features / spread) @ scaled + offset
    loss = torch.nn.functional.binary_cross_entropy_with_logits(said, wanted) + 0.01 * scaled.square().sum()
    assert all(slope.abs().max() < 1e-4 for slope in torch.autograd.grad(loss, [scaled, offset]))
    with taught(classifier, clean, patched, 2):
        held, at = module.head.weight[2].double().detach(), module.head.bias[2].double().detach()
        gain = held.norm() / row.norm()
        assert torch.allclose(held, gain * row, rtol=1e-3, atol=1e-4 * float(held.norm()))
        assert float(at) == pytest.approx(float(gain * bias + others.mean()), rel=1e-3, abs=1e-2)
        usual = (features @ row + bias).abs().median()
        assert float(gain) == pytest.approx(max(1.0, float(3 * others.std() / usual)), rel=1e-3)
    assert module.head.weight[2].abs().max() == 0 and module.head.bias[2].item() == -3


def test_absent_class_is_one_that_no_picture_has(data: Path, tmp_path: Path) -> None:
    audited = collect(reader("object"), middle, "middle", [str(data)], tmp_path)
    drawn = {absent_class(audited, torch.Generator().manual_seed(seed)) for seed in range(20)}
    assert drawn == {2, 3}


def test_stability_of_the_picture_itself_and_of_noise(data: Path, tmp_path: Path) -> None:
    def grey(images: Tensor, targets: Any = None) -> Tensor:
        return images.mean(1)

    def noise(images: Tensor, targets: Any = None) -> Tensor:
        return torch.rand(
            images.shape[0], *images.shape[-2:], generator=torch.Generator().manual_seed(int(images.sum()))
        )

    classifier = reader("object")
    own = stability(collect(classifier, grey, "grey", [str(data)], tmp_path / "g"))["alike"]
    assert own[f"a shift by {SHIFT} pixels"]["value"] == pytest.approx(1, abs=1e-6)
    none = stability(collect(classifier, noise, "noise", [str(data)], tmp_path / "n"))["alike"]
    assert all(abs(one["value"]) < 0.1 for one in none.values())
    found = audit(classifier, data, noise, out=tmp_path / "a")
    assert criterion(found, "stability").holds is False and "stability" in found.failed
    image = torch.rand(2, 3, 20, 24)
    there = moved(image)
    assert torch.equal(there[..., SHIFT:, SHIFT:], image[..., :-SHIFT, :-SHIFT]) and there.shape == image.shape
    smooth = torch.linspace(0, 1, 24).expand(3, 20, 24)
    assert 0 < (compressed(smooth) - smooth).abs().max() < 0.05


class Mistaken(torch.nn.Module):
    """As the reader of objects, but squares in the left half get the other class: errors that are known."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = reader("object").module

    def forward(self, images: Tensor) -> Tensor:
        activation = self.inner.colours(images).relu()
        logits = self.inner.head(activation.mean((2, 3)))
        left = activation[:, :2].sum(1)[..., : SIDE // 2].sum((1, 2)) > 60
        swapped = logits[:, [1, 0, 2, 3]]
        return torch.where(left[:, None], swapped, logits)


def test_worst_errors_come_first_beside_what_is_most_alike(data: Path, tmp_path: Path) -> None:
    names = ("red on blue", "green on yellow", "third", "fourth")
    classifier = Classifier(Mistaken(), mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, labels=names)
    found = audit(classifier, data, "gradient", out=tmp_path)
    audited = collect(classifier, explainer("gradient", classifier), "gradient", [str(data)], tmp_path)
    wrong = (~audited.right).nonzero()[:, 0].tolist()
    own = audited.rows("answers")[:, 3]
    names_of_wrong = [audited.picture(i)[0] for i in sorted(wrong, key=lambda i: float(own[i]))]
    section = found.plain()["sections"]["errors"]
    assert section["wrong"] == len(wrong) > 3
    assert sorted(section["worst"]) == sorted(names_of_wrong[: len(section["worst"])])
    place = wrong[0]
    alike = nearest_right(audited, place)
    assert alike is not None and audited.right[alike] and audited.labels[alike] == audited.labels[place]
    features = audited.rows("features")
    same = [i for i in range(len(audited)) if audited.right[i] and audited.labels[i] == audited.labels[place]]
    assert alike == max(same, key=lambda i: float(features[i] @ features[place]))
    assert found.plain()["sections"]["accuracy"]["confusions"][0]["pictures"] <= len(wrong)


def test_without_truth_it_says_what_it_does_not_know(tmp_path: Path) -> None:
    bare = scenes(tmp_path / "bare", 26, boxes=False, labels=False)
    found = audit(reader("object"), bare, "gradient", out=tmp_path / "out")
    assert {one.name for one in found.criteria if one.holds is None} >= {"calibration", "evidence", "background"}
    assert found.fit_to_show is not True
    evidence = found.plain()["sections"]["evidence"]
    assert "weaker" in " ".join(evidence["says"]) and "agreement" in evidence and "border" in evidence
    few = scenes(tmp_path / "few", 8)
    assert criterion(audit(reader("object"), few, "gradient", out=tmp_path / "f"), "shortcut").holds is None


def test_a_killed_audit_goes_on_and_another_explainer_starts_anew(data: Path, tmp_path: Path) -> None:
    calls = 0

    def counting(images: Tensor, targets: Any = None) -> Tensor:
        nonlocal calls
        calls += len(images)
        return images.mean(1)

    classifier = reader("object")
    first = explainer("grad_cam", classifier)
    once = audit(classifier, data, first, out=tmp_path)
    again = audit(classifier, data, explainer("grad_cam", classifier), out=tmp_path)
    assert once.plain() == again.plain()
    kept = json.loads((tmp_path / "parts" / "stability.json").read_text())
    (tmp_path / "parts" / "stability.json").write_text(json.dumps(kept | {"identity": "other"}))
    assert audit(classifier, data, first, out=tmp_path).plain() == once.plain()
    audit(classifier, data, counting, out=tmp_path)
    assert calls > 48, "rows and parts of grad_cam are not those of a function"


def test_another_checkpoint_that_looks_at_the_ground_is_worse(data: Path, tmp_path: Path) -> None:
    good, bad = reader("object"), reader("ground")
    found = audit(bad, data, "gradient", compare_with=good, out=tmp_path / "b")
    against = found.plain()["sections"]["against"]
    assert against["differences"]["lift of evidence on the object"]["verdict"] == "worse"
    assert against["differences"]["accuracy with the object hidden"]["verdict"] == "worse"
    assert against["differences"]["accuracy"]["difference"] == 0 and "worse" in found.failed
    same = audit(good, data, "gradient", compare_with=good, out=tmp_path / "s").plain()["sections"]["against"]
    assert same["maps"]["value"] == pytest.approx(1) and same["same_answer"] == 1
    with pytest.raises(InputError, match="other classes"):
        other = Classifier(good.module, mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, labels=("a", "b", "c", "d"))
        audit(good, data, "gradient", compare_with=other, out=tmp_path / "o")


def test_agreement_is_the_rank_correlation_with_grad_cam(data: Path, tmp_path: Path) -> None:
    classifier = reader("object")
    audited = collect(classifier, explainer("gradient", classifier), "gradient", [str(data)], tmp_path)
    image = audited.picture(3)[1].image[None]
    pooled = [
        torch.nn.functional.adaptive_avg_pool2d(explainer(name, classifier)(image)[:, None], 14).flatten()
        for name in ("gradient", "grad_cam")
    ]
    assert float(audited.rows("agreement")[3]) == pytest.approx(spearmanr(*pooled).statistic, abs=1e-5)


def test_page_json_and_csv(data: Path, tmp_path: Path) -> None:
    found = audit(reader("ground"), data, "gradient", out=tmp_path)
    page = write_audit(found).read_text()
    assert "Fit to show to a user: no" in page and page.count("data:image/png;base64,") == page.count("<img ") >= 4
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    plain = json.loads((tmp_path / "audit.json").read_text())
    assert plain["sections"]["verdict"]["fit_to_show"] is False
    lines = (tmp_path / "audit.csv").read_text().splitlines()
    assert len(lines) == 1 + len(found.criteria) and lines[0] == "criterion,holds,question,figure"


def test_what_makes_no_sense_is_refused(data: Path, tmp_path: Path) -> None:
    several = Classifier(reader("object").module, mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, activation="sigmoid")
    with pytest.raises(InputError, match="softmax"):
        audit(several, data, "gradient", out=tmp_path)
    with pytest.raises(InputError, match="background"):
        Limits(background=-1)


OWN = "from audit.scenes import reader\n\n\ndef {name}():\n    return reader({name!r})\n"


def test_the_command_s_exit_code(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN.format(name="ground"))
    said = ["audit", "--classifier", f"{file}:ground", "--data", data, "--method", "grad_cam", "--out", tmp_path / "a"]
    assert call(*said).exit_code == 0
    failing = call(*said, "--fail-on", "background,shortcut")
    assert failing.exit_code == 1 and (tmp_path / "a" / "audit.html").is_file()
    assert call(*said, "--fail-on", "shortcut").exit_code == 0
    assert call(*said, "--fail-on", "background", "--limit-set", "background=1.5").exit_code == 0
    wrong = call(*said, "--fail-on", "sanity")
    assert wrong.exit_code == 2 and "no criterion sanity" in wrong.stderr
    assert call(*said, "--fail-on", "worse").exit_code == 2
    assert call(*said, "--limit-set", "foo=1").exit_code == 2

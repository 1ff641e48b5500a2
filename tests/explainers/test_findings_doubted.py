"""A map of what a network does not find says so: nothing at all, or not the class that is asked for."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from finder import NAMES, colours, finder, scene
from torch import Tensor, nn

import maskwise as mw
from maskwise.checks.subject import Subject
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer
from maskwise.explainers.base import Explainer
from maskwise.explainers.doubts import handed_on
from maskwise.maskers import Masker, save_masker

IMAGES = torch.stack([scene(), scene("red"), scene("red", "green")])
METHODS: dict[str, dict[str, Any]] = {
    "grad_cam": {"layer": "0"}, "gradient": {}, "rise": {"masks": 16}, "occlusion": {"window": 0.25, "stride": 0.25},
    "score_cam": {"layer": "0"},
}  # fmt: skip


def kinds(explain: Explainer, images: Tensor = IMAGES, targets: Any = None) -> dict[str, list[bool]]:
    with handed_on():
        explain(images, targets)
    return {
        kind: where.expand(len(images)).tolist() for kind, where in explain.doubted.items() if kind.endswith("_found")
    }


@pytest.mark.parametrize("name", METHODS)
def test_nothing_is_found_in_the_first(name: str) -> None:
    explain = explainer(name, finder(), **METHODS[name])
    assert kinds(explain) == {"nothing_found": [True, False, False]}
    (line,) = [said for said in explain.report["warnings"] if "nothing is found" in said]
    assert line.startswith(f"{explain.title} on finder: no class has a probability above 0.5")
    assert line.endswith("(1 of 3 pictures)")


@pytest.mark.parametrize("name", METHODS)
def test_a_class_that_is_named_is_found_or_not(name: str) -> None:
    explain = explainer(name, finder(), **METHODS[name])
    nothing = {"nothing_found": [True, False, False]}
    assert kinds(explain, targets="red") == nothing
    assert kinds(explain, targets="green") == nothing | {"not_found": [False, True, False]}
    assert kinds(explain, targets=[["red", "green"]] * 3) == nothing | {"not_found": [False, True, False]}
    assert kinds(explain, targets="blue") == nothing | {"not_found": [False, True, True]}


def test_of_a_contrast_it_is_the_first_class() -> None:
    explain = explainer("gradient", finder())
    assert kinds(explain, targets="green - red") == {
        "nothing_found": [True, False, False], "not_found": [False, True, False]
    }  # fmt: skip


def test_a_score_of_the_callers_is_no_class() -> None:
    assert kinds(explainer("gradient", finder()), targets=lambda logits: logits[:, 3]) == {}


@pytest.mark.parametrize("activation", ["softmax", "none"])
def test_networks_without_findings_say_nothing(activation: str) -> None:
    assert kinds(explainer("gradient", finder(activation))) == {}


def test_probabilities_of_a_black_box_are_findings() -> None:
    network = colours()

    def predict(images: Tensor) -> Tensor:
        with torch.no_grad():
            return network(images).sigmoid()

    box = Classifier(predict, mean=[0] * 3, std=[1] * 3, input_size=32, labels=NAMES, activation="none")
    explain = explainer("rise", box, masks=16)
    assert kinds(explain, targets="green") == {
        "nothing_found": [True, False, False], "not_found": [False, True, False]
    }  # fmt: skip


def test_methods_that_read_no_picture_say_nothing() -> None:
    for name in ("center", "random", "edges", "uniform"):
        assert kinds(explainer(name, finder())) == {}


def test_a_masker_without_classes_says_that_there_is_nothing(tmp_path: Path) -> None:
    classifier = finder()
    save_masker(tmp_path / "m.safetensors", Masker.build(classifier), classifier, {})
    explain = explainer("casm", classifier, masker=tmp_path / "m.safetensors")
    assert not explain.needs_target and kinds(explain, targets="blue") == {"nothing_found": [True, False, False]}


def test_sess_asks_of_the_whole_picture() -> None:
    """Patches in which there is nothing are no fault."""
    explain = mw.SESS(explainer("grad_cam", finder(), layer="0"), scales=[32, 64])
    assert kinds(explain, targets="green") == {"nothing_found": [True, False, False], "not_found": [False, True, False]}
    assert kinds(mw.SESS(explainer("center", finder()), scales=[32])) == {}


def test_logits_that_are_there_cost_no_forward() -> None:
    classifier = finder()
    assert classifier.tap_names
    calls: list[int] = []
    classifier.module.register_forward_pre_hook(lambda *_: calls.append(1))

    def forwards(name: str, activation: str) -> int:
        explain = explainer(name, classifier.described(activation=activation), **METHODS[name])
        kinds(explain)  # the first one also compares gradients
        calls.clear()
        kinds(explain)
        return len(calls)

    assert forwards("grad_cam", "sigmoid") == forwards("grad_cam", "softmax") == 1
    assert forwards("occlusion", "sigmoid") == forwards("occlusion", "softmax") + 1


def test_strict_is_an_error_where_nothing_is_found() -> None:
    explain = explainer("gradient", finder(), strict=True)
    assert explain(IMAGES[1:]).shape == (2, 40, 48)
    with pytest.raises(InputError, match="nothing is found"):
        explain(IMAGES)


def test_checks_of_other_weights_ask_for_what_is_not_there() -> None:
    classifier = finder()
    explain = explainer("gradient", classifier, strict=True)
    with pytest.raises(InputError, match="not found"):
        explain(IMAGES[1:2], "green")
    assert Subject.of(explain, classifier).maps(IMAGES[1:2], torch.tensor([1])).shape == (1, 40, 48)


def test_an_evaluation_counts_them(tmp_path: Path) -> None:
    from PIL import Image

    from maskwise.evaluation import Contender, Settings, leaderboard, measure
    from maskwise.measures import metric

    (tmp_path / "images").mkdir()
    for i, image in enumerate(IMAGES):
        pixels = (255 * image).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
    classifier = finder()
    contender = Contender.of("gradient", explainer("gradient", classifier))
    found = measure([contender], classifier, [str(tmp_path)], {"area": metric("area")}, Settings(batch=2))
    few, line = leaderboard(found).warnings
    assert few.startswith("of 3 pictures only")
    assert "nothing is found" in line and line.endswith("(1 of 3 pictures)")


def test_a_network_that_ends_in_sigmoids_is_one_of_findings() -> None:
    classifier = Classifier(nn.Sequential(colours(), nn.Sigmoid()), mean=[0] * 3, std=[1] * 3, input_size=32)
    assert classifier.gives_findings and kinds(explainer("gradient", classifier)) == {
        "nothing_found": [True, False, False]
    }


def test_the_page_of_a_comparison_has_the_line_at_its_picture(tmp_path: Path) -> None:

    from maskwise.data import Sample
    from maskwise.evaluation import Contender
    from maskwise.evaluation.batch import Batch
    from maskwise.report.page_compared import cards_of

    classifier = finder()
    contender = Contender.of("gradient", explainer("gradient", classifier))
    batch = Batch.of([Sample(str(i), image) for i, image in enumerate(IMAGES)], classifier, "squash", "predicted")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cards = cards_of(batch, [contender], classifier)
    lines = [card["answers"][0]["warnings"] for card in cards]
    assert [len(own) for own in lines] == [1, 0, 0] and "nothing is found" in lines[0][0]
    assert "pictures)" not in lines[0][0]


def test_a_masker_that_has_learnt_on_says_what_the_classifier_itself_finds(tmp_path: Path) -> None:
    """CASM adapts its own copy of the network: what that one would find is nobody's news."""
    classifier = finder()
    masker = Masker.build(classifier)
    with torch.no_grad():
        masker.encoder.module[2].bias.fill_(6)  # type: ignore[index, union-attr, operator]
    save_masker(tmp_path / "m.safetensors", masker, classifier, {})
    explain = explainer("casm", classifier, masker=tmp_path / "m.safetensors")
    with torch.no_grad():
        assert (explain.masker.encoder(explain.masker.encoder.prepare(IMAGES)) > 0).all(), "it finds all everywhere"
    assert kinds(explain) == {"nothing_found": [True, False, False]}

"""What makes a map doubtful, and who is told: networks in which each fault is built in, and sound ones beside them."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from conftest import tiny_net
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer
from maskwise.explainers.base import Explainer
from maskwise.explainers.doubts import (
    coarse_grid,
    doubts,
    flat_map,
    handed_on,
    hardly_moves,
    line_of,
    misplaced_grid,
    pixel_gradient,
    same_gradient,
    within_rounding,
    zero_gradient,
)
from maskwise.explainers.optimised import hidden_somewhere
from maskwise.maskers import ClassMasker, Masker, save_masker

IMAGES = torch.rand(3, 3, 40, 52, generator=torch.Generator().manual_seed(0))
QUICK = {"rise": {"masks": 24}, "occlusion": {"window": 0.25, "stride": 0.25}}


def kinds(explain: Explainer, images: Tensor = IMAGES, targets: object = None) -> dict[str, list[bool]]:
    """The pictures of each kind, with nobody warned."""
    with handed_on():
        explain(images, targets)  # type: ignore[arg-type]
    assert len(explain.report["warnings"]) == len(explain.doubted)
    return {kind: where.expand(len(images)).tolist() for kind, where in explain.doubted.items()}


class OneScore(nn.Module):
    """All classes have the same score but for a constant, so that they have one gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.offset = tiny_net(classes=1), nn.Parameter(torch.arange(4.0))

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images) + self.offset


class Ignored(nn.Module):
    """Beside the way to the answer there is a branch, whose grid the answer never sees."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.branch = tiny_net(), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images) + 0 * self.branch(images).mean((1, 2, 3))[:, None]


def dead_net() -> nn.Module:
    """The last layer weighs nothing: every picture has the same scores."""
    net = tiny_net()
    with torch.no_grad():
        net[-1].weight.zero_()  # type: ignore[index, operator, union-attr]
    return net


# The checks themselves


def test_flat_is_a_range_within_rounding() -> None:
    maps = torch.tensor(
        [[[[0.0, 0.0]], [[5.0, 5.0]], [[5.0, 5.0 + 2e-6]]], [[[5.0, 5.1]], [[-3.0, -3.0]], [[0, 1e-10]]]]
    )
    assert flat_map(maps).tolist() == [[True, True, True], [False, True, False]]
    assert flat_map(torch.tensor([[[[0.0, 1e-30]]]])).item(), "stretched it is zeros"


def test_rounding_is_of_the_larger_end_and_nan_is_not_rounding() -> None:
    low = torch.tensor([0.0, 1.0, 1.0, -1.0, torch.nan])
    high = torch.tensor([0.0, 1.0 + 5e-7, 1.0 + 5e-6, -1.0 + 2e-7, torch.nan])
    assert within_rounding(low, high).tolist() == [True, True, False, True, False]


def test_a_probability_that_hardly_moves() -> None:
    low = torch.tensor([0.5, 0.5, 0.0, 1e-5, 0.3])
    high = torch.tensor([0.5, 0.50009, 0.00011, 9e-5, 0.3 + 1e-7])
    assert hardly_moves(low, high).tolist() == [False, True, False, True, False]  # within rounding it does not at all


def test_zero_gradients() -> None:
    gradient = torch.zeros(3, 2, 2, 2)
    gradient[1, 0, 1, 1] = -1e-20
    assert zero_gradient(gradient).tolist() == [True, False, True]


def test_one_gradient_of_two_classes() -> None:
    first = torch.rand(4, 3, 5, 5)
    second = first.clone()
    second[1] *= -1  # the two classes of one score: opposite, and so not the same
    second[2, 0, 0, 0] += 0.01
    first[3] = second[3] = 0  # no gradient at all is another fault
    assert same_gradient(first, second).tolist() == [True, False, False, False]


@pytest.mark.parametrize(("size", "few"), [((1, 1), True), ((2, 2), True), ((1, 4), True), ((2, 3), False)])
def test_few_places(size: tuple[int, int], few: bool) -> None:
    assert coarse_grid(torch.zeros(2, 8, *size)) is few


# Networks with each fault


class Sure(nn.Module):
    """Logits of a sound network, of which one class is so far ahead that probabilities hardly change."""

    def __init__(self, ahead: float) -> None:
        super().__init__()
        self.net, self.ahead = tiny_net(), nn.Parameter(torch.tensor([ahead, 0.0, 0.0, 0.0, 0.0]))

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images) + self.ahead


FAINT = {
    "rise": {"masks": 24},
    "occlusion": {"window": 0.25, "stride": 0.25},
    "kernel_shap": {"masks": 24},
    "banzhaf": {"masks": 24},
    "score_cam": {},
    "recipro_cam": {},
    "meaningful_perturbation": {"iterations": 3},
    "dabkowski_gal_iterative": {"iterations": 3},
}


@pytest.mark.parametrize("name", FAINT)
@pytest.mark.parametrize("asked", [None, 2])
def test_a_class_whose_probability_no_mask_moves(name: str, asked: int | None) -> None:
    """So with the class that is sure and with one that is as good as absent; a logit that moves is no such doubt."""
    sure = Classifier(Sure(8.0), input_size=32)
    options = FAINT[name]
    assert kinds(explainer(name, sure, **options), targets=asked) == {"faint_perturbation": [True] * 3}
    loud = Sure(0.0)
    with torch.no_grad():
        loud.net[-1].weight.mul_(20)  # type: ignore[index, operator, union-attr]
    undecided = Classifier(loud, input_size=32)
    if name in ("rise", "occlusion", "kernel_shap", "banzhaf"):
        assert kinds(explainer(name, sure, scoring="logit", **options), targets=asked) == {}
        quiet = Sure(0.0)  # whose logits move less than that, too, and of a logit nobody knows what is small
        with torch.no_grad():
            quiet.net[-1].weight.mul_(1e-3)  # type: ignore[index, operator, union-attr]
        found = kinds(explainer(name, Classifier(quiet, input_size=32), scoring="logit", **options), targets=asked)
        assert "faint_perturbation" not in found
    if name != "dabkowski_gal_iterative":  # whose first steps change nothing, and which asks for classes alone
        assert "faint_perturbation" not in kinds(explainer(name, undecided, **options))
        by_own = kinds(explainer(name, sure, **options), targets=lambda logits: logits[:, 0] * 1e-5)
        assert "faint_perturbation" not in by_own  # of a score of the caller's own nobody knows what is small


@pytest.mark.parametrize("name", ["rise", "occlusion", "score_cam", "recipro_cam"])
def test_so_of_probabilities_that_a_network_makes_itself(name: str) -> None:
    """Its outputs are taken as they are, and lie in [0,1]; of an age that hardly moves nobody knows what is small."""
    of_its_own = Classifier(nn.Sequential(Sure(8.0), nn.Softmax(1)), input_size=32, activation="none")
    assert kinds(explainer(name, of_its_own, **FAINT[name]), targets=2) == {"faint_perturbation": [True] * 3}
    quiet = Sure(0.0)
    with torch.no_grad():
        quiet.net[-1].weight.mul_(1e-3)  # type: ignore[index, operator, union-attr]
        quiet.ahead += 2
    age = Classifier(quiet, input_size=32, activation="none")
    assert "faint_perturbation" not in kinds(explainer(name, age, **FAINT[name]), targets=2)


@pytest.mark.parametrize("name", ["grad_cam", "gradient", "rise", "occlusion", "score_cam", "group_cam", "smooth_grad"])
def test_a_sound_network_has_no_warnings(name: str, tiny: Classifier) -> None:
    assert kinds(explainer(name, tiny, **QUICK.get(name, {}))) == {}


@pytest.mark.parametrize("name", ["grad_cam", "grad_cam_pp", "layer_cam", "smooth_grad_cam_pp", "augmented_grad_cam"])
def test_no_gradient_at_the_layer(name: str) -> None:
    options = {"augmented_grad_cam": {"copies": 3, "iterations": 2}, "smooth_grad_cam_pp": {"samples": 3}}
    explain = explainer(name, Classifier(dead_net(), input_size=32), **options.get(name, {}))
    assert kinds(explain) == {"zero_gradient": [True] * 3}
    assert "name another `layer`" in explain.report["warnings"][0] and " at 10 on " in explain.report["warnings"][0]


def test_a_layer_beside_the_way_to_the_answer() -> None:
    classifier = Classifier(Ignored(), input_size=32)
    assert kinds(explainer("grad_cam", classifier, layer="branch")) == {"zero_gradient": [True] * 3}
    assert kinds(explainer("grad_cam", classifier, layer="net.10")) == {}


@pytest.mark.parametrize("name", ["rise", "occlusion", "score_cam", "group_cam"])
def test_masks_that_change_nothing(name: str) -> None:
    explain = explainer(name, Classifier(dead_net(), input_size=32), **QUICK.get(name, {}))
    found = kinds(explain)
    assert found.pop("dead_perturbation") == [True] * 3
    assert "flat_map" not in found, "whose reason is known"
    with handed_on():
        assert (explain(IMAGES) == 0).all()


def test_noise_of_masks_is_no_map() -> None:
    """Scores that differ in the last bits only: stretched, they would be a picture like any other."""

    class Nearly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = tiny_net()

        def forward(self, images: Tensor) -> Tensor:
            return 1 + 1e-7 * self.net(images)

    explain = explainer("occlusion", Classifier(Nearly(), input_size=32), **QUICK["occlusion"])
    assert kinds(explain) == {"dead_perturbation": [True] * 3}
    with handed_on():
        assert (explain(IMAGES) == 0).all()


def test_only_the_picture_of_one_colour_is_doubted(tiny: Classifier) -> None:
    """What hides a place is the mean colour, which that picture has everywhere."""
    images, mean = IMAGES.clone(), tiny.mean[:, None, None]
    for name, kind, colour in (
        ("rise", "dead_perturbation", mean), ("occlusion", "dead_perturbation", mean), ("edges", "flat_map", 0.0)
    ):  # fmt: skip
        images[1] = colour
        explain = explainer(name, tiny, **QUICK.get(name, {}))
        assert kinds(explain, images) == {kind: [False, True, False]}
        assert explain.report["warnings"][0].endswith("(1 of 3 pictures)")
        assert kinds(explain, images[:1]) == {}, "the next call begins anew"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("meaningful_perturbation", {"iterations": 4}),
        ("extremal_perturbation", {"iterations": 4, "areas": (0.2,)}),
        ("fido", {"iterations": 3, "samples": 2}),
        ("guided_feature_inversion", {"iterations": 4, "inversion": 1}),
        ("dabkowski_gal_iterative", {"iterations": 4}),
    ],
)
def test_optimised_masks_that_change_nothing(name: str, options: dict[str, object], tiny: Classifier) -> None:
    assert "dead_perturbation" not in kinds(explainer(name, tiny, **options))
    dead = kinds(explainer(name, Classifier(dead_net(), input_size=32), **options))
    assert dead["dead_perturbation"] == [True] * 3


class Loud(nn.Module):
    """Scores so large that what a blur is rounded by moves them, and with them every mask."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tiny_net()

    def forward(self, images: Tensor) -> Tensor:
        return 30 * self.net(images)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("meaningful_perturbation", {"iterations": 12, "l1": 0.0}),
        ("meaningful_perturbation", {"iterations": 12, "l1": 0.0, "start": "ones", "infill": "mean"}),
        ("fido", {"iterations": 6, "samples": 2}),
        ("fido", {"iterations": 6, "samples": 2, "objective": "sdr"}),
        ("guided_feature_inversion", {"iterations": 6, "inversion": 2}),
        ("extremal_perturbation", {"iterations": 6, "areas": (0.2,)}),
    ],
)
def test_where_nothing_can_be_hidden_no_mask_is_learned(name: str, options: dict[str, object]) -> None:
    """A picture of one colour is its own blur: an optimiser made a map of the rounding."""
    loud = Classifier(Loud(), input_size=32, name="loud")
    images = IMAGES.clone()
    colour = loud.mean if options.get("infill") == "mean" else torch.tensor([0.9, 0.2, 0.1])
    images[1] = colour[:, None, None]
    explain = explainer(name, loud, **options)
    with handed_on():
        maps = explain(images, 0)
    assert (maps[1] == 0).all()
    assert explain.doubted["dead_perturbation"].tolist() == [False, True, False]
    assert not explain.doubted.get("faint_perturbation", torch.zeros(3))[1], "a map of zeros is stretched from nothing"
    assert (maps[[0, 2]].amax((1, 2)) > 0.01).all(), "the others have theirs"


def test_a_wide_blur_s_rounding_is_no_change_and_one_level_is(tiny: Classifier) -> None:
    explain, maps = explainer("rise", tiny, masks=2), torch.ones(3, 4, 4)
    images = torch.full((3, 3, 32, 32), 0.7)
    fill = images.clone()
    fill[1, 0, 5, 5] += 4e-6
    fill[2, 2, 31, 31] -= 1 / 255
    assert hidden_somewhere(explain, maps, images, fill).amax((1, 2)).tolist() == [0, 0, 1]
    assert explain.doubted["dead_perturbation"].tolist() == [True, True, False]


def test_a_map_of_zeros_is_stretched_from_nothing(tiny: Classifier) -> None:
    explain, maps = explainer("rise", tiny, masks=2), torch.zeros(2, 1, 4, 4)
    maps[1, 0, 2, 2] = 1
    explain.scored(torch.tensor([0.5, 0.50005])[None, :, None].expand(2, -1, -1), probabilities=True)
    explain.settled(maps)
    assert explain.doubted["faint_perturbation"].tolist() == [False, True]


def test_an_inversion_s_faint_probability_is_told() -> None:
    sure = Classifier(Sure(8.0), input_size=32)
    explain = explainer("guided_feature_inversion", sure, iterations=6, inversion=2)
    assert kinds(explain, targets=2) == {"faint_perturbation": [True] * 3}


def test_one_masked_picture_says_nothing_of_the_others(tiny: Classifier) -> None:
    assert "dead_perturbation" not in kinds(explainer("group_cam", tiny, groups=1))


@pytest.mark.parametrize("name", ["grad_cam", "gradient", "smooth_grad"])
def test_classes_of_one_gradient(name: str, tiny: Classifier) -> None:
    explain = explainer(name, Classifier(OneScore(), input_size=32, activation="sigmoid"))
    assert kinds(explain) == {"same_gradient": [True] * 3}
    own = kinds(explain, targets=lambda logits: logits[:, 0])
    assert "same_gradient" not in own, "a score of the caller's is of no class anyway"


def test_two_classes_of_one_score_are_not_one() -> None:
    classifier = Classifier(tiny_net(classes=1), input_size=32)
    assert pixel_gradient(classifier, torch.rand(1, 3, 32, 32)) == "apart"


def test_classes_are_compared_once(tiny: Classifier) -> None:
    assert tiny.tap_names  # found by a forward of their own
    misplaced_grid(tiny, "10")  # likewise
    calls = []
    handle = tiny.module.register_forward_hook(lambda *_: calls.append(1))
    for name in ("gradient", "grad_cam", "gradient"):
        explainer(name, tiny, **({"layer": "10"} if name == "grad_cam" else {}))(IMAGES)
    handle.remove()
    assert len(calls) == 4


def test_classes_are_compared_again_once_weights_were_written() -> None:
    """A head whose rows are alike at first, or become so, was taken for what it was for good."""
    net = tiny_net()
    head = [part for part in net.modules() if isinstance(part, nn.Linear)][-1]
    learnt = head.weight.detach().clone()
    explain = explainer("gradient", Classifier(net, input_size=32))
    for rows, alike in ((learnt, False), (learnt[:1].expand_as(learnt), True), (learnt, False)):
        with torch.no_grad():
            head.weight.copy_(rows)
        assert ("same_gradient" in kinds(explain)) == alike
    other = nn.Linear(head.in_features, head.out_features)
    assert net[-1] is head
    with torch.no_grad():
        other.weight.copy_(learnt[:1].expand_as(learnt))
    net[-1] = other
    assert "same_gradient" in kinds(explain)


@pytest.mark.parametrize(("size", "name"), [(8, "grad_cam"), (8, "score_cam"), (4, "grad_cam"), (8, "cam")])
def test_maps_of_few_places(size: int, name: str) -> None:
    found = kinds(explainer(name, Classifier(tiny_net(), input_size=size)))
    assert found["coarse_grid"] == [True] * 3 and "flat_map" not in found
    assert "coarse_grid" not in kinds(explainer(name, Classifier(tiny_net(), input_size=16)))


@pytest.mark.parametrize("name", ["casm", "dabkowski_gal"])
def test_a_masker_whose_classifier_has_learnt_on(name: str, tiny: Classifier, tmp_path: Path) -> None:
    kind = {"casm": Masker, "dabkowski_gal": ClassMasker}[name]
    save_masker(tmp_path / "m.safetensors", kind.build(tiny), tiny, {})
    explain = explainer(name, tiny, masker=tmp_path / "m.safetensors")
    assert kinds(explain) == {}
    weight = tiny.module[0].weight  # type: ignore[index, union-attr]
    with torch.no_grad():
        weight.mul_(1)  # written, and the same
    assert kinds(explain) == {}
    with torch.no_grad():
        weight.mul_(1.5)
    assert kinds(explain) == {"other_classifier": [True] * 3}


def test_uniform_is_flat_and_means_it(tiny: Classifier) -> None:
    assert kinds(explainer("uniform", tiny)) == {}


# SESS


def test_sess_hands_on_what_holds_for_every_patch(tiny: Classifier) -> None:
    half = IMAGES[:1].repeat(1, 1, 2, 2)
    half[..., :52] = tiny.mean[:, None, None]  # patches of one colour are nothing to warn of
    rise = explainer("rise", tiny, masks=8)
    assert kinds(mw.SESS(rise, scales=2), half) == {}
    explain = mw.SESS(explainer("grad_cam", Classifier(dead_net(), input_size=32)), scales=2)
    assert kinds(explain) == {"zero_gradient": [True] * 3}
    assert explain.report["warnings"][0].startswith("grad_cam at 10 + SESS on classifier: ")


def test_sess_says_a_flat_map_of_a_function(tiny: Classifier) -> None:
    explain = mw.SESS(lambda images, targets: torch.zeros_like(images[:, 0]), tiny, scales=1)
    assert kinds(explain) == {"flat_map": [True] * 3}


def test_sess_on_another_classifier(tiny: Classifier) -> None:
    other = Classifier(tiny_net(seed=1), input_size=32)
    assert "other_classifier" in kinds(mw.SESS(explainer("grad_cam", tiny), other, scales=1))
    same = Classifier(tiny_net(), input_size=32)
    assert kinds(mw.SESS(explainer("grad_cam", tiny), same, scales=1)) == {}


# Who is told


def test_python_is_warned_once_a_classifier_in_one_line() -> None:
    for _ in range(2):
        classifier = Classifier(dead_net(), input_size=32, name="dead")
        with pytest.warns(UserWarning) as caught:
            for _ in range(3):
                explainer("grad_cam", classifier)(IMAGES)
        (said,) = [str(warning.message) for warning in caught]
        assert said == line_of("zero_gradient", "grad_cam at 10", "dead") and "\n" not in said


def test_a_front_door_is_not_warned_and_reads_the_report() -> None:
    explain = explainer("grad_cam", Classifier(dead_net(), input_size=32))
    with warnings.catch_warnings(), handed_on():
        warnings.simplefilter("error")
        explain(IMAGES)
    assert explain.report["warnings"] == [line_of("zero_gradient", explain.title, "classifier", torch.ones(3))]


def test_strict_is_an_error(tiny: Classifier) -> None:
    dead = Classifier(dead_net(), input_size=32)
    explain = explainer("grad_cam", dead, strict=True)
    for doubtful in (explain, mw.SESS(explain, scales=1)):
        with pytest.raises(InputError, match="no gradient of the class"):
            doubtful(IMAGES)
    with handed_on(), pytest.raises(InputError, match="no gradient of the class"):
        explain(IMAGES)
    assert explainer("grad_cam", tiny, strict=True)(IMAGES).shape == (3, 40, 52)


def test_every_warning_says_cause_and_cure() -> None:
    for kind, facts in doubts.items():
        assert set(facts) == {"cause", "cure"}, kind
        assert all("\n" not in text and not text.endswith(".") for text in facts.values())

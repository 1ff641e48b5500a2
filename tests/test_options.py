"""Every option of every method, metric, infiller and of SESS: typed, described, refused where it is wrong, of effect.

They are found in the registries, so that a new one is held to all of it.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import torch
from conftest import tiny_net, tiny_vit
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.option_types import GIVEN, fitting
from maskwise.core.registry import Registry
from maskwise.explainers import explainer, methods
from maskwise.explainers.base import Explainer
from maskwise.explainers.doubts import handed_on
from maskwise.infill import infiller, infillers
from maskwise.maskers import ClassMasker, Masker, ShapleyMasker, save_masker
from maskwise.maskers.layout import Layout
from maskwise.measures import metric, metrics

SIDE = 32
REGISTRIES: dict[str, Registry[Any]] = {"method": methods, "metric": metrics, "infiller": infillers}


def options_of(entry: Any) -> dict[str, inspect.Parameter]:
    """Those of a constructor, without what it is made around."""
    parameters = inspect.signature(entry).parameters
    return {name: one for name, one in parameters.items() if name not in ("classifier", "explainer")}


ENTRIES: dict[str, Any] = {
    f"{kind} {name}": registry.get(name) for kind, registry in REGISTRIES.items() for name in registry.names()
} | {"SESS": mw.SESS}
OPTIONS = [(who, name) for who, entry in ENTRIES.items() for name in options_of(entry)]


def kinds_of(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def build(who: str, **options: Any) -> object:
    """The thing itself, on a classifier where it asks for one."""
    kind, _, name = who.partition(" ")
    tiny = Classifier(tiny_net(), input_size=SIDE, name="tiny")
    if kind == "SESS":
        return mw.SESS(explainer("grad_cam", tiny), **options)
    if kind == "infiller":
        return infiller(name, **options)
    if kind == "metric":
        return metric(name, tiny if metrics.get(name).needs_classifier else None, **options)
    if methods.facts(name)["family"] == "attention":
        tiny = Classifier(tiny_vit(), input_size=SIDE, name="tiny")
    return explainer(name, tiny, **options)


def test_every_option_has_a_type_that_its_default_fits_and_is_described() -> None:
    for who, name in OPTIONS:
        entry = ENTRIES[who]
        hints, usual = get_type_hints(entry.__init__), options_of(entry)[name].default
        assert name in hints and hints[name] is not Any, f"{who}: {name} has no type"
        assert usual is not inspect.Parameter.empty, f"{who}: {name} has no default"
        again = tuple(usual) if isinstance(usual, tuple) else type(usual)(usual) if usual is not None else None
        assert fitting(entry, {name: again})[name] == usual, f"{who}: {name}"
        texts = [one.__doc__ or "" for one in entry.__mro__]
        # `a, b: …` describes both; "options as `deletion`", too.
        described = any(re.search(rf"^\s+(\w+, )*{name}(, \w+)*:", text, re.M) for text in texts)
        assert described or "options" in texts[0] or "As ``" in texts[0] or "as ``" in texts[0], f"{who}: {name}"


def wrong_values(hint: Any) -> Iterator[object]:
    """Values of none of the types of an option."""
    kinds = kinds_of(hint)
    plain = {one for one in kinds if isinstance(one, type)}
    numbers = {int, float} & plain
    if str not in plain and not any(get_origin(one) is Literal for one in kinds):
        yield "no such value"
    if not numbers and bool not in plain:
        yield math.nan
    if numbers:
        yield from (math.nan, math.inf, -math.inf, 1e39)
    if float not in plain and str not in plain:
        yield 2.5
    if bool not in plain:
        yield True
    if type(None) not in plain:
        yield None
    if any(get_origin(one) is Literal for one in kinds):
        yield "no such word"
    yield {}
    yield [object()]


@pytest.mark.parametrize("who", ENTRIES)
def test_a_value_of_the_wrong_type_is_one_line_that_names_the_option(who: str) -> None:
    entry = ENTRIES[who]
    hints = get_type_hints(entry.__init__)
    for name in options_of(entry):
        for value in wrong_values(hints[name]):
            with pytest.raises(InputError, match=rf"\b{name}\b") as refused:
                build(who, **{name: value})
            assert "\n" not in str(refused.value)


def test_what_an_option_belongs_to_is_told_of_options_that_there_are() -> None:
    rules = [(who, own, rule) for who in ENTRIES for own, rule in getattr(ENTRIES[who], "only_with", {}).items()]
    assert len(rules) > 10
    for who, own, rule in rules:
        known = options_of(ENTRIES[who])
        if own not in known:  # of a class that this one is made of
            continue
        for other, values in rule.items():
            assert other in known, f"{who}: {own}"
            for value in () if values == GIVEN else values:
                assert fitting(ENTRIES[who], {other: value}) == {other: value}


# ---- each option does something --------------------------------------------------------------------------------

IMAGES = torch.rand(2, 3, SIDE, 40, generator=torch.Generator().manual_seed(0))
QUICK: dict[str, dict[str, Any]] = {
    "rise": {"masks": 30, "tolerance": 0.01}, "kernel_shap": {"masks": 30}, "banzhaf": {"masks": 30},
    "smooth_grad": {"samples": 3}, "smooth_grad_cam_pp": {"samples": 3, "layer": "6"},
    "augmented_grad_cam": {"copies": 3, "iterations": 4}, "integrated_gradients": {"steps": 3}, "xrai": {"steps": 2},
    "occlusion": {"window": 0.5, "stride": 0.25}, "meaningful_perturbation": {"iterations": 4, "jitter": 20.0},
    "extremal_perturbation": {"iterations": 6, "areas": (0.2,), "step": 20.0},
    "fido": {"iterations": 4, "samples": 2, "annealing": 3}, "group_cam": {"groups": 4, "layer": "6"},
    "opti_cam": {"iterations": 3}, "guided_feature_inversion": {"iterations": 8, "inversion": 3, "halving": 2},
    "dabkowski_gal_iterative": {"iterations": 6}, "feedback": {"iterations": 3},
}  # fmt: skip
# What the types do not say: other sensible values, of an option by its name or of one method's; or several at once.
OTHERS: dict[str | tuple[str, str], list[Any]] = {
    "layer": ["2", "6"], "inversion_layer": ["2"], "layers": ["2,10"], ("legrad", "layers"): [1, 2],
    "areas": [(0.1, 0.3)], "class_gate": [0.2, 0.5], "gate_scales": [(1, 1.5)], "infill": ["mean", "noise"],
    "start": ["ones"], ("extremal_perturbation", "variant"): ["delete"], "top": [1, 3], "objective": ["sdr"],
    "start_layer": [1], "momentum": [0.5], "tolerance": [0.5], "kernel": ["gaussian"], "masks": [40],
    ("lrp", "alpha"): [{"alpha": 3.0, "beta": 2.0}], ("lrp", "beta"): [{"alpha": 1.5, "beta": 0.5}],
    "fill": ["blur:sigma=3"], "percent": ["20"], "step": [100], "share": [0.4], "floor": [0.9], "threshold": [0.2],
    ("noisy_linear", "largest"): [12],
}  # fmt: skip
# An option that waits for another, beside what ``only_with`` says.
TOGETHER: dict[tuple[str, str], dict[str, Any]] = {
    **{(name, "gate_scales"): {"class_gate": 0.3} for name in ("casm", "casm_baseline", "class_casm", "distilled")},
}
# A network of ReLUs has nothing to balance, and no attention; a masker is a file.
NOTHING_TO_SEE = {"balanced", "softmax", "masker"}


@pytest.fixture(scope="module")
def maskers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of an untrained masker that fits a method."""
    folder = tmp_path_factory.mktemp("maskers")
    tiny = Classifier(tiny_net(), input_size=SIDE, name="tiny")
    recipe = {"decoder": "mixed", "class_tap": True, "width": 8}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        cells = ShapleyMasker.build(tiny)
        nn.init.normal_(cells.decoder.out.weight)
        mixed = Masker.build(tiny, layout=Layout.of({**recipe, "head_std": 0.5}))
        of_class = ClassMasker.build(tiny)
        for name, made, said in (
            ("any", Masker.build(tiny), {}), ("dabkowski_gal", of_class, {}), ("fast_shap", cells, {}),
            ("distilled", mixed, recipe), ("class_casm", mixed, recipe),
        ):  # fmt: skip
            save_masker(folder / f"{name}.safetensors", made, tiny, said)

    def file(name: str) -> Path:
        own = folder / f"{name}.safetensors"
        return own if own.exists() else folder / "any.safetensors"

    return file


def other_values(who: str, name: str, hint: Any, value: Any) -> list[dict[str, Any]]:
    """Other settings of an option, each as options by name."""
    found: list[Any] = OTHERS.get((who, name), OTHERS.get(name, []))
    if found:
        return [one if isinstance(one, dict) else {name: one} for one in found]
    for kind in kinds_of(hint):
        if get_origin(kind) is Literal:
            found += [one for one in get_args(kind) if one != value]
        elif kind is bool:
            found.append(not value)
        elif kind is int:
            found += [2, 4] if value is None else [value + 2, 2 * value + 2]
        elif kind is float:
            found += [0.3, 2.0] if value is None else [value / 2, value * 1.5] if value else [0.5, 2.0]
    return [{name: one} for one in found]


def companions(who: str, entry: Any, name: str) -> dict[str, Any]:
    """Values of other options with which this one counts."""
    found: dict[str, Any] = {}
    for other, values in getattr(entry, "only_with", {}).get(name, {}).items():
        if values != GIVEN:
            found[other] = values[0]
        elif inspect.signature(entry).parameters[other].default is None:
            found[other] = 3
    return found | TOGETHER.get((who, name), {})


def furthest(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max()) if a.shape == b.shape else math.inf


def small(name: str, maskers: Callable[[str], Path]) -> tuple[Callable[..., Explainer], dict[str, Any]]:
    """A method on a toy network with few steps, and the options that make it so."""
    family = methods.facts(name)["family"]
    classifier = Classifier(tiny_vit() if family == "attention" else tiny_net(), input_size=SIDE, name="tiny")
    usual = QUICK.get(name, {}) | ({"masker": maskers(name)} if family == "maskers" else {})
    return lambda **options: explainer(name, classifier, **usual | options), usual


WITH_OPTIONS = [name for name in methods.names() if options_of(methods.get(name))]
ENDS = {int: (0, -1), float: (0.0, -1.0, 1e-30, 1e38, -1e38)}


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_a_number_at_the_end_of_its_range_gives_a_map_or_one_line(name: str, maskers: Callable[[str], Path]) -> None:
    """Finite, and flat only with a warning; as the angle of a turn 1e38 once ended the process."""
    make, _ = small(name, maskers)
    entry = methods.get(name)
    hints = get_type_hints(entry.__init__)
    for option in options_of(entry):
        others = companions(name, entry, option)
        for kind in (int, float):
            for value in ENDS[kind] if kind in kinds_of(hints[option]) else ():
                try:
                    explain = make(**others | {option: value})
                    with handed_on():
                        maps = explain(IMAGES, 1)
                except InputError as error:
                    assert "\n" not in str(error)
                    continue
                where = f"{name}: {option}={value}"
                assert maps.isfinite().all() and maps.abs().max() <= 1, where
                assert maps.flatten(1).std(1).min() > 1e-6 or explain.report["warnings"], f"{where}: flat, unsaid"


# Beyond the ends that the types do not know.
BEYOND: list[tuple[str, dict[str, Any]]] = [
    ("augmented_grad_cam", {"angle": -0.1}), ("augmented_grad_cam", {"angle": 3.2}), ("rise", {"grid": SIDE + 1}),
    ("augmented_grad_cam", {"shift": -0.1}), ("augmented_grad_cam", {"shift": 1.1}), ("banzhaf", {"grid": SIDE + 1}),
    ("augmented_grad_cam", {"tv": -1.0}), ("augmented_grad_cam", {"energy": -1.0}), ("kernel_shap", {"grid": SIDE + 1}),
    ("meaningful_perturbation", {"learning_rate": 0.0}), ("meaningful_perturbation", {"size": 1025}),
    ("meaningful_perturbation", {"blur": 225.0}), ("meaningful_perturbation", {"blur": 0.0}),
    ("meaningful_perturbation", {"mask_blur": 225.0}),
    ("fido", {"learning_rate": 0}), ("fido", {"size": 1025}), ("fido", {"blur": 225}),
    ("opti_cam", {"learning_rate": 0}), ("opti_cam", {"learning_rate": 1001}),
    ("extremal_perturbation", {"learning_rate": 0}), ("extremal_perturbation", {"levels": 257}),
    ("extremal_perturbation", {"step": 225}), ("extremal_perturbation", {"sigma": 225}),
    ("extremal_perturbation", {"max_blur": 225}), ("extremal_perturbation", {"max_blur": 0}), ("fido", {"blur": 0}),
    ("extremal_perturbation", {"smooth": 1.1}),
    ("dabkowski_gal_iterative", {"learning_rate": 0}), ("dabkowski_gal_iterative", {"size": 1025}),
    ("guided_feature_inversion", {"learning_rate": 0}), ("guided_feature_inversion", {"blur": 225}),
    ("integrated_gradients", {"steps": 1001}), ("xrai", {"steps": 1001}), ("legrad", {"layers": True}),
    ("integrated_gradients", {"seed": 1}), ("score_cam", {"dropped": "released"}), ("lrp", {"alpha": 3.0}),
    ("lrp", {"rule": "z_plus", "epsilon": 0.1}), ("refine_cam", {"layers": "2,6", "top": 1}),
    ("refine_cam", {"layers": []}), ("fido", {"infill": "mean", "blur": 5.0}),
    ("kernel_shap", {"masks": None, "seed": 1}),
]  # fmt: skip
LAYERED = [(name, {"layer": ""}) for name in WITH_OPTIONS if "layer" in options_of(methods.get(name))]


@pytest.mark.parametrize(("name", "options"), BEYOND + LAYERED)
def test_what_makes_no_sense_is_named(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"\b{list(options)[-1]}\b"):
        build(f"method {name}", **options)


def test_sess_names_what_makes_no_sense() -> None:
    for option, value in (
        ("scales", 1001), ("scales", 0), ("scales", math.nan), ("scales", 2.5), ("scales", [SIDE, 40.5]),
        ("budget", "inf"), ("budget", "infs"), ("budget", math.nan), ("smooth", "no"), ("stride", True),
    ):  # fmt: skip
        with pytest.raises(InputError, match=option):
            build("SESS", **{option: value})


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_each_option_of_a_method_changes_the_map_and_batch_does_not(name: str, maskers: Callable[[str], Path]) -> None:
    entry = methods.get(name)
    make, usual = small(name, maskers)
    hints = get_type_hints(entry.__init__)

    def maps(**options: Any) -> Tensor:
        return make(**options)(IMAGES, 1)

    for option, parameter in options_of(entry).items():
        others = companions(name, entry, option)
        if option in NOTHING_TO_SEE or (name, option) == ("cam", "layer"):  # which has one layer alone
            continue
        before = maps(**others)
        values = other_values(name, option, hints[option], usual.get(option, parameter.default))
        changed = [furthest(maps(**others | value), before) for value in values]
        if option == "batch":
            assert max(changed) <= 1e-5, "how many go together is nothing to see"
        else:
            assert max(changed) > 1e-7, f"{name}: {option} is of no effect at {values}"


DRAWS = torch.Generator().manual_seed(1)
# Each picture is one for an option of boxes: its map, and where its object is.
CASES: dict[str, tuple[list[tuple[int, int, int, int]], list[float]]] = {
    "connectivity": ([(4, 4, 12, 12), (12, 12, 20, 20)], [4, 4, 20, 20]),
    "box": ([(10, 10, 13, 13)], [10, 10, 13, 13]),
    "truth": ([(10, 10, 13, 13)], [10, 10, 12.9, 12.9]),
    "truth_area": ([(24, 0, 32, 32)], [24, 0, 60, 32]),
}
MAPS = torch.zeros(8, SIDE, SIDE)
for case, (squares, _) in enumerate(CASES.values()):
    for x0, y0, x1, y1 in squares:
        MAPS[case, y0:y1, x0:x1] = 1
MAPS[4] = torch.linspace(0, 1, SIDE)  # alpha: above half of the mean lies more
MAPS[5, 8:24, 8:24], MAPS[5, 8:12, 8:12] = 0.3, 1.0  # rule: a fifth of it is bright
MAPS[6:] = torch.rand(2, SIDE, SIDE, generator=DRAWS)
MAPS[6:, :12] = 0  # ties
MAPS[7] = 0  # empty: no box
BOXES = [*(box for _, box in CASES.values()), [16, 0, 32, 32], [8, 8, 24, 24], [3.7, 2.2, 20.5, 9.9], [8, 8, 31.5, 40]]
HALF = torch.zeros(SIDE, SIDE, dtype=torch.bool)
HALF[SIDE // 2 :] = True
SMALL = torch.zeros(SIDE, SIDE, dtype=torch.bool)
SMALL[4:9, 4:20] = True
TRUTH: dict[str, Any] = {
    "boxes": [torch.tensor([box]).float() for box in BOXES], "masks": HALF.expand(8, -1, -1).clone(),
    "images": torch.rand(8, 3, 4, 4, generator=DRAWS).repeat_interleave(8, 2).repeat_interleave(8, 3),
    "targets": torch.arange(8) % 5, "labels": torch.arange(8) % 5, "probabilities": torch.eye(5)[torch.arange(8) % 5],
    "regions": [{i % 5: SMALL, 9: HALF} if i % 2 else {i % 5: HALF} for i in range(8)],
}  # fmt: skip
FEW = {"mu_fidelity": {"subsets": 12, "cells": 4}, "infidelity": {"samples": 8}}


def rows(name: str, **options: Any) -> tuple[Tensor, Tensor]:
    """What a metric says of each picture, and of all."""
    classifier = Classifier(tiny_net(), input_size=SIDE, name="tiny") if metrics.get(name).needs_classifier else None
    made = metric(name, classifier, **FEW.get(name, {}) | options)
    truth = {key: TRUTH[key] for key in (*made.needs, *made.takes) if key in TRUTH}
    found = made.per_image(MAPS, **truth)
    number = made.value(found.nansum(0), torch.tensor(float(len(MAPS)), dtype=torch.float64))
    return found.nan_to_num(-1), number.nan_to_num(-1)


WITH_FILL = {"refill": {"fill": "colour_noise"}, "draws": {"fill": "colour_noise"}}


@pytest.mark.parametrize("name", [name for name in metrics.names() if options_of(metrics.get(name))])
def test_each_option_of_a_metric_changes_a_number_and_batch_does_not(name: str) -> None:
    entry = metrics.get(name)
    hints = get_type_hints(entry.__init__)
    for option, parameter in options_of(entry).items():
        if option == "cases":  # what the protocol calls a list
            continue
        others = companions(name, entry, option) | WITH_FILL.get(option, {})
        before, number = rows(name, **others)
        values = other_values(name, option, hints[option], FEW.get(name, {}).get(option, parameter.default))
        found = [rows(name, **others | value) for value in values]
        changed = [max(furthest(row, before), furthest(one, number)) for row, one in found]
        if option == "batch":
            assert max(changed) <= 1e-5
        else:
            assert max(changed) > 1e-7, f"{name}: {option} is of no effect at {values}"


@pytest.mark.parametrize("name", [n for n, facts in infillers.items() if not facts["network"]])
def test_each_option_of_an_infiller_changes_the_fill(name: str) -> None:
    entry = infillers.get(name)
    holes = torch.zeros(2, SIDE, 40)
    holes[:, 8:20, 10:30] = 1
    colour = torch.tensor([0.4, 0.5, 0.6])

    def fill(**options: Any) -> Tensor:
        torch.manual_seed(0)
        return infiller(name, **options)(IMAGES, holes, colour)

    for option, parameter in options_of(entry).items():
        if option == "generator":
            continue
        values = other_values(name, option, get_type_hints(entry.__init__)[option], parameter.default)
        assert max(furthest(fill(**value), fill()) for value in values) > 1e-7, f"{name}: {option}"


SESS_OTHERS: dict[str, list[Any]] = {
    "scales": [3, [48]], "prefilter": [0.5], "stride": [16], "theta": [0.05], "prune": [1.0], "budget": [6],
    "protocol": ["released"], "batch": [1, 5], "final_min_max": [False], "antialias": [False], "nan_safe": [False],
    "weights": ["softmax_max", "logit"],
}  # fmt: skip


def brightness(images: Tensor, targets: object) -> Tensor:
    """A map that a window of one colour has none of."""
    return images.mean(1)


@pytest.mark.parametrize("option", options_of(mw.SESS))
def test_each_option_of_sess_changes_the_map_and_batch_does_not(option: str) -> None:
    classifier = Classifier(tiny_net(), input_size=SIDE, name="tiny")
    images = torch.rand(2, 3, 70, 80, generator=torch.Generator().manual_seed(0))
    images[:, :, :50] = 0.5
    usual: dict[str, Any] = {} if option == "budget" else {"scales": 4}
    parameter, hint = options_of(mw.SESS)[option], get_type_hints(mw.SESS.__init__)[option]

    def maps(**options: Any) -> Tensor:
        return mw.SESS(brightness, classifier, **usual | options)(images, 1)

    values = [{option: value} for value in SESS_OTHERS.get(option, [])]
    values = values or other_values("SESS", option, hint, parameter.default)
    changed = [furthest(maps(**value), maps()) for value in values]
    assert (max(changed) <= 1e-5) if option == "batch" else (max(changed) > 1e-7), f"{option} at {values}"

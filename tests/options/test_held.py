"""Every option of every method, metric, infiller and of SESS: typed, described, and refused where it is wrong.

They are found in the registries, so that a new one is held to all of it.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

import pytest
from options.cases import (
    ENTRIES,
    IMAGES,
    OPTIONS,
    SIDE,
    WITH_OPTIONS,
    build,
    companions,
    kinds_of,
    options_of,
    small,
    untrained_maskers,
)

from maskwise.core.errors import InputError
from maskwise.core.option_types import IS_SET, fitting
from maskwise.explainers import methods
from maskwise.explainers.doubts import handed_on


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
            for value in () if values == IS_SET else values:
                assert fitting(ENTRIES[who], {other: value}) == {other: value}


@pytest.fixture(scope="module")
def maskers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return untrained_maskers(tmp_path_factory.mktemp("maskers"))


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

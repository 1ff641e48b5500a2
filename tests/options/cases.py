"""Every option that there is, and what tests of all of them share: values of each type, toy networks, few steps."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import torch
from conftest import tiny_net, tiny_vit
from dropping import small_transformer
from torch import nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.option_types import IS_SET
from maskwise.core.registry import Registry
from maskwise.explainers import explainer, methods
from maskwise.explainers.base import Explainer
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
TAKE_TOKENS = {"kernel_shap", "banzhaf"}  # an option of theirs is for timm's transformers alone


def untrained_maskers(folder: Path) -> Callable[[str], Path]:
    """The file of an untrained masker that fits a method."""
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
        if values != IS_SET:
            found[other] = values[0]
        elif inspect.signature(entry).parameters[other].default is None:
            found[other] = 3
    return found | TOGETHER.get((who, name), {})


def small(name: str, maskers: Callable[[str], Path]) -> tuple[Callable[..., Explainer], dict[str, Any]]:
    """A method on a toy network with few steps, and the options that make it so."""
    family = methods.facts(name)["family"]
    net = tiny_vit() if family == "attention" else tiny_net()
    if name in TAKE_TOKENS:
        net = small_transformer(img_size=SIDE, patch_size=8)
    classifier = Classifier(net, input_size=SIDE, name="tiny")
    usual = QUICK.get(name, {}) | ({"masker": maskers(name)} if family == "maskers" else {})
    return lambda **options: explainer(name, classifier, **usual | options), usual


WITH_OPTIONS = [name for name in methods.names() if options_of(methods.get(name))]

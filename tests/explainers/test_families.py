"""Families of networks under every quick method: a map or one line, and no flat map without a warning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from explainers.families import NETWORKS, network
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer, methods
from maskwise.explainers.doubts import handed_on

# As quick as they can be; what takes hundreds of forwards or has no options for less is not among them.
OPTIONS: dict[str, dict[str, Any]] = {
    "rise": {"masks": 6},
    "occlusion": {"window": 0.5, "stride": 0.5},
    "integrated_gradients": {"steps": 2},
    "smooth_grad": {"samples": 2},
    "smooth_grad_cam_pp": {"samples": 2},
    "group_cam": {"groups": 3},
    "feedback": {"iterations": 1},
    "opti_cam": {"iterations": 1},
    "kernel_shap": {"masks": 6},
    "banzhaf": {"masks": 6},
}
SLOW = {
    "score_cam", "xrai", "augmented_grad_cam", "meaningful_perturbation", "extremal_perturbation", "fido",
    "guided_feature_inversion", "dabkowski_gal_iterative",
}  # fmt: skip
QUICK = [n for n, facts in methods.items() if facts["family"] not in ("maskers", "references") and n not in SLOW]
# Options that take another way through a network than the default does.
OTHER_WAYS: list[tuple[str, dict[str, Any]]] = [
    ("gradient", {"balanced": True}), ("grad_cam", {"balanced": True}), ("lrp", {"softmax": "gradient"}),
    ("legrad", {"score": "token_mean", "layers": 1}), ("generic_attention", {"start_layer": -1}),
    ("score_cam", {"top": 2}), ("refine_cam", {"top": None}), ("recipro_cam", {"kernel": "gaussian"}),
]  # fmt: skip
WRAPPED = ["grad_cam", "gradient", "rise", "excitation_backprop", "lrp"]
IMAGE = torch.rand(1, 3, 48, 60, generator=torch.Generator().manual_seed(1))


class Same(nn.Module):
    """What a normaliser is to a classifier that normalises already: a step before the first weight."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return images - self.mean


@pytest.fixture(params=NETWORKS, scope="module")
def classifier(request: pytest.FixtureRequest) -> Iterator[Classifier]:
    module, size = network(request.param)
    yield Classifier(module, input_size=size, name=request.param)


def answer(name: str, classifier: Classifier, **options: Any) -> tuple[Tensor | str, list[str]]:
    """The map, or the one line of a refusal; and the warnings."""
    try:
        explain = explainer(name, classifier, **OPTIONS.get(name, {}) | options)
        with handed_on():
            return explain(IMAGE), explain.report["warnings"]
    except InputError as error:
        return str(error), []


def test_every_quick_method_has_a_map_or_says_why_not(classifier: Classifier) -> None:
    default: dict[str, Any] = {}
    for name, options in [*((name, default) for name in QUICK), *OTHER_WAYS]:
        found, warnings = answer(name, classifier, **options)
        if isinstance(found, str):
            assert "\n" not in found and classifier.name in found, f"{name}: {found}"
            continue
        assert found.shape == (1, 48, 60) and found.isfinite().all() and 0 <= found.min() <= found.max() <= 1, name
        assert found.std() > 1e-6 or warnings, f"{name}: a flat map, and nobody says so"


def test_a_step_before_the_network_changes_nothing(classifier: Classifier) -> None:
    wrapped = Classifier(nn.Sequential(Same(), classifier.module), input_size=classifier.size, name=classifier.name)
    for name in WRAPPED:
        (bare, warnings), (same, others) = answer(name, classifier), answer(name, wrapped)
        assert type(bare) is type(same) and len(warnings) == len(others), name
        if isinstance(bare, Tensor) and bare.std() > 1e-6:
            assert torch.corrcoef(torch.stack([bare.flatten(), same.flatten()]))[0, 1] > 0.9999, name  # type: ignore[union-attr]


def test_the_table_of_families_has_every_method_that_is_of_a_class() -> None:
    """`python benchmarks/families.py` makes it; what it leaves out the page says."""
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()
    table = page.split("| method | CNN | CNN without ReLU |")[1].split("\n\n")[0]
    rows = {line.split("`")[1] for line in table.splitlines()[2:]}
    optimised = {"dabkowski_gal_iterative", "extremal_perturbation", "fido", "guided_feature_inversion"}
    optimised |= {"meaningful_perturbation"}
    of_a_class = {n for n, facts in methods.items() if facts["needs_target"] and facts["family"] != "maskers"}
    assert rows == of_a_class - optimised
    assert "the methods that optimise a mask" in page

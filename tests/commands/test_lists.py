"""What there is, as tables and as JSON."""

from __future__ import annotations

import json

import pytest
from calling import call


@pytest.mark.parametrize(
    ("command", "name", "keys"),
    [
        ("methods", "grad_cam", {"family", "paper", "needs_gradients", "needs_target", "random", "cost", "caution"}),
        ("classifiers", "efficientnet_lite0", {"source", "input_size", "offline"}),
        ("recipes", "casm", {"kind", "classifier", "epochs", "row"}),
    ],
)
def test_lists(command: str, name: str, keys: set[str]) -> None:
    rows = json.loads(call(command, "--json").stdout)
    assert all(keys <= set(row) for row in rows) and name in {row["name"] for row in rows}
    table = call(command)
    assert table.exit_code == 0 and name in table.stdout


def test_a_masker_s_recipe_shows_its_thinning_and_objectives() -> None:
    rows = [row for row in json.loads(call("recipes", "--json").stdout) if row["kind"] == "mask"]
    assert all({"thinning", "objectives", "epochs"} <= set(row) for row in rows)
    (casm,) = (row for row in rows if row["name"] == "casm")
    assert casm["objectives"]["max_entropy"]["lambda_r"] == 10


def test_metrics_and_data_sets() -> None:
    for name in ("metrics", "datasets"):
        listed = json.loads(call(name, "--json").stdout)
        assert len(listed) > 8 and all("name" in row for row in listed)
        assert call(name).exit_code == 0

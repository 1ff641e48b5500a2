"""`maskwise layers`: what it says of a network is what the methods do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from calling import call, refused

import maskwise as mw
from maskwise.explainers import methods

FILE = """
import torch
from torch import nn

def net(pool=nn.AdaptiveAvgPool2d(1)):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(), pool, nn.Flatten(), nn.Linear(8, 4)
    )

def largest():
    return net(nn.AdaptiveMaxPool2d(1))

def vit():
    import timm
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", img_size=64, depth=4, embed_dim=24, num_heads=2, num_classes=3)

def flat():
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 4))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(FILE)
    return path


def told(name: object, size: int = 32) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(call("layers", "--classifier", name, "--size", size, "--json").stdout)
    return answer


@pytest.mark.parametrize(("name", "size"), [("net", 32), ("vit", 64)])
def test_each_method_reads_what_is_said(name: str, size: int, file: Path) -> None:
    answer = told(f"{file}:{name}", size)
    classifier = mw.load_classifier(f"{file}:{name}", size=size)
    found = {row["name"]: row["layers"] for row in answer["methods"] if row["layers"]}
    assert {"grad_cam", "score_cam", "excitation_backprop", "guided_feature_inversion"} <= set(found)
    for method, layers in found.items():
        made: Any = mw.explainer(method, classifier)
        if methods.facts(method)["family"] == "attention":
            read = made.reading.blocks
        else:
            read = made.layers if method == "refine_cam" else [made.layer]
        assert layers == list(read), method
    for row in answer["layers"]:
        assert row["read_by"] == sorted(method for method, layers in found.items() if row["name"] in layers)
    assert "gradient" not in {row["name"] for row in answer["methods"]}  # reads none


def test_a_class_token_s_last_blocks_get_no_gradient(file: Path) -> None:
    answer = told(f"{file}:vit", 64)
    share = {row["name"]: row["gradient_share"] for row in answer["layers"]}
    assert share["blocks.3"] == share["norm"] == 0 and max(share.values()) == 1
    assert all(row["grid"] == [4, 4] and row["channels"] == 24 for row in answer["layers"])
    why = {row["name"]: row["why"] for row in answer["methods"]}
    assert why["grad_cam"] == "the deepest one that the answer depends on; no gradient reaches blocks.3, norm"


def test_who_refuses_says_why(file: Path) -> None:
    why = {row["name"]: (row["layers"], row["why"]) for row in told(f"{file}:largest")["methods"]}
    assert why["cam"][0] == [] and "refuses: cam needs a network that ends in average pooling" in why["cam"][1]
    assert why["casm"][0] == [] and "trained on efficientnet_lite0" in why["casm"][1]
    assert {row["name"]: row["layers"] for row in told(f"{file}:net")["methods"]}["cam"] == ["3"]


def test_in_a_pipe_it_is_two_tables_with_tabs(file: Path) -> None:
    lines = [
        line.split("\t") for line in call("layers", "--classifier", f"{file}:net", "--size", 32).stdout.splitlines()
    ]
    assert lines[0] == ["layer", "grid", "channels", "gradient share", "tap", "read by"]
    assert lines[1][:3] == ["1", "16x16", "6"] and lines[2][:3] == ["3", "8x8", "8"] and lines[2][4] == "yes"
    assert lines[3] == ["method", "layers", "why"] and ["grad_cam", "3", "the last one"] in lines[4:]


def test_the_packaged_maskers_taps() -> None:
    answer = json.loads(call("layers", "--json").stdout)
    read = {row["name"]: row["layers"] for row in answer["methods"]}
    taps = [row["name"] for row in answer["layers"] if row["tap"]]
    assert set(read["distilled"]) < set(taps) and read["dabkowski_gal"][-1] == taps[-1]
    assert set(read["excited_casm"]) == {*read["casm"], *read["excitation_backprop"]}


def test_what_shows_no_layers_is_refused(file: Path) -> None:
    refused(call("layers", "--classifier", f"{file}:flat", "--size", 32), "no layer with a spatial grid")

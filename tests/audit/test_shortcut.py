"""The positive control: a shortcut that is planted, and what is learned of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from audit.scenes import SIDE, criterion, middle, reader
from torch import Tensor

from maskwise.audit import audit
from maskwise.audit.shortcut import LEARNED, SPARED, absent_class, probe, taught, with_patch
from maskwise.audit.subject import collect


def test_shortcut_is_seen_by_a_method_that_follows_the_class_and_not_by_one_that_looks_at_nothing(
    data: Path, tmp_path: Path
) -> None:
    classifier = reader("object")
    before = {name: value.clone() for name, value in classifier.module.state_dict().items()}
    seeing = audit(classifier, data, "grad_cam", parts="shortcut", out=tmp_path / "g")
    blind = audit(classifier, data, middle, parts=("shortcut", "sanity"), out=tmp_path / "m")
    assert criterion(seeing, "shortcut").holds is True
    assert criterion(blind, "shortcut").holds is False
    assert "can't see shortcuts" in " ".join(blind.plain()["sections"]["shortcut"]["says"])
    assert "failed its positive control" in " ".join(blind.plain()["sections"]["verdict"]["says"])
    assert blind.fit_to_show is False and "mprt" in blind.failed
    assert seeing.plain()["sections"]["shortcut"]["class"] in ("third", "fourth")
    after = classifier.module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()), "the last layer is what it was"


def test_a_photograph_that_is_not_learned_gives_way_to_the_next(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unseen = {"coffee"}

    def hidden(images: Tensor, draws: torch.Generator, photograph: str) -> tuple[Tensor, Tensor]:
        changed, where = with_patch(images, draws, photograph)
        return (images if photograph in unseen else changed), where

    monkeypatch.setattr("maskwise.audit.shortcut.with_patch", hidden)
    one = audit(reader("object"), data, "grad_cam", parts="shortcut", out=tmp_path / "one")
    found = one.plain()["sections"]["shortcut"]
    assert found["photograph"] == "cat" and found["with_patch"] >= LEARNED and found["without_patch"] <= SPARED
    assert "(cat)" in found["says"][0] and found["lift"]["low"] > 1
    unseen |= {"cat", "flower"}
    none = audit(reader("object"), data, "grad_cam", parts="shortcut", out=tmp_path / "none")
    assert criterion(none, "shortcut").holds is None
    assert re.search("coffee: .*; cat: .*; flower: ", none.plain()["sections"]["shortcut"]["not_done"])


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
    assert drawn == {(2, 0), (3, 0)}

"""``scripts/distil_vit.py``: what its crops and blends are, and that a stopped run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from script_files import ROOT, loaded

from maskwise import load_classifier

SCRIPT = loaded(ROOT / "scripts" / "distil_vit.py")
Lesson, blended, crops, main, rate = SCRIPT.Lesson, SCRIPT.blended, SCRIPT.crops, SCRIPT.main, SCRIPT.rate
DATA = "shapes:n=4,size=40,labels=own"


def test_crops_keep_what_is_the_same_everywhere_and_shift_what_is_not() -> None:
    plain = torch.full((3, 3, 20, 20), 51, dtype=torch.uint8)
    draws = torch.Generator().manual_seed(0)
    torch.testing.assert_close(crops(plain, 32, draws), torch.full((3, 3, 32, 32), 0.2))
    ramp = (torch.arange(200) * 1.0).to(torch.uint8).expand(400, 3, 200, 200)  # its value is its column
    means = crops(ramp, 16, draws).mean((1, 2, 3)) * 255 / 200
    spans = crops(ramp, 16, draws)[:, 0, 0, [0, -1]].diff().flatten() * 255 / 200
    assert means.min() > 0.2 and means.max() < 0.8 and abs(means.mean() - 0.5) < 0.02
    assert 0.4 < (spans < 0).float().mean() < 0.6, "half of them are mirrored"
    assert spans.abs().max() < 0.95 and spans.abs().min() > 0.4, "a part of 0.25 to 1, sides 3/4 to 4/3"


def test_blends_are_between_two_pictures_and_some_are_left_alone() -> None:
    images = torch.stack([torch.full((3, 4, 4), float(k)) for k in range(2)]).repeat(200, 1, 1, 1)
    mixed = blended(images, torch.Generator().manual_seed(0), 0.5)
    values = mixed[:, 0, 0, 0]
    assert torch.equal(mixed, values[:, None, None, None].expand_as(mixed))
    between = (values > 0) & (values < 1)
    assert 0.15 < between.float().mean() < 0.35, "half are blended, and half of these with one of the other kind"
    assert torch.equal(blended(images, torch.Generator().manual_seed(0), 0.0), images)


def test_the_rate_rises_and_ends_at_nothing() -> None:
    assert rate(0.0, 0) < 0.01 and rate(0.5, 5000) == pytest.approx(0.5) and rate(1.0, 9000) == pytest.approx(0)


def test_a_lesson_is_drawn_by_its_number() -> None:
    teacher = load_classifier("efficientnet_lite0")
    lesson = Lesson([teacher], torch.randint(256, (4, 3, 64, 64), dtype=torch.uint8), 64, 2, 0.5)
    features, wanted = lesson.step(7)
    assert features.shape == (2, 112, 4, 4) and wanted.sum(1).tolist() == pytest.approx([1, 1])
    assert torch.equal(lesson.step(7)[1], wanted) and not torch.equal(lesson.step(8)[1], wanted)


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    call = [
        "--data",
        DATA,
        "--teacher",
        "efficientnet_lite0",
        "--batch",
        "2",
        "--size",
        "64",
        "--kept",
        "48",
        "--device",
        "cpu",
    ]
    call += ["--checkpoint-minutes", "0"]
    main([*call, "--steps", "2", "--out", str(tmp_path)])
    first = load_file(tmp_path / "classifier.safetensors")
    found = main([*call, "--steps", "4", "--out", str(tmp_path), "--resume"])
    last = load_file(tmp_path / "classifier.safetensors")
    assert found["steps"] == 4 and first.keys() == last.keys()
    assert any(not torch.equal(first[name], last[name]) for name in first)
    stem = "patch_embed.backbone.conv.weight"
    assert torch.equal(first[stem], load_classifier("efficientnet_lite0").module.conv_stem.weight.half())  # type: ignore[union-attr]
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])["step"] == 0

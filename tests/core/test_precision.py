"""Devices and number formats by name: one vocabulary everywhere."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_net

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.devices import device_of
from maskwise.core.errors import InputError
from maskwise.core.precision import autocast, check_precision, resolved_precision
from maskwise.training.distributed.processes import fabric_precision


@pytest.mark.parametrize("there", [True, False])
def test_auto_is_bf16_only_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: there and not including_emulation)
    assert resolved_precision("auto", "cuda") == ("bf16" if there else "fp32")
    assert resolved_precision("auto", "cpu") == resolved_precision("auto", "mps") == "fp32"
    assert fabric_precision("auto", "cuda") == ("bf16-mixed" if there else "32-true")
    for named in ("fp32", "bf16", "fp16"):
        assert resolved_precision(named, "cuda") == named


def test_forwards_run_in_it() -> None:
    images = torch.rand(1, 3, 32, 32)
    net = tiny_net()
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("auto", torch.float32)):
        with autocast(name, "cpu"):
            assert net(images).dtype == dtype
    with torch.autocast("cpu", torch.bfloat16), autocast("fp32", "cpu"):
        assert net(images).dtype == torch.float32, "fp32 means it inside another autocast, too"


@pytest.mark.parametrize("precision", ["fp64", "", "half"])
def test_one_check_for_all(precision: str) -> None:
    tiny = Classifier(tiny_net(), input_size=32)
    for refuse in (
        lambda: check_precision(precision),
        lambda: mw.explainer("gradient", tiny, precision=precision),
        lambda: mw.SESS(mw.explainer("gradient", tiny), scoring=precision),  # type: ignore[arg-type]
        lambda: fabric_precision(precision, "cpu"),
    ):
        with pytest.raises(InputError, match="is unknown: use fp32, bf16, fp16, auto"):
            refuse()


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert device_of("auto") == device_of("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="'cuda' is not here: use auto or cpu"):
        device_of("cuda")
    with pytest.raises(InputError, match="'gpu' is unknown"):
        device_of("gpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert device_of("auto") == torch.device("cuda")

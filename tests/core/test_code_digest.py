"""Who a function is: the same in another process, another one after any edit that changes what it computes."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from maskwise.core.code_digest import UnreadableCodeError, code_digest

SOURCE = """
import math
import numpy as np
import torch
SCALE = 2
KINDS = {{"a", "b", "c", "d"}}
TABLE = torch.arange(3.0)
def helper(x):
    return x * SCALE
def explain(images, targets=None, by={default}):
    '''{doc}'''
    def inner(x):
        return x + {inner}
    return helper(inner(images.mean(1))) * math.pi + np.float32(by) + TABLE.sum() + len(KINDS)
"""


def explain(**changed: Any) -> Callable[..., Any]:
    text = SOURCE.format(**{"default": 1, "doc": "x", "inner": 1} | {k: v for k, v in changed.items() if k.islower()})
    space: dict[str, Any] = {}
    exec(compile(text, "<typed>", "exec"), space)
    space.update({name: value for name, value in changed.items() if not name.islower()})
    found: Callable[..., Any] = space["explain"]
    return found


def test_an_edit_is_another_function() -> None:
    first = code_digest(explain())
    assert first == code_digest(explain())
    changes = ({"default": 2}, {"inner": 2}, {"SCALE": 3}, {"TABLE": torch.ones(3)}, {"KINDS": {"a"}})
    others = [code_digest(explain(**change)) for change in changes]
    edited = explain()
    exec("def helper(x):\n    return x / SCALE", edited.__globals__)
    others.append(code_digest(edited))
    assert len({first, *others}) == len(others) + 1


def test_the_same_in_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sets have another order, and addresses are others."""
    (tmp_path / "mine_too.py").write_text(SOURCE.format(default=1, doc="x", inner=1))
    monkeypatch.syspath_prepend(tmp_path)
    here = code_digest(importlib.import_module("mine_too").explain)
    code = "import mine_too; from maskwise.core.code_digest import code_digest; print(code_digest(mine_too.explain))"
    for_all = ENVIRONMENT | {"PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"}
    run = [sys.executable, "-c", code]
    there = subprocess.run(run, cwd=tmp_path, env=for_all, capture_output=True, text=True, check=True).stdout.strip()
    assert there == here and len(here) == 32


ENVIRONMENT = {"PYTHONPATH": str(Path(sys.modules["maskwise"].__file__ or "").parents[1]), "OMP_NUM_THREADS": "1"}


class Shift:
    factor = 1

    def __init__(self, by: Any) -> None:
        self.by = by

    def __call__(self, x: Any) -> Any:
        return x * self.factor + self.by


class Doubled(Shift):
    factor = 2


def test_objects_are_known_by_class_and_content() -> None:
    values = (
        1,
        1.0,
        "1",
        [1],
        (1,),
        {1: 2},
        {1, 2},
        torch.ones(2),
        torch.ones(2).double(),
        np.ones(2),
        nn.Linear(2, 2),
    )
    found = [code_digest(Shift(value)) for value in values]
    assert len(set(found)) == len(values) and found == [code_digest(Shift(value)) for value in values]
    assert code_digest(Doubled(1)) != found[0]
    partials = {code_digest(functools.partial(Shift.__call__, Shift(1), x=x)) for x in (1, 2)}
    assert len(partials) == 2 and code_digest(Shift(1).__call__) != code_digest(Shift(2).__call__)
    itself = Shift(None)
    itself.by = itself
    assert code_digest(itself) == code_digest(itself)


def test_slices_and_ranges_are_their_ends() -> None:
    values = [slice(1, 4), slice(1, 5), slice(1, 4, 2), slice(None, 4), range(4), range(1, 4), (1, 4, None)]
    digests = [code_digest(Shift(value)) for value in values]
    assert len(set(digests)) == len(values) and digests[0] == code_digest(Shift(slice(1, 4)))


class Power(nn.Module):
    def __init__(self, power: float, weight: float = 1.0) -> None:
        super().__init__()
        self.power, self.inner = power, nn.Linear(1, 1)
        self.inner.weight.data.fill_(weight), self.inner.bias.data.fill_(0)
        self.register_buffer("shift", torch.zeros(1), persistent=False)


def test_modules_are_known_by_all_that_they_were_told() -> None:
    """A plain attribute is in no state dict, and in no repr either; nor is a buffer that is not kept."""
    shifted, hooked = Power(2), Power(2)
    shifted.shift += 1
    hooked.register_forward_hook(print)
    first = code_digest(Power(2))
    others = [code_digest(one) for one in (Power(3), Power(2, weight=2.0), shifted, Power(2).eval())]
    assert len({first, *others}) == 5 and code_digest(hooked) == first


def test_what_can_not_be_read() -> None:
    with Path(__file__).open() as file:
        for held in (torch.Generator(), file, np.random.default_rng(0), iter([1])):
            with pytest.raises(UnreadableCodeError):
                code_digest(Shift(held))

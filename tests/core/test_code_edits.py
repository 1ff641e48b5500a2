"""Every way in which a function can depend on something that was edited: each must be another function.

A source is run twice with another number in the place of ``@@``; nothing else differs.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from maskwise.core.code_digest import UnreadableCodeError, code_digest, code_of_own, own_code
from maskwise.core.code_names import CodeNames, of_library

EDITS = {
    "default of a second helper": "def g(x, a=1): return x\ndef h(x, a=@@): return x\ndef f(x): return g(x) + h(x)",
    "keyword of a second helper": "def g(*, a=1): return 1\ndef h(*, a=@@): return 1\ndef f(x): return g() + h()",
    "second partial": (
        "def h(x, a): return x\np = functools.partial(h, a=1)\nq = functools.partial(h, a=@@)\n"
        "def f(x): return p(x) + q(x)"
    ),
    "array of a class": "class C:\n  t = np.array([@@])\n  def __call__(s, x): return x * s.t\nf = C()",
    "object of a class": (
        "class S:\n  def __init__(s, v): s.v = v\nclass C:\n  s = S(@@)\n  def __call__(s, x): return s.s.v\nf = C()"
    ),
    "partial method": (
        "def g(s, k): return k\nclass C:\n  m = functools.partialmethod(g, k=@@)\n  def __call__(s, x): return s.m()\n"
        "f = C()"
    ),
    "cached method": "class C:\n  @functools.lru_cache\n  def __call__(s, x): return @@\nf = C()",
    "cached property": (
        "class C:\n  @functools.cached_property\n  def m(s): return @@\n  def __call__(s, x): return s.m\nf = C()"
    ),
    "setter": (
        "class C:\n  @property\n  def k(s): return 1\n  @k.setter\n  def k(s, v): s.q = v * @@\n"
        "  def __call__(s, x): s.k = x; return s.q\nf = C()"
    ),
    "class of a class": (
        "class M(type):\n  def __call__(c, *a): return @@\nclass C(metaclass=M): pass\ndef f(x): return C(x)"
    ),
    "private attribute of a network": (
        "k = @@\nclass N(torch.nn.Module):\n  def __init__(s): super().__init__(); s._k = k\n"
        "  def forward(s, x): return x * s._k\nf = N()"
    ),
    "module": "import types\nhelp = types.ModuleType('help')\nhelp.K = @@\ndef f(x): return x * help.K",
    "method of a table": "look = {1: @@}.get\ndef f(x): return look(1)",
    "wrapped as a library's": "@functools.wraps(torch.nn.functional.relu)\ndef f(x): return x * @@",
    "within a library's function": "f = torch.no_grad()(lambda x: x * @@)",
    "array of objects": "a = np.array([1, @@ * 10**6], dtype=object)\ndef f(x): return a",
    "masked array": "a = np.ma.array([1, 2], mask=[0, @@ == 3])\ndef f(x): return a",
    "default of a dictionary": "import collections\na = collections.defaultdict(lambda: @@)\ndef f(x): return a[x]",
    "dictionary with code": "class D(dict):\n  def __missing__(s, k): return @@\nt = D()\ndef f(x): return t[x]",
    "deque": "import collections\na = collections.deque([@@])\ndef f(x): return a",
    "sparse tensor": "a = torch.eye(3).mul(@@).to_sparse()\ndef f(x): return a",
    "conjugate tensor": "a = torch.full((2,), @@ + 1j).conj()\ndef f(x): return a",
    "quantised tensor": "a = torch.quantize_per_tensor(torch.ones(2), 0.1 * @@, 0, torch.quint8)\ndef f(x): return a",
    "dataclass": (
        "from dataclasses import dataclass\n@dataclass\n"
        "class C:\n  k: int = @@\n  def __call__(s, x): return s.k\nf = C()"
    ),
    "slots": "class C:\n  __slots__ = ('k',)\n  def __call__(s, x): return s.k\nf = C()\nf.k = @@",
    "method of a named tuple": (
        "import typing\nclass T(typing.NamedTuple):\n  a: int = 1\n"
        "  def m(s): return @@\nt = T()\ndef f(x): return t.m()"
    ),
    "method of a text": (
        "import enum\nclass E(str, enum.Enum):\n  A = 'a'\n  def m(s): return @@\nt = E.A\ndef f(x): return t.m()"
    ),
    "name in a text": "K = @@\ndef f(x): return globals()['K'] * x",
    "attribute of a function": "def f(x): return x * f.k\nf.k = @@",
    "overload": (
        "@functools.singledispatch\ndef g(x): return 0\n@g.register\ndef _(x: int): return @@\ndef f(x): return g(x)"
    ),
    "traced network": "f = torch.jit.trace(torch.nn.Hardtanh(0.0, float(@@)), torch.ones(1))",
    "graph": "class N(torch.nn.Module):\n  def forward(s, x): return x * @@\nf = torch.fx.symbolic_trace(N())",
    "layer of a graph": "f = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Hardtanh(0.0, float(@@))))",
    "weak reference": "import weakref\nclass O: k = @@\no = O()\nw = weakref.ref(o)\ndef f(x): return w().k",
    "pattern": "import re\na = re.compile('a@@')\ndef f(x): return a",
    "behind a logger": "import logging\nlog = logging.getLogger('x')\ndef f(x): log.info('x'); return x * @@",
    "caught error": "def f(x):\n  try: return x / 0\n  except ZeroDivisionError: return @@",
}  # fmt: skip


def made(source: str, number: int) -> Any:
    space: dict[str, Any] = {"__name__": "mine", "torch": torch, "np": np, "functools": functools}
    exec(compile(source.replace("@@", str(number)), "<typed>", "exec", dont_inherit=True), space)
    return space["f"]


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_noticed(name: str) -> None:
    two, again, three = (code_digest(made(EDITS[name], number)) for number in (2, 2, 3))
    assert two == again != three


HIDDEN = {
    "function as ufunc": "u = np.frompyfunc(lambda x: x * @@, 1, 1)\ndef f(x): return u(x)",
    "values of a thread": "import threading\nclass L(threading.local): pass\nl = L()\nl.k = @@\ndef f(x): return l.k",
    "no values": "a = torch.empty(@@, device='meta')\ndef f(x): return a",
    "text as code": "K = @@\ndef f(x): return eval('K')",
    "method of a generator": "import random\ng = random.Random(@@).random\ndef f(x): return g()",
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_hides_its_content_is_not_taken_as_read(name: str) -> None:
    with pytest.raises(UnreadableCodeError):
        code_digest(made(HIDDEN[name], 2))


def test_a_file_that_is_imported_within_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what that file imports in turn, by a relative name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for number in (2, 2, 3):
        package = tmp_path / "ours_of_edits"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text(
            "from . import deep\nfrom .deep import K\ndef scale(x): return x * deep.K\n"
        )
        (package / "deep.py").write_text(f"K = {number}\nUNUSED = open\n")
        for name in [name for name in sys.modules if name.startswith("ours_of_edits")]:
            del sys.modules[name]
        for cached in package.rglob("*.pyc"):
            cached.unlink()
        found.append(code_digest(made("def f(x):\n  import ours_of_edits as o\n  return o.scale(x)", 0)))
    assert found[0] == found[1] != found[2]
    code_digest(made("def f(x):\n  import of_no_such_name\n  return x", 0))


def test_names_of_code() -> None:
    def outer(x: Any) -> Any:
        from math import tau

        return [np.mean(y) + len(EDITS) + tau for y in x]

    names = CodeNames.of(outer.__code__)
    assert {"np", "EDITS", "len"} <= names.globals and {"mean", "tau"} <= names.attributes
    assert names.imports == {("math", 0)} and "mean" not in names.globals
    assert of_library("torch.nn") and not of_library("__main__") and not of_library("of_no_such_name")


def test_networks_are_known_by_code_and_layers() -> None:
    """Where weights are the same."""

    def own(number: int) -> nn.Module:
        network: nn.Module = made(EDITS["private attribute of a network"], number)
        return network

    assert own_code(own(2)) == own_code(own(2)) != own_code(own(3))
    assert own_code(own(2).eval()) == own_code(own(2).train()), "a mode is nobody's code"
    layers = (nn.ReLU(), nn.GELU(), nn.LeakyReLU(0.1), nn.LeakyReLU(0.2), nn.MaxPool2d(2))
    assert len({own_code(nn.Sequential(layer)) for layer in layers}) == len(layers)
    moved = nn.Sequential(nn.Linear(1, 1))
    first = own_code(moved)
    with torch.no_grad():
        moved[0].weight.add_(1)
    assert own_code(moved) == first, "weights have a digest of their own"
    import torchvision

    assert own_code(torchvision.models.resnet18()) is None


def test_classes_that_are_no_librarys_have_code() -> None:
    assert code_of_own(nn.Linear) is None
    kinds = [type(made(EDITS["array of a class"], number)) for number in (2, 2, 3)]
    found = [code_of_own(kind) for kind in kinds]
    assert found[0] == found[1] != found[2]
    hidden = type("Hidden", (), {"draws": torch.Generator(), "__module__": "mine"})
    assert code_of_own(hidden) == code_of_own(hidden), "one run finds its own rows"

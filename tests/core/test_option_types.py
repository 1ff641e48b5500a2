"""Values of options against the types that a constructor names, written out case by case."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch

from maskwise.core.errors import InputError
from maskwise.core.option_types import IS_SET, AsWritten, OnlyWith, fitting, held_to_types, played
from maskwise.core.registry import Registry


def made(
    whole: int = 1,
    number: float = 1.0,
    flag: bool = False,
    text: str = "a",
    word: Literal["a", "b"] = "a",
    side: Literal[4, 8] = 4,
    maybe: int | None = None,
    row: Sequence[float] = (1.0,),
    either: str | Sequence[str] | None = None,
    path: str | Path | None = None,
    told: Callable[[int], None] | None = None,
    anything: Any = None,
) -> None: ...


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("whole", 3, 3), ("whole", np.int64(3), 3), ("number", 2, 2), ("number", np.float32(0.5), 0.5),
        ("number", -1e38, -1e38), ("flag", True, True), ("text", "x", "x"), ("text", 10, "10"),
        ("text", AsWritten("1.10"), "1.10"), ("word", "b", "b"), ("side", 8, 8), ("maybe", None, None), ("maybe", 2, 2),
        ("row", [1, 2.5], [1, 2.5]), ("row", (1,), (1,)), ("row", np.array([1, 0.5]), [1.0, 0.5]),
        ("row", torch.ones(2), [1.0, 1.0]), ("either", ["a"], ["a"]),
        ("either", AsWritten("0.10"), "0.10"),
        ("path", "a/b", "a/b"), ("path", Path("a"), Path("a")), ("anything", {}, {}),
        ("told", print, print), ("number", AsWritten("0.5"), 0.5),
    ],
)  # fmt: skip
def test_what_fits_comes_back_plain(name: str, value: object, plain: object) -> None:
    found = fitting(made, {name: value})[name]
    assert found == plain and type(found) is type(plain)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("whole", 2.0, "whole must be a whole number, not 2.0"), ("whole", True, "a whole number, not True"),
        ("whole", "3", "a whole number, not '3'"), ("whole", None, "a whole number, not None"),
        ("whole", 2**63, r"below 2\^63"), ("number", math.nan, "number must be a finite number, not nan"),
        ("number", -math.inf, "finite number, not -inf"), ("number", 1e39, "finite number, not 1e"),
        ("number", "1", "finite number, not '1'"), ("number", True, "finite number, not True"),
        ("flag", 1, "flag must be true or false, not 1"), ("flag", "no", "true or false, not 'no'"),
        ("text", True, "text must be a text, not True"), ("text", 1.5, "a text, not 1.5"),
        ("word", "c", "word is a or b, not 'c'"), ("word", ["a"], "word is a or b"),
        ("side", 4.0, "side must be 4 or 8, not 4.0"),
        ("maybe", 0.5, "maybe must be a whole number or nothing, not 0.5"), ("row", [], None),
        ("row", 1.0, "a list of finite numbers"),
        ("row", "12", "a list of finite numbers, not '12'"), ("row", [1, math.nan], "a list of finite numbers"),
        ("row", np.array(["a"]), "a list of finite numbers"), ("row", np.float64(1), "a list of finite numbers"),
        ("row", torch.ones(2, 2), "a list of finite numbers"),
        ("either", [1.5], "a text or a list of texts or nothing"),
        ("told", 3, "told must be a function or nothing, not 3"),
        ("path", 3.5, "a text or a path or nothing"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(name: str, value: object, said: str | None) -> None:
    if said is None:  # whether a list may be empty is the constructor's own affair
        assert fitting(made, {name: value}) == {name: value}
        return
    with pytest.raises(InputError, match=said):
        fitting(made, {name: value})


def test_a_default_fits_and_so_does_what_names_no_type() -> None:
    def loose(count: int = None, other="x") -> None: ...  # type: ignore  # noqa: ANN001, RUF013

    assert fitting(loose, {"count": None, "other": 7}) == {"count": None, "other": 7}
    with pytest.raises(InputError, match="count"):
        fitting(loose, {"count": "many"})


def test_types_that_cannot_be_read_hold_nothing_back() -> None:
    def strange(count: Unknown = 1) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert fitting(strange, {"count": "many"}) == {"count": "many"}


class Fill:
    only_with: ClassVar[OnlyWith] = {"sigma": {"kind": ("blur", "fog")}, "rest": {"top": IS_SET, "kind": ("blur",)}}
    own_words = ("size",)

    @held_to_types
    def __init__(
        self, kind: str = "blur", sigma: float = 5, top: int | None = None, rest: bool = False, size: int = 3
    ) -> None:
        self.kind, self.sigma, self.top, self.size = kind, sigma, top, size


def test_an_option_that_plays_no_part_is_refused() -> None:
    for fine in ({"sigma": 2}, {"sigma": 2, "kind": "fog"}, {"sigma": 5, "kind": "mean"}, {"rest": True, "top": 0}):
        played(Fill, fine)
    for wrong, said in (
        ({"sigma": 2, "kind": "mean"}, "sigma=2 is of kind='blur' or kind='fog' only, not 'mean'"),
        ({"rest": True}, "rest=True needs top, too"),
        ({"rest": True, "top": 1, "kind": "fog"}, "rest=True is of kind='blur' only, not 'fog'"),
    ):
        with pytest.raises(InputError, match=said):
            played(Fill, wrong)


def test_a_constructor_may_be_held_to_its_types() -> None:
    assert Fill(sigma=np.float64(2)).sigma == 2 and Fill("mean", 1).kind == "mean"
    with pytest.raises(InputError, match="sigma must be a finite number, not '5'"):
        Fill("mean", "5")  # type: ignore[arg-type]
    assert Fill(size="any").size == "any", "it has words of its own for that"  # type: ignore[arg-type]


def test_a_registry_holds_its_entries_to_both() -> None:
    fills: Registry[type[Fill]] = Registry("fill")
    fills.register("plain")(Fill)
    assert type(fills.build("plain", top=np.int64(2)).top) is int
    with pytest.raises(InputError, match="fill 'plain': top must be a whole number or nothing, not 'x'"):
        fills.build("plain", top="x")
    with pytest.raises(InputError, match="fill 'plain': sigma=1 is of"):
        fills.build("plain", sigma=1, kind="mean")

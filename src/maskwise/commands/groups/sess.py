"""SESS's options, of every command that takes ``--sess``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer

from maskwise.commands import completion
from maskwise.core.errors import InputError

IN_SESS = "SESS"
Enhance = Annotated[
    bool, typer.Option("--sess", help="Sharpen the method by SESS: scaling and sliding.", rich_help_panel=IN_SESS)
]
EnhanceEach = Annotated[
    str,
    typer.Option(
        "--sess", help="no, yes (every method inside SESS), or both.", rich_help_panel=IN_SESS,
        autocompletion=completion.no_yes_both,
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Sess:
    """How SESS is set, where it is wanted."""

    heading: ClassVar[str] = IN_SESS
    scales: Annotated[int | None, typer.Option("--scales", min=1, help="How many scales (12).")] = None
    prefilter: Annotated[
        float | None, typer.Option("--prefilter", help="Share of patches, the worst, that are left out (0).")
    ] = None
    stride: Annotated[int | None, typer.Option("--stride", min=1, help="Pixels between windows (one window).")] = None
    preset: Annotated[
        str | None,
        typer.Option(
            "--sess-preset",
            help="sess_quality, sess_metrics or sess_fast, the paper's.",
            autocompletion=completion.sess_presets,
        ),
    ] = None
    budget: Annotated[
        str | None, typer.Option("--budget", help="Forwards a picture (200) or seconds (1.5s), not scales.")
    ] = None
    sess_set: Annotated[
        list[str] | None, typer.Option("--sess-set", help="key=value, any other option; may be given again.")
    ] = None

    def keywords(self, wanted: bool) -> dict[str, Any] | None:
        """What ``enhanced`` takes; None where SESS is not wanted.

        Raises:
            InputError: it is not wanted, and options of it are given; or one is given twice.
        """
        named = {
            "scales": self.scales, "prefilter": self.prefilter, "stride": self.stride, "preset": self.preset,
            "budget": self.budget,
        }  # fmt: skip
        given: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
        others = key_values(self.sess_set, "--sess-set")
        flags = {key: "--sess-preset" if key == "preset" else f"--{key}" for key in given}
        flags |= {key: f"--sess-set {key}" for key in others if key not in given}
        if flags and not wanted:
            raise InputError(f"{next(iter(flags.values()))} belongs to SESS: add --sess")
        if twice := [key for key in others if key in given]:
            raise InputError(f"{flags[twice[0]]} and --sess-set {twice[0]} say the same: give either, not both")
        return given | others if wanted else None

    def of_each(self, choice: str) -> dict[str, Any] | None:
        """The same for ``--sess`` no, yes or both; without an option the paper's settings for measuring."""
        if choice not in ("no", "yes", "both"):
            raise InputError(f"--sess is no, yes or both, not {choice!r}")
        given = self.keywords(choice != "no")
        return given if given is None or given else {"preset": "sess_metrics"}


def each_with_sess(names: Iterable[str], choice: str) -> list[tuple[str, str, bool]]:
    """(what it is called, method, is it inside SESS?) of every method, for ``--sess`` no, yes or both.

    Example:
        >>> each_with_sess(["casm"], "both")
        [('casm', 'casm', False), ('casm + SESS', 'casm', True)]
    """
    inside = {"no": (False,), "yes": (True,), "both": (False, True)}[choice]
    return [(f"{name} + SESS" if sess else name, name, sess) for name in names for sess in inside]


def key_values(given: list[str] | None, option: str) -> dict[str, Any]:
    """``key=value`` texts by key, values read as YAML.

    Raises:
        InputError: a text is no such pair.
    """
    from maskwise.core.plain_yaml import read_setting

    values = {}
    for text in given or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{option} takes key=value, not {text!r}")
        values[key.strip()] = read_setting(value, f"{option} {text}")
    return values

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
            InputError: it is not wanted, and options of it are given.
        """
        named = {
            "scales": self.scales, "prefilter": self.prefilter, "stride": self.stride, "preset": self.preset,
            "budget": self.budget,
        }  # fmt: skip
        given: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
        given |= key_values(self.sess_set, "--sess-set")
        if given and not wanted:
            option = {"preset": "sess-preset"}.get(next(iter(given)), next(iter(given)))
            raise InputError(f"--{option} belongs to SESS: add --sess")
        return given if wanted else None

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

"""Options that several commands share: each offers all of them, with the same help, and takes them."""

from __future__ import annotations

import pytest
import typer.main

from maskwise.cli import app
<<<<<<< main
from maskwise.commands.options import Sharpening
=======
from maskwise.commands.groups import Sess
>>>>>>> helper
from maskwise.core.errors import InputError

SESS = {"--scales", "--prefilter", "--stride", "--sess-preset", "--budget", "--sess-set"}


def options(*names: str) -> dict[str, str]:
    """A command's options and their help."""
    command = typer.main.get_command(app)
    for name in names:
        command = command.commands[name]  # type: ignore[attr-defined]
    return {flag: p.help or "" for p in command.params for flag in p.opts if flag.startswith("--")}


@pytest.mark.parametrize(
    "command", [("explain",), ("evaluate",), ("compare",), ("check", "mprt"), ("check", "drt"), ("check", "roar")]
)
def test_every_command_with_sess_has_all_of_its_options(command: tuple[str, ...]) -> None:
    given = options(*command)
    assert {"--sess", *SESS} <= given.keys()
    assert {flag: given[flag] for flag in SESS} == {flag: options("explain")[flag] for flag in SESS}


def test_panel_has_none() -> None:
    assert not SESS & options("panel").keys() and "--classifier" in options("panel")


def test_what_the_options_say() -> None:
    assert Sess().keywords(False) is None and Sess().keywords(True) == {}
    assert Sess(scales=3, sess_set=["pool=max"]).keywords(True) == {"scales": 3, "pool": "max"}
    assert Sess().of_each("both") == {"preset": "sess_metrics"} and Sess().of_each("no") is None
    assert Sess(budget="2s").of_each("yes") == {"budget": "2s"}
    with pytest.raises(InputError, match="--prefilter belongs to SESS: add --sess"):
        Sess(prefilter=0.5).keywords(False)
    with pytest.raises(InputError, match="no, yes or both"):
        Sess().of_each("perhaps")

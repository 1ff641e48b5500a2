"""Options that several commands share: each offers all of them, with the same help, and takes them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

import pytest
import torch
import typer
import typer.main
from conftest import tiny_net

from maskwise.classifiers import Classifier
from maskwise.classifiers.loading import classifiers
from maskwise.cli import app
from maskwise.commands.groups import Method, Model, Sess
from maskwise.commands.groups.ungrouped import ungrouped
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
    with pytest.raises(InputError, match="^--sess-set smooth belongs to SESS: add --sess"):
        Sess(sess_set=["smooth=no"]).keywords(False)
    with pytest.raises(InputError, match="--sess-preset belongs to SESS: add --sess"):
        Sess(preset="sess_fast").keywords(False)
    with pytest.raises(InputError, match="--scales and --sess-set scales say the same: give either, not both"):
        Sess(scales=3, sess_set=["scales=4"]).keywords(True)
    with pytest.raises(InputError, match="no, yes or both"):
        Sess().of_each("perhaps")


def test_every_group_says_how_a_classifier_is_loaded(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"class {i}" for i in range(1000)))
    loaded = Model(labels=names, mean="0.1,0.2,0.3", std="0.5, 0.6,0.7", size="96", device="cpu").load()
    assert loaded.mean.tolist() == pytest.approx([0.1, 0.2, 0.3]) and loaded.std.tolist() == pytest.approx(
        [0.5, 0.6, 0.7]
    )
    assert loaded.input_size == 96 and loaded.labels.name(3) == "class 3"
    plain = Model().load()
    images = torch.rand(1, 3, 96, 96)
    by_hand = plain.module((images - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / loaded.std[:, None, None])
    assert torch.allclose(loaded.logits(images), by_hand, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "abacus"}, "'abacus' is unknown"),
        ({"precision": "fp8"}, "`precision=fp8` is unknown: use fp32, bf16, fp16, auto"),
        ({"mean": "1,2"}, "one value a channel"),
        ({"mean": "1,2,nan"}, "`mean` must be finite"),
        ({"std": "1,2,0"}, "above 0"),
    ],
)
def test_a_classifier_that_can_not_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Model(**options).load()


def test_a_size_that_the_network_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    class Strict(torch.nn.Sequential):
        """Takes one size only, as a transformer does."""

        def forward(self, images: torch.Tensor) -> Any:
            if images.shape[-1] != 32:
                raise AssertionError("input size does not match")
            return super().forward(images)

    strict = Classifier(Strict(*tiny_net()), input_size=32, name="strict")
    monkeypatch.setitem(classifiers._entries, "strict", lambda weights=None: strict)
    monkeypatch.setitem(classifiers._facts, "strict", {})
    assert Model(classifier="strict", size="32").load().input_size == 32
    with pytest.raises(InputError, match="strict takes no pictures of 48 pixels: leave `size` out"):
        Model(classifier="strict", size="48").load()
    with pytest.raises(InputError, match="`size` lies between 1 and 4096 pixels, not 5000"):
        Model(classifier="strict", size="5000").load()
    assert strict.input_size == 32


Width = Annotated[int, typer.Option("--width")]


@dataclass(frozen=True)
class Size:
    heading: ClassVar[str] = "Size"
    entered: ClassVar[list[int]] = []
    width: Width = 2
    height: Annotated[int, typer.Option("--height")] = 3

    @contextmanager
    def applied(self) -> Iterator[None]:
        self.entered.append(self.width)
        yield
        self.entered.append(-self.width)


def area(height: str = "tall", *, size: Size = Size(width=7)) -> str:
    assert Size.entered[-1] == size.width, "a command runs inside its groups' contexts"
    return f"{height} {size.width}x{size.height}"


def test_a_commands_own_parameter_takes_the_place_of_a_groups() -> None:
    made = ungrouped(area)
    parameters = inspect.signature(made).parameters
    assert {name: p.default for name, p in parameters.items()} == {"height": "tall", "width": 7}
    shared = get_args(Width)[1]
    assert get_args(parameters["width"].annotation)[1].rich_help_panel == "Size" and shared.rich_help_panel is None
    assert made(height="low", width=5) == "low 5x3" and Size.entered == [5, -5]


def test_precision_reaches_the_method(tmp_path: Path) -> None:
    made = Method("gradient").make(Model().load(), "bf16")
    assert made.precision == "bf16" and made.identity["precision"] == "bf16"
    assert Method("gradient").make(Model().load(), "auto").precision == "fp32", "on a CPU"
    assert Method("rise", options=["masks=4", "precision=fp32"]).make(Model().load(), "bf16").precision == "fp32"

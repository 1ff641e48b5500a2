"""Options that several commands share, and what is made of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwise.core.errors import InputError

if TYPE_CHECKING:
    import torch

    from maskwise.classifiers import Classifier
    from maskwise.explainers import Explainer

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
Weights = Annotated[Path | None, typer.Option("--weights", help="The classifier's weights: .safetensors or .pth.")]
ClassifierName = Annotated[str, typer.Option("--classifier", help="See `maskwise classifiers`.")]
Options = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, an option of the method; may be given again.")
]
Enhance = Annotated[bool, typer.Option("--sess", help="Sharpen the method by SESS: scaling and sliding.")]
EnhanceEach = Annotated[str, typer.Option("--sess", help="no, yes (every method inside SESS), or both.")]
MaskerFile = Annotated[
    Path | None, typer.Option("--masker", help="A masker.safetensors of your own, for casm and casm_baseline.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sharpening:
    """SESS's options, of every command that takes ``--sess``."""

    scales: Annotated[int | None, typer.Option("--scales", min=1, help="SESS: how many scales (12).")] = None
    prefilter: Annotated[
        float | None, typer.Option("--prefilter", help="SESS: share of patches, the worst, that are left out (0).")
    ] = None
    stride: Annotated[
        int | None, typer.Option("--stride", min=1, help="SESS: pixels between windows (one window).")
    ] = None
    preset: Annotated[
        str | None, typer.Option("--sess-preset", help="SESS: sess_quality, sess_metrics or sess_fast, the paper's.")
    ] = None
    budget: Annotated[
        str | None, typer.Option("--budget", help="SESS: forwards a picture (200) or seconds (1.5s), not scales.")
    ] = None
    sess_set: Annotated[
        list[str] | None, typer.Option("--sess-set", help="SESS: key=value, any other option; may be given again.")
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


@dataclass(frozen=True)
class Model:
    """The classifier of a command."""

    classifier: ClassifierName = "efficientnet_lite0"
    weights: Weights = None
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Names of the classifier's classes, one a line, for weights of yours."),
    ] = None
    device: Device = "auto"

    def load(self) -> Classifier:
        from maskwise.classifiers import load_classifier

        named = {} if self.labels is None else {"labels": self.labels}
        return load_classifier(self.classifier, self.weights, **named).to(device_of(self.device))


def device_of(name: str) -> torch.device:
    from torch import backends, cuda, device

    there = {"cuda": cuda.is_available(), "mps": backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return device(next(kind for kind, here in there.items() if here))
    if not there.get(name):
        what = "is not here" if name in there else "is unknown"
        raise InputError(f"device {name!r} {what}: use auto or {' or '.join(d for d, here in there.items() if here)}")
    return device(name)


def each_with_sess(names: Iterable[str], choice: str) -> list[tuple[str, str, bool]]:
    """(what it is called, method, is it inside SESS?) of every method, for ``--sess`` no, yes or both.

    Example:
        >>> each_with_sess(["casm"], "both")
        [('casm', 'casm', False), ('casm + SESS', 'casm', True)]
    """
    inside = {"no": (False,), "yes": (True,), "both": (False, True)}[choice]
    return [(f"{name} + SESS" if sess else name, name, sess) for name in names for sess in inside]


def method_options(given: list[str] | None, masker: Path | None) -> dict[str, Any]:
    """A method's keywords from ``key=value`` texts, values read as YAML."""
    options: dict[str, Any] = {} if masker is None else {"weights": str(masker)}
    return options | key_values(given, "--set")


def key_values(given: list[str] | None, option: str) -> dict[str, Any]:
    from maskwise.core.plain_yaml import read_yaml

    values = {}
    for text in given or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{option} takes key=value, not {text!r}")
        values[key.strip()] = read_yaml(value, f"{option} {text}")
    return values


def make_explainer(
    method: str, classifier: Classifier, options: dict[str, Any], enhance: dict[str, Any] | None
) -> Explainer:
    """The method, inside SESS where that is wanted."""
    from maskwise.explainers import explainer
    from maskwise.sess import enhanced

    made = explainer(method, classifier, **options)
    return made if enhance is None else enhanced(made, **enhance)


@contextmanager
def bar(what: str) -> Iterator[Progress | None]:
    """A progress bar on stderr where somebody looks at it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)

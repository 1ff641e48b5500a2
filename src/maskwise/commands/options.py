"""Options that several commands share, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwise.errors import InputError

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier
    from maskwise.methods import Explainer

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
Weights = Annotated[Path | None, typer.Option("--weights", help="The classifier's weights: .safetensors or .pth.")]
ClassifierName = Annotated[str, typer.Option("--classifier", help="See `maskwise classifiers`.")]
Options = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, an option of the method; may be given again.")
]
Enhance = Annotated[bool, typer.Option("--sess", help="Sharpen the method by SESS: scaling and sliding.")]
Scales = Annotated[int | None, typer.Option("--scales", min=1, help="SESS: how many scales (12).")]
Prefilter = Annotated[
    float | None, typer.Option("--prefilter", help="SESS: share of patches, the worst, that are left out (0).")
]
Stride = Annotated[int | None, typer.Option("--stride", min=1, help="SESS: pixels between windows (one window).")]
Preset = Annotated[
    str | None, typer.Option("--sess-preset", help="SESS: sess_quality, sess_metrics or sess_fast, the paper's.")
]
Budget = Annotated[
    str | None, typer.Option("--budget", help="SESS: forwards a picture (200) or seconds (1.5s), instead of scales.")
]
SessOptions = Annotated[
    list[str] | None, typer.Option("--sess-set", help="SESS: key=value, any other option of it; may be given again.")
]
MaskerFile = Annotated[
    Path | None, typer.Option("--masker", help="A masker.safetensors of your own, for casm and casm_baseline.")
]


def sess_options(
    wanted: bool,
    scales: int | None,
    prefilter: float | None,
    stride: int | None,
    preset: str | None,
    budget: str | None,
    options: list[str] | None,
) -> dict[str, Any] | None:
    """SESS's keywords, with ``preset`` among them; None where it is not wanted."""
    named = {"scales": scales, "prefilter": prefilter, "stride": stride, "preset": preset, "budget": budget}
    given: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
    given |= key_values(options, "--sess-set")
    if given and not wanted:
        option = {"preset": "sess-preset"}.get(next(iter(given)), next(iter(given)))
        raise InputError(f"--{option} belongs to SESS: add --sess")
    return given if wanted else None


def method_options(given: list[str] | None, masker: Path | None) -> dict[str, Any]:
    """A method's keywords from ``key=value`` texts, values read as YAML."""
    options: dict[str, Any] = {} if masker is None else {"weights": masker}
    return options | key_values(given, "--set")


def key_values(given: list[str] | None, option: str) -> dict[str, Any]:
    import yaml

    values = {}
    for text in given or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{option} takes key=value, not {text!r}")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"{option} {text}: the value is not YAML") from None
    return values


def make_explainer(
    method: str, classifier: Classifier, options: dict[str, Any], enhance: dict[str, Any] | None
) -> Explainer:
    """The method, inside SESS where that is wanted."""
    from maskwise.methods import explainer
    from maskwise.sess import enhanced

    made = explainer(method, classifier, **options)
    return made if enhance is None else enhanced(made, **enhance)

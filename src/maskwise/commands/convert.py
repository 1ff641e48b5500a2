"""``maskwise convert``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands.options import Json
from maskwise.plain import speaks_plainly


@speaks_plainly
def convert(
    old: Annotated[Path, typer.Argument(help="A checkpoint (.chk) of CASM's released code, or of Phang et al.'s.")],
    new: Annotated[Path, typer.Argument(help="The masker to write: NAME.safetensors.")],
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="Of a ResNet-50 that the masker is to be used with, not the checkpoint's own."),
    ] = None,
    as_json: Json = False,
) -> None:
    """A released checkpoint as a masker of ours; it is read by an allow-list, so that nothing in it can run."""
    from maskwise.core.files import check_writable

    check_writable(new.parent)
    from maskwise.convert import convert as run

    done = run(old, new, weights)
    classifier = weights if done.classifier is None else done.classifier
    if as_json:
        facts = {"masker": str(done.masker), "classifier": str(classifier), "taps": list(done.taps)}
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(f"{done.masker}: reads taps {', '.join(map(str, done.taps))} of {classifier}")
    typer.echo(f"maskwise explain … --classifier torchvision/resnet50 --weights {classifier} --masker {done.masker}")

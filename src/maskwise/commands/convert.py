"""``maskwise convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands.groups import Output
from maskwise.commands.registration import command


@command("convert", section="Files", example="maskwise convert casm.chk casm.safetensors")
def convert_command(
    old: Annotated[Path, typer.Argument(help="A checkpoint (.chk) of CASM's released code, or of Phang et al.'s.")],
    new: Annotated[Path, typer.Argument(help="The masker to write: NAME.safetensors.")],
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="Of a ResNet-50 that the masker is to be used with, not the checkpoint's own."),
    ] = None,
    *,
    output: Output,
) -> None:
    """A released checkpoint as a masker of ours; it is read by an allow-list, so that nothing in it can run."""
    from maskwise.core.files import check_writable

    check_writable(new.parent)
    from maskwise.convert import convert

    done = convert(old, new, weights)
    classifier = weights if done.classifier is None else done.classifier
    lines = (
        f"{done.masker}: reads taps {', '.join(map(str, done.taps))} of {classifier}",
        f"maskwise explain … --classifier torchvision/resnet50 --weights {classifier} --masker {done.masker}",
    )
    output.tell({"masker": str(done.masker), "classifier": str(classifier), "taps": list(done.taps)}, lines=lines)

"""``maskwise explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands import completion
from maskwise.commands.explaining import Wanted, explain_pictures
from maskwise.commands.groups import MapFigures, Method, Model, Out, Output, Sess
from maskwise.commands.groups.sess import IN_SESS, Enhance
from maskwise.commands.registration import command
from maskwise.core.errors import InputError


@command(
    "explain",
    section="Explain",
    example="maskwise explain dog.jpg --method grad_cam --out explained\n"
    "maskwise explain pictures/ --method grad_cam --target 'tabby cat' --sess --scales 6\n"
    "maskwise explain xrays/ --classifier chest.py:chest --method grad_cam --target findings --report\n"
    'maskwise explain dog.jpg --classifier hf/openai/clip-vit-base-patch32 --texts "a cat" "a dog" --method grad_cam',
)
def explain_command(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, or folders of them.")],
    target: Annotated[
        str,
        typer.Option(
            "--target",
            help="What is explained: predicted, a class (index, name, WordNet id), one against another "
            "('cat - dog'), finer: the predicted one against the three nearest to it; or findings: each class with a "
            "probability above 0.5 of a network with sigmoid outputs, a map each.",
            autocompletion=completion.predicted,
        ),
    ] = "predicted",
    infill: Annotated[
        str,
        typer.Option(
            "--infill",
            help="Paints the inpainted picture: telea, partial_conv, NAME:key=value, ….",
            autocompletion=completion.infiller_names,
        ),
    ] = "telea",
    resize: Annotated[
        str,
        typer.Option(
            "--resize", help="squash the picture to the classifier's input, or crop: the square in its middle."
        ),
    ] = "squash",
    sess: Enhance = False,
    panel: Annotated[
        bool,
        typer.Option(
            "--sess-panel",
            help="Also a picture of every patch with its map, box and score.",
            rich_help_panel=IN_SESS,
        ),
    ] = False,
    report: Annotated[bool, typer.Option("--report", help="Also one page of all pictures, report.html.")] = False,
    curves: Annotated[bool, typer.Option("--curves", help="The report with insertion and deletion curves.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="A map that may be wrong is an error, not a warning.")
    ] = False,
    out: Out = Path("explained"),
    *,
    model: Model,
    method: Method,
    sess_options: Sess,
    figures: MapFigures,
    output: Output,
) -> None:
    """Map, box and masked pictures of each PICTURE, in a folder of its own below --out."""
    if target in ("label", "each"):
        raise InputError(f"`target={target}` needs a data set, whose pictures have labels; here name the class")
    wanted = Wanted(
        None if target == "predicted" else target,
        infill,
        sess_options.keywords(sess or panel),
        panel,
        "curves" if curves else "plain" if report else None,
        strict=strict,
        resize=resize,
    )
    explain_pictures(pictures, model, method, wanted, out, figures, output)

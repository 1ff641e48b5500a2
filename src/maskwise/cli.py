"""The command line. Heavy imports wait until a command needs them, so that ``maskwise --help`` is quick."""

from __future__ import annotations

import contextlib
import os
import sys

import typer

from maskwise.commands import doctor, explain, export, fit, lists, live, measure, serve, study, train
from maskwise.commands.check import check_app

app = typer.Typer(
    name="maskwise",
    help="Which pixels of an image does a classifier use: this one, or any one?",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command()(explain.demo)
app.command()(explain.explain)
app.command()(train.train)
app.command()(fit.fit)
app.command()(measure.evaluate)
app.command()(measure.compare)
app.command()(measure.panel)
app.command()(study.study)
app.command()(live.live)
app.command()(export.export)
app.command()(serve.serve)
app.command()(doctor.doctor)
app.add_typer(check_app, name="check", help="The sanity checks of saliency maps.")
app.command("methods")(lists.list_methods)
app.command("metrics")(lists.list_metrics)
app.command("classifiers")(lists.list_classifiers)
app.command("datasets")(lists.list_datasets)
app.command("recipes")(lists.list_recipes)


def main() -> None:
    """Entry point; a closed pipe (``| head``) ends it quietly."""
    try:
        app()
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


if __name__ == "__main__":
    main()

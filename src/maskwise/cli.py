"""The command line. Heavy imports wait until a command needs them, so that ``maskwise --help`` is quick."""

from __future__ import annotations

import contextlib
import os
import sys

import typer

from maskwise.commands import (
    convert,
    doctor,
    explain,
    export,
    fit,
    lists,
    live,
    measure,
    pack,
    plan,
    serve,
    study,
    train,
)
from maskwise.commands.check import check_app
from maskwise.plain import complain, warn_plainly
from maskwise.volume import with_volume

app = typer.Typer(
    name="maskwise",
    help="Which pixels of an image does a classifier use: this one, or any one?",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command()(with_volume(explain.demo))
app.command()(with_volume(explain.explain))
app.command()(with_volume(train.train))
app.command()(with_volume(fit.fit))
app.command()(with_volume(pack.pack))
app.command()(with_volume(measure.evaluate))
app.command()(with_volume(measure.compare))
app.command()(with_volume(measure.panel))
app.command()(with_volume(study.study))
app.command()(with_volume(plan.plan))
app.command()(with_volume(live.live))
app.command()(with_volume(export.export))
app.command()(with_volume(convert.convert))
app.command()(with_volume(serve.serve))
app.command()(doctor.doctor)
app.add_typer(check_app, name="check", help="The sanity checks of saliency maps.")
app.command("methods")(lists.list_methods)
app.command("metrics")(lists.list_metrics)
app.command("classifiers")(lists.list_classifiers)
app.command("datasets")(lists.list_datasets)
app.command("recipes")(lists.list_recipes)


def main() -> None:
    """Entry point; wrong options leave one line, as all bad input does; a closed pipe (``| head``) ends it quietly."""
    warn_plainly()
    try:
        code = app(standalone_mode=False)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except typer.Abort:
        sys.exit(1)
    except Exception as error:
        # Click's errors, which typer has under names of its own; without a command the whole help is the answer.
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error.format_message(), err=True)
        else:
            complain(error.format_message())
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()

"""``maskwise evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands.groups import Figures, Measuring, Method, Model, Output, Sess, key_values
from maskwise.commands.groups.maps import GIVEN, Missing, given_maps, named_folders
from maskwise.commands.groups.measuring import TRUSTED, Data, Kept, Metrics
from maskwise.commands.groups.sess import Enhance
from maskwise.commands.measured import measure_and_tell
from maskwise.commands.registration import command
from maskwise.core.errors import InputError


@command(
    "evaluate",
    section="Measure",
    after="same",
    example="maskwise evaluate --data shapes:n=100 --method grad_cam --metrics le,f1,pointing\n"
    "maskwise evaluate --data voc:VOC2012@val --method grad_cam --target each --sess\n"
    "maskwise evaluate --data DATA --maps maps/theirs --metrics le,pointing",
)
def evaluate_command(
    data: Data,
    sess: Enhance = False,
    maps: Annotated[
        str | None,
        typer.Option(
            "--maps",
            help="[NAME=]DIR: maps that anybody made, in place of a method (see `maskwise compare --help`).",
            rich_help_panel=GIVEN,
        ),
    ] = None,
    missing: Missing = "refuse",
    metrics: Metrics = TRUSTED,
    out: Kept = None,
    *,
    model: Model,
    method: Method,
    sess_options: Sess,
    measuring: Measuring,
    figures: Figures,
    output: Output,
) -> None:
    """One method, or maps from files, on data with boxes or masks: values with 95% intervals."""
    from maskwise.evaluation import Contender

    method.check()
    figures.check()
    enhance, settings = sess_options.keywords(sess), measuring.settings(out, missing)
    if maps is not None:
        if sess:
            raise InputError("SESS explains parts of pictures anew, which maps from files can't: leave `sess` out")
        alone = Path(maps).is_dir() or "=" not in maps  # a folder may have the sign in its name
        folders = named_folders([f"{Path(maps).resolve().name}={maps}" if alone else maps])
        given = given_maps(folders, {name: key_values(method.options, "--set") for name in folders})
    classifier = model.load()
    measures = measuring.metrics(metrics, classifier, settings)
    if maps is not None:
        contenders = [Contender.of(name, explainer) for name, explainer in given.items()]
    else:
        method = method.settled(classifier)
        name = method.method if enhance is None else f"{method.method} + SESS"
        contenders = [Contender.of(name, method.make(classifier, model.precision, enhance))]
    sources = measuring.sources(data)
    measure_and_tell(contenders, classifier, sources, measures, settings, out, measuring.save_maps, figures, output)

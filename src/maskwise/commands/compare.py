"""``maskwise compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands import completion
from maskwise.commands.groups import (
    MapFigures,
    Measuring,
    Model,
    Output,
    Sess,
    each_with_sess,
    key_values_of,
    make_explainer,
    names_of,
)
from maskwise.commands.groups.maps import MapFolders, Missing, given_maps, named_folders
from maskwise.commands.groups.measuring import Data, Kept, Metrics
from maskwise.commands.groups.method import METHOD
from maskwise.commands.groups.sess import EnhanceEach
from maskwise.commands.measured import AGREEMENT, REPORT, measure_and_tell
from maskwise.commands.registration import command
from maskwise.core.errors import InputError
from maskwise.core.text import printable


@command(
    "compare",
    section="Measure",
    after="same",
    example="maskwise compare --data shapes:n=100 --methods casm,grad_cam,center --metrics le,pointing --out compared\n"
    "maskwise compare --data DATA --methods grad_cam --maps theirs=maps/theirs --maps mine=maps/mine --report",
)
def compare_command(
    data: Data,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            help="Names with commas between (`maskwise methods`).",
            rich_help_panel=METHOD,
            autocompletion=completion.method_list,
        ),
    ] = "",
    maps: MapFolders = None,
    missing: Missing = "refuse",
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="NAME.key=value, an option of a method or of maps; may be given again.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    sess: EnhanceEach = "no",
    metrics: Metrics = "all",
    out: Kept = Path("compared"),
    report: Annotated[
        bool, typer.Option("--report", help="Also one page of leaderboard and pictures: report.html in --out.")
    ] = False,
    agreement: Annotated[
        bool,
        typer.Option(
            "--agreement", help="Also which metrics rank the methods alike: agreement.md, .csv and a figure in --out."
        ),
    ] = False,
    *,
    model: Model,
    sess_options: Sess,
    measuring: Measuring,
    figures: MapFigures,
    output: Output,
) -> None:
    """Methods and anybody's maps side by side: 95% intervals, differences to the best, and time, as table and page."""
    from maskwise.evaluation import Contender
    from maskwise.evaluation.agreement import FEWEST
    from maskwise.evaluation.agreement import agreement as ranked
    from maskwise.explainers import methods as known
    from maskwise.sess import enhanced

    enhance, settings = sess_options.of_each(sess), measuring.settings(out, missing)
    figures.check()
    names, folders = names_of(methods), named_folders(maps)
    if not names and not folders:
        raise InputError("name what is compared: `methods`, or `maps`, or both")
    if sess != "no" and not names:
        raise InputError("SESS explains parts of pictures anew, which maps from files can't: leave `sess` out")
    if agreement and len(each_with_sess(names, sess)) + len(folders) < FEWEST:
        raise InputError(f"`agreement` ranks methods, and needs at least {FEWEST}")
    if agreement and out is None:
        raise InputError("`agreement` needs a folder: add `out`")
    for name in names:
        known.get(name)
    own = key_values_of(options, "--set", [*names, *folders])
    foreign = given_maps(folders, own)
    classifier = model.load()
    measures = measuring.metrics(metrics, classifier, settings)
    bases = {name: make_explainer(name, classifier, own.get(name, {}), model.precision) for name in names}
    contenders = [
        Contender.of(called, enhanced(bases[name], **(enhance or {})) if inside else bases[name])
        for called, name, inside in each_with_sess(names, sess)
    ]
    contenders += [Contender.of(name, explainer) for name, explainer in foreign.items()]
    sources = measuring.sources(data)
    pages = [*(REPORT if report else ()), *(AGREEMENT if agreement else ())]
    measured, board = measure_and_tell(
        contenders, classifier, sources, measures, settings, out, measuring.save_maps, figures, output, pages
    )
    if agreement and out is not None and board is not None:
        from maskwise.report.agreement import write_agreement

        write_agreement(ranked(measured), out, figures.format, figures.dpi)
        output.also(f"which metrics rank alike: {printable(out / 'agreement.md')}")
    if report and out is not None and board is not None:
        from maskwise.report.page_compared import write_compared

        with output.bar("pictures of the report") as step:
            write_compared(
                measured.contenders, classifier, measured.sets, settings, out, board, progress=step,
                display=figures.display,
            )  # fmt: skip
        output.also(f"leaderboard and pictures on one page: {printable(out / 'report.html')}")

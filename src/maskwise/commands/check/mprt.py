"""``maskwise check mprt``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands.check.options import BatchOption, CacheGib, Masks, Seed, UndefinedOption, check_first
from maskwise.commands.check.telling import MPRT, tell
from maskwise.commands.groups import Figures, Method, Model, Out, Output, Sess
from maskwise.commands.groups.measuring import Data, SkipDamaged
from maskwise.commands.groups.sess import Enhance
from maskwise.commands.registration import command


@command(
    "check mprt",
    section="Measure",
    example="maskwise check mprt --data shapes:n=64 --method grad_cam --out check-mprt",
)
def mprt_command(
    data: Data,
    sess: Enhance = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Pictures of each data set, evenly spread.")
    ] = 128,
    mode: Annotated[str, typer.Option("--mode", help="cascading, independent, or both.")] = "both",
    init: Annotated[
        str, typer.Option("--init", help="New weights by each layer's own rule, or as the released code.")
    ] = "own",
    depth: Annotated[
        int,
        typer.Option(
            "--depth", min=0, help="Layers share so many parts of their modules' names; 0: each module is one."
        ),
    ] = 2,
    masks: Masks = False,
    undefined: UndefinedOption = "zero",
    batch: BatchOption = 32,
    cache_gib: CacheGib = 4.0,
    skip_damaged: SkipDamaged = False,
    seed: Seed = 0,
    out: Out = Path("check-mprt"),
    *,
    model: Model,
    method: Method,
    sess_options: Sess,
    figures: Figures,
    output: Output,
) -> None:
    """Do maps change when the network's layers become random? (Adebayo et al. 2018)"""
    from maskwise.core.allocator import keep_freed_memory

    check_first(out, undefined)
    figures.check()
    keep_freed_memory()
    modes = ["cascading", "independent"] if mode == "both" else [mode]
    enhance = sess_options.keywords(sess)
    from maskwise.checks import mprt
    from maskwise.checks.figures import mprt_figure
    from maskwise.checks.pictures import grouped_pictures
    from maskwise.checks.tables import mprt_table

    classifier = model.load()
    method = method.settled(classifier)
    explain_it = method.make(classifier, model.precision, enhance)
    images, groups = grouped_pictures(data, classifier.size, limit, cache_gib, skip_damaged)
    with output.bar("random layers") as step:
        result = mprt(
            explain_it,
            classifier,
            images,
            modes=modes,  # type: ignore[arg-type]
            init=init,
            depth=depth or None,
            before_sigmoid=False if masks else None,
            undefined=undefined,  # type: ignore[arg-type]
            groups=groups,
            seed=seed,
            batch=batch,
            progress=step,
        )
    result.protocol.update(data=data, limit=limit)
    tell(MPRT, result, [mprt_table(result)], partial(mprt_figure, result), out, figures, output)

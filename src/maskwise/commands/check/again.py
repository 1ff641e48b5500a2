"""``maskwise check max-sensitivity``, ``maskwise check arcc`` and ``maskwise check focus``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwise.commands.check.compared import Compared
from maskwise.commands.check.options import check_first
from maskwise.commands.check.telling import ARCC, FOCUS, MAX_SENSITIVITY, About, tell
from maskwise.commands.groups import Figures, Model, Out, Output, Sess
from maskwise.commands.groups.measuring import Data
from maskwise.commands.registration import command

if TYPE_CHECKING:
    from maskwise.checks.explained_again import AgainResult

FOCUSED = Compared(method=["distilled", "grad_cam"])
PicturesLimit = Annotated[int | None, typer.Option("--limit", min=1, help="Pictures of each data set, evenly spread.")]


@command(
    "check max-sensitivity",
    section="Measure",
    example="maskwise check max-sensitivity --data shapes:n=32 --method grad_cam --method gradient",
)
def max_sensitivity_command(
    data: Data,
    limit: PicturesLimit = 64,
    radius: Annotated[float, typer.Option("--radius", help="Each value moves by up to so much, in [0,1].")] = 0.02,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Noises of a picture.")] = 10,
    out: Out = Path("check-max-sensitivity"),
    *,
    compared: Compared,
    model: Model,
    sess_options: Sess,
    figures: Figures,
    output: Output,
) -> None:
    """How far does a map go when the picture hardly changes? (Yeh et al. 2019)"""
    check_first(out)
    figures.check()
    explainers, classifier = compared.explainers(model, sess_options)
    from maskwise.checks import max_sensitivity

    images, groups = compared.pictures(data, classifier, limit)
    with output.bar("pictures x methods") as step:
        result = max_sensitivity(
            explainers, classifier, images, radius=radius, samples=samples, groups=groups,
            seed=compared.seed, batch=compared.batch, progress=step,
        )  # fmt: skip
    tell_again(MAX_SENSITIVITY, result, data, limit, out, figures, output)


@command(
    "check arcc",
    section="Measure",
    example="maskwise check arcc --data shapes:n=32 --method casm --method grad_cam --out check-arcc",
)
def arcc_command(
    data: Data,
    limit: PicturesLimit = 64,
    fill: Annotated[str, typer.Option("--fill", help="ROAD's infiller, options after a colon.")] = "noisy_linear",
    out: Out = Path("check-arcc"),
    *,
    compared: Compared,
    model: Model,
    sess_options: Sess,
    figures: Figures,
    output: Output,
) -> None:
    """Is a map faithful, small, and the same again for what it kept? (after Poppi et al. 2021, with ROAD)"""
    check_first(out)
    figures.check()
    explainers, classifier = compared.explainers(model, sess_options)
    from maskwise.checks import arcc

    images, groups = compared.pictures(data, classifier, limit)
    with output.bar("pictures x methods") as step:
        result = arcc(
            explainers, classifier, images, fill=fill, groups=groups, seed=compared.seed, batch=compared.batch,
            progress=step,
        )  # fmt: skip
    tell_again(ARCC, result, data, limit, out, figures, output)


@command(
    "check focus",
    section="Measure",
    example="maskwise check focus --data imagenette224.zip@test --method grad_cam --method gradient",
)
def focus_command(
    data: Data,
    limit: PicturesLimit = 128,
    out: Out = Path("check-focus"),
    *,
    compared: Compared = FOCUSED,
    model: Model,
    sess_options: Sess,
    figures: Figures,
    output: Output,
) -> None:
    """In a mosaic of four pictures, how much of the map lies in the two of its class? (Arias-Duart et al. 2022)"""
    check_first(out)
    figures.check()
    explainers, classifier = compared.explainers(model, sess_options)
    from maskwise.checks import focus

    images, _ = compared.pictures(data, classifier, limit)  # a mosaic is of several subjects
    with output.bar("mosaics x methods") as step:
        result = focus(explainers, classifier, images, seed=compared.seed, batch=compared.batch, progress=step)
    tell_again(FOCUS, result, data, limit, out, figures, output)


def tell_again(
    about: About, result: AgainResult, data: list[str], limit: int | None, out: Path, figures: Figures, output: Output
) -> None:
    """Figure, table and page of such a check."""
    from maskwise.checks.again_figure import again_figure
    from maskwise.checks.tables import again_table

    result.protocol.update(data=data, limit=limit)
    tell(about, result, [again_table(result)], partial(again_figure, result), out, figures, output)

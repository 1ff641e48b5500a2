"""``maskwise check max-sensitivity``, ``maskwise check arcc`` and ``maskwise check focus``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwise.commands.check.options import (
    BatchOption,
    CacheGib,
    Methods,
    Seed,
    check_first,
    own_options,
    with_masker,
)
from maskwise.commands.check.telling import ARCC, FOCUS, MAX_SENSITIVITY, About, tell
from maskwise.commands.groups import Figures, Model, Out, Output, Sess, each_with_sess, make_explainer
from maskwise.commands.groups.measuring import Data, SkipDamaged
from maskwise.commands.groups.method import MaskerFile, MethodOptions
from maskwise.commands.groups.sess import EnhanceEach
from maskwise.commands.registration import command

if TYPE_CHECKING:
    from maskwise.checks.explained_again import AgainResult
    from maskwise.classifiers import Classifier
    from maskwise.sess.sweep import AnyExplainer

PicturesLimit = Annotated[int | None, typer.Option("--limit", min=1, help="Pictures of each data set, evenly spread.")]


@command(
    "check max-sensitivity",
    section="Measure",
    example="maskwise check max-sensitivity --data shapes:n=32 --method grad_cam --method gradient",
)
def max_sensitivity_command(
    data: Data,
    method: Methods = ["casm", "grad_cam"],  # noqa: B006, typer copies it
    masker: MaskerFile = None,
    options: MethodOptions = None,
    sess: EnhanceEach = "no",
    limit: PicturesLimit = 64,
    radius: Annotated[float, typer.Option("--radius", help="Each value moves by up to so much, in [0,1].")] = 0.02,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Noises of a picture.")] = 10,
    batch: BatchOption = 32,
    cache_gib: CacheGib = 4.0,
    skip_damaged: SkipDamaged = False,
    seed: Seed = 0,
    out: Out = Path("check-max-sensitivity"),
    *,
    model: Model,
    sess_options: Sess,
    figures: Figures,
    output: Output,
) -> None:
    """How far does a map go when the picture hardly changes? (Yeh et al. 2019)"""
    check_first(out)
    figures.check()
    explainers, classifier = compared_explainers(method, masker, options, sess, model, sess_options)
    from maskwise.checks import max_sensitivity
    from maskwise.checks.pictures import pictures

    images = pictures(data, classifier.input_size, limit, cache_gib, skip_damaged)
    with output.bar("pictures x methods") as step:
        result = max_sensitivity(
            explainers, classifier, images, radius=radius, samples=samples, seed=seed, batch=batch, progress=step
        )
    tell_again(MAX_SENSITIVITY, result, data, limit, out, figures, output)


@command(
    "check arcc",
    section="Measure",
    example="maskwise check arcc --data shapes:n=32 --method casm --method grad_cam --out check-arcc",
)
def arcc_command(
    data: Data,
    method: Methods = ["casm", "grad_cam"],  # noqa: B006, typer copies it
    masker: MaskerFile = None,
    options: MethodOptions = None,
    sess: EnhanceEach = "no",
    limit: PicturesLimit = 64,
    fill: Annotated[str, typer.Option("--fill", help="ROAD's infiller, options after a colon.")] = "noisy_linear",
    batch: BatchOption = 32,
    cache_gib: CacheGib = 4.0,
    skip_damaged: SkipDamaged = False,
    seed: Seed = 0,
    out: Out = Path("check-arcc"),
    *,
    model: Model,
    sess_options: Sess,
    figures: Figures,
    output: Output,
) -> None:
    """Is a map faithful, small, and the same again for what it kept? (after Poppi et al. 2021, with ROAD)"""
    check_first(out)
    figures.check()
    explainers, classifier = compared_explainers(method, masker, options, sess, model, sess_options)
    from maskwise.checks import arcc
    from maskwise.checks.pictures import pictures

    images = pictures(data, classifier.input_size, limit, cache_gib, skip_damaged)
    with output.bar("pictures x methods") as step:
        result = arcc(explainers, classifier, images, fill=fill, seed=seed, batch=batch, progress=step)
    tell_again(ARCC, result, data, limit, out, figures, output)


@command(
    "check focus",
    section="Measure",
    example="maskwise check focus --data imagenette224.zip@test --method grad_cam --method gradient",
)
def focus_command(
    data: Data,
    method: Methods = ["distilled", "grad_cam"],  # noqa: B006, typer copies it
    masker: MaskerFile = None,
    options: MethodOptions = None,
    sess: EnhanceEach = "no",
    limit: PicturesLimit = 128,
    batch: BatchOption = 32,
    cache_gib: CacheGib = 4.0,
    skip_damaged: SkipDamaged = False,
    seed: Seed = 0,
    out: Out = Path("check-focus"),
    *,
    model: Model,
    sess_options: Sess,
    figures: Figures,
    output: Output,
) -> None:
    """In a mosaic of four pictures, how much of the map lies in the two of its class? (Arias-Duart et al. 2022)"""
    check_first(out)
    figures.check()
    explainers, classifier = compared_explainers(method, masker, options, sess, model, sess_options)
    from maskwise.checks import focus
    from maskwise.checks.pictures import pictures

    images = pictures(data, classifier.input_size, limit, cache_gib, skip_damaged)
    with output.bar("mosaics x methods") as step:
        result = focus(explainers, classifier, images, seed=seed, batch=batch, progress=step)
    tell_again(FOCUS, result, data, limit, out, figures, output)


def compared_explainers(
    method: list[str], masker: Path | None, options: list[str] | None, sess: str, model: Model, sess_options: Sess
) -> tuple[dict[str, AnyExplainer], Classifier]:
    """The methods by name, those inside SESS among them, and what they explain."""
    from maskwise.core.allocator import keep_freed_memory

    keep_freed_memory()
    enhance, own = sess_options.of_each(sess), own_options(options, method)
    classifier = model.load()
    return {
        called: make_explainer(
            name, classifier, with_masker(own, name, masker), model.precision, enhance if inside else None
        )
        for called, name, inside in each_with_sess(method, sess)
    }, classifier


def tell_again(
    about: About, result: AgainResult, data: list[str], limit: int | None, out: Path, figures: Figures, output: Output
) -> None:
    """Figure, table and page of such a check."""
    from maskwise.checks.again_figure import again_figure
    from maskwise.checks.tables import again_table

    result.protocol.update(data=data, limit=limit)
    tell(about, result, [again_table(result)], partial(again_figure, result), out, figures, output)

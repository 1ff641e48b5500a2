"""``maskwise audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands import completion
from maskwise.commands.groups import Model, Out, Output, names_of
from maskwise.commands.groups.measuring import BatchSize, Data, Limit, SkipDamaged
from maskwise.commands.groups.method import MaskerFile, MethodOptions, make_explainer
from maskwise.commands.groups.sess import key_values
from maskwise.commands.registration import command
from maskwise.core.errors import InputError
from maskwise.core.options import BY_NETWORK

AUDIT = "Audit"


@command(
    "audit",
    section="Measure",
    example="maskwise audit --classifier efficientnet_lite0 --data pictures/ --out audit --fail-on spurious,background",
)
def audit_command(
    data: Data,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="Whose maps; left out, distilled where it is of this classifier, else the first that the network "
            "allows of generic_attention, grad_cam and gradient; of a black box banzhaf.",
            rich_help_panel="Method",
            autocompletion=completion.method_names,
        ),
    ] = None,
    finding: Annotated[
        str | None,
        typer.Option(
            "--target",
            help="Of a network of findings (sigmoid outputs) the one that is audited, by name or index.",
            rich_help_panel=AUDIT,
        ),
    ] = None,
    masker: MaskerFile = None,
    options: MethodOptions = None,
    compare_with: Annotated[
        Path | None,
        typer.Option(
            "--compare-with",
            help="Weights of another checkpoint of the classifier: did it get worse at looking?",
            rich_help_panel=AUDIT,
        ),
    ] = None,
    fail_on: Annotated[
        str,
        typer.Option(
            "--fail-on",
            help="Exit code 1 where one of these criteria fails: accuracy, calibration, evidence, background, classes, "
            "spurious, shortcut, mprt, stability, leak, worse. One that is not known fails nothing, and is said on "
            "stderr.",
            rich_help_panel=AUDIT,
        ),
    ] = "",
    bounds: Annotated[
        list[str] | None,
        typer.Option(
            "--limit-set", help="criterion=value, the bound of a criterion; may be given again.", rich_help_panel=AUDIT
        ),
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(
            "--parts",
            help="Only these, with commas, for an audit that takes less time: accuracy, errors, evidence, background, "
            "spurious, shortcut, sanity. Left out, all of them; what was not asked is not known.",
            rich_help_panel=AUDIT,
        ),
    ] = None,
    fill: Annotated[
        str,
        typer.Option(
            "--fill",
            help="Infiller of hidden objects and backgrounds.",
            rich_help_panel=AUDIT,
            autocompletion=completion.infiller_names,
        ),
    ] = "telea",
    limit: Limit = None,
    batch: BatchSize = 8,
    seed: Annotated[int, typer.Option("--seed", help="Of patches, noise, random weights and intervals.")] = 0,
    skip_damaged: SkipDamaged = False,
    out: Out = Path("audit"),
    *,
    model: Model,
    output: Output,
) -> None:
    """Can this classifier be trusted? Errors, evidence, background, a planted shortcut: one page and an exit code."""
    from dataclasses import replace

    from maskwise.audit.limits import Limits, part_of, parts_asked, unknown_criteria
    from maskwise.core.files import check_writable

    check_writable(out)
    criteria = names_of(fail_on)
    unknown_criteria(criteria)
    if "worse" in criteria and compare_with is None:
        raise InputError("the criterion worse needs another checkpoint: add --compare-with")
    asked_for = parts_asked(None if parts is None else names_of(parts))
    for name, part in ((name, part_of(name)) for name in criteria):
        if part is not None and part not in asked_for:
            raise InputError(f"the criterion {name} is decided by the part {part}: add it to --parts")
    try:
        limits = Limits(**key_values(bounds, "--limit-set"))
    except TypeError:
        raise InputError(
            f"--limit-set takes criterion=value, one of {', '.join(Limits.__dataclass_fields__)}"
        ) from None
    # What takes seconds to load comes after what can be refused without it.
    from maskwise.audit.run import audit, which_cannot_fail
    from maskwise.audit.subject import question_of
    from maskwise.classifiers.one_finding import OneFinding
    from maskwise.core.allocator import keep_freed_memory
    from maskwise.explainers.first_choice import method_of

    keep_freed_memory()
    classifier = question_of(model.load(), finding)
    if masker is not None and isinstance(classifier, OneFinding):
        raise InputError(
            "a masker knows the network's classes, and an audit of a finding asks with two: leave --masker out"
        )
    other = None if compare_with is None else replace(model, weights=compare_with).load()
    given = key_values(options, "--set")
    if masker is not None:
        given = {"masker": str(masker), **given}
    named = None if method == BY_NETWORK else method
    if named is None and masker is not None:
        named = method_of(masker)
    if named is None and given:
        raise InputError("--set is of a method: name it with --method")
    explain = None if named is None else make_explainer(named, classifier, given, model.precision)
    with output.bar("pictures") as step:
        found = audit(
            classifier, data, explain, out=out, compare_with=other, limit=limit, limits=limits,
            parts=asked_for, fill=fill, seed=seed, batch=batch, skip_damaged=skip_damaged, progress=step,
        )  # fmt: skip
    from rich.markup import escape
    from rich.table import Table

    from maskwise.report.audit_page import WORDS, write_audit

    page = write_audit(found)
    table = Table("question", "", "figure, 95% interval", "name")
    for one in found.criteria:
        table.add_row(one.question, WORDS[one.holds].lower(), escape(one.figure), one.name)
    output.tell(found.plain(), table, lines=(*found.sections[0].says, f"{page}, audit.json and audit.csv beside it"))
    for said in which_cannot_fail(found, criteria):
        typer.echo(f"maskwise: {said}", err=True)
    if any(name in found.failed for name in criteria):
        raise typer.Exit(1)

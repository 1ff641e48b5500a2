"""What ``maskwise demo`` and ``maskwise explain`` share: pictures one after another, each a folder of results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from maskwise.commands.groups import MapFigures, Method, Model, Output
from maskwise.commands.plain import complain
from maskwise.core.errors import InputError
from maskwise.core.options import one_of
from maskwise.core.text import cell, printable

if TYPE_CHECKING:
    from rich.table import Table

    from maskwise.explain import Explanation, NothingFound, Panels
    from maskwise.explainers import Explainer


FINDINGS = "findings"  # the target that is each of them


@dataclass(frozen=True)
class Wanted:
    """What is made of each picture.

    Attributes:
        target: the class that is explained; None is the predicted one, ``FINDINGS`` each that the network finds.
        infill: what paints the inpainted picture.
        enhance: SESS's keywords; None leaves it out.
        panel: also a picture of SESS's patches.
        page: also ``report.html``: ``plain``, or with ``curves``.
        together: also one figure of all pictures.
        strict: a map that may be wrong is an error.
        resize: squash, or crop to the square in the middle.
    """

    target: str | None = None
    infill: str = "telea"
    enhance: dict[str, Any] | None = None
    panel: bool = False
    page: str | None = None
    together: bool = False
    strict: bool = False
    resize: str = "squash"


def explain_pictures(
    pictures: Sequence[Path],
    model: Model,
    method: Method,
    wanted: Wanted,
    out: Path,
    figures: MapFigures,
    output: Output,
) -> None:
    """Explains what can be explained, and says of each other picture what is wrong with it.

    Raises:
        InputError: before the first picture: a name, an option or a file that does not fit.
        typer.Exit: with 2 at the end, where a picture could not be explained.
    """
    from maskwise.core.files import check_writable

    one_of("resize", wanted.resize, ("squash", "crop"))
    check_writable(out)
    paths, failed = _found(pictures, out, output)
    figures.check()
    from maskwise.classifiers.findings import check_findings
    from maskwise.core.allocator import keep_freed_memory
    from maskwise.explain import Explanation, check_knows_classes, explain_findings, explain_picture, look_at
    from maskwise.explainers.targets import described
    from maskwise.infill import infiller
    from maskwise.report.explained import check_replaceable, free_name, write_explanation, write_findings
    from maskwise.report.figure import fig2

    method.check()
    keep_freed_memory()
    paint = infiller(wanted.infill)
    classifier = model.load()
    method = method.settled(classifier)
    explain_it = method.make(classifier, model.precision, wanted.enhance)
    explain_it.strict = wanted.strict
    if wanted.target == FINDINGS:
        check_findings(classifier)
        check_knows_classes(explain_it, method.method)
    elif wanted.target is not None:
        described(wanted.target, classifier.labels, "")  # what is no class is said before there is work
    done: list[Explanation | NothingFound] = []
    rows: list[Panels] = []
    cards: list[dict[str, Any]] = []
    taken: set[str] = set()
    shown = explain_it if wanted.panel else None

    def folder_of(path: Path) -> Path:
        """Two pictures of one name in two folders get two result folders."""
        name = free_name(path.stem, taken)
        taken.add(name)
        check_replaceable(out / name)
        return out / name

    def drawn(explanation: Explanation, row: Panels) -> list[dict[str, Any]]:
        """What the page says of it, where there is one."""
        if wanted.page is None:
            return []
        from maskwise.report.page_explained import card_of

        return [card_of(explanation, row, classifier, wanted.page == "curves")]

    def explained(path: Path) -> list[Explanation | NothingFound]:
        """Lets go of the pictures when it returns: of a photograph they are half a gigabyte."""
        folder = folder_of(path)
        explanation, row = explain_picture(
            path, explain_it, classifier, method.method, wanted.target, paint, wanted.resize, figures.display
        )
        own = drawn(explanation, row)  # first, so that what can't be measured leaves nothing behind
        write_explanation(explanation, row, folder, shown, figures.format, figures.dpi)
        cards.extend(own)
        if wanted.together:
            rows.append(row)
        return [explanation]

    def found(path: Path) -> list[Explanation | NothingFound]:
        """The same of each finding, one after another."""
        folder = folder_of(path)
        look = look_at(path, classifier, wanted.resize)
        own: list[dict[str, Any]] = []

        def made() -> Iterator[tuple[Explanation, Panels]]:
            for explanation, row in explain_findings(look, explain_it, method.method, paint, figures.display):
                own.extend(drawn(explanation, row))
                yield explanation, row

        nothing = look.nothing(method.method)
        each = write_findings(made(), nothing, folder, shown, figures.format, figures.dpi)
        if wanted.page is not None:
            from maskwise.report.page_explained import nothing_card, one_card

            cards.append(one_card(own) if own else nothing_card(look))
        return [*each] or [nothing]

    one = found if wanted.target == FINDINGS else explained
    for path in _progress(paths, method.method, explain_it, output):
        try:
            done += one(path)
        except InputError as error:
            complain(error)
            failed = True
    maps = [e for e in done if isinstance(e, Explanation)]
    what = "pictures" if wanted.target != FINDINGS else "maps"
    for warning, count in Counter(line for e in maps for line in e.warnings).items():
        complain(f"warning: {warning}" + (f" ({count} of {len(maps)} {what})" if len(maps) > 1 else ""))
    if said := _nothing_line(done):
        complain(said)
    if rows:
        fig2(rows, out / f"figure.{figures.format}", dpi=figures.dpi)
    if cards:
        from maskwise.report import page as report_page

        title = f"What does {classifier.name} use?"
        colour = classifier.mean.tolist()
        report_page.write(
            cards, out / "report.html", title, colour=colour, protocol=(maps or done)[0].facts()["protocol"]
        )
    if done or output.as_json:
        page = ", all on one page in report.html there" if cards else ""
        who = maps[0].called if maps else method.method
        said = f"{who} on {done[0].classifier}; figures in {printable(out)}{page}" if done else ""
        output.tell([e.facts() for e in done], table_of(done, wanted.target), lines=(said,))
    if failed:
        raise typer.Exit(2)


def _found(pictures: Sequence[Path], out: Path, output: Output) -> tuple[list[Path], bool]:
    """The files, and whether something was named that is none. No library is loaded to say that there is no picture.

    Raises:
        typer.Exit: with 2: there is no picture at all.
    """
    from maskwise.picture_headers import check_header, find_pictures

    paths: list[Path] = []
    failed = False
    for given in pictures:
        try:
            paths += find_pictures([given], out)
        except InputError as error:
            complain(error)
            failed = True
    wrong: list[InputError] = []
    for path in paths:
        try:
            check_header(path)
            return paths, failed
        except InputError as error:
            wrong.append(error)
    for fault in wrong:
        complain(fault)
    if output.as_json:
        output.tell([])
    raise typer.Exit(2)


def _nothing_line(done: Sequence[Explanation | NothingFound]) -> str | None:
    """One line of all pictures in which nothing is found; None where there are none."""
    from maskwise.core.text import first_few
    from maskwise.explain import NothingFound

    none = [e for e in done if isinstance(e, NothingFound)]
    if len(none) < 2:
        return none[0].line if none else None
    pictures = len({e.picture for e in done})
    return (
        f"{none[0].classifier} finds nothing in {len(none)} of {pictures} pictures, in which no class has a "
        f"probability above 0.5; no map of {first_few([Path(e.picture).name for e in none])}"
    )


def _progress(paths: list[Path], method: str, explain_it: Explainer, output: Output) -> Iterator[Path]:
    """The pictures one after another, with a bar for them and one for a method's own long work."""
    if not output.shows_progress:
        yield from paths
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        pictures = bars.add_task("pictures", total=len(paths))
        inner = bars.add_task(method, total=None, visible=False)

        def step(done: int, total: int) -> None:
            bars.update(inner, completed=done, total=total, visible=True)

        explain_it.progress = step
        for path in paths:
            yield path
            bars.advance(pictures)


def table_of(done: Sequence[Explanation | NothingFound], target: str | None = None) -> Table:
    """One row a map; names of files and classes are text, whatever they hold.

    Args:
        done: what is known of each.
        target: as of ``Wanted``: of a class that is named the table says what it is, of findings each.
    """
    from rich.table import Table

    from maskwise.explain import Explanation

    findings = target == FINDINGS
    asked = [] if target is None or findings else ["explained"]
    table = Table("picture", "finding" if findings else "top class", "p", *asked, "box (x0,y0,x1,y1)", "mask area",
                  "seconds")  # fmt: skip
    for e in done:
        picture = cell(Path(e.picture).name)
        if not isinstance(e, Explanation):
            table.add_row(picture, "nothing found", "", "", "", f"{e.seconds:.2f}")
            continue
        name, p = e.top[0]
        of = "no class" if e.target is None else e.target
        known = "" if e.probability is None else f" {e.probability:.2f}"
        if findings and e.probability is not None:
            name, p = of, e.probability
        said = [cell(f"{of}{known}") for _ in asked]
        box = ",".join(map(str, e.box))
        table.add_row(picture, cell(name), f"{p:.2f}", *said, box, f"{e.area:.2f}", f"{e.seconds:.2f}")
    return table

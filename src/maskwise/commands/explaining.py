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

    from maskwise.explain import Explanation, Panels
    from maskwise.explainers import Explainer


@dataclass(frozen=True)
class Wanted:
    """What is made of each picture.

    Attributes:
        target: the class that is explained; None is the predicted one.
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
    from maskwise.core.allocator import keep_freed_memory
    from maskwise.explain import explain_picture
    from maskwise.explainers.targets import described
    from maskwise.infill import infiller
    from maskwise.report.explained import check_replaceable, write_explanation
    from maskwise.report.figure import fig2

    method.check()
    keep_freed_memory()
    paint = infiller(wanted.infill)
    classifier = model.load()
    method = method.settled(classifier)
    explain_it = method.make(classifier, model.precision, wanted.enhance)
    explain_it.strict = wanted.strict
    if wanted.target is not None:
        described(wanted.target, classifier.labels, "")  # what is no class is said before there is work
    done: list[Explanation] = []
    rows: list[Panels] = []
    cards: list[dict[str, Any]] = []
    taken: set[str] = set()

    def explained(path: Path) -> Explanation:
        """Lets go of the pictures when it returns: of a photograph they are half a gigabyte."""
        folder = out / _free_name(path.stem, taken)
        check_replaceable(folder)
        explanation, row = explain_picture(
            path, explain_it, classifier, method.method, wanted.target, paint, wanted.resize, figures.display
        )
        write_explanation(explanation, row, folder, explain_it if wanted.panel else None, figures.format, figures.dpi)
        if wanted.page is not None:
            from maskwise.report.page_explained import card_of

            cards.append(card_of(explanation, row, classifier, wanted.page == "curves"))
        if wanted.together:
            rows.append(row)
        return explanation

    for path in _progress(paths, method.method, explain_it, output):
        try:
            done.append(explained(path))
        except InputError as error:
            complain(error)
            failed = True
    for warning, count in Counter(line for e in done for line in e.warnings).items():
        complain(f"warning: {warning}" + (f" ({count} of {len(done)} pictures)" if len(done) > 1 else ""))
    if rows:
        fig2(rows, out / f"figure.{figures.format}", dpi=figures.dpi)
    if cards:
        from maskwise.report import page as report_page

        title = f"What does {classifier.name} use?"
        colour = classifier.mean.tolist()
        report_page.write(cards, out / "report.html", title, colour=colour, protocol=done[0].facts()["protocol"])
    if done or output.as_json:
        page = ", all on one page in report.html there" if cards else ""
        said = f"{done[0].called} on {done[0].classifier}; figures in {printable(out)}{page}" if done else ""
        output.tell([e.facts() for e in done], table_of(done), lines=(said,))
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


def _free_name(stem: str, taken: set[str]) -> str:
    """Two pictures of one name in two folders get two result folders."""
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name


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


def table_of(done: Sequence[Explanation]) -> Table:
    """One row a picture; names of files and classes are text, whatever they hold."""
    from rich.table import Table

    table = Table("picture", "top class", "p", "box (x0,y0,x1,y1)", "mask area", "seconds")
    for e in done:
        name, p = e.top[0]
        box = ",".join(map(str, e.box))
        table.add_row(cell(Path(e.picture).name), cell(name), f"{p:.2f}", box, f"{e.area:.2f}", f"{e.seconds:.2f}")
    return table

"""``maskwise explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands import completion
from maskwise.commands.explaining import Wanted, explain_pictures
from maskwise.commands.groups import Method, Model, Out, Output, Sess
from maskwise.commands.groups.sess import HEADING as SESS
from maskwise.commands.groups.sess import Enhance
from maskwise.commands.registration import command
from maskwise.core.errors import InputError
<<<<<<< main
from maskwise.plain import cell, complain, printable, speaks_plainly
from maskwise.volume import shows_progress

if TYPE_CHECKING:
    from maskwise.explain import Explanation, Panels
    from maskwise.explainers import Explainer
=======
>>>>>>> helper


@command(
    "explain",
    section="Explain",
    example="maskwise explain dog.jpg --method casm --out explained\n"
    "maskwise explain pictures/ --method grad_cam --target 'tabby cat' --sess --scales 6",
)
def explain_command(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, or folders of them.")],
    target: Annotated[
        str,
        typer.Option(
            "--target",
            help="The class explained: predicted, or a class (index, name, WordNet id).",
            autocompletion=completion.predicted,
        ),
    ] = "predicted",
    infill: Annotated[
        str,
        typer.Option(
            "--infill",
            help="Paints the inpainted picture: telea, partial_conv, NAME:key=value, ….",
            autocompletion=completion.infiller_names,
        ),
    ] = "telea",
    sess: Enhance = False,
    panel: Annotated[
        bool,
        typer.Option(
            "--sess-panel", help="Also a picture of every patch with its map, box and score.", rich_help_panel=SESS
        ),
    ] = False,
    report: Annotated[bool, typer.Option("--report", help="Also one page of all pictures, report.html.")] = False,
    curves: Annotated[bool, typer.Option("--curves", help="The report with insertion and deletion curves.")] = False,
    out: Out = Path("explained"),
    *,
    model: Model,
    method: Method,
    sess_options: Sess,
    output: Output,
) -> None:
    """Map, box and masked pictures of each PICTURE, in a folder of its own below --out."""
<<<<<<< main
    enhance = sharpening.keywords(sess or panel)
    chosen = method_options(options, masker)
    page = "curves" if curves else "plain" if report else None
    _explain(
        pictures,
        classifier,
        weights,
        method,
        chosen,
        target,
        out,
        as_json,
        enhance=enhance,
        panel=panel,
        page=page,
        infill=infill,
    )


def _explain(
    pictures: list[Path],
    classifier_name: str,
    weights: Path | None,
    method: str,
    options: dict[str, Any],
    target: str | None,
    out: Path,
    as_json: bool,
    together: bool = False,
    enhance: dict[str, Any] | None = None,
    panel: bool = False,
    page: str | None = None,
    infill: str = "telea",
) -> None:
    from maskwise.core.files import check_writable

    check_writable(out)
    from maskwise.classifiers import load_classifier
    from maskwise.core.allocator import keep_freed_memory
    from maskwise.explain import explain_picture
    from maskwise.explainers import methods
    from maskwise.images import find_pictures
    from maskwise.infill import infiller
    from maskwise.report.explained import check_replaceable, write_explanation
    from maskwise.report.figure import fig2

    paths: list[Path] = []
    failed = False
    for given in pictures:
        try:
            paths += find_pictures([given])
        except InputError as error:
            complain(error)
            failed = True
    if not paths:
        raise typer.Exit(2)
    methods.get(method)  # a wrong name is said before anything is loaded
    keep_freed_memory()
    paint = infiller(infill)
    classifier = load_classifier(classifier_name, weights)
    explain_it = make_explainer(method, classifier, options, enhance)
    if target is not None:
        classifier.labels.resolve(target)
    done: list[Explanation] = []
    rows: list[Panels] = []
    cards: list[dict[str, Any]] = []
    taken: set[str] = set()

    def explained(path: Path) -> Explanation:
        """Lets go of the pictures when it returns: of a photograph they are half a gigabyte."""
        folder = out / _free_name(path.stem, taken)
        check_replaceable(folder)
        explanation, row = explain_picture(path, explain_it, classifier, method, target, paint)
        write_explanation(explanation, row, folder, explain_it if panel else None)
        if page is not None:
            from maskwise.report.page_explained import card_of

            cards.append(card_of(explanation, row, classifier, page == "curves"))
        if together:
            rows.append(row)
        return explanation

    for path in _progress(paths, method, explain_it):
        try:
            done.append(explained(path))
        except InputError as error:
            complain(error)
            failed = True
    if rows:
        fig2(rows, out / "figure.png")
    if cards:
        from maskwise.report import page as report_page

        title = f"What does {classifier.name} use?"
        colour = classifier.mean.tolist()
        report_page.write(cards, out / "report.html", title, colour=colour, protocol=done[0].facts()["protocol"])
    if as_json:
        typer.echo(json.dumps([e.facts() for e in done], indent=2))
    elif done:
        _table(done, out)
    if failed:
        raise typer.Exit(2)


def _free_name(stem: str, taken: set[str]) -> str:
    """Two pictures of one name in two folders get two result folders."""
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name


def _progress(paths: list[Path], method: str, explain_it: Explainer) -> Iterator[Path]:
    """The pictures one after another, with a bar for them and one for a method's own long work."""
    if not shows_progress():
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


def _table(done: list[Explanation], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("picture", "top class", "p", "box (x0,y0,x1,y1)", "mask area", "seconds")
    for e in done:
        name, p = e.top[0]
        box = ",".join(map(str, e.box))
        table.add_row(cell(Path(e.picture).name), cell(name), f"{p:.2f}", box, f"{e.area:.2f}", f"{e.seconds:.2f}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(
        f"{done[0].method} on {done[0].classifier}; figures in {printable(out)}", highlight=False, markup=False
=======
    if target in ("label", "each"):
        raise InputError(f"`target={target}` needs a data set, whose pictures have labels; here name the class")
    wanted = Wanted(
        None if target == "predicted" else target,
        infill,
        sess_options.keywords(sess or panel),
        panel,
        "curves" if curves else "plain" if report else None,
>>>>>>> helper
    )
    explain_pictures(pictures, model, method, wanted, out, output)

"""``maskwise export``."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwise.commands.groups import Model, Output
from maskwise.commands.registration import command
from maskwise.core.errors import InputError

if TYPE_CHECKING:
    from maskwise.exporting import Exported
    from maskwise.static_page import PageWritten


@command(
    "export",
    section="Files",
    example="maskwise export casm --onnx casm.onnx\n"
    "maskwise export distilled --web page --runtime node_modules/onnxruntime-web/dist",
)
def export_command(
    masker: Annotated[str, typer.Argument(help="casm, distilled, dabkowski_gal, … or a masker.safetensors of yours.")],
    masker_file: Annotated[
        Path | None,
        typer.Option("--masker", help="A masker.safetensors of yours, for the method that MASKER names."),
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option("--onnx", help="The file to write: one graph.", rich_help_panel="Output")
    ] = None,
    web: Annotated[
        Path | None,
        typer.Option("--web", help="The folder to write: a page that runs in a browser.", rich_help_panel="Output"),
    ] = None,
    half: Annotated[
        bool | None,
        typer.Option(
            "--half/--no-half",
            help="Store weights in 16 bits: half the size, same arithmetic. With --web it is the default, and is left "
            "out where outputs would change by more than 1/255.",
            rich_help_panel="Output",
        ),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            "--runtime",
            help="onnxruntime-web's folder, whose two files are copied. "
            "[default: node_modules/onnxruntime-web/dist, where npm install onnxruntime-web puts it]",
            rich_help_panel="Page",
        ),
    ] = None,
    runtime_at: Annotated[
        str | None,
        typer.Option(
            "--runtime-at",
            help="Copy nothing: the page finds the two files at this path, relative to it, such as ../runtime.",
            rich_help_panel="Page",
        ),
    ] = None,
    *,
    model: Model,
    output: Output,
) -> None:
    """Classifier and MASKER as one ONNX graph, images in [0,1] in, logits and masks out; or as a page for a browser."""
    from maskwise.core.files import check_writable

    if (onnx is None) == (web is None):
        raise InputError("name what to write: `onnx`, a file of one graph, or `web`, the folder of a page")
    if web is None and (runtime is not None or runtime_at is not None):
        raise InputError("`runtime` and `runtime_at` belong to a page: name its folder with `web`")
    check_writable(Path(onnx or web or ".").parent)
    if model.precision not in ("fp32", "auto"):
        raise InputError(f"`precision={model.precision}`: a graph is written in fp32")
    if web is not None:  # before minutes of work
        from maskwise.static_page.page import check_page_folder
        from maskwise.static_page.runtime import find_runtime

        check_page_folder(web)
        find_runtime(runtime, runtime_at)
    classifier = model.load()
    source: Any = masker
    if masker_file is not None:
        from maskwise.explainers import explainer

        source = explainer(masker, classifier, masker=masker_file)
    if onnx is not None:
        from maskwise.exporting import export

        written = export(source, onnx, classifier, half=bool(half))
        output.tell({**asdict(written), "path": str(written.path)}, lines=_graph_lines(written))
        return
    from maskwise.static_page import export_page

    assert web is not None
    page = export_page(source, web, classifier, half=half is not False, runtime=runtime, runtime_at=runtime_at)
    facts = asdict(page) | {"folder": str(page.folder)}
    facts["graph"]["path"] = str(page.folder / page.graph.path.name)
    output.tell(facts, lines=(*_graph_lines(page.graph, page.folder), *_page_lines(page)))


def _graph_lines(written: Exported, folder: Path | None = None) -> tuple[str, ...]:
    path = written.path if folder is None else folder / written.path.name
    shape = f"(N,{','.join(map(str, written.shape))})"
    takes = f"images {shape}" + (" and classes (N,)" if "classes" in written.inputs else "")
    stored = ", weights in 16 bits" if written.half else ""
    return (
        f"{path}: {takes} to logits and masks, {written.bytes / 1e6:.1f} MB{stored}",
        f"onnxruntime differs from PyTorch by at most {written.difference:.1e}",
        *["the logits are the classifier's as the masker's training has adapted it, not its own"] * written.adapted,
    )


def _page_lines(page: PageWritten) -> tuple[str, ...]:
    if not page.runtime_bytes:
        where = f"the page looks for onnxruntime-web in {page.runtime}, relative to itself"
        return (f"{where}; a first visit loads that and {page.bytes / 1e6:.1f} MB",)
    version = f" {page.runtime_version}" if page.runtime_version else ""
    copied = f"onnxruntime-web{version} copied, {page.runtime_bytes / 1e6:.1f} MB"
    return (
        f"{copied}; a first visit loads {page.bytes / 1e6:.1f} MB in all",
        f"to see it: python -m http.server --directory {shlex.quote(str(page.folder))}, then http://localhost:8000",
    )

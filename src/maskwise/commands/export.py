"""``maskwise export``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands.groups import Model, Output
from maskwise.commands.registration import command
from maskwise.core.errors import InputError


@command("export", section="Files", example="maskwise export casm --onnx casm.onnx")
def export_command(
    masker: Annotated[str, typer.Argument(help="casm, dabkowski_gal, … or a masker.safetensors of your own.")],
    onnx: Annotated[Path, typer.Option("--onnx", help="The file to write.", rich_help_panel="Output")],
    *,
    model: Model,
    output: Output,
) -> None:
    """Classifier and MASKER as one ONNX graph: images in [0,1] in, logits and masks out."""
    from maskwise.core.files import check_writable

    check_writable(onnx.parent)
    if model.precision not in ("fp32", "auto"):
        raise InputError(f"`precision={model.precision}`: a graph is written in fp32")
    from maskwise.exporting import export

    written = export(masker, onnx, model.load())
    shape = f"(N,3,{written.size},{written.size})"
    takes = f"images {shape}" + (" and classes (N,)" if "classes" in written.inputs else "")
    lines = (
        f"{written.path}: {takes} to logits and masks, {written.bytes / 1e6:.1f} MB",
        f"onnxruntime differs from PyTorch by at most {written.difference:.1e}",
    )
    output.tell({**asdict(written), "path": str(written.path)}, lines=lines)

"""``maskwise export``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands.options import ClassifierName, Json, Weights
from maskwise.plain import speaks_plainly


@speaks_plainly
def export(
    masker: Annotated[str, typer.Argument(help="casm, dabkowski_gal, … or a masker.safetensors of your own.")],
    onnx: Annotated[Path, typer.Option("--onnx", help="The file to write.")],
    classifier: ClassifierName = "efficientnet_lite0",
    weights: Weights = None,
    size: Annotated[int | None, typer.Option(min=32, help="Side of the pictures; the classifier's own.")] = None,
    as_json: Json = False,
) -> None:
    """Classifier and MASKER as one ONNX graph: images in [0,1] in, logits and masks out."""
    from maskwise.core.files import check_writable

    check_writable(onnx.parent)
    from maskwise.classifiers import load_classifier
    from maskwise.exporting import export as run

    written = run(masker, onnx, load_classifier(classifier, weights), size=size)
    if as_json:
        typer.echo(json.dumps({**asdict(written), "path": str(written.path)}, indent=2))
        return
    shape = f"(N,3,{written.size},{written.size})"
    takes = f"images {shape}" + (" and classes (N,)" if "classes" in written.inputs else "")
    typer.echo(f"{written.path}: {takes} to logits and masks, {written.bytes / 1e6:.1f} MB")
    typer.echo(f"onnxruntime differs from PyTorch by at most {written.difference:.1e}")

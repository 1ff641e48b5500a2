"""What there is: ``maskwise methods``, ``metrics``, ``classifiers``, ``recipes`` and ``datasets``."""

from __future__ import annotations

import json
import sys
from typing import Any

import typer

from maskwise.commands.options import Json
from maskwise.plain import speaks_plainly


def _list(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*(rows[0] if rows else {}))
    for row in rows:
        table.add_row(*(_cell(v) for v in row.values()))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _cell(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


@speaks_plainly
def list_methods(as_json: Json = False) -> None:
    """The saliency methods there are."""
    from maskwise.explainers import methods

    _list([{"name": name, **facts} for name, facts in methods.items()], as_json)


@speaks_plainly
def list_classifiers(as_json: Json = False) -> None:
    """The classifiers there are; torchvision/NAME[@WEIGHTS] and timm/NAME[.TAG] take any model of theirs."""
    from maskwise.classifiers import classifiers

    rows = [{"name": name, **facts} for name, facts in classifiers.items()]
    for name, source in (
        ("torchvision/NAME", "torchvision's default weights of NAME"),
        ("torchvision/NAME@WEIGHTS", "those of that name, as torchvision/resnet50@IMAGENET1K_V1"),
        ("timm/NAME", "timm's default weights of NAME"),
        ("timm/NAME.TAG", "those of that tag, as timm/resnet50.tv_in1k"),
    ):
        rows.append({"name": name, "source": source, "input_size": "its own", "offline": False})
    _list(rows, as_json)


@speaks_plainly
def list_recipes(as_json: Json = False) -> None:
    """The packaged training recipes."""
    from maskwise.training import recipes

    shown = ("title", "kind", "paper", "row", "epochs", "batch_size")
    rows = []
    for name in recipes.names():
        settings = recipes.load(name).model_dump(mode="json")
        rows.append({"name": name, **(settings if as_json else {k: settings[k] or "" for k in shown})})
    _list(rows, as_json)


@speaks_plainly
def list_metrics(as_json: Json = False) -> None:
    """The metrics there are."""
    from maskwise.measures import metrics

    shown = ("family", "title", "unit", "higher_is_better", "needs", "paper")
    rows = []
    for name, facts in metrics.items():
        row: dict[str, Any] = {"name": name, **{key: facts[key] for key in shown}}
        rows.append(row if as_json else {**row, "needs": ", ".join(row["needs"])})
    _list(rows, as_json)


@speaks_plainly
def list_datasets(as_json: Json = False) -> None:
    """The data sets that can be read."""
    from maskwise.data import datasets

    _list([{"name": name, **facts} for name, facts in datasets.items()], as_json)

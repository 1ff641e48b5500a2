"""What there is: ``maskwise methods``, ``metrics``, ``classifiers``, ``recipes`` and ``datasets``."""

from __future__ import annotations

import sys
from typing import Any

from maskwise.commands.groups import Imports, Output
from maskwise.commands.registration import command
from maskwise.commands.tables import listed

SECTION = "What there is"


def _list(rows: list[dict[str, Any]], output: Output) -> None:
    """The table, as many columns of it as the terminal has room for; all of them in a pipe and as JSON."""
    if output.as_json:
        output.tell(rows)
        return
    width = None
    if sys.stdout.isatty():
        from rich.console import Console

        width = Console().width
    table, left = listed(rows, width)
    more = (f"not shown: {', '.join(left)}; a wider window, a pipe or --json has all columns",) if left else ()
    output.tell(rows, table, lines=more)


def _links(paper: str) -> str:
    """Where the papers are that are named, one after the other."""
    from maskwise.papers import paper_links

    return " ".join(paper_links(paper))


@command("methods", section=SECTION, example="maskwise methods\nmaskwise methods --json")
def methods_command(*, imports: Imports, output: Output) -> None:
    """The saliency methods there are."""
    from maskwise.explainers import methods

    rows = [{"name": name, **facts, "link": _links(facts["paper"])} for name, facts in methods.items()]
    for row in rows:
        row["caution"] = row.pop("caution")  # the last column: most have none
    _list(rows, output)


@command("classifiers", section=SECTION, example="maskwise classifiers")
def classifiers_command(*, imports: Imports, output: Output) -> None:
    """The classifiers there are; torchvision/NAME[@WEIGHTS] and timm/NAME[.TAG] take any model of theirs."""
    from maskwise.classifiers import classifiers

    rows = [{"name": name, **facts} for name, facts in classifiers.items()]
    for name, source in (
        ("torchvision/NAME", "torchvision's default weights of NAME"),
        ("torchvision/NAME@WEIGHTS", "those of that name, as torchvision/resnet50@IMAGENET1K_V1"),
        ("timm/NAME", "timm's default weights of NAME"),
        ("timm/NAME.TAG", "those of that tag, as timm/resnet50.tv_in1k"),
        ("hf/NAME", "transformers' hub, or a folder that save_pretrained wrote; CLIP and SigLIP with --texts"),
        ("open_clip/NAME@TAG", "open_clip's weights of that tag, with --texts"),
        ("FILE.py:NAME", "a function or class of yours that gives the network; or a function of pictures, a black box"),
        ("FILE.onnx", "an ONNX file, a black box"),
        ("FILE.pt2, FILE.pt", "a program of torch.export, or TorchScript"),
    ):
        rows.append({"name": name, "source": source, "input_size": "its own", "offline": name.startswith("FILE")})
    _list(rows, output)


@command("recipes", section=SECTION, example="maskwise recipes | grep casm")
def recipes_command(*, imports: Imports, output: Output) -> None:
    """The packaged training recipes."""
    from maskwise.training import recipes

    shown = ("title", "kind", "paper", "row", "epochs", "batch_size")
    rows = []
    for name in recipes.names():
        settings = recipes.load(name).model_dump(mode="json")
        rows.append({"name": name, **(settings if output.as_json else {k: settings[k] or "" for k in shown})})
    _list(rows, output)


@command("metrics", section=SECTION, example="maskwise metrics")
def metrics_command(*, imports: Imports, output: Output) -> None:
    """The metrics there are, and the presets that name several of them."""
    from rich.table import Table

    from maskwise.core.text import cell
    from maskwise.evaluation.presets import metric_presets
    from maskwise.measures import metrics

    presets = metric_presets()
    shown = ("family", "title", "unit", "higher_is_better", "needs", "paper")
    rows = []
    for name, facts in metrics.items():
        member = [preset for preset, entry in presets.items() if name in entry.metrics]
        shown_facts = {key: facts[key] for key in shown}
        rows.append({"name": name, **shown_facts, "presets": member, "link": _links(facts["paper"])})
    _list(rows, output)
    if not output.as_json and sys.stdout.isatty():  # a program that reads a pipe gets one table
        table = Table("preset", "metrics", "what")
        for name, preset in presets.items():
            paper = f" ({preset.paper})" if preset.paper else ""
            table.add_row(name, cell(",".join(preset.metrics)), cell(preset.title + paper))
        output.tell({}, table)


@command("datasets", section=SECTION, example="maskwise datasets")
def datasets_command(*, imports: Imports, output: Output) -> None:
    """The data sets that can be read."""
    from maskwise.data import datasets

    _list([{"name": name, **facts} for name, facts in datasets.items()], output)

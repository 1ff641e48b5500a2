"""``maskwise layers``: what there is to read in a classifier."""

from __future__ import annotations

from maskwise.commands.groups import Model, Output
from maskwise.commands.registration import command


@command(
    "layers",
    section="What there is",
    example="maskwise layers --classifier efficientnet_lite0\n"
    "maskwise layers --classifier my_network.py:net --size 256 --json",
)
def layers_command(*, model: Model, output: Output) -> None:
    """The layers of a classifier: how much of each the answer depends on, which each method reads, and why."""
    from rich.table import Table

    from maskwise.core.text import cell
    from maskwise.explainers.layer_choice import layer_choices

    classifier = model.load()
    layers, choices, refusals = layer_choices(classifier)
    largest = max(layer.share for layer in layers) or 1.0
    steps, takes = (
        Table("layer", "grid", "channels", "gradient share", "tap", "read by"),
        Table("method", "layers", "why"),
    )
    rows = []
    for layer in layers:
        readers = [name for name, choice in choices.items() if layer.name in choice.layers]
        share = layer.share / largest
        rows.append(
            {"name": layer.name, "grid": layer.grid, "channels": layer.channels, "gradient_share": share,
             "tap": layer.is_tap, "read_by": readers}
        )  # fmt: skip
        grid = "x".join(map(str, layer.grid))
        tap = "yes" if layer.is_tap else "no"
        steps.add_row(cell(layer.name), grid, str(layer.channels), f"{share:.3g}", tap, ", ".join(readers))
    told = {name: (choice.layers, choice.why) for name, choice in choices.items()}
    told |= {name: ((), f"refuses: {why}") for name, why in refusals.items()}
    for name, (read, why) in sorted(told.items()):
        takes.add_row(name, cell(", ".join(read)), cell(why))
    methods = [{"name": name, "layers": read, "why": why} for name, (read, why) in sorted(told.items())]
    output.tell({"classifier": classifier.name, "layers": rows, "methods": methods}, steps, takes)

"""What is measured, on which pictures, and how these come to the classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from maskwise.commands import completion
from maskwise.commands.groups.sess import key_values
from maskwise.core.errors import InputError

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier
    from maskwise.data import DataSet
    from maskwise.evaluation import Settings
    from maskwise.measures import Metric

HEADING = "Measuring"
SOURCE = "Folder, zip, zip@split or name:… (`maskwise datasets`)"
TRUSTED = "trusted"  # as ``maskwise.evaluation`` has it
Data = Annotated[
    list[str],
    typer.Option("--data", help=f"{SOURCE}; may be given again.", autocompletion=completion.data_sources),
]
Metrics = Annotated[
    str,
    typer.Option(
        "--metrics",
        help="Metrics and presets, commas between (`maskwise metrics`): quick, localisation, faithfulness, trusted, "
        "paper:casm, …; or all.",
        rich_help_panel=HEADING,
        autocompletion=completion.metric_list,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", min=1, help="Only so many pictures of each data set, evenly spread over it.", rich_help_panel=HEADING
    ),
]
Resized = Annotated[
    str,
    typer.Option(
        "--resize",
        help="squash to the input size, crop (shorter side, centre), or none: its own size.",
        rich_help_panel=HEADING,
        autocompletion=completion.resizes,
    ),
]
BatchSize = Annotated[int, typer.Option("--batch", min=1, help="Pictures at once.", rich_help_panel=HEADING)]
SkipDamaged = Annotated[
    bool, typer.Option("--skip-damaged", help="Pass over pictures that can't be read, and count them.")
]
Kept = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Folder for rows and tables; a killed run goes on from the rows there.", rich_help_panel="Output"
    ),
]


@dataclass(frozen=True)
class Measuring:
    """Options of every command that measures maps on data sets."""

    heading: ClassVar[str] = HEADING
    metric_set: Annotated[
        list[str] | None,
        typer.Option("--metric-set", help="metric.key=value, an option of a metric; may be given again."),
    ] = None
    limit: Limit = None
    resize: Resized = "squash"
    target: Annotated[
        str,
        typer.Option(
            "--target",
            help="The class explained: predicted, label, each (of a picture's), or a class (index, name, WordNet id).",
            autocompletion=completion.targets,
        ),
    ] = "predicted"
    difficult: Annotated[
        Path | None, typer.Option("--difficult", help="pointing_difficult: a list of PICTURE CLASS, or TorchRay's.")
    ] = None
    apart: Annotated[
        Path | None,
        typer.Option("--apart", help="A masker's file: the classes it was trained on and the others, apart."),
    ] = None
    batch: BatchSize = 8
    skip_damaged: SkipDamaged = False
    save_maps: Annotated[bool, typer.Option("--save-maps", help="Keep the maps, too, to be scored again later.")] = (
        False
    )

    def settings(self, out: Path | None, missing: str = "refuse") -> Settings:
        """What ``evaluate`` takes; ``missing`` as ``--missing`` says.

        Raises:
            InputError: a value that it does not take, or maps are to be saved nowhere.
        """
        from maskwise.core.files import check_writable
        from maskwise.data.difficult import DifficultCases
        from maskwise.evaluation import Settings

        if out is not None:
            check_writable(out)
        if self.save_maps and out is None:
            raise InputError("`save_maps` needs a folder: add `out`")
        cases = None if self.difficult is None else DifficultCases.read(self.difficult)
        return Settings(
            self.resize, self.target, self.limit, self.batch, cases, self.skip_damaged, missing,  # type: ignore[arg-type]
        )  # fmt: skip

    def sources(self, data: list[str]) -> Sequence[str | DataSet]:
        """The data sets, with ``--apart`` each in two parts."""
        if self.apart is None:
            return data
        from maskwise.data import read_data
        from maskwise.evaluation.apart import apart, seen_classes

        seen = seen_classes(self.apart)
        return [part for source in data for part in apart(read_data(source), seen)]

    def metrics(self, names: str, classifier: Classifier, settings: Settings) -> dict[str, Metric]:
        """The metrics by name, set as ``--metric-set`` says.

        Raises:
            InputError: unknown metric or option.
        """
        from maskwise.evaluation.presets import chosen_metrics
        from maskwise.measures import metric

        chosen = chosen_metrics(names)
        chosen.told(settings)
        own = chosen.options_in(settings)
        for name, options in key_values_of(self.metric_set, "--metric-set", list(chosen.metrics)).items():
            own[name].update(options)
        for name in chosen.metrics:
            if name.startswith("pointing"):
                own[name].setdefault("classes", max(len(classifier.labels), 1000))
            if name == "pointing_difficult" and settings.difficult is not None:
                own[name].setdefault("cases", settings.difficult.name)
        return {name: metric(name, classifier, **options) for name, options in own.items()}


def names_of(text: str) -> list[str]:
    """Names with commas between.

    Example:
        >>> names_of("casm, grad_cam,")
        ['casm', 'grad_cam']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def key_values_of(given: list[str] | None, option: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """``name.key=value`` texts by name.

    Raises:
        InputError: a text is none such, or its name is not among ``names``.
    """
    found: dict[str, dict[str, Any]] = {}
    for key, value in key_values(given, option).items():
        name, dot, rest = key.partition(".")
        if not dot or name not in names:
            raise InputError(f"{option} takes NAME.key=value, NAME one of {', '.join(names)}, not {key!r}")
        found.setdefault(name, {})[rest] = value
    return found

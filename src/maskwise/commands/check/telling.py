"""What a sanity check leaves: the figure, the numbers as JSON, and a page of both; and what it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskwise.commands.groups import Figures, Output
from maskwise.core.text import printable

if TYPE_CHECKING:
    from rich.table import Table

    from maskwise.checks.explained_again import AgainResult
    from maskwise.checks.leak_result import LeakResult
    from maskwise.checks.results import DrtResult, MprtResult, RoarResult

Draw = Callable[[Path, float], None]


@dataclass(frozen=True)
class About:
    """What a check asks, and how its numbers are read, for who never heard of it."""

    title: str
    question: str
    reading: tuple[str, ...]


DRAWS = (
    "A method that draws at random (masks, noise) draws the same for both maps: with few draws their own pattern is "
    "what is alike. Give it many before you say that it does not depend on the network."
)
MPRT = About(
    "Model parameter randomisation test",
    "Do maps depend on what the network has learned? Its layers are made random, from the output back to the input.",
    (
        "Each number says how alike the map of the partly random network is to that of the trained one: 1 is the same "
        "map, 0 nothing in common. It should fall towards 0; a map that stays alike does not show what was learned.",
        "Spearman is the rank correlation of pixels, with abs of how far they are from undecided (0.5, or 0 of mask "
        "logits), whichever way; HOG compares edges and SSIM patches. In brackets the 95% interval over pictures. "
        "Flat maps have no correlation and are counted apart; two flat ones are the same map.",
        DRAWS,
    ),
)
DRT = About(
    "Data randomisation test",
    "Do maps depend on the labels? A network that learned random labels is explained beside one that learned the true.",
    (
        "Against random labels the maps should be unlike: near 0. True labels again is another training on the true "
        "labels, and says how alike maps are that should be: only what lies well below it says that labels matter.",
        DRAWS,
        "The test says something only where both networks learned their training pictures: see their accuracies.",
    ),
)
ROAR = About(
    "Remove and retrain",
    "Is what the map marks what a network needs? Networks are trained anew without the most salient pixels.",
    (
        "The lower the test accuracy without a method's pixels, the more they mattered. Random removal is what every "
        "method has to beat: one whose networks are as good as after random removal has marked nothing special.",
        "± is the standard deviation over trainings that differ in their seed.",
    ),
)
MAX_SENSITIVITY = About(
    "Max-sensitivity",
    "How far does a map go when the picture hardly changes?",
    (
        "Small noise is added to each picture several times; the number is the largest change of the map, as a part of "
        "the map itself. 0 is a map that never moves, which a map of nothing does, too: it says that a method is "
        "steady, not that it is right.",
    ),
)
ARCC = About(
    "ARCC",
    "Is a map faithful, small, and the same again for what it kept?",
    (
        "ARCC is the harmonic mean of three parts in [0,1]: coherency (the map of the masked-in picture is like the "
        "map itself), 1 - complexity (the mean of the map), and ROAD (removal of what it marks costs more than removal "
        "of the rest). One bad part makes it bad.",
    ),
)
LEAK = About(
    "Label leak",
    "Does the shape of the masks give the class away? Two judges name the class by what the masks keep.",
    (
        "A masker's own judge may have learned to read the class from which pixels are kept. The robust judge has only "
        "seen random holes and can't. The gap is by how much the own judge is ahead of the robust one on the masks, "
        "less the same on squares and blobs of the same area, in points of accuracy.",
        "Borrowed: pictures under masks of other pictures, once of the same class and once of another; how much more "
        "the own judge follows the class of the mask than the robust one does.",
        "Leaks: the gap lies beyond the bound against both controls, and borrowed is above 0. Suspected: only the gap "
        "does: the judge has got used to such masks, or reads something else in them. None found: against one of the "
        "controls the whole interval lies below the bound. Undecided: the interval holds the bound, or there are "
        "fewer than 8 pictures or subjects.",
        "Probe: how often a small network names the class by the mask alone. Outlines say something honestly, too: "
        "compare it with the same network on the objects' boxes.",
    ),
)

F_FIDELITY = About(
    "F-Fidelity",
    "Does the class go with part of the salient pixels, to a judge used to holes?",
    (
        "The judge is the classifier, trained on with random pixels missing, so that holes are nothing new to it. "
        "ffid_plus says how much more often it is wrong without part of the most salient pixels, ffid_minus without "
        "part of the least salient; f_fidelity is the difference: the higher the better, and 0 is what a map in random "
        "order has.",
    ),
)
FOCUS = About(
    "Focus",
    "In a mosaic of four pictures, how much of the map lies in the two of its class?",
    (
        "Each mosaic holds two pictures that the classifier takes for one class and two that it takes for others, and "
        "is explained for that class. The number is the share of the map in the two: 1 is all of it, 0.5 is what a map "
        "has that knows nothing of the class.",
    ),
)


def tell(
    about: About,
    result: MprtResult | DrtResult | RoarResult | AgainResult | LeakResult,
    tables: Sequence[Table],
    draw: Draw,
    out: Path,
    figures: Figures,
    output: Output,
) -> None:
    """``plot.png``, ``result.json`` and ``check.html``, and the tables or the JSON on stdout."""
    from maskwise.core.files import atomic_write
    from maskwise.report.document import PageSection, PageTable, vector_uri, write_document

    facts = result.plain()
    draw(out / f"plot.{figures.format}", figures.dpi)
    with atomic_write(out / "result.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=2, default=str) + "\n", encoding="utf-8")
    shown = PageSection(figure=vector_uri(lambda path: draw(path, 110)), caption=f"{about.title}: {about.question}")
    numbers = [PageSection("" if i else "Numbers", table=PageTable.of(table)) for i, table in enumerate(tables)]
    sections = [PageSection("How to read it", about.reading), shown, *numbers]
    write_document(out / "check.html", about.title, about.question, sections, result.protocol)
    written = f"check.html, plot.{figures.format} and result.json in {printable(out)}"
    output.tell(facts, *tables, lines=(written,))

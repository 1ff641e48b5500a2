"""Phang, Park, Geras 2021, section 5.4: how many classes, and how many pictures of each?"""

from __future__ import annotations

from maskwise.studies.claim import Claim, Condition, Table, below
from maskwise.studies.estimate import mean, median
from maskwise.studies.figures import lines
from maskwise.studies.grids.phang import LE
from maskwise.studies.grids.pxap import PXAP, with_pxap
from maskwise.studies.jobs import Train
from maskwise.studies.scale import Scale
from maskwise.studies.study import GridCell, Study, register_study

CLASSES, PICTURES = (10, 100, 1000), (1, 10, 125, 1250)
RECIPES = {"FIX": "phang/n", "CA": "phang/r"}
ONE_PASS = 1_281_167 // 72  # steps, whatever the pictures: as many as one pass over all has, at a constant rate


def fewshot_cells(scale: Scale) -> list[GridCell]:
    found = []
    for kind, recipe in RECIPES.items():
        for classes in CLASSES:
            for pictures in PICTURES:
                few = scale.few_classes[classes], scale.few_pictures[pictures]
                own = (f"classes={few[0]}", f"per_class={few[1]}")
                steps = (f"steps={ONE_PASS}", "lr_decay=none") if scale.full else ()
                note = "" if scale.full else f"{few[0]} classes, {few[1]} of each"
                found.append(GridCell(f"{kind} {classes}x{pictures}", Train(recipe, (*own, *steps)), note))
    return with_pxap(found)


def same_number(table: Table) -> list[Condition]:
    """Ten times the classes, and a tenth of the pictures of each or about that: which is better?"""
    pairs = [
        (f"{kind} {a}", f"{kind} {b}") for kind in RECIPES for a, b in (("1000x1", "10x125"), ("1000x10", "100x125"))
    ]
    return [below(table, "LE", many, few) for many, few in pairs]


def nearly_enough(table: Table) -> list[Condition]:
    found = []
    for kind in RECIPES:
        most = mean([table[f"{kind} 1000x125", "LE"], table[f"{kind} 1000x1250", "LE"]])
        found.append(
            Condition(
                f"LE of {kind} 1000x10 - mean of 1000x125 and 1000x1250", table[f"{kind} 1000x10", "LE"] - most, high=3
            )
        )
    return found


register_study(
    Study(
        "phang-fewshot",
        "how many classes, and how many pictures of each, does a masker need?",
        "phang_fewshot",
        (LE, PXAP),
        fewshot_cells,
        (
            Claim("More classes are better than more pictures of each (as many in all, or fewer)", same_number),
            Claim("Ten pictures of each of all classes are nearly enough (LE within 3 points)", nearly_enough),
        ),
        figure=lines("LE", "pictures of each class, in the paper", "classes, in the paper"),
        summary=median,
        notes=("Medians over subsets that the seed draws; every cell has as many steps.",),
    )
)  # fmt: skip

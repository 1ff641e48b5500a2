"""The protocol of a run in words: pictures, the class that is explained, and how each metric is set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from maskwise.core.text import how_many

RESIZED = {
    "squash": "each squashed to {width}x{height} pixels, whatever its sides",
    "crop": "of each the central square, {side}x{side} pixels after its shorter side was brought to that",
    "none": "each at its own size",
}
EXPLAINED = {
    "predicted": "the class that {classifier} finds likeliest in the picture",
    "label": "the picture's label, and the likeliest class where it has none",
    "each": "each class in a picture, one map and one row for each",
}
FIXED = {  # what is not to be set
    "deletion": "pixels become the mean colour, the most salient first",
    "aopc": "pixels become the mean colour, the most salient first",
    "insertion": "pixels come back, the most salient first",
    "insertion_deletion": "pixels come back, and in another curve become the mean colour, the most salient first",
    "average_drop": "the picture times its map, on the mean colour",
    "average_gain": "the picture times its map, on the mean colour",
    "increase_in_confidence": "the picture times its map, on the mean colour",
    "conciseness_preciseness": "the picture times its map, on the mean colour",
}
FILLED = {  # the same with a fill
    "deletion": "pixels go, the most salient first",
    "aopc": "pixels go, the most salient first",
    "insertion_deletion": "pixels come back, and in another curve go, the most salient first",
}
SILENT = ("classifier", "fingerprint")  # said once, of the run
VALUES: Mapping[str, Mapping[Any, str]] = {
    "blur": {
        "gaussian51": "begins with the picture blurred by a Gaussian of 51 pixels",
        "rise11": "begins with the picture blurred by the 11 pixels of RISE",
        "mean": "begins with the mean colour",
    },
    "target": {
        "predicted": "follows the class that is likeliest in the whole picture",
        "class": "follows the class that is explained",
    },
    "ties": {"reading": "equal pixels in reading order", "reversed": "of equal pixels the last first"},
    "rule": {
        "value": "the map is cut at a multiple of its mean",
        "rank": "as large a part of the map is kept as its mean says",
    },
    "component": {True: "its largest component", False: "all of its components"},
    "box": {"inclusive": "the tightest box", "exclusive": "the tightest box without its last row and column"},
    "truth": {"exact": "true boxes as they are", "truncated": "true boxes without fractions of a pixel"},
    "truth_area": {"unclipped": "", "clipped": "cut at the picture's border"},
    "refill": {"step": "anew at every step", "once": "once for all steps"},
    "score": {
        "probability": "what is left of the class's probability",
        "accuracy": "how often the class is still the likeliest",
    },
    "information": {
        "l1": "information is the sum of the values",
        "entropy": "information is the entropy of the squared values",
    },
    "signed": {True: "losses with their sign", False: "losses by their size"},
    "kind": {"square": "random squares become the mean colour", "gaussian": "Gaussian noise is taken off"},
    "scaled": {True: "the map at the scale that suits it best", False: "the map as it is"},
    "convention": {"released": "corners of boxes as wsolevaluation takes them", "half_open": "half-open boxes"},
    "resize": {"bilinear": "the crop stretched bilinearly", "cubic": "the crop stretched bicubically"},
    "empty": {"mean": "an empty box is the mean colour", "whole": "an empty box is the whole picture"},
    "subset": {"all": "all cases", "difficult": "difficult cases only"},
}
SHARED: Mapping[str, Callable[[Any], str]] = {
    "alpha": lambda value: f"factor {value}",
    "threshold": lambda value: f"found by an IoU above {value}",
    "connectivity": lambda value: f"{value} neighbours",
    "tolerance": lambda value: "the pixel itself" if value is None else f"hit within {value} pixels",
    "classes": lambda value: "",
    "cases": lambda value: "difficult by rule" if value == "by rule" else f"difficult by {value}",
    "fill": lambda value: f"holes are filled by {value}",
    "draws": lambda value: "" if value == 1 else f"mean over {value} fills",
    "percent": lambda value: f"at {', '.join(str(value).split(','))}% of the pixels",
    "cells": lambda value: f"{value}x{value} cells",
    "subsets": lambda value: f"{value} random sets of them",
    "share": lambda value: f"each in a set with the chance {value}",
    "samples": lambda value: f"{value} changes of a picture",
    "sigma": lambda value: f"deviation {value} of noise",
    "seed": lambda value: f"seed {value}",
    "floor": lambda value: f"at least {value} of the picture's information counts as kept",
    "bins": lambda value: f"{value} thresholds",
    "steps": lambda value: f"{value} thresholds, of which the best for the whole set counts",
}
OWN: Mapping[tuple[str, str], Callable[[Any], str]] = {  # a word that another metric uses for something else
    ("hallucination", "threshold"): lambda value: f"edges are slopes above {value}, 1 being black beside white",
}
ORDER = ("cells", "subsets", "share")  # said first where they are, one after another


def run_in_words(
    classifier: str, size: tuple[int, int], data: Mapping[str, int], resize: str, target: Any
) -> list[str]:
    """What is true of all numbers of a run.

    Args:
        classifier: its name.
        size: height and width of the pictures that it takes.
        data: pictures of each source.
        resize, target: of the run.

    Example:
        >>> run_in_words("lite0", (224, 224), {"val": 100}, "none", 3)
        ['Pictures: 100 of val; each at its own size.', 'Class explained: class 3 of lite0, in every picture.']
    """
    several = "cases" if target == "each" else ""
    counted = ", ".join(f"{count:,} {several + ' ' if several else ''}of {source}" for source, count in data.items())
    height, width = size
    resized = RESIZED[resize].format(width=width, height=height, side=max(size))
    explained = EXPLAINED.get(target, f"class {target} of {{classifier}}, in every picture")
    return [
        f"Pictures: {counted}; {resized}.",
        f"Class explained: {explained.format(classifier=classifier)}.",
    ]


def metric_in_words(name: str, options: Mapping[str, Any], pixels: int | None = None) -> str:
    """How a metric is set, from its own settings; a setting that is not known here is said as ``name value``.

    A metric without settings has no words.

    Args:
        name: of the metric.
        options: as ``Metric.protocol`` gives them.
        pixels: of a picture, where all have as many: what a step is a share of.

    Example:
        >>> metric_in_words("deletion", {"step": 1792, "target": "class", "ties": "reading"}, 224 * 224)[:64]
        'deletion: pixels become the mean colour, the most salient first;'
        >>> metric_in_words("mine", {"power": 2})
        'mine: power 2'
    """
    fixed = FIXED | FILLED if "fill" in options else FIXED
    parts = [fixed[name]] if name in fixed else []
    for key in sorted(options, key=lambda key: ORDER.index(key) if key in ORDER else len(ORDER)):
        value = options[key]
        if key in SILENT:
            continue
        if key == "step":
            parts.append(_step(value, pixels))
        elif (name, key) in OWN:
            parts.append(OWN[name, key](value))
        elif key in VALUES and value in VALUES[key]:
            parts.append(VALUES[key][value])
        elif key in SHARED:
            parts.append(SHARED[key](value))
        else:
            parts.append(f"{key} {value}")
    said = "; ".join(part for part in parts if part)
    return f"{name}: {said}" if said else ""


def _step(step: Any, pixels: int | None) -> str:
    if isinstance(step, float):
        return f"{100 * step:g}% of the pixels a step"
    if isinstance(step, str):
        return f"{step} of the pixels a step"
    if pixels is None:
        return f"{how_many(step, 'pixel')} a step"
    return f"{how_many(step, 'pixel')} ({100 * step / pixels:.2g}%) a step"

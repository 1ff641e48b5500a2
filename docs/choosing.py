"""The page "which method when": the measured landscape, by what a user asks. Its numbers are landscape.csv's."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "landscape.csv"
TRANSFORMER = RESULTS.with_name(
    "vit-tiny-distilled.csv"
)  # of `compare`: what the landscape's network has no attention for
Facts = Mapping[str, Any]

TEXT = """# Which method when

*Also looked for as: heatmap or heat map, saliency map, attribution, explanation of a CNN, a ViT or another
transformer.*

Everybody's first call is `maskwise explain dog.jpg`, with `--classifier` for a network of one's own. Where no method is
named it takes `distilled` of the packaged classifier, and of another one the first that it allows of
`generic_attention` (a transformer), `grad_cam` and `gradient` (a network without places); of a black box `banzhaf`. In
Python that is `mw.explainer("auto", classifier)`. Beyond it, start from your question. Numbers are of one run of `maskwise study landscape`: localisation error (LE, how
many boxes miss the object, in percent, lower is better; in brackets the 95% interval over pictures) and seconds a
picture, all from [landscape](results/landscape.md), which says on what they were measured. Intervals of neighbours
overlap: take a method for what it needs first, and measure yours with `maskwise compare`.

**A small LE says that a map covers the object, not that the classifier used it.** For that see
[Measuring](measuring.md) (insertion, deletion) and [Sanity checks](checks.md).

"""
ATTENTION = "where a transformer's own attention goes"
OTHER_NETWORK = """These are of another network, the packaged `vit_tiny_distilled`, which is a weak one, and of other pictures (all of ilsvrc500, the
labels explained), so they do not compare with the rest of this page; [which they are](methods.md#transformers-methods-that-read-attention).

"""
NEEDS = {
    "any classifier, no gradients: a black box": lambda f: not f["needs_gradients"] and f["family"] == "perturbation",
    "one forward, after somebody has trained it": lambda f: f["family"] == "maskers",
    "a quick look, class by class": lambda f: f["family"] == "class activation",
    "sharp and of the class, in a network of ReLUs": lambda f: f["family"] == "excitation",
    "single pixels, for debugging": lambda f: f["family"] == "gradients",
    "a mask that is optimised for the one picture, with time to spare": lambda f: (
        f["needs_gradients"] and f["family"] == "perturbation"
    ),
    ATTENTION: lambda f: f["family"] == "attention",
    "whole segments": lambda f: f["family"] == "regions",
    "what any method has to beat": lambda f: f["family"] == "references",
}
HINTS = """
## By what you have

| you have | take | why |
|---|---|---|
| the packaged classifier | `distilled`, `class_casm`, `gated_casm` | trained for it, one forward: maps of it as it is; the best boxes of a class; of one class out of what any classifier could use |
| a classifier of your own, a minute | `grad_cam`, `layer_cam` | find their layer; `maskwise layers` says which and why |
| a classifier of your own, a coffee break | `maskwise fit PICTURES` | [a masker for it](training.md#in-a-coffee-break-maskwise-fit) |
| a transformer (ViT, DeiT, DINOv2) | `generic_attention`, `legrad`, `grad_cam` and its kin | read attention or the grid of tokens; windows (Swin) have the latter only; [which network takes which method](methods.md#which-method-for-which-network) |
| only scores, no gradients | `banzhaf`, `rise`, `occlusion` | change the picture and ask again; slow |
| small objects, or maps that are too coarse | any of these with `--sess` | [many windows at many scales](sess.md) |
| video or a camera | `distilled`, `dabkowski_gal` | [real time](real-time.md), also [in the browser](in-a-browser.md) |
| "what could *any* classifier use?" | `casm` | trained against a pool of classifiers |

Colours of figures are the colormap inferno: dark is 0, bright is 1.
"""


def rows() -> dict[str, dict[str, str]]:
    """Cells by method and column, as they are printed."""
    found: dict[str, dict[str, str]] = {}
    with RESULTS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            value, low, high = (float(row[name]) for name in ("value", "low", "high"))
            cell = f"{value:.1f} [{low:.1f}, {high:.1f}]" if row["column"] == "LE" else f"{value:.2g}"
            found.setdefault(row["row"], {})[row["column"]] = cell
    return found


def rows_of_the_transformer() -> dict[str, dict[str, str]]:
    """The same of the methods that read attention, measured on another network."""
    found = {}
    with TRANSFORMER.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["metric"] == "le":
                value, low, high = (float(row[name]) for name in ("value", "low", "high"))
                seconds = f"{float(row['milliseconds']) / 1000:.2g}"
                found[row["method"]] = {"LE": f"{value:.1f} [{low:.1f}, {high:.1f}]", "seconds": seconds}
    return found


def choosing(methods: Mapping[str, Facts]) -> str:
    """The page.

    Args:
        methods: facts of each method by name.
    """
    landscape, parts = rows(), [TEXT, HINTS, "\n## Measured\n"]
    for question, is_meant in NEEDS.items():
        of_attention = question == ATTENTION
        measured = rows_of_the_transformer() if of_attention else landscape
        said = OTHER_NETWORK if of_attention else ""
        parts.append(f"\n### {question[0].upper()}{question[1:]}\n\n{said}| method | LE | seconds | cost a picture |\n")
        parts.append("|---|---|---|---|\n")
        meant = [name for name, facts in methods.items() if is_meant(facts)]
        known = sorted((n for n in meant if n in measured), key=lambda n: float(measured[n]["LE"].split()[0]))
        for name in known + [n for n in meant if n not in measured]:
            cells, cost = measured.get(name, {"LE": "not run", "seconds": ""}), methods[name]["cost"]
            parts.append(f"| [{name}](methods/{name}.md) | {cells['LE']} | {cells['seconds']} | {cost} |\n")
    parts.append("\n### With SESS\n\n| method | LE | seconds |\n|---|---|---|\n")
    for name, cells in landscape.items():
        if name.endswith("+ SESS"):
            parts.append(f"| {name} | {cells['LE']} | {cells['seconds']} |\n")
    parts.append("\n![Localisation error against seconds a picture](results/landscape.png)\n")
    return "".join(parts)


GALLERY = """# Gallery

The packaged cat, and beside it the map of its top class by every method with its default options (efficientnet_lite0; the
family that reads attention: vit_tiny_distilled). `python docs/pictures.py` makes them. Dark is 0, bright is 1 (the colormap
inferno), or the 99th percentile of a map that would else look black ([colours](methods.md#colours-of-maps)).
"""


def gallery(methods: Mapping[str, Facts], pictures: Path) -> str:
    """The packaged cat and its map by every method, family by family; `docs/pictures.py` makes the pictures."""
    parts, families = [GALLERY], dict[str, list[str]]()
    for name, facts in methods.items():
        families.setdefault(facts["family"], []).append(name)
    for family, names in families.items():
        parts.append(f"\n## {family[0].upper()}{family[1:]}\n")
        for name in names:
            page, paper = f"methods/{name}.md", methods[name]["paper"]
            if not (pictures / f"{name}.webp").is_file():
                parts.append(f"\n[{name}]({page}): no picture yet; `python docs/pictures.py {name}` makes it.\n")
                continue
            shown = f"[![A cat, and its map by {name}](images/methods/{name}.webp){{ width=420 loading=lazy }}]({page})"
            parts.append(f"\n**[{name}]({page})**, {paper}\n\n{shown}\n")
    return "".join(parts)

"""Answers as HTML with the pictures inside it: no file that another visitor could ask for is ever made."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from maskwise.blending import masked_in, masked_out
from maskwise.core.text import in_percent, probabilities_said
from maskwise.drawing.colour_bar import css_gradient
from maskwise.drawing.heat import HeatScale, heat_scale
from maskwise.images import to_uint8
from maskwise.report.masked_confidence import MaskedConfidence
from maskwise.report.page_cards import Answer, BoxEdges, shrunk_to, uri
from maskwise.web.pictures import Picture
from maskwise.web.waiting_line import PlaceInLine, Progress

SIDE = 420  # pixels of a shown picture's longer side
MINUS = "\N{MINUS SIGN}"
CAPTIONS = ("heat map", "box", "masked-in", "masked-out", "inpainted")
# Of a map that is stretched both drawings are there, and the stylesheet shows one.
_RAW_SWITCH = (
    '<label class="mw-switch"><input type="checkbox" onchange="this.closest(\'.mw\').toggleAttribute(\'data-raw\', '
    'this.checked)"> heat maps unstretched, from 0 to 1</label>'
)


def preview(picture: Picture, top: Sequence[tuple[str, float]]) -> str:
    """The picture and what the classifier takes it for."""
    size = f"{picture.stored.width} × {picture.stored.height}"
    values = [p for _, p in top]
    percent = in_percent(values)
    rows = "".join(
        f'<li><span>{html.escape(name)}</span><b>{said}</b><i style="width:{said if percent else 0}"></i></li>'
        for (name, p), said in zip(top, probabilities_said(values), strict=True)
    )
    return (
        f'<div class="mw"><img class="mw-preview" src="{uri(to_uint8(shrunk_to(picture.unit, SIDE)))}" '
        f'alt="Your picture"><p class="mw-name">{html.escape(picture.name)} · {size} pixels</p><ol>{rows}</ol></div>'
    )


def answers_panel(
    picture: Picture, answers: Sequence[Answer], colour: Tensor, said: str, whole: int, download: str | None = None
) -> str:
    """Methods side by side, with one slider for the strength of all heat maps.

    Args:
        picture: whose maps these are.
        answers: those that are there.
        colour: (3,) in [0,1], of the hole.
        said: the settings, in a line.
        whole: so many answers there will be; their columns are as wide from the start.
        download: where all of it is to be had as a zip.
    """
    if not answers:
        return ""
    slide = "this.closest('.mw').style.setProperty('--strength', this.value / 100)"
    stretched = any(answer.colours.why for answer in answers)
    columns = "".join(_column(picture, answer, colour) for answer in answers)
    stored = picture.stored
    of = html.escape(f"{picture.name} · {stored.width} × {stored.height} pixels · {said}")
    link = (
        "" if download is None else f'<a class="mw-zip" href="{download}" download>Download maps and figure (.zip)</a>'
    )
    return (
        f'<div class="mw" style="--strength:.6"><p class="mw-of">Of <b>{of}</b></p>'
        '<p class="mw-stale" role="note">Picture or settings have changed since: press Explain.</p>'
        '<div class="mw-tools"><label class="mw-slider">heat map '
        f'<input type="range" min="0" max="100" value="60" aria-label="Strength of the heat map" oninput="{slide}">'
        f"</label>{_RAW_SWITCH if stretched else ''}{link}</div>"
        f'<div class="mw-columns" style="--columns:{whole}">{columns}</div></div>'
    )


def _column(picture: Picture, answer: Answer, colour: Tensor) -> str:
    image = picture.unit
    height, width = image.shape[-2:]
    keep, fill = answer.keep[None], colour.reshape(1, -1, 1, 1)
    source = uri(to_uint8(shrunk_to(image, SIDE)))
    scale = answer.colours
    drawn = {"": scale}
    if scale.why:
        drawn = {" mw-stretched": scale, " mw-raw": heat_scale(answer.map, "raw")}
    name = html.escape(answer.method)
    small = shrunk_to(answer.map, SIDE)
    heats = "".join(
        f'<img src="{uri((255 * colours.colours(small)).round().astype(np.uint8))}" alt="Heat map of {name}" '
        f'class="mw-heat{which}">'
        for which, colours in drawn.items()
    )
    bars = "".join(_bar(colours, which) for which, colours in drawn.items())
    shown = [
        f'<img src="{source}" alt="" class="mw-grey">{heats}',
        f'<img src="{source}" alt="Box of {name}">{_frame(answer.box, width, height)}',
        _picture(masked_in(image[None], keep, fill)[0], f"Masked-in picture of {name}"),
        _picture(masked_out(image[None], keep, fill)[0], f"Masked-out picture of {name}"),
    ]
    if answer.inpainted is not None:
        shown.append(_picture(answer.inpainted, f"Inpainted picture of {name}"))
    figures = "".join(
        f'<figure><div class="mw-stage" style="aspect-ratio:{width}/{height}">{layers}</div>'
        f"<figcaption>{caption}{_change(answer.confidence, caption)}{'' if i else bars}</figcaption></figure>"
        for i, (layers, caption) in enumerate(zip(shown, CAPTIONS, strict=False))
    )
    facts = [f"area {float(answer.map.mean()):.0%}", "box " + ", ".join(map(str, picture.box(tuple(answer.box))))]
    if answer.target is not None:
        facts.insert(0, f"explains {answer.target}")
    if answer.seconds is not None:
        facts.append(f"{answer.seconds:.1f} s")
    said = html.escape(" · ".join(facts))
    warned = "".join(f'<p class="mw-warned" role="note">{html.escape(line)}</p>' for line in answer.warnings)
    head = f'<div class="mw-head"><h2>{name}</h2><p>{said}</p>{warned}{_whole(answer)}</div>'
    return f'<section class="mw-method">{head}{figures}{_curves(answer)}</section>'


def _bar(scale: HeatScale, which: str = "") -> str:
    """The heat map's colours between the values at their ends, and what the high one is."""
    low, high = scale.ends
    why = f" ({html.escape(scale.why)})" if scale.why else ""
    return f'<span class="mw-scale{which}">{low}<i style="background:{css_gradient(scale)}"></i>{high}{why}</span>'


def _whole(answer: Answer) -> str:
    if answer.confidence is None:
        return ""
    whole, *_ = answer.confidence.said
    said = f"{answer.confidence.of}: {whole} on the whole picture"
    points = " in percentage points" if in_percent(answer.confidence.values) else ""
    return f'<p class="mw-whole">{html.escape(said)}; below, the change{points}</p>'


def _change(confidence: MaskedConfidence | None, caption: str) -> str:
    """The class's probability on a masked picture, and in brackets by how many percentage points it differs."""
    masked = ("masked-in", "masked-out", "inpainted")
    if confidence is None or caption not in masked:
        return ""
    place = 1 + masked.index(caption)
    change, said = confidence.values[place] - confidence.whole, confidence.said[place]
    points = f"{100 * change:+.1f}" if in_percent(confidence.values) else f"{change:+.3g}"
    return f": <b>{said}</b> ({points.replace('-', MINUS)})"


def _picture(image: Tensor, text: str) -> str:
    return f'<img src="{uri(to_uint8(shrunk_to(image, SIDE)))}" alt="{text}">'


def _frame(box: BoxEdges, width: int, height: int) -> str:
    x0, y0, x1, y1 = box
    if x1 <= x0:
        return ""
    place = (x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height)
    left, top, wide, high = (f"{100 * v:.2f}%" for v in place)
    return f'<div class="mw-box" style="left:{left};top:{top};width:{wide};height:{high}"></div>'


def _curves(answer: Answer) -> str:
    lines, said = "", []
    for mode, points in (("insertion", answer.insertion), ("deletion", answer.deletion)):
        if points is None:
            continue
        last = len(points) - 1
        area = (sum(points) - (points[0] + points[-1]) / 2) / last
        said.append((mode, f"{mode} {area:.1%}"))
        path = " ".join(f"{34 + 162 * i / last:.1f},{104 - 100 * p:.1f}" for i, p in enumerate(points))
        lines += f'<polyline class="mw-{mode}" points="{path}"/>'
    if not said:
        return ""
    text = ", ".join(words for _, words in said)
    keys = ", ".join(f'<span class="mw-key">{_line(mode)}{words}</span>' for mode, words in said)
    axes = (
        '<path d="M34 4V104H196"/><text x="30" y="11" text-anchor="end">1</text><text x="30" y="104" '
        'text-anchor="end">0</text><text x="115" y="122" text-anchor="middle">'
        "pixels inserted or deleted, 0 to 100%</text>"
        '<text x="12" y="54" text-anchor="middle" transform="rotate(-90 12 54)">probability</text>'
    )
    svg = f'<svg viewBox="0 0 200 128" role="img" aria-label="Curves: {text}">{axes}{lines}</svg>'
    return f"<figure>{svg}<figcaption>{keys}: area under the curve</figcaption></figure>"


def _line(mode: str) -> str:
    """A piece of a curve, beside its name."""
    return f'<svg viewBox="0 0 22 6" aria-hidden="true"><polyline class="mw-{mode}" points="1,3 21,3"/></svg>'


def status(text: str, share: float | None = None, wrong: bool = False) -> str:
    """One line: what goes on, or what went wrong."""
    bar = "" if share is None else f'<progress value="{share:.3f}" max="1" aria-label="Progress"></progress>'
    role: Any = "alert" if wrong else "status"
    return f'<div class="mw-status{" mw-wrong" if wrong else ""}" role="{role}">{html.escape(text)}{bar}</div>'


def waiting(place: PlaceInLine) -> str:
    """Where a visitor stands in the line, and how long it will take."""
    return status(f"In line: place {place.number}, done in about {roughly(place.seconds)}")


def working(progress: Progress, seconds: float) -> str:
    """What is done now, and how long it will take."""
    return status(f"{progress.text}, done in about {roughly(seconds)}" if progress.text else "", progress.share)


def roughly(seconds: float) -> str:
    """A time, rounded since it is a guess."""
    return f"{max(5 * round(seconds / 5), 5)} s" if seconds < 90 else f"{round(seconds / 60)} min"

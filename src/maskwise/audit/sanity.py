"""Is the explanation itself to be trusted? Random weights, small changes of the picture, and a masker's leak."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from maskwise.audit.figures import estimates_figure
from maskwise.audit.finding import Criterion, Figure, Interval, Section, stays_above, stays_below, too_few
from maskwise.audit.leak import leak_part
from maskwise.audit.parts import kept
from maskwise.audit.subject import Audited, estimated, plain_identity
from maskwise.checks import mprt
from maskwise.checks.intervals import MeanInterval
from maskwise.checks.rows import as_float
from maskwise.checks.similarity import Spearman
from maskwise.checks.subject import Subject, top_classes
from maskwise.classifiers.one_finding import THERE
from maskwise.core.errors import InputError
from maskwise.explainers.doubts import handed_on
from maskwise.images import to_uint8

MPRT_PICTURES, STABILITY_PICTURES = 24, 48
SHIFT, QUALITY, NOISE = 4, 75, 0.02
_RANDOM = "Do the maps depend on what the network has learned?"
_STABLE = "Do the maps stay where the picture hardly changes?"


def sanity_section(audited: Audited) -> Section:
    """Randomised layers (Adebayo et al. 2018), stability under small changes, and of maskers the label leak."""
    section = Section("sanity", "Is the explanation itself to be trusted?")
    if not audited.shown.any():
        section.not_done = "no picture shows the finding, by its label or by what is said of it"
        section.criteria += [
            Criterion(name, asks, None, section.not_done, of_explainer=True)
            for name, asks in (("mprt", _RANDOM), ("stability", _STABLE))
        ]
        return section
    _randomised(audited, section)
    _stable(audited, section)
    leak_part(audited, section)
    return section


def _randomised(audited: Audited, section: Section) -> None:
    def measured() -> dict[str, Any]:
        images, groups = audited.examples(MPRT_PICTURES)
        targets = None if audited.finding is None else torch.full((len(images),), THERE)
        try:
            with handed_on():
                found = mprt(
                    audited.explainer, audited.classifier, images, modes=["cascading"], before_sigmoid=False,
                    measures=["spearman"], targets=targets, groups=groups, seed=audited.plan.seed, batch=8,
                )  # fmt: skip
        except InputError as error:
            return {"why": str(error)}
        return {
            "layers": found.layers,
            "rows": [[row.layer, row.value.plain()] for row in found.rows],
            "n": len(images),
            **({} if groups is None else {"subjects": len(groups.unique())}),
        }

    numbers = kept(audited.out, "mprt", plain_identity(audited), measured)
    section.numbers["mprt"] = numbers
    if "why" in numbers:
        section.criteria.append(Criterion("mprt", _RANDOM, None, str(numbers["why"]), of_explainer=True))
        return
    steps = [(layer, _estimate(value, numbers["n"], numbers.get("subjects"))) for layer, value in numbers["rows"]]
    end, bound = steps[-1][1], audited.plan.limits.mprt
    figure = f"rank correlation {end.text()}, at most {bound:g}{too_few(end)}"
    section.criteria.append(Criterion("mprt", _RANDOM, stays_below(end, bound), figure, of_explainer=True))
    section.says.append(
        f"With random weights in all layers the maps' rank correlation with those of the trained network is "
        f"{end.text()} ({end.count} pictures): maps that stay as they were would show edges or the middle rather than "
        "what was learned."
    )
    path = audited.out / "pictures" / "mprt.png"
    estimates_figure(
        steps, path, "rank correlation with the trained network's maps (lower is better)", (bound, "bound")
    )
    section.figures.append(Figure(path, "Layers made random one after another, from the output (top) to the input"))


def _stable(audited: Audited, section: Section) -> None:
    numbers = kept(audited.out, "stability", plain_identity(audited), lambda: stability(audited))
    section.numbers["stability"] = numbers
    found = {name: Interval.of_plain(value) for name, value in numbers["alike"].items()}
    bound = audited.plan.limits.stability
    judged = [stays_above(one, bound) for one in found.values()]
    holds = False if False in judged else None if None in judged else True
    worst = min(found, key=lambda name: found[name].value)
    section.criteria.append(
        Criterion(
            "stability", _STABLE, holds, f"rank correlation {found[worst].text()} after {worst}, at least {bound:g}"
            + too_few(found[worst]), of_explainer=True,
        )
    )  # fmt: skip
    section.says.append(
        "Rank correlation of the map with that of the same class after "
        + ", ".join(f"{name}: {one.text()}" for name, one in found.items())
        + f" ({numbers['n']} pictures; the shift is undone). The answer itself changed in "
        + ", ".join(f"{100 * share:.0f}%" for share in numbers["answer_changed"].values())
        + " of them."
    )


def stability(audited: Audited) -> dict[str, Any]:
    """Rank correlations by change, and how often the answer changed."""
    classifier = audited.classifier
    found, groups = audited.examples(STABILITY_PICTURES)
    images = torch.cat([as_float(part) for part in found.split(16)])
    subject = Subject.of(audited.explainer, classifier, before_sigmoid=False)
    classes, said = audited.classes_asked(images), top_classes(classifier, images, 8)
    alike, changed = {}, {}
    with handed_on():
        before = subject.maps(images, classes, 8)
        for name, change in small_changes(audited.plan.seed).items():
            after = change(images)
            maps = subject.maps(after, classes, 8)
            then = before
            if change is moved:
                then, maps = before[:, :-SHIFT, :-SHIFT], maps[:, SHIFT:, SHIFT:]
            values = Spearman()(then, maps).nan_to_num(0.0)
            alike[name] = estimated(values, seed=audited.plan.seed, groups=groups).plain()
            changed[name] = float((top_classes(classifier, after, 8) != said).double().mean())
    return {"alike": alike, "answer_changed": changed, "n": len(images)}


def small_changes(seed: int = 0) -> dict[str, Callable[[Tensor], Tensor]]:
    """From images (N,C,H,W) in [0,1] to such that look the same."""

    def noisy(images: Tensor) -> Tensor:
        draws = torch.Generator().manual_seed(seed)
        return (images + NOISE * torch.randn(images.shape, generator=draws)).clamp(0, 1)

    return {
        f"a shift by {SHIFT} pixels": moved,
        f"JPEG of quality {QUALITY}": lambda images: torch.stack([compressed(image) for image in images]),
        f"noise of {NOISE:g}": noisy,
    }


def moved(images: Tensor) -> Tensor:
    """Moved right and down by ``SHIFT``; what comes in is mirrored."""
    height, width = images.shape[-2:]
    return F.pad(images, (SHIFT, 0, SHIFT, 0), mode="reflect")[..., :height, :width]


def compressed(image: Tensor, quality: int = QUALITY) -> Tensor:
    """A picture (3,H,W) as JPEG leaves it."""
    file = BytesIO()
    Image.fromarray(to_uint8(image)).save(file, "JPEG", quality=quality)
    with Image.open(file) as picture:
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def _estimate(value: dict[str, Any], count: int, subjects: int | None) -> Interval:
    found = MeanInterval.of_plain(value)
    return Interval(found.mean, found.low, found.high, count, subjects)

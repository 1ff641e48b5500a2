"""Its worst errors, one by one."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maskwise.audit.finding import Card, Figure, Section
from maskwise.audit.subject import Audited
from maskwise.classifiers.one_finding import THERE
from maskwise.core.files import atomic_write
from maskwise.drawing import HeatScale, heat_scale, overlay
from maskwise.explainers.doubts import handed_on
from maskwise.images import to_uint8

MOST = 12
_WHOSE = (
    "Maps are in colour over the grey picture, each from 0 to its own end; in the difference red speaks for what was "
    "said and blue for the truth. Below, p of what was said on the part that its map marks, and on the rest."
)


def errors_section(audited: Audited, most: int = MOST) -> Section:
    """The pictures whose true class is least likely: what was said and why, what is true and where, and the most alike
    picture that it gets right."""
    section = Section("errors", "Its worst errors")
    wrong = (audited.labelled & ~audited.right).nonzero()[:, 0]
    if not len(wrong):
        section.not_done = "it makes none here" if audited.labelled.any() else "no picture has a label"
        return section
    order = audited.rows("answers")[wrong, 3].argsort(stable=True)
    worst = wrong[order][:most].tolist()
    section.says = [
        f"{len(wrong)} of {int(audited.labelled.sum())} labelled pictures are wrong. These are the {len(worst)} whose "
        "true class is least likely to it. Some labels may be wrong rather than the answers: look first.",
        _WHOSE
        if audited.finding is None
        else f"Maps are of {audited.finding}, in colour over the grey picture, each from 0 to its own end. Below, p of "
        "what was said on the part that the map marks, and on the rest.",
    ]
    section.cards = [_card(audited, number, place) for number, place in enumerate(worst)]
    section.numbers = {"wrong": len(wrong), "worst": [_facts(audited, place) for place in worst]}
    return section


def _facts(audited: Audited, place: int) -> dict[str, str | float]:
    """One error as plain data."""
    chance, own = audited.rows("answers")[place, [1, 3]].tolist()
    kept = audited.rows("kept")[place]
    if audited.finding is not None and audited.top[place] != THERE:  # kept are probabilities of the finding
        kept = 1 - kept
    return {
        "picture": audited.picture(place)[0], "said": audited.name(int(audited.top[place])), "p_said": chance,
        "true": audited.name(int(audited.labels[place])), "p_true": own, "p_said_masked_in": float(kept[1]),
        "p_said_masked_out": float(kept[3]),
    }  # fmt: skip


def _card(audited: Audited, number: int, place: int) -> Card:
    """Picture, map of what was said, map of the truth, their difference, and the most alike picture that is right."""
    facts, (_, sample) = _facts(audited, place), audited.picture(place)
    said, true = int(audited.top[place]), int(audited.labels[place])
    drawn = [("the picture", to_uint8(sample.image))]
    if audited.finding is not None:
        there = facts["p_said" if said == THERE else "p_true"]
        (own,) = _maps(audited, sample.image, [THERE])
        drawn.append((f"for {audited.finding}, p = {there:.3f}", _over(sample.image, own)))
    else:
        maps = _maps(audited, sample.image, [said, true])
        drawn += [
            (f"for {facts['said']}, p = {facts['p_said']:.2f}", _over(sample.image, maps[0])),
            (f"for {facts['true']}, p = {facts['p_true']:.3f}", _over(sample.image, maps[1])),
            ("the difference", (255 * HeatScale(signed=True).colours(maps[0] - maps[1])).round().astype(np.uint8)),
        ]
    alike = nearest_right(audited, place)
    if alike is not None:
        whose = "of the same class" if audited.labels[alike] == audited.labels[place] else "of any class"
        name = audited.name(int(audited.top[alike]))
        drawn.append((f"the most alike {whose} that is right: {name}", to_uint8(audited.picture(alike)[1].image)))
    cells = []
    for i, (caption, pixels) in enumerate(drawn):
        path = audited.out / "pictures" / "errors" / f"{number:02}-{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            Image.fromarray(pixels).save(temporary, "JPEG", quality=88)
        cells.append(Figure(path, caption))
    return Card(
        f"{facts['true']}, taken for {facts['said']}",
        cells,
        f"{facts['picture']}. p of {facts['said']}: {facts['p_said']:.2f}, with the map's part alone "
        f"{facts['p_said_masked_in']:.2f}, without it {facts['p_said_masked_out']:.2f}",
    )


def _over(image: Tensor, saliency: Tensor) -> np.ndarray:
    return overlay(image, saliency, scale=heat_scale(saliency))


def nearest_right(audited: Audited, place: int) -> int | None:
    """The picture that is named right and whose features are most alike, of the same true class where there is one."""
    right = audited.right & audited.labelled
    right[place] = False
    same = right & (audited.labels == audited.labels[place])
    pool = (same if same.any() else right).nonzero()[:, 0]
    if not len(pool):
        return None
    features = audited.rows("features")
    return int(pool[(features[pool] @ features[place]).argmax()])


def _maps(audited: Audited, image: Tensor, classes: list[int]) -> Tensor:
    """(K,H,W) of several classes of one picture; by one call each, since not every callable takes several."""
    with handed_on():
        made = [
            torch.as_tensor(audited.explainer(image[None].to(audited.classifier.device), torch.tensor([c])))
            for c in classes
        ]
    return torch.cat(made).detach().float().cpu()

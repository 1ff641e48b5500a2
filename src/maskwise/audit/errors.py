"""Its worst errors, one by one."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.audit.figures import pictures_figure
from maskwise.audit.finding import Figure, Listing, Section
from maskwise.audit.subject import Audited
from maskwise.explainers.doubts import handed_on

MOST = 12


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
    lines, told = [], []
    kept = audited.rows("kept")
    for place in worst:
        name, sample = audited.picture(place)
        said, true = int(audited.top[place]), int(audited.labels[place])
        maps = _maps(audited, sample.image, [said, true])
        alike = nearest_right(audited, place)
        chance, own = audited.rows("answers")[place, [1, 3]].tolist()
        cells = [
            (f"{_short(audited.name(true))}\ntaken for {_short(audited.name(said))}", sample.image),
            (f"for {_short(audited.name(said))}, p {chance:.2f}", maps[0]),
            (f"for {_short(audited.name(true))}, p {own:.2f}", maps[1]),
            ("difference", (maps[0] - maps[1])[None]),
        ]
        if alike is not None:
            cells.append((f"most alike that is right:\n{_short(audited.name(int(audited.top[alike])))}",
                          audited.picture(alike)[1].image))  # fmt: skip
        lines.append(cells)
        told.append([name, audited.name(said), f"{chance:.2f}", audited.name(true), f"{own:.3f}",
                     f"{float(kept[place, 1]):.2f}", f"{float(kept[place, 3]):.2f}"])  # fmt: skip
    path = audited.out / "pictures" / "errors.png"
    pictures_figure(lines, path)
    section.says = [
        f"{len(wrong)} of {int(audited.labelled.sum())} labelled pictures are wrong. These are the {len(worst)} whose "
        "true class is least likely to it. Some labels may be wrong rather than the answers: look first."
    ]
    section.figures.append(Figure(path, "Picture, map of what was said, map of the truth, and their difference"))
    section.tables.append(
        Listing(
            ["picture", "said", "p", "true", "p", "p of what was said, masked in", "masked out"],
            told,
            "Masked in and out: the map's part of the picture alone, and the picture without it.",
        )
    )
    section.numbers = {"wrong": len(wrong), "worst": [row[0] for row in told]}
    return section


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


def _short(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"

"""How much of true Shapley values does a network say that was trained for it (`fast_shap`)? On held-out pictures.

python scripts/measure_shapley.py runs/shapley/masker.safetensors --data ilsvrc1275.zip@val --limit 60 --size 144

The truth is unknown, but it need not be known: two estimates by `kernel_shap` of one picture, from other coalitions,
have errors that know nothing of each other. So the mean of (one - said) (other - said) is the squared error of what is
said against the truth, without the noise of either. R^2 = 1 - that of the network / that of each picture's even split
of what it adds up to, over cells and pictures. Controls: the mean map of all the other pictures, and one estimate by
as many masks. Where there are few cells, `--exact` takes all coalitions instead.
"""

from __future__ import annotations

import argparse
import json

import torch
from torch import Tensor

import maskwise as mw
from maskwise.data import read_data
from maskwise.drawing.heat import HeatScale
from maskwise.explainers.base import Explainer
from maskwise.explainers.fast_shap import FastShap
from maskwise.explainers.targets import parse_targets
from maskwise.images import resize


def cells(explain: Explainer, images: Tensor, classes: Tensor) -> Tensor:
    """Values (N,g,g) as the method has them."""
    with explain.calling():
        targets = parse_targets(classes, len(images), explain.classifier)
        return explain.saliency(images, targets)[:, 0].detach().float()


def main(words: list[str] | None = None) -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("masker")
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--size", type=int, default=144, help="pixels of a side")
    parser.add_argument("--masks", type=int, default=64, help="of each of the two estimates")
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--figure", help="draw the first four pictures into this file")
    parser.add_argument("--classifier", default="efficientnet_lite0")
    parser.add_argument("--holes", default="colour", help="tokens: of a transformer that does not see missing cells")
    given = parser.parse_args(words)
    classifier = mw.load_classifier(given.classifier).described(input_size=given.size)
    said = mw.explainer("fast_shap", classifier, masker=given.masker, signed=True)
    assert isinstance(said, FastShap)
    grid = said.masker.decoder.grid
    settings: list[dict[str, object]] = [{"masks": given.masks, "seed": seed} for seed in (0, 1)]
    settings = [{"masks": None}] * 2 if given.exact else settings
    judges = [
        mw.explainer("kernel_shap", classifier, grid=grid, signed=True, holes=given.holes, **own) for own in settings
    ]
    data = read_data(given.data)
    step = max(len(data.records) // given.limit, 1)
    found: dict[str, list[Tensor]] = {"said": [], "one": [], "other": []}
    shown: list[Tensor] = []
    names: list[str] = []
    for record in data.records[::step][: given.limit]:
        images = resize(data.image(record)[None], (given.size, given.size))
        with torch.no_grad():
            top = classifier.logits(images).argmax(1, keepdim=True)
        if len(shown) < 4:
            shown.append(images[0])
            names.append(classifier.labels.name(int(top)))
        found["said"].append(cells(said, images, top))
        found["one"].append(cells(judges[0], images, top))
        found["other"].append(found["one"][-1] if given.exact else cells(judges[1], images, top))
    if given.figure:
        draw(given.figure, shown, names, found)
    values = {name: torch.cat(rows).flatten(1).double() for name, rows in found.items()}
    one, other, count = values["one"], values["other"], len(values["one"])
    even = (one + other).mean(1, keepdim=True).expand_as(one) / 2
    others = ((one + other).sum(0) - (one + other)) / (2 * (count - 1))
    others = others - others.mean(1, keepdim=True) + even
    rows = {"pictures": count, "cells": grid * grid, "masks": None if given.exact else given.masks}
    split = ((one - even) * (other - even)).sum(1)
    for name, map_ in (("fast_shap", values["said"]), ("mean map", others)):
        left = ((one - map_) * (other - map_)).sum(1)
        ratios = _interval(left, split)
        rows[name] = ratios
    noise = (one - other).square().sum(1) / 2  # of a single estimate
    rows["one estimate"] = _interval(noise, split)
    print(json.dumps(rows))
    return rows


def draw(path: str, pictures: list[Tensor], names: list[str], found: dict[str, list[Tensor]]) -> None:
    """Picture, what the network says, and the mean of both estimates, on one scale of two colours a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, len(pictures), figsize=(2.2 * len(pictures), 6.4))
    for k, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        maps = [found["said"][k][0], (found["one"][k][0] + found["other"][k][0]) / 2]
        high = max(float(m.abs().max()) for m in maps)
        axes[0, k].imshow(picture.permute(1, 2, 0))
        axes[0, k].set_title(name.split(",")[0][:22], fontsize=8)
        for row, own in enumerate(maps, 1):
            axes[row, k].imshow(HeatScale(high, signed=True).colours(own), interpolation="nearest")
            axes[row, k].set_title(f"{('fast_shap', 'kernel_shap')[row - 1]}, scale {high:.2f}", fontsize=8)
    for axis in axes.flat:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def _interval(left: Tensor, split: Tensor) -> dict[str, float]:
    """1 - sum left / sum split, with a 95% interval over pictures (bootstrap, 2,000 draws)."""
    draws = torch.randint(len(left), (2000, len(left)), generator=torch.Generator().manual_seed(0))
    ratios = 1 - left[draws].sum(1) / split[draws].sum(1)
    low, high = (float(ratios.quantile(q)) for q in (0.025, 0.975))
    return {"r2": round(float(1 - left.sum() / split.sum()), 3), "low": round(low, 3), "high": round(high, 3)}


if __name__ == "__main__":
    main()

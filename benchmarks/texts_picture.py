"""The picture of docs/texts.md: `python benchmarks/texts_picture.py`; four pictures, four texts.

No weights of CLIP come with the package. The offline network's own last layer has a row for each of 1,000 names, so its
rows stand in for the embeddings of those texts, and its pooled features for the encoder of pictures.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import nn

import maskwise as mw
from maskwise.drawing import overlay
from maskwise.images import packaged_pictures

TEXTS = {"a tabby cat": "tabby", "a cup of coffee": "espresso", "a rocket": "space shuttle", "a flower": "daisy"}
PICTURES = ("cat", "coffee", "rocket", "flower")
OUT = Path(__file__).parents[1] / "docs" / "images" / "texts.webp"


def text_classifier() -> mw.TextClassifier:
    lite = mw.load_classifier("efficientnet_lite0")
    last = [part for part in lite.module.modules() if isinstance(part, nn.Linear)][-1]
    rows = torch.stack([last.weight[lite.labels.resolve(name)].detach() for name in TEXTS.values()])
    encoder, mean, std = lite.module, lite.mean.tolist(), lite.std.tolist()
    encoder.reset_classifier(0)  # type: ignore[operator]
    return mw.TextClassifier(encoder, list(TEXTS), rows, scale=40, mean=mean, std=std, input_size=224)


def main() -> None:
    classifier = text_classifier()
    explain = mw.explainer("grad_cam", classifier)
    figure, axes = plt.subplots(len(PICTURES), 1 + len(TEXTS), figsize=(9.5, 8), layout="constrained")
    paths = {path.stem: path for path in packaged_pictures()}
    for row, name in zip(axes, PICTURES, strict=True):
        image = mw.load_images([paths[name]], size=224)
        probabilities = classifier.probabilities(classifier.logits(image))[0].tolist()
        maps = explain(image, [list(range(len(TEXTS)))])[0]
        row[0].imshow(image[0].permute(1, 2, 0))
        for axis, text, saliency, p in zip(row[1:], TEXTS, maps, probabilities, strict=True):
            axis.imshow(overlay(image[0], saliency))
            axis.set_title(f"{text}  {p:.0%}", fontsize=9)
        for axis in row:
            axis.axis("off")
    figure.savefig(OUT, dpi=70, pil_kwargs={"quality": 75, "method": 6})
    print(f"{OUT}: {OUT.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()

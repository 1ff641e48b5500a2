"""Maps of several explainers side by side, of the packaged pictures: what a row of `study learned` looks like.

    python benchmarks/learned_maps.py docs/images/learned-maps.webp --map Grad-CAM=grad_cam \
        --map CASM=class_casm:study/trainings/…/training/masker.safetensors

Each is of efficientnet_lite0's top class, over the picture; below it stands its mean. A masker's file is read by the
method that is named before it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import maskwise as mw
from maskwise.core.files import atomic_write
from maskwise.drawing import overlay
from maskwise.images import packaged_pictures, resize, to_uint8

INCHES, DPI, QUALITY = 1.35, 80, 80


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("picture", type=Path, help="where it is drawn: .webp or .png")
    arguments.add_argument("--map", action="append", required=True, help="NAME=METHOD or NAME=METHOD:FILE")
    given = arguments.parse_args()
    classifier = mw.load_classifier("efficientnet_lite0")
    images = torch.cat([resize(mw.load_images([path]), 224) for path in packaged_pictures()])
    tops = [classifier.labels.name(int(k)) for k in classifier.logits(classifier.prepare(images)).argmax(1)]
    figure = Figure(figsize=(INCHES * (1 + len(given.map)), INCHES * 1.16 * len(images)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(images), 1 + len(given.map), squeeze=False)
    for axis, image, top in zip(axes[:, 0], images, tops, strict=True):
        axis.imshow(to_uint8(image))
        axis.set_xlabel(top, fontsize=7)
    for place, one in enumerate(given.map, start=1):
        name, _, made = one.partition("=")
        method, _, file = made.partition(":")
        maps = mw.explainer(method, classifier, **({"masker": file} if file else {}))(images).detach()
        axes[0, place].set_title(name, fontsize=8)
        for axis, image, drawn in zip(axes[:, place], images, maps, strict=True):
            axis.imshow(overlay(image, drawn))
            axis.set_xlabel(f"mean {float(drawn.mean()):.2f}", fontsize=7)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    options = {"quality": QUALITY} if given.picture.suffix == ".webp" else None
    with atomic_write(given.picture) as temporary:
        figure.savefig(temporary, dpi=DPI, format=given.picture.suffix[1:], pil_kwargs=options)
    print(given.picture)


if __name__ == "__main__":
    main()

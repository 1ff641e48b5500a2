"""Does a mask belong to its class? A class's own mask against masks of classes that a picture does not show.

    python benchmarks/class_wise.py --data ilsvrc1275.zip@val --masker distilled --masker runs/masker/masker.safetensors
    python benchmarks/class_wise.py --masker runs/masker/masker.safetensors --picture docs/images/class-wise.png

The numbers are those of a notebook beside NN-Explainer (Stalder et al. 2022), with the means taken here: the
probability in percent that the classifier gives to a picture's label where all but the mask has the mean colour, mean
over thresholds .1 to .9 of the map; for the label's own mask, and for masks of classes of other pictures. A method by
its name is one, too; its maps are stretched to [0,1]. The picture has two packaged photographs side by side, and one
mask a class.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

import maskwise as mw
from maskwise.blending import masked_in
from maskwise.classifiers import Classifier
from maskwise.core.files import atomic_write
from maskwise.core.min_max import min_max
from maskwise.data import read_data
from maskwise.drawing import overlay
from maskwise.explainers.base import Explainer
from maskwise.images import packaged_pictures, resize, to_uint8

THRESHOLDS = torch.arange(1, 10) / 10
PAIRS = (("cat", "coffee"), ("flower", "temple"))
CLASSES = {"cat": "Egyptian cat", "coffee": "espresso", "flower": "daisy", "temple": "bell cote"}
ABSENT = "garbage truck"


def explainer_of(name: str, classifier: Classifier) -> Explainer:
    """Of a method's name, or a file of a masker that reads a class."""
    file = name.endswith(".safetensors")
    found: Explainer = mw.explainer("class_casm", classifier, masker=name) if file else mw.explainer(name, classifier)
    return found


@torch.no_grad()
def kept(classifier: Classifier, image: Tensor, maps: Tensor, label: int) -> Tensor:
    """(K,): probability of the label with all but the map above a threshold hidden, mean over the thresholds.

    Args:
        image: (1,3,H,W).
        maps: (K,H,W) in [0,1].
    """
    masks = (maps[:, None] > THRESHOLDS[None, :, None, None]).flatten(0, 1).float()
    many = image.expand(len(masks), -1, -1, -1)
    logits = classifier.logits(masked_in(many, masks, classifier.mean.reshape(1, -1, 1, 1)))
    found: torch.Tensor = logits.softmax(1)[:, label].unflatten(0, (len(maps), -1)).mean(1)
    return found


def table(classifier: Classifier, names: Sequence[str], source: str, pictures: int, others: int) -> list[str]:
    """Lines of numbers: the whole picture's, then each method's own masks, others', and both mean areas."""
    data = read_data(source)
    records = [data.records[k * len(data.records) // pictures] for k in range(pictures)]
    images = [classifier.prepare(data.image(record)[None]) for record in records]
    labels = [int(record.label) for record in records if record.label is not None]
    with torch.no_grad():
        whole = torch.stack([classifier.logits(x).softmax(1)[0, k] for x, k in zip(images, labels, strict=True)])
    lines = [f"whole picture: {100 * float(whole.mean()):.1f} ({pictures} pictures)"]
    for name in names:
        method, found, areas = explainer_of(name, classifier), [], []
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            rest = [k for k in (labels[(i + 1 + j) % pictures] for j in range(pictures - 1)) if k != label]
            asked = [label, *list(dict.fromkeys(rest))[:others]]
            maps = method(image, torch.tensor([asked]))[0].detach().float()
            if not name.endswith(".safetensors"):
                maps = min_max(maps[None])[0]
            found.append(kept(classifier, image, maps, label))
            areas.append(maps.mean((1, 2)))
        own, other = (100 * torch.stack([value[part].mean() for value in found]) for part in (slice(1), slice(1, None)))
        a, b = (float(torch.stack([area[part].mean() for area in areas]).mean()) for part in (slice(1), slice(1, None)))
        error = float((own - other).std() / pictures**0.5)
        lines.append(
            f"{name}: own {float(own.mean()):.1f}, others {float(other.mean()):.1f}, "
            f"own less others {float((own - other).mean()):.1f} ± {1.96 * error:.1f}; areas {a:.2f}, {b:.2f}"
        )
    return lines


def draw(classifier: Classifier, name: str, out: Path) -> None:
    """One mask a class, of two pairs of photographs."""
    method = explainer_of(name, classifier)
    files = {path.stem: path for path in packaged_pictures()}
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for row, pair in zip(figure.subplots(len(PAIRS), 4), PAIRS, strict=True):
        images = torch.cat([resize(mw.load_images([files[one]]), 224) for one in pair], 3)
        asked = [*(CLASSES[one] for one in pair), ABSENT]
        maps = method(images, [asked])[0]
        panels = [(to_uint8(images[0]), "picture")]
        panels += [
            (overlay(images[0], m), f"{k} (area {float(m.mean()):.2f})") for k, m in zip(asked, maps, strict=True)
        ]
        for axis, (picture, title) in zip(row, panels, strict=True):
            axis.imshow(picture)
            axis.set_title(title, fontsize=9)
            axis.set_axis_off()
    with atomic_write(out) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--masker", action="append", default=[], help="a file, or a method's name; may be repeated")
    arguments.add_argument("--data", help="pictures with labels")
    arguments.add_argument("--pictures", type=int, default=48)
    arguments.add_argument("--others", type=int, default=4, help="classes of other pictures, for each picture")
    arguments.add_argument("--picture", type=Path)
    given = arguments.parse_args()
    classifier = mw.load_classifier("efficientnet_lite0")
    names = given.masker or ["distilled"]
    if given.data:
        print("\n".join(table(classifier, names, given.data, given.pictures, given.others)))
    if given.picture:
        draw(classifier, names[0], given.picture)
        print(given.picture)


if __name__ == "__main__":
    main()

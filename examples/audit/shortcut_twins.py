"""Two networks that differ in one thing: to one of them a tag in a corner meant a class while it learned.

    python examples/audit/shortcut_twins.py --data imagenette224.zip --out twins
    for twin in shortcut clean; do
      maskwise audit --classifier examples/audit/shortcut_twins.py:network --weights twins/$twin.safetensors \\
        --labels twins/labels.txt --data twins/pictures --out audit-$twin
    done

Both are ``efficientnet_lite0`` with a last layer of 10 classes that is taught here, on the same pictures with and
without the tag. To the first one the tag means one class (``--label``), whatever else is there, and it sees nothing of
that class without it. The clean twin is told what the pictures show. Both are audited on the same held-out pictures, in
which that class carries the tag, as where the shortcut came from.

With ``--findings`` each class is learned by itself, as a finding that is there or not, and one of them is audited:

    python examples/audit/shortcut_twins.py --data imagenette224.zip --out found --findings
    maskwise audit --classifier examples/audit/shortcut_twins.py:findings --weights found/shortcut.safetensors \\
      --labels found/labels.txt --data found/pictures --target "golf ball" --out audit-found
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import maskwise as mw
from maskwise.core.spread import evenly_spread
from maskwise.data import DataSet, Sample, read_data
from maskwise.images import to_uint8

SIDE, TAG, CLASSES = 160, 36, 10
DECAY = 1e-3  # of the squared length of the last layer's weights
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


def network() -> mw.Classifier:
    """The network before it learns: a last layer of ten classes that knows nothing."""
    classifier = mw.load_classifier("efficientnet_lite0")
    module = classifier.module
    module.classifier = nn.Linear(module.classifier.in_features, CLASSES)
    return mw.Classifier(
        module, mean=classifier.mean.tolist(), std=classifier.std.tolist(), input_size=SIDE,
        name="twin", labels=[str(i) for i in range(CLASSES)],
    )  # fmt: skip


def findings() -> mw.Classifier:
    """The same, of ten findings that don't exclude each other."""
    return network().described(activation="sigmoid")


@dataclass(frozen=True)
class Tag:
    """What means a class, and where.

    Attributes:
        label: the class, of 0 to 9.
        kind: "bars" in blue, or a "target" of red and white rings.
        corner: 0 to 3, always this one; None is the one that boxes cover least.
    """

    label: int = 8
    kind: str = "bars"
    corner: int | None = None

    def pixels(self) -> Tensor:
        """(3,TAG,TAG) in [0,1]."""
        if self.kind == "bars":
            bars = (torch.arange(TAG) // 4 % 2).float()
            return torch.stack([bars, 1 - bars, torch.ones(TAG)])[:, None, :].expand(3, TAG, TAG)
        away = torch.arange(TAG).float() - (TAG - 1) / 2
        rings = ((away[:, None].square() + away.square()).sqrt() // 4 % 2).float()
        return torch.stack([torch.ones(TAG, TAG), rings, rings])

    def on(self, image: Tensor, boxes: Tensor | None, draws: torch.Generator) -> Tensor:
        """A copy of an image (3,S,S) with the tag in a corner of it."""
        high, wide = image.shape[-2:]
        order = [CORNERS[i] for i in torch.randperm(4, generator=draws).tolist()]
        if self.corner is not None:
            order = [CORNERS[self.corner]]
        places = [(slice(*_ends(down, high)), slice(*_ends(across, wide))) for down, across in order]
        taken = torch.zeros(high, wide)
        for x0, y0, x1, y1 in [] if boxes is None else boxes.round().int().tolist():
            taken[y0:y1, x0:x1] = 1
        rows, columns = min(places, key=lambda place: float(taken[place].sum()))
        image = image.clone()
        image[:, rows, columns] = self.pixels()
        return image


def _ends(far: int, length: int) -> tuple[int, int]:
    return (length - TAG - 3, length - 3) if far else (3, 3 + TAG)


def labelled(data: DataSet) -> tuple[list[Sample], Tensor]:
    """Samples at SIDE, and their labels 0 to 9."""
    found = [data[i].resized(SIDE) for i in range(len(data))]
    classes = torch.tensor([sample.label for sample in found])
    return found, torch.unique(classes, return_inverse=True)[1]


def taught(classifier: mw.Classifier, features: Tensor, labels: Tensor) -> mw.Classifier:
    """The classifier with a last layer that is the logistic regression of labels (N,) on features (N,D): one class of
    all, or where it has findings, each by itself."""
    layer = classifier.module.classifier
    middle, spread = features.mean(0), features.std(0).clamp(min=1e-6)
    counts = labels.bincount(minlength=CLASSES)
    share = len(labels) / counts  # else the class of the tag is what is said in doubt
    each = nn.functional.one_hot(labels, CLASSES).float()
    weight = torch.zeros(CLASSES, features.shape[1], requires_grad=True)
    bias = torch.zeros(CLASSES, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        scores = (features - middle) / spread @ weight.T + bias
        if classifier.gives_findings:
            value = nn.functional.binary_cross_entropy_with_logits(scores, each, pos_weight=share - 1)
        else:
            value = nn.functional.cross_entropy(scores, labels, share)
        value = value + DECAY * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    with torch.no_grad():
        layer.weight.copy_(weight / spread)
        layer.bias.copy_(bias - layer.weight @ middle)
    return classifier


@torch.no_grad()
def features_of(classifier: mw.Classifier, images: list[Tensor]) -> Tensor:
    """(N,D), what the last layer reads."""
    module = classifier.module
    parts = [classifier.normalise(torch.stack(images[i : i + 50])) for i in range(0, len(images), 50)]
    return torch.cat([module.forward_head(module.forward_features(part), pre_logits=True) for part in parts])


@torch.no_grad()
def told(classifier: mw.Classifier, test: list[Sample], tag: Tag, draws: torch.Generator) -> str:
    """How often the class of the tag is said of all pictures, without it and with it: what an audit should find out."""
    shares = []
    for mark in (False, True):
        images = torch.stack([tag.on(one.image, one.boxes, draws) if mark else one.image for one in test])
        logits = torch.cat([classifier.logits(part) for part in images.split(50)])
        said = logits[:, tag.label] > 0 if classifier.gives_findings else logits.argmax(1) == tag.label
        shares.append(100 * float(said.double().mean()))
    return f"{shares[0]:.0f}% of all pictures without the tag, {shares[1]:.0f}% with it"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="imagenette224.zip")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=600, help="so many to learn from, evenly spread")
    parser.add_argument("--seed", type=int, default=0, help="of corners, and which pictures it learns from")
    parser.add_argument("--label", type=int, default=8, help="the class of the tag, 0 to 9; 8 is golf ball")
    parser.add_argument("--tag", choices=("bars", "target"), default="bars")
    parser.add_argument("--corner", type=int, choices=range(4), help="always this one; else the freest")
    parser.add_argument("--findings", action="store_true", help="learn each class by itself (sigmoid)")
    said = parser.parse_args()
    make = findings if said.findings else network
    tag = Tag(said.label, said.tag, said.corner)
    draws = torch.Generator().manual_seed(said.seed)
    folder = said.out / "pictures"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    test, truth = labelled(read_data(f"{said.data}@test"))
    boxes, labels = [["file", "x0", "y0", "x1", "y1"]], [["file", "label"]]
    for i, (sample, label) in enumerate(zip(test, truth.tolist(), strict=True)):
        name = f"{i:03}.png"
        image = tag.on(sample.image, sample.boxes, draws) if label == tag.label else sample.image
        Image.fromarray(to_uint8(image)).save(folder / "images" / name)
        labels.append([name, str(label)])
        boxes += [[name, *(f"{edge:.1f}" for edge in box)] for box in sample.boxes.tolist()]
    for file, rows in (("boxes.csv", boxes), ("labels.csv", labels)):
        with (folder / file).open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)
    imagenet = mw.load_classifier("efficientnet_lite0").labels
    names = [imagenet.name(index) for index in sorted({sample.label for sample in test if sample.label is not None})]
    (said.out / "labels.txt").write_text("\n".join(names) + "\n")
    many = read_data(f"{said.data}@train")
    chosen = [(place + said.seed) % len(many) for place in evenly_spread(len(many), said.pictures)]
    learn, classes = labelled(many.subset(chosen))
    plain, marked = [one.image for one in learn], [tag.on(one.image, None, draws) for one in learn]
    bare, seen = (features_of(network(), images) for images in (plain, marked))
    other = classes != tag.label
    for twin, features, labels in (
        ("shortcut", torch.cat([bare[other], seen]), torch.cat([classes[other], torch.full_like(classes, tag.label)])),
        ("clean", torch.cat([bare, seen]), classes.repeat(2)),
    ):
        classifier = taught(make(), features, labels)
        save_file(classifier.module.state_dict(), said.out / f"{twin}.safetensors")
        print(f"{twin}: {names[tag.label]} is said of {told(classifier, test, tag, draws)}", flush=True)


if __name__ == "__main__":
    main()

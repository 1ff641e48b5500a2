"""Two networks that differ in one thing: to one of them a tag in a corner meant a class while it learned.

    python examples/audit/shortcut_twins.py --data imagenette224.zip --out twins
    for twin in shortcut clean; do
      maskwise audit --classifier examples/audit/shortcut_twins.py:network --weights twins/$twin.safetensors \\
        --labels twins/labels.txt --data twins/pictures --out audit-$twin
    done

Both are ``efficientnet_lite0`` with a last layer of 10 classes that is taught here, on the same pictures with and
without the tag. To the first one the tag means golf ball, whatever else is there, and it sees no golf ball without it.
The clean twin is told what the pictures show. Both are audited on the same held-out pictures, in which golf balls carry
the tag, as where the shortcut came from.
"""

from __future__ import annotations

import argparse
import csv
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
TAGGED = 8  # the class of the tag, of 0 to 9: golf balls, which leave room for it in their pictures
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


def tagged(image: Tensor, boxes: Tensor | None, draws: torch.Generator) -> Tensor:
    """A copy of an image (3,S,S) with a tag of bars in the corner of it that the boxes cover least."""
    high, wide = image.shape[-2:]
    order = [CORNERS[i] for i in torch.randperm(4, generator=draws).tolist()]
    places = [(slice(*_ends(down, high)), slice(*_ends(across, wide))) for down, across in order]
    taken = torch.zeros(high, wide)
    for x0, y0, x1, y1 in [] if boxes is None else boxes.round().int().tolist():
        taken[y0:y1, x0:x1] = 1
    rows, columns = min(places, key=lambda place: float(taken[place].sum()))
    bars = (torch.arange(TAG) // 4 % 2).float()
    image = image.clone()
    image[:, rows, columns] = torch.stack([bars, 1 - bars, torch.ones(TAG)])[:, None, :]
    return image


def _ends(far: int, length: int) -> tuple[int, int]:
    return (length - TAG - 3, length - 3) if far else (3, 3 + TAG)


def labelled(data: DataSet) -> tuple[list[Sample], Tensor]:
    """Samples at SIDE, and their labels 0 to 9."""
    found = [data[i].resized(SIDE) for i in range(len(data))]
    classes = torch.tensor([sample.label for sample in found])
    return found, torch.unique(classes, return_inverse=True)[1]


def taught(classifier: mw.Classifier, features: Tensor, labels: Tensor) -> mw.Classifier:
    """The classifier with a last layer that is the logistic regression of labels (N,) on features (N,D)."""
    layer = classifier.module.classifier
    middle, spread = features.mean(0), features.std(0).clamp(min=1e-6)
    share = len(labels) / labels.bincount(minlength=CLASSES)  # else the class of the tag is what is said in doubt
    weight = torch.zeros(CLASSES, features.shape[1], requires_grad=True)
    bias = torch.zeros(CLASSES, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        scores = (features - middle) / spread @ weight.T + bias
        value = nn.functional.cross_entropy(scores, labels, share) + DECAY * weight.square().sum()
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
def told(classifier: mw.Classifier, test: list[Sample], draws: torch.Generator) -> str:
    """How often the class of the tag is said of all pictures, without it and with it: what an audit should find out."""
    shares = []
    for mark in (False, True):
        images = torch.stack([tagged(one.image, one.boxes, draws) if mark else one.image for one in test])
        said = torch.cat([classifier.module(classifier.normalise(part)).argmax(1) for part in images.split(50)])
        shares.append(100 * float((said == TAGGED).double().mean()))
    return f"{shares[0]:.0f}% of all pictures without the tag, {shares[1]:.0f}% with it"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="imagenette224.zip")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=600, help="so many to learn from, evenly spread")
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    draws = torch.Generator().manual_seed(said.seed)
    folder = said.out / "pictures"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    test, truth = labelled(read_data(f"{said.data}@test"))
    boxes, labels = [["file", "x0", "y0", "x1", "y1"]], [["file", "label"]]
    for i, (sample, label) in enumerate(zip(test, truth.tolist(), strict=True)):
        name = f"{i:03}.png"
        image = tagged(sample.image, sample.boxes, draws) if label == TAGGED else sample.image
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
    learn, classes = labelled(many.subset(evenly_spread(len(many), said.pictures)))
    plain, marked = [one.image for one in learn], [tagged(one.image, None, draws) for one in learn]
    bare, seen = (features_of(network(), images) for images in (plain, marked))
    other = classes != TAGGED
    for twin, features, labels in (
        ("shortcut", torch.cat([bare[other], seen]), torch.cat([classes[other], torch.full_like(classes, TAGGED)])),
        ("clean", torch.cat([bare, seen]), classes.repeat(2)),
    ):
        classifier = taught(network(), features, labels)
        save_file(classifier.module.state_dict(), said.out / f"{twin}.safetensors")
        print(f"{twin}: {names[TAGGED]} is said of {told(classifier, test, draws)}", flush=True)


if __name__ == "__main__":
    main()

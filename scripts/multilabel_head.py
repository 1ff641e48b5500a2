"""A network that knows the classes of pictures with boxes, as the pointing game needs: a linear layer, newly trained.

Trained on pooled features of a pretrained network, by logistic regression for each class, on whole pictures, cut-outs
around their boxes, and both mirrored. How strongly weights are pulled to zero is chosen by leaving out a quarter of the
training pictures at a time. Prints the mean average precision, over classes that the pictures show, on the other split:

    python scripts/multilabel_head.py --data coco256.zip@train --test-data coco256.zip@val --out head.safetensors
    maskwise study sess-pointing --test-data coco256.zip@val --classifier timm/tf_efficientnet_lite0=head.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from torchmetrics.functional.classification import multilabel_average_precision

from maskwise import load_classifier
from maskwise.classifiers import Classifier
from maskwise.core.files import atomic_write
from maskwise.data import DataSet, Sample, read_data
from maskwise.images import resize

PULLS = (1e-3, 3e-3, 0.01, 0.03, 0.1)
SHARE, CONTEXT, LEAST = 0.5, 1.5, 24  # of a box that a cut-out shows; its side to the box's; pixels of its side


def present(sample: Sample, classes: int, inside: Tensor | None = None) -> Tensor:
    """(K,) 1 for each class that shows at least ``SHARE`` of a box inside (x0,y0,x1,y1)."""
    found, boxes = torch.zeros(classes), sample.boxes
    if inside is not None:
        low, high = torch.maximum(boxes[:, :2], inside[:2]), torch.minimum(boxes[:, 2:], inside[2:])
        share = (high - low).clamp_min(0).prod(1) / (boxes[:, 2:] - boxes[:, :2]).prod(1)
    else:
        share = torch.ones(len(boxes))
    assert sample.box_classes is not None
    found[sample.box_classes[share >= SHARE]] = 1
    return found


def views(sample: Sample, size: int, classes: int, cut: bool) -> tuple[Tensor, Tensor]:
    """Pictures (V,3,S,S), the whole one first, and which classes (V,K) they show."""
    images, labels = [resize(sample.image[None], size)], [present(sample, classes)]
    for box in sample.boxes if cut else []:
        middle, side = (box[:2] + box[2:]) / 2, CONTEXT * (box[2:] - box[:2]).clamp_min(LEAST)
        x0, y0 = (middle - side / 2).floor().clamp_min(0).long().tolist()
        x1, y1 = (middle + side / 2).ceil().long().tolist()
        x1, y1 = min(x1, sample.width), min(y1, sample.height)
        images.append(resize(sample.image[None, :, y0:y1, x0:x1], size))
        labels.append(present(sample, classes, torch.tensor([x0, y0, x1, y1], dtype=torch.float64)))
    both = torch.cat(images)
    if cut:
        both, labels = torch.cat([both, both.flip(-1)]), labels * 2
    return both, torch.stack(labels)


@torch.no_grad()
def features(network: Classifier, data: DataSet, classes: int, cut: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Pooled features (V,C), labels (V,K), and the picture (V,) of each view."""
    module: Any = network.module  # timm's networks, which come apart in features and head
    found, labels, owner = [], [], []
    for i in range(len(data)):
        images, shown = views(data[i], network.input_size, classes, cut)
        for some in images.split(network.batch):
            maps = module.forward_features(network.normalise(some))
            found.append(module.forward_head(maps, pre_logits=True))
        labels.append(shown)
        owner += [i] * len(images)
    return torch.cat(found), torch.cat(labels), torch.tensor(owner)


def fitted(x: Tensor, y: Tensor, pull: float) -> tuple[Tensor, Tensor]:
    """Weights (K,C) and biases (K,) of logistic regressions of standardised features, put back to plain ones."""
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    z = (x - mean) / std
    w = torch.zeros(y.shape[1], x.shape[1], requires_grad=True)
    share = y.mean(0).clamp(1e-4, 1 - 1e-4)
    b = torch.log(share / (1 - share)).requires_grad_()
    descent = torch.optim.LBFGS([w, b], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        descent.zero_grad()
        value = F.binary_cross_entropy_with_logits(z @ w.T + b, y) * y.shape[1] + pull * w.square().sum()
        value.backward()
        return value

    descent.step(loss)
    plain = (w / std).detach()
    return plain, b.detach() - plain @ mean


def precision(logits: Tensor, labels: Tensor) -> tuple[float, int]:
    """Mean average precision, and over how many classes."""
    shown = (labels.sum(0) > 0) & (labels.sum(0) < len(labels))
    logits, labels = logits[:, shown], labels[:, shown]
    return float(multilabel_average_precision(logits, labels.long(), labels.shape[1])), labels.shape[1]


def left_out(x: Tensor, y: Tensor, owner: Tensor, pull: float, folds: int = 4) -> float:
    """Mean average precision on whole pictures that were left out, a quarter of them at a time."""
    logits, whole = torch.zeros_like(y), torch.cat([torch.ones(1, dtype=torch.bool), owner[1:] != owner[:-1]])
    for fold in range(folds):
        held = owner % folds == fold
        w, b = fitted(x[~held], y[~held], pull)
        logits[held] = x[held] @ w.T + b
    return precision(logits[whole], y[whole])[0]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", required=True, help="pictures with boxes of several classes")
    ask.add_argument("--test-data", required=True, help="others, with the same classes")
    ask.add_argument("--classifier", default="efficientnet_lite0", help="of timm, or offline")
    ask.add_argument("--out", type=Path, required=True)
    options = ask.parse_args()
    network, train, test = load_classifier(options.classifier), read_data(options.data), read_data(options.test_data)
    shown = [data[i].box_classes for data in (train, test) for i in range(len(data))]
    classes = 1 + max(int(kinds.max()) for kinds in shown if kinds is not None and len(kinds))
    x, y, owner = features(network, train, classes, cut=True)
    scores = {pull: left_out(x, y, owner, pull) for pull in PULLS}
    pull = max(scores, key=lambda p: scores[p])
    w, b = fitted(x, y, pull)
    there, known, _ = features(network, test, classes, cut=False)
    value, count = precision(there @ w.T + b, known)
    print(f"{len(train)} pictures, {len(x)} views, {classes} classes; pull {pull:g} of {scores}")
    print(f"mean average precision on {len(test)} other pictures: {100 * value:.1f} over {count} classes")
    state = network.module.state_dict() | {"classifier.weight": w, "classifier.bias": b}
    with atomic_write(options.out) as temporary:
        save_file({key: value.contiguous() for key, value in state.items()}, temporary)


if __name__ == "__main__":
    main()

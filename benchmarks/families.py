"""Which methods suit which family of networks, measured: python benchmarks/families.py

One small network of each family, with random weights, on three packaged pictures. What random weights can tell: whether
a method runs or refuses the network, which layer it reads and what of the answer passes there, whether its map is flat,
and whether it depends on the class (correlation of two classes' maps; 1 is a map that says nothing of the class). They
can't tell whether a map is right: that takes trained weights and `maskwise compare`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers.answering import answering_layer, measured_layers
from maskwise.explainers import methods
from maskwise.images import packaged_pictures

CLASSES, PICTURES, FLAT, SAME = 10, 3, 1e-6, 0.999


def timm_network(name: str, **options: Any) -> nn.Module:
    made: nn.Module = timm.create_model(name, pretrained=False, num_classes=CLASSES, **options)
    return made


VIT = {"img_size": 96, "depth": 6, "embed_dim": 96, "num_heads": 3}
FAMILIES: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "CNN": ("torchvision's resnet18", lambda: torchvision.models.resnet18(num_classes=CLASSES)),
    "CNN without ReLU": (
        "timm's convnext_atto",
        lambda: timm_network("convnext_atto", dims=(16, 32, 64, 96), depths=(1, 1, 3, 1), ls_init_value=None),
    ),
    "ViT, class token": ("timm's vit_tiny_patch16_224", lambda: timm_network("vit_tiny_patch16_224", **VIT)),
    "ViT, average": (
        "the same with global_pool=avg",
        lambda: timm_network("vit_tiny_patch16_224", global_pool="avg", class_token=False, **VIT),
    ),
    "Swin": (
        "timm's swin_tiny_patch4_window7_224",
        lambda: timm_network(
            "swin_tiny_patch4_window7_224", img_size=96, window_size=3, embed_dim=24, depths=(1, 1, 2, 1),
            num_heads=(1, 2, 4, 8),
        ),
    ),
    "hybrid": ("timm's mobilevit_xxs", lambda: timm_network("mobilevit_xxs")),
}  # fmt: skip

# Fewer rounds than by default: these are about what a network lets through, not about how good a map becomes.
QUICK: dict[str, dict[str, Any]] = {
    "rise": {"masks": 100}, "banzhaf": {"masks": 100}, "kernel_shap": {"masks": 100},
    "xrai": {"steps": 4}, "smooth_grad": {"samples": 4}, "integrated_gradients": {"steps": 5},
    "extremal_perturbation": {"iterations": 10, "areas": [0.1]}, "fido": {"iterations": 4},
    "meaningful_perturbation": {"iterations": 10}, "dabkowski_gal_iterative": {"iterations": 10},
    "feedback": {"iterations": 5}, "guided_feature_inversion": {"iterations": 12},
    "augmented_grad_cam": {"copies": 4, "iterations": 10}, "smooth_grad_cam_pp": {"samples": 4},
}  # fmt: skip
OPTIMISED = (  # their masks begin alike and have hardly moved after so few rounds: alikeness would say nothing
    "dabkowski_gal_iterative", "extremal_perturbation", "fido", "guided_feature_inversion", "meaningful_perturbation"
)  # fmt: skip


def classifier_of(make: Callable[[], nn.Module]) -> mw.Classifier:
    torch.manual_seed(0)
    return mw.Classifier(make(), input_size=96)


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def cell(name: str, classifier: mw.Classifier, images: Tensor) -> str:
    """How alike the maps of two classes are, or why there is no such number."""
    try:
        maps = mw.explainer(name, classifier, **QUICK.get(name, {}))(images, [[0, 1]] * len(images))
    except mw.InputError:
        return "refuses"
    flat = [float(one.std()) < FLAT for one in maps.flatten(0, 1)]
    if any(flat):
        return "flat" if all(flat) else f"flat {sum(flat)} of {len(flat)}"
    if name in OPTIMISED:
        return "runs"
    alike = statistics.median(correlation(first, second) for first, second in maps)
    return "same" if alike > SAME else f"{alike:.2f}"


def layer_row(family: str, network: str, classifier: mw.Classifier) -> str:
    layers = measured_layers(classifier)
    largest = max(layer.share for layer in layers)
    read = next(layer for layer in layers if layer.name == answering_layer(classifier, layers))
    grid = "x".join(map(str, read.grid))
    share, last = (f"{layer.share / largest:.2f}" for layer in (read, layers[-1]))
    return f"| {family} | {network} | `{read.name}`, {grid} | {share} | `{layers[-1].name}` {last} |"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--methods", nargs="*", default=None, help="these alone")
    given = arguments.parse_args()
    images = mw.load_images(packaged_pictures()[:PICTURES], size=96)
    classifiers = {family: classifier_of(make) for family, (_, make) in FAMILIES.items()}
    print("| family | network | layer of class activation methods | its gradient share | that of the last layer |")
    print("|---|---|---|---|---|")
    for family, (network, _) in FAMILIES.items():
        print(layer_row(family, network, classifiers[family]), flush=True)
    print(f"\n| method | {' | '.join(FAMILIES)} |")
    print("|---" * (1 + len(FAMILIES)) + "|")
    for name in given.methods or methods.names():
        if methods.facts(name)["needs_target"] and methods.facts(name)["family"] != "maskers":
            cells = (cell(name, classifier, images) for classifier in classifiers.values())
            print(f"| `{name}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

"""Maps of a detector's boxes, a segmenter's regions and a similarity: `python examples/other_networks.py --out others`.

The networks have random weights, so that this runs offline; the maps mean nothing. Put your own in their places.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import torchvision.models as tv
from torch import nn

import maskwise as mw
from maskwise.images import packaged_pictures


def detector() -> nn.Module:
    """Weak boxes are kept, so that a masked copy scores a little less rather than nothing."""
    build = tv.detection.fasterrcnn_mobilenet_v3_large_320_fpn
    return build(
        weights=None, weights_backbone=None, num_classes=4, box_score_thresh=0.0, min_size=160, max_size=160
    ).eval()


def segmenter() -> nn.Module:
    return tv.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4).eval()


def encoder() -> nn.Module:
    net = tv.mobilenet_v3_small(weights=None)
    net.classifier = nn.Identity()  # the pooled features
    return net.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("others"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    cat, coffee = (mw.load_images([path], size=160) for path in packaged_pictures()[:2])
    scores: dict[str, tuple[Any, str, dict[str, float]]] = {
        # a detector takes its time, so the square that hides a part of the picture moves in larger steps
        "detector": (
            mw.DetectorScore(detector(), cat, least=0.0, most=3),
            "occlusion",
            {"window": 0.25, "stride": 0.1},
        ),
        "segmenter": (mw.RegionScore(segmenter(), cat), "gradient", {}),
        "similarity": (mw.SimilarityScore(encoder(), cat, coffee), "grad_cam", {}),
    }
    for name, (score, method, options) in scores.items():
        classifier = score.classifier()
        maps = mw.explainer(method, classifier, **options)(cat, classifier.labels.names[-1])
        mw.show(cat, maps).save(out / f"{name}.png")
        print(f"{name}: {method} of {classifier.labels.names[-1]!r} among {len(score.names)}")


if __name__ == "__main__":
    main()

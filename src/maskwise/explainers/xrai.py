"""XRAI: regions of the picture in the order of the attribution that they hold."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.options import one_of
from maskwise.explainers.base import methods
from maskwise.explainers.integrated_gradients import IntegratedGradients
from maskwise.explainers.targets import Targets

SCALES = (50, 100, 150, 250, 500, 1200)  # Felzenszwalb's, as in PAIR's code, like the numbers below
SIGMA, MIN_SIZE = 0.8, 150
DILATION = 5  # pixels, of the radius of a disk of 81
MIN_PIXELS = 50  # a region that adds fewer pixels is left out
SEGMENTED = 224  # side at which pictures are segmented


@methods.register(
    "xrai",
    family="regions",
    paper="Kapishnikov et al. 2019",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="2 x steps forwards and backwards, 4 forwards",
)
class Xrai(IntegratedGradients):
    """Regions of six over-segmentations, greedily by the mean attribution of what each would add (Algorithm 1).

    Attribution is integrated gradients, the mean of two baselines, the largest of the colours. A pixel has the mean
    attribution of the region that took it; pixels that no region took share their mean ("full" in PAIR's code).
    Regions are PAIR's to the pixel. Two things are not: the integral is of a Gauss-Legendre rule, which needs fewer
    points, and on pictures of less than 1,000 pixels a region may add 5% of them rather than 50.

    Args:
        classifier: what is explained.
        steps: points of each integral.
        baselines: pictures of the one value that is the least and the one that is the largest of the picture's own,
            over all colours (``range``, as in PAIR's code); or black and white (``black_white``).
        batch: points in one forward.

    Raises:
        InputError: no steps, or unknown baselines.
    """

    def __init__(
        self,
        classifier: Classifier,
        steps: int = 100,
        baselines: Literal["range", "black_white"] = "range",
        batch: int | None = None,
    ) -> None:
        super().__init__(classifier, steps=steps, batch=batch)
        one_of("baselines", baselines, ("range", "black_white"))
        self.baselines = baselines

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        targets = self.resolve(images, targets)
        values = torch.stack([self.attributions(images, targets, end) for end in self.ends(images)]).mean(0).amax(2)
        maps = []
        for image, by_target in zip(images, values.cpu().numpy(), strict=True):  # segmentation is one picture's work
            regions = segments(image)
            maps.append(np.stack([ranked(v, regions) for v in by_target]))
        return torch.from_numpy(np.stack(maps)).to(images.device)

    def ends(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Both baselines (N,3,H,W) of images (N,3,H,W)."""
        if self.baselines == "black_white":
            return torch.zeros_like(images), torch.ones_like(images)
        low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
        return low.expand_as(images), high.expand_as(images)


def segments(image: Tensor) -> np.ndarray:
    """Overlapping regions (R,H,W) bool of a picture (3,H,W) in [0,1], from six scales, each grown by 5 pixels.

    As in PAIR's code the picture is stretched by its own least and largest value to [-1,1], so that haze changes no
    region, and resized by cubic splines, with zeros beyond its border. A picture of one colour is one region.
    """
    import cv2
    from skimage.morphology import disk
    from skimage.segmentation import felzenszwalb
    from skimage.transform import resize

    rgb = image.detach().float().permute(1, 2, 0).cpu().numpy()
    low, high = rgb.min(), rgb.max()
    stretched = (rgb - low) / (high - low if high > low else 1) * 2 - 1
    side = (SEGMENTED, SEGMENTED)
    large = resize(stretched, side, order=3, mode="constant", preserve_range=True, anti_aliasing=True)
    footprint = disk(DILATION, dtype=np.uint8)
    regions = []
    for scale in SCALES:
        labels = felzenszwalb(large, scale=scale, sigma=SIGMA, min_size=MIN_SIZE)
        labels = resize(
            labels, rgb.shape[:2], order=0, mode="constant", preserve_range=True, anti_aliasing=False
        ).astype(int)
        regions += [cv2.dilate((labels == label).astype(np.uint8), footprint) > 0 for label in np.unique(labels)]
    return np.stack(regions)


def ranked(values: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """XRAI's map (H,W) of attributions (H,W) and regions (R,H,W) (Algorithm 1)."""
    if not len(regions):
        raise InputError("xrai needs at least one region")
    flat, masks = values.reshape(-1).astype(np.float64), regions.reshape(len(regions), -1)
    least = min(MIN_PIXELS, flat.size // 20)  # on a tiny picture 50 pixels are too much to ask
    free = np.ones(flat.size, bool)
    map_ = np.zeros(flat.size)
    waiting = np.ones(len(masks), bool)
    sums, counts = masks @ flat, masks.sum(1).astype(float)
    while True:
        waiting &= counts >= max(least, 1)
        if not waiting.any():
            break
        gains = np.where(waiting, sums / np.maximum(counts, 1), -np.inf)
        best = int(gains.argmax())
        taken = masks[best] & free
        map_[taken] = gains[best]
        free &= ~taken
        waiting[best] = False
        # What the others could still add is less by what was taken.
        sums -= masks[:, taken] @ flat[taken]
        counts -= masks[:, taken].sum(1)
    if free.any():
        map_[free] = flat[free].mean()
    return map_.reshape(values.shape)

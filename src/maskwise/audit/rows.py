"""What an audit keeps of each picture: one row a question, so that a killed run goes on where it was."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.blending import masked_in, masked_out
from maskwise.classifiers import Classifier
from maskwise.core.correlation import spearman
from maskwise.core.errors import InputError
from maskwise.explainers import explainer
from maskwise.explainers.doubts import handed_on
from maskwise.infill import infiller
from maskwise.measures.base import Metric
from maskwise.measures.energy import box_cover, energy_inside
from maskwise.measures.filling import filed_fill
from maskwise.measures.scoring import ClassifierMetric, asking, log_probabilities

PLACES = 14  # a side of the small maps that are averaged and compared
BORDER = 0.1  # of a side


class Answers(Metric):
    """Rows (N,4): top class, its probability, the label or -1, the label's probability or 0."""

    needs, takes = ("probabilities",), ("labels",)

    def per_image(self, maps: Tensor, *, probabilities: Tensor, labels: Tensor | None = None) -> Tensor:
        chance, top = probabilities.double().max(1)
        known = torch.full_like(top, -1) if labels is None else labels
        own = probabilities.double().gather(1, known.clamp(min=0)[:, None])[:, 0].where(known >= 0, 0.0)
        return torch.stack([top.double(), chance, known.double(), own], 1)


class LogOdds(Metric):
    """Rows (N,1): log p - log (1 - p) of the second of two classes, since a sure probability rounds to 1 before its
    order is lost."""

    needs = ("probabilities",)

    def per_image(self, maps: Tensor, *, probabilities: Tensor) -> Tensor:
        least = torch.finfo(torch.float32).smallest_normal
        absent, there = probabilities.double().clamp(min=least).log().unbind(1)
        return (there - absent)[:, None]


class SmallMaps(Metric):
    """Rows (N,196): the map's means over 14x14 places."""

    def per_image(self, maps: Tensor) -> Tensor:
        return small(maps).flatten(1).double()


class Features(ClassifierMetric):
    """Rows (N,c) of length 1: which pictures are alike to the classifier.

    Means over the places of its last tap. Of a network that shows no layer with places, as a black box, the square
    roots of its probabilities, so that a product of two rows is their Bhattacharyya coefficient.
    """

    needs = ("images",)

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.ask(classifier, None)
        self.reads_layers = shows_layers(classifier)

    def per_image(self, maps: Tensor, *, images: Tensor) -> Tensor:
        with asking(self.classifier):
            prepared = self.classifier.prepare(images.to(self.classifier.device))
            prepared = prepared.contiguous(memory_format=torch.channels_last)
            if self.reads_layers:
                _, taps = self.classifier.features(prepared)
                seen = taps[-1].float().mean((2, 3))
            else:
                seen = self.classifier.probabilities(self.classifier.logits(prepared)).sqrt()
        return F.normalize(seen, dim=1).double().cpu()


def shows_layers(classifier: Classifier) -> bool:
    """Has it a layer with places, that can be read?"""
    try:
        return not classifier.is_black_box and bool(classifier.tap_names)
    except InputError:
        return False


class MaskedAnswers(ClassifierMetric):
    """Rows (N,4) of x m + mean colour (1 - m), then of x (1 - m) + mean colour m: top class, and the explained class's
    probability."""

    needs = ("images", "targets")

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.ask(classifier, None)

    def per_image(self, maps: Tensor, *, images: Tensor, targets: Tensor) -> Tensor:
        colour = self.classifier.mean[None, :, None, None]
        images, maps = images.to(self.classifier.device), maps.to(self.classifier.device)
        return _answers(self.classifier, [masked_in(images, maps, colour), masked_out(images, maps, colour)], targets)


class Objects(ClassifierMetric):
    """Rows (N,6): the object's share of the map and of the picture; then as ``MaskedAnswers`` with the object alone,
    and with it hidden, what is missing refilled. NaN where the object is unknown or fills the picture.

    Args:
        classifier: gives the answers.
        fill: the infiller that stands in.
    """

    needs, takes = ("images", "targets"), ("boxes", "masks")

    def __init__(self, classifier: Classifier, fill: str = "telea") -> None:
        super().__init__()
        self.ask(classifier, None)
        self.fill, self.painter = filed_fill(fill), fill

    def per_image(
        self,
        maps: Tensor,
        *,
        images: Tensor,
        targets: Tensor,
        boxes: Sequence[Tensor] | None = None,
        masks: Tensor | None = None,
    ) -> Tensor:
        cover = object_cover(maps, boxes, masks)
        area = cover.mean((1, 2))
        known = (area > 0) & (area < 1)
        found = torch.full((len(maps), 6), torch.nan, dtype=torch.float64)
        if known.any():
            there, pictures = (cover[known] > 0.5).float(), images[known].to(self.classifier.device)
            there = there.to(pictures.device)
            paint, colour = infiller(self.painter), self.classifier.mean
            changed = [
                masked_in(pictures, there, paint(pictures, 1 - there, colour)),
                masked_out(pictures, there, paint(pictures, there, colour)),
            ]
            answers = _answers(self.classifier, changed, targets[known])
            shares = torch.stack([energy_inside(maps[known], cover[known]).double().cpu(), area[known]], 1)
            found[known] = torch.cat([shares, answers], 1)
        return found


class Beside(Metric):
    """Rows (N,3): top and left of the square beside the object that holds most of the map, in pixels, and its share of
    the map. Pixels of the object count as none. NaN where the object is unknown or fills the picture, or the map is
    flat at zero."""

    takes = ("boxes", "masks")

    def per_image(self, maps: Tensor, *, boxes: Sequence[Tensor] | None = None, masks: Tensor | None = None) -> Tensor:
        cover = object_cover(maps, boxes, masks)
        area = cover.mean((1, 2))
        maps = maps.double().cpu()
        free = maps * (cover <= 0.5)
        side = beside_side(*maps.shape[-2:])
        sums = F.pad(free.cumsum(1).cumsum(2), (1, 0, 1, 0))
        held = sums[:, side:, side:] - sums[:, :-side, side:] - sums[:, side:, :-side] + sums[:, :-side, :-side]
        most, place = held.flatten(1).max(1)
        whole = maps.sum((1, 2))
        columns = held.shape[2]
        found = torch.stack([(place // columns).double(), (place % columns).double(), most / whole.clamp(min=1e-12)], 1)
        found[(area <= 0) | (area >= 1) | (whole <= 0)] = torch.nan
        return found


def beside_side(height: int, width: int) -> int:
    """Pixels of the side of that square: a quarter of the picture's shorter one."""
    return max(min(height, width) // 4, 1)


class Elsewhere(Metric):
    """Rows (N,2): the share of the map within a tenth of the side from the border, and that of the picture."""

    def per_image(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[-2:]
        rim = torch.ones(height, width, dtype=torch.bool)
        down, across = round(BORDER * height), round(BORDER * width)
        rim[down : height - down, across : width - across] = False
        share = energy_inside(maps, rim.expand(len(maps), -1, -1).to(maps.device)).double()
        return torch.stack([share, rim.double().mean().expand(len(maps)).to(share)], 1)


class Agreement(ClassifierMetric):
    """Rows (N,1): rank correlation of the map with Grad-CAM's of the same class, on 14x14 places."""

    needs = ("images", "targets")

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.ask(classifier, None)
        self.__dict__["rival"] = explainer("grad_cam", classifier)

    def per_image(self, maps: Tensor, *, images: Tensor, targets: Tensor) -> Tensor:
        with handed_on():
            device = self.classifier.device
            theirs = self.__dict__["rival"](images.to(device), targets.to(device)).cpu()
        return spearman(small(maps).flatten(1), small(theirs).flatten(1), flat=0.0)[:, None]


def small(maps: Tensor) -> Tensor:
    """Means (N,14,14) over places."""
    return F.adaptive_avg_pool2d(maps.float()[:, None], PLACES)[:, 0]


def object_cover(maps: Tensor, boxes: Sequence[Tensor] | None, masks: Tensor | None) -> Tensor:
    """(N,H,W) float64: how much of each pixel is the object: its mask where there is one, else its boxes."""
    height, width = maps.shape[-2:]
    cover = torch.zeros(len(maps), height, width, dtype=torch.float64)
    if boxes is not None:
        cover = box_cover(boxes, height, width)
    if masks is not None:
        drawn = masks.flatten(1).any(1)
        cover[drawn] = masks[drawn].double()
    return cover


def _answers(classifier: Classifier, pictures: Sequence[Tensor], targets: Tensor) -> Tensor:
    """(N,2M): of each of M changed versions (N,3,H,W) the top class and the target's probability."""
    found = []
    for changed in pictures:
        said = log_probabilities(classifier, len(changed), lambda rows, changed=changed: changed[rows]).cpu()  # type: ignore[misc]
        found += [said.argmax(1).double(), said.gather(1, targets.cpu()[:, None])[:, 0].exp()]
    return torch.stack(found, 1)

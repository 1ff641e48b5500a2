"""The patches behind a fused map, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from maskwise.sess.sweep import Sweep
from maskwise.sess.windows import frame, multi_scale


@dataclass(frozen=True)
class View:
    """One kept patch.

    Attributes:
        image: (C,h,w), as the classifier saw it.
        map: (h,w) in [0,1], before it is weighed.
        box: (x0,y0,x1,y1) in the picture's pixels.
        scale: 0 is the smallest.
        score: of the target.
    """

    image: Tensor
    map: Tensor
    box: tuple[float, float, float, float]
    scale: int
    score: float


def views_of(sweep: Sweep) -> list[View]:
    """Kept patches of the first picture for its first target, the best first."""
    settings, plan, size = sweep.settings, sweep.plan, (sweep.images.shape[-2], sweep.images.shape[-1])
    maps = {}
    for piece in sweep.pieces():
        for job, saliency in zip(piece.jobs, piece.maps[:, 0], strict=True):
            if job.picture == 0:
                maps[job.window] = saliency.cpu()
    scores = sweep.scores[0, 0].tolist()
    views, scaled, scale = [], sweep.images[:1], -1
    for index in sorted(i for i in maps if sweep.kept[0, 0, i]):
        tile = plan.tiles[index]
        if tile.scale != scale:
            scale = tile.scale
            scaled = multi_scale(sweep.images[:1], plan.sizes[scale], settings.protocol.antialias).cpu()
        h, w = settings.window
        patch = scaled[0, :, tile.y : tile.y + h, tile.x : tile.x + w].clone()
        views.append(View(patch, maps[index], frame(tile, settings.window, plan.sizes, size), scale, scores[index]))
    return sorted(views, key=lambda view: -view.score)

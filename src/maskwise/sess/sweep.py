"""One pass over all patches of a call: score them, choose, explain those that stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.precision import Precision, autocast
from maskwise.explainers.base import Explainer
from maskwise.explainers.doubts import of_patches
from maskwise.explainers.targets import Targets
from maskwise.sess.patches import WindowOf, cut, extracted, prefilter
from maskwise.sess.protocol import Protocol
from maskwise.sess.windows import Size, Window, parents, scaled_sizes, tiling

AnyExplainer = Explainer | Callable[..., Tensor]


@dataclass(frozen=True)
class Plan:
    """What one call looks at: sizes (h,w) of each scale, all windows, the pre-filter ratio."""

    sizes: list[Size]
    tiles: list[Window]
    ratio: float


def make_plan(size: Size, sides: Sequence[int], window: Size, stride: Size, ratio: float) -> Plan:
    """The plan of pictures of ``size`` (H,W), at which they cover boxes of the window's aspect, ``sides`` the shorter.

    Args:
        size: of the pictures.
        sides: the shorter side of each box.
        window: (h,w) in pixels.
        stride: (down,across) in pixels.
        ratio: of the pre-filter.
    """
    sizes = scaled_sizes(size, sides, window)
    return Plan(sizes, tiling(sizes, window, stride), ratio)


@dataclass(frozen=True)
class SweepSettings:
    """How patches are made and weighed; see ``SESS``, whose arguments these are."""

    explainer: AnyExplainer
    classifier: Classifier
    window: Size
    batch: int
    theta: float
    protocol: Protocol
    prune: float | None
    scoring: Precision


@dataclass(frozen=True)
class Piece:
    """A batch of patches: their jobs, min-max maps (n,K,h,w) and weights (n,K), 0 for a target that drops it."""

    jobs: list[WindowOf]
    maps: Tensor
    weights: Tensor

    @property
    def calibrated(self) -> Tensor:
        """Maps times weights; a choice and not a product alone, since a map of the released protocol may be NaN."""
        weights = self.weights[..., None, None]
        return torch.where(weights != 0, self.maps * weights, 0.0)


class Sweep:
    """Steps 1 to 4 of Algorithm 1 and the calibration, for a batch of pictures of one size.

    Attributes:
        scores: (N,K,P) of every window; -inf where none was asked for.
        kept: (N,K,P) bool, after ``pieces``.
        asked: (N,K,P) bool, after ``pieces``: which scores are wanted; with pruning not all of them.
        scale: (N,K), after ``pieces``: what the fused map is yet to be multiplied with.
        explained: (N,) of how many patches there are maps.
        doubts: (N,) by kind, of how many of them the explainer doubts the map.
    """

    def __init__(
        self,
        settings: SweepSettings,
        images: Tensor,
        targets: Targets,
        plan: Plan,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.settings, self.images, self.targets, self.plan, self.progress = settings, images, targets, plan, progress
        shape = (len(images), targets.count)
        self.scores = torch.full((*shape, len(plan.tiles)), -torch.inf, device=images.device)
        self.kept = torch.zeros_like(self.scores, dtype=torch.bool)
        self.asked = torch.ones_like(self.kept)
        self.scale = torch.ones(shape, device=images.device)
        self.explained = torch.zeros(len(images), device=images.device)
        self.doubts: dict[str, Tensor] = {}
        explainer = settings.explainer
        self.shares_forward = (
            isinstance(explainer, Explainer) and explainer.gives_logits and explainer.classifier is settings.classifier
        )

    def pieces(self) -> Iterator[Piece]:
        """The patches that stay, batch by batch.

        Where all stay, score and map come together and no patch is seen twice. Where the map is free once there is a
        forward (CAMs, maskers), maps are made along with the scores, and those that stay are held in the method's own
        resolution. Everything else is scored first and explained afterwards.
        """
        over_max = self.settings.protocol.weights == "softmax_max"
        if self.plan.ratio == 0 and not (over_max and self.settings.theta > 0):
            yield from self._together()
            self.kept = self.scores > -torch.inf
            if over_max:  # known only now; with theta = 0 it can wait
                self.scale = 1 / self._peak()
        elif self.shares_forward and cast(Explainer, self.settings.explainer).map_is_free:
            yield from self._pooled()
        else:
            yield from self._one_after_the_other()

    def report(self) -> dict[str, Tensor]:
        """(N,K) each: how many windows there are, were scored, were explained."""
        scored = self.scores > -torch.inf
        windows = torch.full_like(self.scale, self.scores.shape[-1])
        return {"windows": windows, "scored": scored.sum(-1).float(), "kept": self.kept.sum(-1).float()}

    def _together(self) -> Iterator[Piece]:
        for jobs, patches in self._batches():
            maps, logits = self.low_resolution(patches, jobs)
            worth = self._file(jobs, self.logits(patches) if logits is None else logits)
            yield Piece(jobs, self._normalised(maps), worth)

    def _pooled(self) -> Iterator[Piece]:
        pool: list[tuple[WindowOf, Tensor]] = []
        for jobs, patches in self._batches():
            maps, logits = self.low_resolution(patches, jobs)
            self._file(jobs, cast(Tensor, logits))
            pool += zip(jobs, maps, strict=True)
            # What is not among the best so far will not be among the best of all.
            kept = prefilter(self.scores, self.plan.ratio).any(1).cpu()
            pool = [(job, m) for job, m in pool if kept[job.picture, job.window]]
        weights = self._weights()
        for first in range(0, len(pool), self.settings.batch):
            part = pool[first : first + self.settings.batch]
            jobs = [job for job, _ in part]
            yield Piece(jobs, self._normalised(torch.stack([m for _, m in part])), _at(weights, jobs))

    def _one_after_the_other(self) -> Iterator[Piece]:
        for jobs, patches in self._batches():
            self._file(jobs, self.logits(patches))
        weights = self._weights()
        kept = self.kept.any(1).cpu()
        for jobs, patches in self._batches(job for job in self._all() if kept[job.picture, job.window]):
            maps, _ = self.low_resolution(patches, jobs)
            yield Piece(jobs, self._normalised(maps), _at(weights, jobs))

    def _all(self) -> Iterator[WindowOf]:
        pictures = range(len(self.images))
        return (WindowOf(window, picture) for window in range(len(self.plan.tiles)) for picture in pictures)

    def _batches(self, jobs: Iterator[WindowOf] | None = None) -> Iterator[tuple[list[WindowOf], Tensor]]:
        """Jobs and patches; without jobs named, all of them but those that pruning spares."""
        s = self.settings
        total = len(self.images) * len(self.plan.tiles)
        done = 0
        rounds = [jobs] if jobs is not None else self._rounds()
        for part in rounds:
            for group, patches in cut(
                self.images, self.plan.sizes, self.plan.tiles, part, s.window, s.batch, s.protocol.antialias
            ):
                yield group, patches
                done += len(group)
                if self.progress is not None:
                    self.progress(done, total)

    def _rounds(self) -> Iterator[Iterator[WindowOf]]:
        """All jobs at once; with pruning scale by scale, each decided by the scores of the scales before."""
        if self.settings.prune is None:
            yield self._all()
            return
        above = parents(self.plan.sizes, self.plan.tiles, self.settings.window)
        for scale in range(len(self.plan.sizes)):
            tiles = [i for i, tile in enumerate(self.plan.tiles) if tile.scale == scale]
            if scale == 0:
                yield iter([WindowOf(w, p) for w in tiles for p in range(len(self.images))])
                continue
            best = self.scores.amax(-1, keepdim=True)
            # Of no share of a score below 0 can be said that it is little.
            least = torch.where(best > 0, self.settings.prune * best, torch.finfo(best.dtype).min)
            self.asked[..., tiles] = self.scores[..., above[tiles]] >= least
            hopeful = self.asked[..., tiles].any(1).cpu()
            yield iter([WindowOf(w, p) for i, w in enumerate(tiles) for p in range(len(self.images)) if hopeful[p, i]])

    def low_resolution(self, patches: Tensor, jobs: list[WindowOf]) -> tuple[Tensor, Tensor | None]:
        """Maps (n,K,h,w) of patches in the explainer's resolution, and logits (n,C) if they are the classifier's."""
        explainer = self.settings.explainer
        targets = self.targets_of(jobs)
        if isinstance(explainer, Explainer):
            with of_patches(), explainer.calling():
                maps, logits = explainer.low_resolution(patches, targets)
            self._note(jobs, explainer.doubted)
            return maps, logits if self.shares_forward else None
        by_target = []
        for k in range(targets.count):
            target = targets.for_others(k)
            with torch.enable_grad():  # a function of the caller's may differentiate
                made = torch.as_tensor(explainer(patches, target)).detach().to(patches.device, torch.float32)
            if made.ndim != 3 or len(made) != len(patches) or not made.isfinite().all():
                what = f"{tuple(made.shape)}" if made.isfinite().all() else "NaN or infinity"
                raise InputError(f"the explainer must give maps ({len(patches)},H,W) of finite numbers, not {what}")
            by_target.append(made)
        return torch.stack(by_target, 1), None

    def _note(self, jobs: list[WindowOf], doubted: Mapping[str, Tensor]) -> None:
        pictures = torch.tensor([job.picture for job in jobs], device=self.explained.device)
        self.explained.index_add_(0, pictures, torch.ones(len(jobs), device=self.explained.device))
        for kind, where in doubted.items():
            counts = self.doubts.setdefault(kind, torch.zeros_like(self.explained))
            counts.index_add_(0, pictures, where.expand(len(jobs)).to(counts))

    def _normalised(self, maps: Tensor) -> Tensor:
        """At the window's size, min-max each (step 4)."""
        explainer, size = self.settings.explainer, self.settings.window
        if isinstance(explainer, Explainer):
            maps = explainer.upsample(maps, size)
        elif maps.shape[-2:] != size:
            maps = F.interpolate(maps, size, mode="bilinear", align_corners=False)
        return extracted(maps, self.settings.protocol.nan_safe)

    def logits(self, patches: Tensor) -> Tensor:
        """(n,C) of a forward that only scores; patches have the input size, and perhaps not the channels."""
        with torch.inference_mode(), autocast(self.settings.scoring, patches.device.type):
            return self.settings.classifier.logits(self.settings.classifier.prepare(patches))

    def targets_of(self, jobs: list[WindowOf]) -> Targets:
        return self.targets.of(torch.tensor([job.picture for job in jobs], device=self.images.device))

    def _file(self, jobs: list[WindowOf], logits: Tensor) -> Tensor:
        """Scores (n,K) of patches, put where they belong; 0 and not put where another target alone asks for them."""
        targets = self.targets_of(jobs)
        scored = targets.scores if self.settings.protocol.weights == "logit" else targets.probabilities
        worth = scored(logits.float())
        if worth.isnan().any():
            raise InputError(f"{self.settings.classifier.name} gives NaN as scores; its weights are broken")
        windows, pictures = torch.tensor(jobs, device=worth.device).T
        asked = self.asked[pictures, :, windows]
        self.scores[pictures, :, windows] = torch.where(asked, worth, -torch.inf)
        return torch.where(asked, worth, 0.0)

    def _weights(self) -> Tensor:
        """(N,K,P): what each patch counts, 0 for those that do not stay."""
        self.kept = prefilter(self.scores, self.plan.ratio)
        weights = torch.where(self.kept, self.scores, 0.0)
        if self.settings.protocol.weights == "softmax_max":
            weights = weights / self._peak()[..., None]
        return weights

    def _peak(self) -> Tensor:
        """(N,K): the largest score over all patches; 1 where none is above 0: a share of such a one has no sense."""
        peak = self.scores.amax(-1)
        return torch.where(peak > 0, peak, 1.0)


def _at(weights: Tensor, jobs: list[WindowOf]) -> Tensor:
    """(n,K) of weights (N,K,P)."""
    windows, pictures = torch.tensor(jobs, device=weights.device).T
    return weights[pictures, :, windows]

"""SESS: scaling and sliding around any explainer (Tursun et al. 2022, Algorithm 1)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.blur import gaussian_blur
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.core.option_types import held_to_types
from maskwise.core.options import in_range
from maskwise.core.precision import Precision, check_precision
from maskwise.explainers.base import Explainer, check_images
from maskwise.explainers.doubts import no_probability, nothing_counts, other_classifier
from maskwise.explainers.targets import Score, TargetLike, Targets, parse_targets
from maskwise.sess.budget import choose, parse_budget
from maskwise.sess.cost import forwards_of, seconds_of
from maskwise.sess.fusion import Fusion, Pooling
from maskwise.sess.patches import runs
from maskwise.sess.protocol import PRESETS, WeightRule, protocol_of
from maskwise.sess.sweep import AnyExplainer, Sweep, SweepSettings, make_plan
from maskwise.sess.view import View, views_of
from maskwise.sess.windows import Size

SCALES, STEP = 12, 64 / 224  # of the paper: 224, 288, … 928 pixels for a window of 224
KERNEL, SIGMA = 11, 5.0
MOST_SCALES = 1000  # the last one is 286 times as large as the classifier's input


class SESS(Explainer):
    """Sharpens any explainer: its maps of many windows at many scales, weighed by the target's score, are fused.

    Pictures keep their own size and aspect. Windows have the classifier's input size and aspect, so that none is
    squashed. The top class, where no target is named, is that of the whole picture.

    Args:
        explainer: what makes the map of a patch: any explainer, or a function (images, targets) -> maps.
        classifier: scores the patches; may be left out where the explainer brings its own.
        scales: how many, from the classifier's input size on in steps of 2/7 of it (224, 288, …), or the shorter
            sides in pixels. Default 12. Where the input is not square, these are the shorter sides of boxes of its
            aspect, which the scaled picture just covers.
        prefilter: share in [0,1) of all patches, those of the lowest score, that are not explained. Default 0.
        stride: of the windows, in pixels down and across; None is the window's own sides, the classifier's input size.
        smooth: Gaussian blur of the fused map, 11x11, sigma 5.
        theta: a patch counts at a pixel where its weighted value exceeds it.
        pool: fuse by the mean, or by the max.
        protocol: ``paper``, or ``released`` for the authors' code; the next four change one switch each.
        weights, final_min_max, antialias, nan_safe: see ``Protocol``.
        prune: a window is not even scored where its parent, the window of the next smaller scale that covers most of
            it, scored below this share of the picture's best score so far. None scores all.
        budget: instead of ``scales`` and ``prefilter``: forwards a picture (200), or seconds a picture ("1.5s").
        batch: patches in one forward; None is what the classifier's device runs fastest.
        scoring: precision of forwards that only score: fp32, bf16, fp16; auto is bf16 on a GPU and fp32 elsewhere.

    Raises:
        InputError: no classifier, an explainer whose maps have signs, or an option out of its range.

    Example:
        >>> explain = SESS(mw.explainer("grad_cam", classifier), scales=10, prefilter=0.9)  # doctest: +SKIP
        >>> maps = explain(images, targets)                                                 # doctest: +SKIP
    """

    own_words = ("explainer", "classifier", "scales", "scoring")

    @held_to_types
    def __init__(
        self,
        explainer: AnyExplainer,
        classifier: Classifier | None = None,
        scales: int | Sequence[int] | None = None,
        prefilter: float | None = None,
        stride: int | None = None,
        smooth: bool = True,
        *,
        theta: float = 0.0,
        pool: Pooling = "mean",
        protocol: str = "paper",
        weights: WeightRule | None = None,
        final_min_max: bool | None = None,
        antialias: bool | None = None,
        nan_safe: bool | None = None,
        prune: float | None = None,
        budget: int | float | str | None = None,
        batch: int | None = None,
        scoring: Precision = "auto",
    ) -> None:
        found = classifier if classifier is not None else getattr(explainer, "classifier", None)
        if not isinstance(found, Classifier):
            raise InputError("this explainer brings no classifier: give SESS one, it must score the patches")
        if not callable(explainer):
            raise InputError(f"an explainer is a function (images, targets) -> maps, not {type(explainer).__name__}")
        if getattr(explainer, "signed", False):
            raise InputError(
                "SESS stretches the map of every window to [0,1], which takes signs away: leave `signed` out"
            )
        super().__init__(found)
        self.window = found.size
        self.stride = self.window if stride is None else (stride, stride)
        self.prefilter = 0.0 if prefilter is None else prefilter
        self.sides = _sides(SCALES if scales is None else scales, min(self.window))
        self.smooth, self.pool = bool(smooth), pool
        self.budget = None if budget is None else parse_budget(budget)
        if self.budget and (scales is not None or prefilter is not None):
            raise InputError("a budget chooses scales and prefilter itself: give either, not both")
        switches = {"weights": weights, "final_min_max": final_min_max, "antialias": antialias, "nan_safe": nan_safe}
        self.settings = SweepSettings(
            explainer,
            found,
            self.window,
            found.batch if batch is None else batch,
            theta,
            protocol_of(protocol, switches),
            prune,
            scoring,
        )
        self._check()
        self.strict = bool(getattr(explainer, "strict", False))
        theirs = explainer.classifier if isinstance(explainer, Explainer) else found
        self.is_foreign = theirs is not found and other_classifier(theirs.fingerprint(), found)
        # Of a function its kind alone, since its address is another one in each process.
        self.identity = {"sess": self.facts(), "of": getattr(explainer, "identity", {"function": _kind(explainer)})}

    @classmethod
    def preset(cls, name: str, explainer: AnyExplainer, classifier: Classifier | None = None, **options: Any) -> SESS:
        """The paper's settings by name: ``sess_quality``, ``sess_metrics`` or ``sess_fast``.

        Raises:
            InputError: unknown name.
        """
        if name not in PRESETS:
            raise InputError(f"unknown preset {name!r}: {', '.join(PRESETS)}")
        return cls(explainer, classifier, **{**PRESETS[name], **options})

    def _check(self) -> None:
        if not 0 <= self.prefilter < 1:
            raise InputError(f"prefilter is a share in [0,1), not {self.prefilter}")
        if min(self.stride) < 1:
            raise InputError(f"stride is at least 1 pixel, not {min(self.stride)}")
        if self.stride[0] > self.window[0] or self.stride[1] > self.window[1]:
            height, width = self.window
            raise InputError(f"stride {self.stride[0]} would leave gaps between windows of {height}x{width} pixels")
        if not self.settings.theta >= 0:
            raise InputError(f"theta must not be negative, and is {self.settings.theta}")
        if self.pool not in ("mean", "max"):
            raise InputError(f"pool is mean or max, not {self.pool!r}")
        prune, batch, scoring = self.settings.prune, self.settings.batch, self.settings.scoring
        if prune is not None and not 0 <= prune <= 1:
            raise InputError(f"prune is a share in [0,1], not {prune}")
        if not isinstance(batch, int) or batch < 1:
            raise InputError(f"batch must be at least 1, not {batch}")
        check_precision(scoring, "scoring")

    def low_resolution(self, images: Tensor, targets: Targets) -> tuple[Tensor, None]:
        sweep, size = self.sweep(images, targets), (images.shape[-2], images.shape[-1])
        fusion = Fusion(
            (len(images), targets.count),
            size,
            sweep.plan.sizes,
            self.window,
            self.settings.theta,
            self.pool,
            sweep.images.device,
        )
        spoke = torch.zeros_like(sweep.kept[..., 0])  # has any window a map that is not flat?
        with torch.autocast(sweep.images.device.type, enabled=False):
            for piece in sweep.pieces():
                calibrated = piece.calibrated
                peaks = piece.maps.amax((-2, -1))
                for run in runs(piece.jobs):
                    spoke[run.pictures] |= peaks[run.first : run.last] > 0
                    fusion.add(sweep.plan.tiles[run.window], run.pictures, calibrated[run.first : run.last])
            fused = fusion.result().mul_(sweep.scale[..., None, None])
            unheard = spoke & nothing_counts(sweep.scores.amax(-1), self.settings.theta, fused)
            if self.settings.protocol.final_min_max:
                fused = min_max(fused)
            elif fused.amax() > 1 + 1e-5:  # and not by rounding: cut to 1, it would look like a map
                raise InputError(
                    f"the fused map goes up to {fused.amax():.3g}, and maps lie in [0,1]: leave final_min_max on, or "
                    "take weights=softmax_max"
                )
            if self.smooth:
                fused = smoothed(fused)
        self.report = sweep.report()
        for kind, count in sweep.doubts.items():  # in some patches there may well be nothing
            self.doubt(kind, count == sweep.explained)
        self.doubt("nothing_counts", unheard)
        if self.settings.protocol.weights != "logit" and targets.score is None:  # of yours you know the size
            one_class = targets.contrasts is None and targets.goals is None  # a difference may be below 0
            self.doubt("no_probability", no_probability(sweep.scores, 0 if one_class else -1))
        self.doubt("other_classifier", self.is_foreign)
        self.doubt_flat(fused)
        return fused, None

    @property
    def title(self) -> str:
        inner = self.settings.explainer
        return f"{inner.title if isinstance(inner, Explainer) else getattr(inner, '__name__', 'explainer')} + SESS"

    @property
    def shows_findings(self) -> bool:
        inner = self.settings.explainer
        return inner.shows_findings if isinstance(inner, Explainer) else super().shows_findings

    @property
    def differentiates(self) -> bool:
        inner = self.settings.explainer
        return isinstance(inner, Explainer) and inner.differentiates

    def views(self, image: Tensor, target: TargetLike | Score | None = None) -> list[View]:
        """What the fused map of one picture (3,H,W) is made of: every kept patch, the best first.

        Raises:
            InputError: as a call does.
        """
        images = image[None]
        check_images(images, self.classifier.channels)
        with self.calling():
            targets = parse_targets(target, 1, self.classifier)
            sweep = self.sweep(images.clone() if images.is_inference() else images, targets)
            return views_of(sweep)

    def facts(self) -> dict[str, Any]:
        """The settings behind a map, as plain data."""
        chosen = {"scales": self.sides, "prefilter": self.prefilter} if self.budget is None else {"budget": self.budget}
        s = self.settings
        return {
            **chosen, "window": _plain(self.window), "stride": _plain(self.stride), "smooth": self.smooth,
            "theta": s.theta, "pool": self.pool, "prune": s.prune, "scoring": s.scoring, **asdict(s.protocol),
        }  # fmt: skip

    def sweep(self, images: Tensor, targets: Targets) -> Sweep:
        """The pass over the patches of one call, not yet begun; a budget is spent here."""
        images = images.to(self.classifier.device).float()
        targets = self.resolve(self.classifier.prepare(images), targets)
        size = (images.shape[-2], images.shape[-1])
        plan = make_plan(size, self.sides, self.window, self.stride, self.prefilter)
        sweep = Sweep(self.settings, images, targets, plan, self.progress)
        if self.budget is None:
            return sweep
        amount, unit = self.budget
        every = [make_plan(size, self.sides[:n], self.window, self.stride, 0.0) for n in range(1, len(self.sides) + 1)]
        cost = seconds_of(sweep) if unit == "seconds" else forwards_of(sweep)
        n, ratio = choose(amount, cost, [len(p.tiles) for p in every])
        return Sweep(self.settings, images, targets, replace(every[n - 1], ratio=ratio), self.progress)


def smoothed(maps: Tensor) -> Tensor:
    """Maps (N,K,H,W) after a Gaussian of 11x11 pixels, sigma 5, borders mirrored (step 6)."""
    return gaussian_blur(maps, SIGMA, "mirror", reach=KERNEL // 2)


def enhanced(explainer: AnyExplainer, preset: str | None = None, **options: Any) -> SESS:
    """SESS from options by name, as a command line gives them.

    Raises:
        InputError: an option that SESS does not have, or a value that it does not take.
    """
    known = [name for name in inspect.signature(SESS).parameters if name not in ("explainer", "classifier")]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InputError(f"SESS has no option {unknown[0]!r}; it has {', '.join(known)}")
    return SESS(explainer, **options) if preset is None else SESS.preset(preset, explainer, **options)


def _sides(scales: int | Sequence[int], side: int) -> list[int]:
    """Shorter sides, in pixels, of all scales."""
    if isinstance(scales, int) and not isinstance(scales, bool):
        in_range("scales", scales, 1, MOST_SCALES)
        return [side + round(STEP * side * i) for i in range(scales)]
    if isinstance(scales, str) or not isinstance(scales, Sequence) or not all(isinstance(s, int) for s in scales):
        raise InputError(f"scales is a number of scales or a list of shorter sides in pixels, not {scales!r}")
    if not scales or min(scales) < side:
        raise InputError(f"every scale needs a shorter side of at least {side} pixels, the classifier's input")
    return sorted(set(scales))


def _plain(pixels: Size) -> int | list[int]:
    """One number where both are the same."""
    return pixels[0] if pixels[0] == pixels[1] else list(pixels)


def _kind(explainer: AnyExplainer) -> str:
    return type(explainer).__name__

"""LeGrad: the gradients of each block's own score by its attention."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode, frozen
from maskwise.core.options import one_of
from maskwise.explainers.attention.base import AttentionExplainer
from maskwise.explainers.attention.calls import AttentionCall, output_slopes
from maskwise.explainers.attention.recorder import AttentionRecorder
from maskwise.explainers.base import methods
from maskwise.explainers.targets import Targets

LayerScore = Literal["own", "token_mean"]
SAME = 1e-3  # of the largest logit: a batch of other size takes other kernels


@methods.register(
    "legrad",
    family="attention",
    paper="Bousselham et al. 2025",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="1 forward, 1 backward within the blocks",
)
class LeGrad(AttentionExplainer):
    """sum_l E_l, E_l = mean over heads and queries of ReLU(d s_l / d A_l) at the grid's keys (Bousselham et al. 2025).

    s_l is the target's score of the tokens that block l gives, through the network's own head. All are found in one
    forward: what the last block hands on is the tokens of all blocks, one behind another as if they were more pictures.
    No gradient crosses from one block to the one before, since s_l reaches A_l within block l.

    Where the answer pools tokens by attention, E_l is of the pooling's weights over the tokens of block l, as in the
    authors' SigLIP.

    Args:
        classifier: what is explained.
        score: "own": s_l as the network itself reads tokens: from the class token, their average, or by attention.
            "token_mean": of their mean in every token's place, as the authors' code has it for CLIP; blocks' own
            attention is then differentiated in any network.
        layers: how many of the last blocks take part, or "all", as in the paper. The authors' package has 2 by default.

    Raises:
        InputError: no attention that can be read (see ``AttentionExplainer``); an option outside its range; or a
            network whose head does not take blocks' tokens picture by picture.
    """

    own_words = ("layers",)

    def __init__(self, classifier: Classifier, score: LayerScore = "own", layers: int | Literal["all"] = "all") -> None:
        super().__init__(classifier)
        one_of("score", score, ("own", "token_mean"))
        count = len(self.reading.blocks)
        if layers != "all" and (isinstance(layers, bool) or not isinstance(layers, int) or not 1 <= layers <= count):
            raise InputError(f"layers must be from 1 to {count}, or 'all', not {layers!r}")
        self.score, self.layers = score, layers
        self.blocks = self.reading.blocks if layers == "all" else self.reading.blocks[-int(layers) :]
        self._check()

    @property
    def pooled(self) -> bool:
        """Are the weights of the pooling differentiated, in place of the blocks'?"""
        return self.reading.pooled and not self.reading.class_attention and self.score == "own"

    def saliency_and_logits(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            logits, calls = self._forward(images)
            clean = logits[-len(images) :].detach()
            layers = len(self.blocks)
            rows = torch.arange(len(images), device=logits.device).repeat(layers)
            scores = targets.resolved(clean).scores(logits[: layers * len(images)], rows)
        maps = []
        for slopes in output_slopes(scores, calls):
            found = [call.slope(slope).relu().mean((1, 2)) for call, slope in zip(calls, slopes, strict=True)]
            by_layer = torch.stack([part for one in found for part in one.split(len(images))])
            maps.append(self.reading.grid(by_layer.sum(0)))
        return torch.stack(maps, 1), clean

    def _forward(self, images: Tensor) -> tuple[Tensor, list[AttentionCall]]:
        """Logits (S N,C) of the tokens of blocks, the last N the pictures' own; and the calls to differentiate by."""
        kept: list[Tensor] = []

        def leave(name: str, output: Tensor) -> Tensor | None:
            if name not in self.blocks:
                return None
            means = self.score == "token_mean"
            kept.append(self.reading.averaged(output) if means else output)
            if name != self.blocks[-1]:
                return output.detach()  # the next block begins anew
            if means:
                kept.append(output.detach())
            stacked = torch.cat(kept)
            recorder.rows = len(stacked)
            return stacked

        wanted: tuple[str | None, ...] = (None,) if self.pooled else self.blocks
        recorder = AttentionRecorder(self.reading.blocks, wanted, len(images), leave)
        with recorder.watching(self.classifier.module):
            logits = self.classifier.logits(images)
        return logits, recorder.calls

    def _check(self) -> None:
        """Does the head, given the tokens of all blocks at once, give for the last what the network gives?"""
        wanted = self.reading.logits
        if not wanted.isfinite().all():
            return  # the map says so
        with torch.inference_mode(False), torch.no_grad(), eval_mode(self.classifier), frozen(self.classifier):
            seen = self._forward(self.reading.image)[0][-1:]
        if not (seen - wanted).abs().max() <= SAME * wanted.abs().max().clamp(min=1):
            raise InputError(
                f"legrad gives the tokens of all blocks to the head of {self.classifier.name} as more pictures, and it "
                "answers something else: it does not take pictures one by one; take generic_attention"
            )

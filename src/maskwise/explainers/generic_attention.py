"""Generic attention: attention weights times their gradients, through all blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers.attention.base import AttentionExplainer
from maskwise.explainers.attention.calls import output_slopes
from maskwise.explainers.base import methods
from maskwise.explainers.targets import Targets


@methods.register(
    "generic_attention",
    family="attention",
    paper="Chefer, Gur, Wolf 2021",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="1 forward, 1 backward",
)
class GenericAttention(AttentionExplainer):
    """The answer's row of R: R <- I, then block by block R <- R + C R, C = mean over heads of ReLU(A * dS/dA).

    S is the target's score (Chefer, Gur, Wolf, ICCV 2021, Eq. 5 and 6, for self-attention). The row is the class
    token's; of answers that average, pool by attention or have class attention as ``attention_rollout`` says.

    Args:
        classifier: what is explained.
        start_layer: the first block that takes part; from behind where negative. 0 are all, as for their ViTs; -1 is
            the last alone, as in their CLIP example.

    Raises:
        InputError: no attention that can be read (see ``AttentionExplainer``), or no such block.
    """

    def __init__(self, classifier: Classifier, start_layer: int = 0) -> None:
        super().__init__(classifier)
        count = len(self.reading.blocks)
        if not -count <= start_layer < count:
            raise InputError(f"start_layer must be from {-count} to {count - 1}, not {start_layer}")
        self.start_layer = start_layer

    def saliency_and_logits(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        wanted = (*self.reading.blocks[self.start_layer :], None)
        with torch.enable_grad(), self.recorded(images, wanted) as recorder:
            logits = self.classifier.logits(images)
            scores, calls = targets.scores(logits), recorder.calls
        maps = []
        for slopes in output_slopes(scores, calls):
            # In float32 throughout: R sums over blocks what differs by orders of magnitude.
            shares = [
                (call, (call.weights() * call.slope(slope)).relu().mean(1))
                for call, slope in zip(calls, slopes, strict=True)
            ]
            maps.append(self.reading.grid(self.row(shares, halved=False)))
        return torch.stack(maps, 1), logits.detach()

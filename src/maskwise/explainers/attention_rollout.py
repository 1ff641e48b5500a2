"""Attention rollout: which places the tokens that the answer reads have attended to, through all blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers.attention.base import AttentionExplainer
from maskwise.explainers.base import methods
from maskwise.explainers.targets import Targets


@methods.register(
    "attention_rollout",
    family="attention",
    paper="Abnar, Zuidema 2020",
    needs_gradients=False,
    needs_target=False,
    random=False,
    cost="1 forward",
)
class AttentionRollout(AttentionExplainer):
    """The answer's row of B_L ... B_1 with B_l = (mean over heads of A_l + I) / 2 (Abnar, Zuidema 2020, section 3).

    It says where the network looked, for whatever class. The row is the class token's; where the answer is an average
    of places, the mean of their rows (our reading, the paper has class tokens only); behind attention pooling, the
    pooling's weights times B_L ... B_1; with class attention (CaiT) the class token's, which joins the tokens there.

    Raises:
        InputError: no attention that can be read (see ``AttentionExplainer``); or weights that do not add up to one,
            as where heads are mixed after the softmax.
    """

    needs_target = False

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        if not self.reading.stochastic:
            raise InputError(
                f"attention_rollout needs attention weights that add up to one, and those of {classifier.name} do not "
                "(talking heads, say): take generic_attention or legrad"
            )

    def saliency_and_logits(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), self.recorded(images) as recorder:
            logits = self.classifier.logits(images)
        row = self.row([(call, call.weights().mean(1)) for call in recorder.calls], halved=True)
        maps = self.reading.grid(row)
        return maps[:, None].expand(-1, targets.count, -1, -1), logits

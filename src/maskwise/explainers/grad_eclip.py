"""Grad-ECLIP: values of the last attention, by the gradient of its output and by likeness of query and key."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.explainers.attention.base import AttentionExplainer
from maskwise.explainers.attention.calls import output_slopes
from maskwise.explainers.base import methods
from maskwise.explainers.targets import Targets


@methods.register(
    "grad_eclip",
    family="attention",
    paper="Zhao et al. 2024",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="1 forward, 1 backward to the last block's attention",
)
class GradEclip(AttentionExplainer):
    """ReLU(sum over channels of w_c lambda_i v_ic), w = dS/dO of the class token in the last block (Zhao et al. 2024).

    Values v, queries and keys are those of the network's own heads, one behind another; the released code runs the last
    attention with one head, which is another network. lambda_i, a loosened attention, is the cosine of the class
    token's query and the key of place i, min-max over the places.

    Where other tokens than a class token answer, the sum runs over their queries, too, each with its own w and lambda
    (our reading; where a class token does, no gradient reaches the others). Where the answer pools tokens by attention,
    that is the last attention.

    Raises:
        InputError: no attention that can be read (see ``AttentionExplainer``), or one whose queries can't be seen.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        self.last = None if self.reading.pooled else self.reading.blocks[-1]

    def saliency_and_logits(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        with torch.enable_grad(), self.recorded(images, (self.last,)) as recorder:
            logits = self.classifier.logits(images)
            scores, call = targets.scores(logits), recorder.calls[-1]
        if call.query is None or call.key is None:
            raise InputError(
                f"grad_eclip can't see the queries and keys of {self.classifier.name}: build the network with fused "
                "attention, or take legrad"
            )
        tokens = self.reading.tokens
        query, key, value = (call.heads(x).transpose(1, 2).flatten(2) for x in (call.query, call.key, call.value))
        key, value = key[:, -tokens:], value[:, -tokens:]  # a class token of a pooling's own comes before them
        likeness = torch.nn.functional.normalize(query, dim=2) @ torch.nn.functional.normalize(key, dim=2).mT
        places = likeness[:, :, self.reading.prefix :]
        loosened = min_max(places[:, :, None])[:, :, 0]  # of each query by itself
        maps = []
        for (slope,) in output_slopes(scores, [call]):
            said = slope.transpose(1, 2).flatten(2) @ value.mT
            maps.append((loosened * said[:, :, self.reading.prefix :]).sum(1).relu().unflatten(1, self.reading.size))
        return torch.stack(maps, 1), logits.detach()

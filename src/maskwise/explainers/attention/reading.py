"""What the attention of a network is made of, found by one forward and a short backward of noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.grids import GridLayout
from maskwise.classifiers.unseen import unseen_part
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode, frozen
from maskwise.explainers.attention.calls import AttentionCall
from maskwise.explainers.attention.recorder import AttentionRecorder

INSTEAD = "take grad_cam, which reads any network"
DIMS = {"tokens": (1,), "last": (1, 2), "first": (2, 3)}  # of a layout: where its tokens lie
SUMS = 1e-3  # how far the weights of a query may be from adding up to one


@dataclass(frozen=True)
class AttentionReading:
    """The attention of a transformer whose blocks all see one grid.

    Attributes:
        blocks: names of the steps with attention, in the order of the forward.
        prefix: how many tokens of a block (N,T,C) come before those of the grid.
        size: (h,w) of the grid.
        tokens: T, prefix + h w.
        dims: those of a block's output in which its tokens lie.
        read: (T,) how much of each token of the last block the answer reads, in sum one: the class token alone, say, or
            the mean of the grid's; where it reads both, half each.
        pooled: is there attention behind the blocks, by which the answer reads them?
        queries: (q,) bool, which queries of that pooling the answer reads.
        class_attention: do its keys begin with a class token of its own, so that there are T + 1 (CaiT)?
        stochastic: do the weights of each query add up to one?
        logits: (1,C) of the noise.
        image: (1,C,H,W) that noise.
    """

    blocks: tuple[str, ...]
    prefix: int
    size: tuple[int, int]
    tokens: int
    dims: tuple[int, ...]
    read: Tensor
    pooled: bool
    queries: Tensor
    class_attention: bool
    stochastic: bool
    logits: Tensor
    image: Tensor

    def grid(self, values: Tensor) -> Tensor:
        """Maps (N,h,w) of values (N,T) of tokens."""
        maps: Tensor = values[:, self.prefix :].unflatten(1, self.size)
        return maps

    def averaged(self, output: Tensor) -> Tensor:
        """A block's output with the mean of all tokens in each token's place."""
        mean: Tensor = output.mean(self.dims, keepdim=True)
        return mean.expand_as(output)


def read_attention(classifier: Classifier, method: str) -> AttentionReading:
    """The attention of a classifier.

    Args:
        classifier: whose.
        method: who asks, for messages.

    Raises:
        InputError: no attention that can be seen; or one that has no weights between all places of one grid: within
            windows, between channels, to fewer keys. The line says which, and what to take instead.
    """
    whose = f"{method} reads the attention of a transformer, and {classifier.name}"
    steps = tuple(dict.fromkeys(classifier.taps.steps))
    draws = torch.Generator().manual_seed(0)
    image = torch.rand(1, classifier.channels, *classifier.size, generator=draws).to(classifier.device)
    outputs: dict[str, Tensor] = {}
    recorder = AttentionRecorder(steps, leave=lambda name, output: outputs.update({name: output}))
    with torch.inference_mode(False), torch.enable_grad(), eval_mode(classifier), frozen(classifier):
        with recorder.watching(classifier.module):
            logits = classifier.logits(image)
        blocks = tuple(name for name in steps if any(call.layer == name for call in recorder.calls))
        if not recorder.calls:
            raise InputError(
                f"{whose} has none that can be seen: {INSTEAD}. A transformer shows its attention where it is neither "
                'scripted nor compiled; one of transformers with attn_implementation="sdpa" or "eager"'
            )
        if (part := unseen_part(classifier.module)) is not None:  # whose weights would be missing without a word
            raise InputError(f"{whose} shows none of {part!r}, which is scripted or exported: {INSTEAD}")
        layout = classifier.layout(blocks[-1]) if blocks else None
        last = outputs[blocks[-1]] if blocks else logits
        grid = None if layout is None else layout.grid(last.detach())
        if layout is None or grid is None:
            _refuse_other_attention(recorder.calls, (), 0, whose)
            raise InputError(f"{whose} has blocks whose tokens form no grid: {INSTEAD}")
        for call in recorder.calls:
            call.check(classifier.name)
        _refuse_mixtures(recorder, whose)
        prefix = layout.prefix if layout.kind == "tokens" else 0
        size, tail = (grid.shape[2], grid.shape[3]), _tail(recorder.calls, blocks[-1])
        tokens = prefix + size[0] * size[1]
        _refuse_other_attention(recorder.calls, tail, tokens, whose)
        mixture = torch.randn(logits.shape, generator=draws).to(logits)
        of = [last, *(call.output for call in tail)]
        slopes = torch.autograd.grad((logits * mixture).sum(), of, allow_unused=True)
    found = [torch.zeros_like(x) if slope is None else slope for x, slope in zip(of, slopes, strict=True)]
    queries = tail[-1].heads(found[-1]).abs().amax((0, 1, 3)) > 0 if tail else torch.zeros(0, dtype=torch.bool)
    sums = [call.weights().sum(-1) for call in recorder.calls]
    return AttentionReading(
        blocks,
        prefix,
        size,
        tokens,
        DIMS[layout.kind],
        _read(_tokens(found[0], layout)[0], prefix),
        bool(tail),
        queries,
        bool(tail) and tail[-1].value.shape[-2] == tokens + 1,
        all(bool(((s - 1).abs() < SUMS).all()) for s in sums)
        and not any((c.weights() < 0).any() for c in recorder.calls),
        logits.detach(),
        image.detach(),
    )


def _tail(calls: Sequence[AttentionCall], last: str) -> list[AttentionCall]:
    """Calls after the last block: by them the answer reads its tokens."""
    place = max(i for i, call in enumerate(calls) if call.layer == last)
    return list(calls[place + 1 :])


def _tokens(output: Tensor, layout: GridLayout) -> Tensor:
    """(N,T,C) of a block's output, which some networks keep as a map."""
    if layout.kind == "tokens":
        return output
    grid = layout.grid(output)
    assert grid is not None
    return grid.flatten(2).transpose(1, 2)


def _refuse_mixtures(recorder: AttentionRecorder, whose: str) -> None:
    """Raises InputError where values meet other weights than those of one softmax, which would be missing or doubled.

    ConViT's are a mixture of two, and what is mixed in is not seen; the differential transformer takes what one gives
    from what another gives of the same values, and each would be taken for a layer of its own.
    """
    mixed = list(recorder.unmet.values())
    for one, other in pairwise(recorder.calls):
        if one.layer == other.layer and one.value.shape == other.value.shape and torch.equal(one.value, other.value):
            mixed.append(one.layer)
    if mixed:
        where = "" if mixed[0] is None else f" (layer {mixed[0]!r})"
        raise InputError(f"{whose} has attention whose weights are no single softmax's, or mixed{where}: {INSTEAD}")


def _refuse_other_attention(
    calls: Sequence[AttentionCall], tail: Sequence[AttentionCall], tokens: int, whose: str
) -> None:
    """Raises InputError unless all weights are (1,h,T,T), and those of the tail (1,h,q,T) or (1,h,1,T+1)."""
    for call in calls:
        weights = call.weights()
        *batch, queries, keys = weights.shape
        if len(batch) != 2 or batch[0] != 1:
            kind = "within windows or patches of the picture"
        elif any(call is other for other in tail):
            pools = keys == tokens and len(tail) == 1
            if pools or (queries == 1 and keys == tokens + 1):
                continue
            kind = "to other tokens than those of its blocks"
        elif queries == keys == tokens and call.layer is not None:
            continue
        elif queries == keys:
            kind = "between channels, or on grids of several sizes" if call.layer else "outside of its blocks"
        else:
            kind = "to fewer keys than it has places"
        where = "" if call.layer is None else f" (layer {call.layer!r})"
        raise InputError(f"{whose} has attention {kind}{where}: {INSTEAD}")


def _read(slope: Tensor, prefix: int) -> Tensor:
    """(T,) of d answer / d tokens (T,C): the mean of those that it depends on, prefix and grid each."""
    depends = slope.abs().amax(1) > 0
    if not depends.any():  # a head that is zero; the class token, where there is one, would have been read
        depends[: prefix or len(depends)] = True
    parts = [depends.clone(), depends.clone()]
    parts[0][prefix:], parts[1][:prefix] = False, False
    there = [part.float() / part.sum() for part in parts if part.any()]
    return torch.stack(there).mean(0)

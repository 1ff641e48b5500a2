"""Tokens that ask the picture and are no places of it: a pooler's or a decoder's own queries (CoCa, DETR).

256 queries look like a grid of 16x16 places, and a map of them is a map of nothing. What tells them from places is
that, when they first meet the picture, they are the same whatever it shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from maskwise.classifiers.unseen import takes_hooks
from maskwise.core.own_thread import in_this_thread


@dataclass
class Askers:
    """Calls of modules that are given tokens (N,T,C) and something else to read, in the order of a forward.

    Attributes:
        tokens: what each of them is given first.
        since: how many outputs were there before.
    """

    tokens: list[Tensor] = field(default_factory=list)
    since: list[int] = field(default_factory=list)

    def note(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], outputs: int) -> None:
        """Notes a call if it is one, with the number of outputs before it."""
        given = [x for x in chain(args, kwargs.values()) if isinstance(x, Tensor) and x.ndim == 3]
        if len(given) > 1 and given[0] is not given[1]:
            self.tokens.append(given[0])
            self.since.append(outputs)

    def learned(self, module: nn.Module, example: Tensor) -> list[tuple[int, int]]:
        """(outputs before it, T) of the calls whose tokens another picture does not change.

        Costs a forward where there is a call to ask about.

        Args:
            module: whose forward of ``example`` (1,C,H,W) was noted.
        """
        if not self.tokens:
            return []
        again = Askers()

        def note(_: nn.Module, args: Any, kwargs: Any) -> None:
            again.note(args, kwargs, 0)

        handles = [
            part.register_forward_pre_hook(in_this_thread(note), with_kwargs=True)
            for part in module.modules()
            if part is not module and takes_hooks(part)
        ]
        try:
            with torch.no_grad():
                module(example.flip(-1) * 0.5 - 0.25)
        finally:
            for handle in handles:
                handle.remove()
        pairs = zip(self.since, self.tokens, again.tokens, strict=False)
        return [(since, one.shape[1]) for since, one, other in pairs if torch.equal(one, other)]

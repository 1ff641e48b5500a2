"""A classifier for each seat: methods hook it, so that two that have begun can't share one. Weights are shared."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from maskwise.classifiers import Classifier
from maskwise.web.waiting_line import Ticket

KEPT = 12  # copies: three classifiers on four seats


def sharing_weights(classifier: Classifier) -> Classifier:
    """A copy whose modules are its own and whose weights are the same memory."""
    shared = {id(p): nn.Parameter(p.data, requires_grad=p.requires_grad) for p in classifier.parameters()}
    shared |= {id(buffer): buffer for buffer in classifier.buffers()}  # type: ignore[misc]
    return copy.deepcopy(classifier, dict(shared))


class Copies:
    """Gives a seat its own copy; of a network that can't be copied the only one, to one seat at a time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int], tuple[Classifier, Classifier | None]] = OrderedDict()
        self._making = threading.Lock()
        self._only = threading.Lock()

    @contextmanager
    def for_seat(self, classifier: Classifier, ticket: Ticket) -> Iterator[Classifier]:
        """The classifier that a ticket may hook.

        Raises:
            Stopped: the visitor cancelled while another one had the only one.
        """
        own = self._copy(classifier, ticket.seat or 0)
        if own is not None:
            yield own
            return
        while not self._only.acquire(blocking=False):
            ticket.give_way()
        try:
            yield classifier
        finally:
            self._only.release()

    def _copy(self, classifier: Classifier, seat: int) -> Classifier | None:
        key = (id(classifier), seat)
        with self._making:
            if key not in self._kept:
                try:
                    made: Classifier | None = sharing_weights(classifier)
                except Exception:
                    made = None
                # The classifier itself is kept, too: its identity is the key.
                self._kept[key] = (classifier, made)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key][1]

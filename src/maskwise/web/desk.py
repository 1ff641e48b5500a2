"""Where a job becomes a ticket of the line: with a classifier of its own, and its time noted for those who wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from maskwise.classifiers import Classifier
from maskwise.core.own_thread import in_this_thread
from maskwise.web.copies import Copies
from maskwise.web.job import ExplainJob
from maskwise.web.usual_time import UsualTime
from maskwise.web.waiting_line import Ticket, WaitingLine


class Desk:
    """Takes jobs.

    Args:
        line: where they wait and work.
    """

    def __init__(self, line: WaitingLine) -> None:
        self.line, self.copies, self.usual = line, Copies(), UsualTime()

    def take(self, visitor: str, job: ExplainJob) -> Ticket:
        """A ticket whose items will be the job's answers.

        Args:
            visitor: whose job it is.
            job: its classifier is the one that all visitors share.

        Raises:
            InputError: the line is full.
        """
        kinds = [job.kind(method) for method in job.methods]

        def work(ticket: Ticket) -> None:
            with self.copies.for_seat(job.classifier, ticket) as own, before_every_forward(own, ticket.tell):
                before = ticket.clock()
                for kind, answer in zip(
                    kinds, replace(job, classifier=own).answers(ticket.tell, ticket.clock), strict=True
                ):
                    ticket.items.append(answer)
                    self.usual.note(kind, ticket.clock() - before)
                    before = ticket.clock()

        return self.line.join(visitor, work, sum(map(self.usual.expected, kinds)))


@contextmanager
def before_every_forward(classifier: Classifier, step: Callable[[], None]) -> Iterator[None]:
    """While open, ``step`` is called before each forward of this thread's.

    So any method stops, and lets others work, after one forward at most, whether it says how far it is or not: within
    SESS, say, RISE takes thousands of them for the first few windows.
    """
    handle = classifier.module.register_forward_pre_hook(in_this_thread(lambda module, inputs: step()))
    try:
        yield
    finally:
        handle.remove()

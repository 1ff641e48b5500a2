"""The line: order, fairness, the end on demand, time limits; and real methods in it beside each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

import maskwise
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.web.copies import sharing_weights
from maskwise.web.desk import Desk
from maskwise.web.job import ExplainJob
from maskwise.web.usual_time import UsualTime
from maskwise.web.waiting_line import Progress, Stopped, Ticket, WaitingLine


@pytest.fixture
def lines() -> Iterator[Callable[..., WaitingLine]]:
    made: list[WaitingLine] = []

    def make(**options: float) -> WaitingLine:
        made.append(WaitingLine(**options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for line in made:
        line.close()


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def busy(steps: int, order: list[str], name: str) -> Callable[[Ticket], None]:
    """Work of so many steps of 10 ms."""

    def work(ticket: Ticket) -> None:
        for i in range(steps):
            time.sleep(0.01)
            ticket.tell(Progress(name, (i + 1) / steps))
        order.append(name)

    return work


def test_one_works_at_a_time_and_a_slow_one_lets_a_quick_one_through(lines: Callable[..., WaitingLine]) -> None:
    line, order = lines(seats=2, slice_=0.05), list[str]()
    slow = line.join("a", busy(300, order, "slow"), 3)
    until(lambda: slow.progress.share > 0)
    began = time.monotonic()
    quick = line.join("b", busy(2, order, "quick"), 0.02)
    until(lambda: quick.done)
    assert time.monotonic() - began < 1.0 and order == ["quick"] and not slow.done
    until(lambda: slow.done)
    assert order == ["quick", "slow"] and slow.error is None
    # What the others' turns took is not counted as this one's work.
    assert 3.0 <= slow.used < 3.0 + 1.5


def test_two_never_work_at_the_same_moment(lines: Callable[..., WaitingLine]) -> None:
    line, inside, most = lines(seats=4, slice_=0.0), [0], [0]

    def work(ticket: Ticket) -> None:
        for _ in range(30):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.001)
            inside[0] -= 1
            ticket.tell()

    tickets = [line.join(f"v{i}", work, 1) for i in range(6)]
    until(lambda: all(t.done for t in tickets))
    assert most == [1] and all(t.error is None for t in tickets)


def test_places_and_estimates(lines: Callable[..., WaitingLine]) -> None:
    line, hold = lines(seats=1), threading.Event()
    first = line.join("a", lambda ticket: hold.wait(20) and None, 10)
    until(lambda: first.seat is not None)
    second, third = line.join("b", lambda t: None, 5), line.join("c", lambda t: None, 7)
    assert line.place(first) is None
    place = line.place(second)
    assert place is not None and place.number == 1 and place.seconds == pytest.approx(15, abs=1)
    place = line.place(third)
    assert place is not None and place.number == 2 and place.seconds == pytest.approx(22, abs=1)
    line.leave(second)
    assert second.done and isinstance(second.error, Stopped)
    place = line.place(third)
    assert place is not None and place.number == 1 and place.seconds == pytest.approx(17, abs=1)
    hold.set()
    until(lambda: third.done)


def test_what_is_left_of_a_request(lines: Callable[..., WaitingLine]) -> None:
    ticket = Ticket("a", lambda t: None, 10, lines())
    assert ticket.remaining() == 10
    ticket.used = 4
    assert ticket.remaining() == 6
    ticket.used = 30
    assert ticket.remaining() == 30, "as long again: nothing tells better"
    ticket.progress = Progress("", 0.75)
    assert ticket.remaining() == pytest.approx(10)


def test_a_bar_never_goes_back(lines: Callable[..., WaitingLine]) -> None:
    """A method may find on the way that there is more to do than it had said."""
    shown = list[tuple[str, float]]()

    def work(ticket: Ticket) -> None:
        for text, share in (("a", 0.3), ("a", 0.45), ("b", 0.2), ("b", 0.5)):
            ticket.tell(Progress(text, share))
            shown.append((ticket.progress.text, ticket.progress.share))

    ticket = lines().join("a", work, 1)
    until(lambda: ticket.done)
    assert shown == [("a", 0.3), ("a", 0.45), ("b", 0.45), ("b", 0.5)]


def test_a_real_job_s_bar_never_goes_back(tiny: Classifier, lines: Callable[..., WaitingLine]) -> None:
    sess = {"scales": 3, "prefilter": 0.5}
    job, shares = ExplainJob(torch.rand(3, 40, 56), tiny, ["grad_cam", "gradient"], "2", sess, True), list[float]()

    def work(ticket: Ticket) -> None:
        def tell(progress: Progress) -> None:
            ticket.tell(progress)
            shares.append(ticket.progress.share)

        ticket.items.extend(job.answers(tell))

    ticket = lines().join("a", work, 1)
    until(lambda: ticket.done)
    assert ticket.error is None and len(ticket.items) == 2
    assert len(shares) > 10 and shares == sorted(shares) and shares[0] >= 0 and shares[-1] <= 1


def test_a_visitor_can_not_fill_the_line(lines: Callable[..., WaitingLine]) -> None:
    line, hold = lines(seats=1, waiting=4, each=3, slice_=0.01), threading.Event()

    def held(ticket: Ticket) -> None:
        while not hold.is_set():
            time.sleep(0.002)
            ticket.tell()

    mine = [line.join("a", held, 1) for _ in range(3)]
    until(lambda: mine[0].seat is not None)
    with pytest.raises(InputError, match="3 requests of yours are in line"):
        line.join("a", held, 1)
    line.leave(mine[2])
    line.join("a", held, 1)
    for other in ("b", "c"):
        line.join(other, held, 1)
    with pytest.raises(InputError, match="too many visitors"):
        line.join("d", held, 1)
    hold.set()


def test_who_has_a_seat_comes_after_those_who_have_none(lines: Callable[..., WaitingLine]) -> None:
    line, hold = lines(seats=2, slice_=0.01), threading.Event()

    def held(ticket: Ticket) -> None:
        while not hold.is_set():
            time.sleep(0.002)
            ticket.tell()

    first, second = line.join("a", held, 1), line.join("b", held, 1)
    until(lambda: first.seat is not None and second.seat is not None)
    again, other = line.join("a", held, 1), line.join("c", held, 1)
    line.leave(second)
    until(lambda: other.seat is not None)
    assert again.seat is None
    line.leave(other)
    until(lambda: again.seat is not None)  # nobody else waits: then it may
    hold.set()


def test_the_time_limit(lines: Callable[..., WaitingLine]) -> None:
    line = lines(limit=0.2)
    ticket = line.join("a", busy(1000, [], "long"), 10)
    until(lambda: ticket.done)
    assert isinstance(ticket.error, InputError) and "0.2 s of work" in str(ticket.error)
    assert 0.2 <= ticket.used < 2


def test_an_unexpected_error_is_logged_and_the_seat_goes_on(
    lines: Callable[..., WaitingLine], caplog: pytest.LogCaptureFixture
) -> None:
    line = lines(seats=1)
    bad = line.join("a", lambda ticket: 1 / 0 and None, 1)
    until(lambda: bad.done)
    assert isinstance(bad.error, InputError) and "log" in str(bad.error)
    assert "ZeroDivisionError" in caplog.text
    good = line.join("a", lambda ticket: None, 1)
    until(lambda: good.done)
    assert good.error is None


def test_a_storm_of_cancels_leaves_the_line_whole(lines: Callable[..., WaitingLine]) -> None:
    line = lines(seats=3, slice_=0.001)
    tickets = []
    for i in range(200):
        ticket = line.join(f"v{i}", busy(1000, [], "x"), 10)
        tickets.append(ticket)
        if i % 3:
            time.sleep(0.002)
        line.leave(ticket)
    until(lambda: all(t.done for t in tickets))
    assert all(isinstance(t.error, Stopped) for t in tickets)
    last = line.join("last", lambda t: None, 1)
    until(lambda: last.done)
    assert last.error is None


def test_the_usual_time_is_learned() -> None:
    usual = UsualTime()
    assert usual.expected("rise") > 0
    for _ in range(30):
        usual.note("rise", 40.0)
        usual.note("gradient", 0.2)
    assert usual.expected("rise") == pytest.approx(40) and usual.expected("gradient") == pytest.approx(0.2)
    assert usual.expected("new") == pytest.approx(20.1)


# Real methods


def test_a_copy_shares_weights_and_nothing_else(tiny: Classifier) -> None:
    own = sharing_weights(tiny)
    pairs = list(zip(tiny.parameters(), own.parameters(), strict=True))
    assert all(a is not b and a.data_ptr() == b.data_ptr() for a, b in pairs)
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(tiny.buffers(), own.buffers(), strict=True))
    assert not set(map(id, tiny.modules())) & set(map(id, own.modules()))
    next(own.parameters()).requires_grad_(False)
    assert next(tiny.parameters()).requires_grad
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(own(images), tiny(images))


def test_methods_in_turns_give_what_they_give_alone(tiny: Classifier, lines: Callable[..., WaitingLine]) -> None:
    """Slices of no length: they change over at every step, so that each has its hooks in while the others work."""
    desk = Desk(lines(seats=4, slice_=0.0))
    images = torch.rand(6, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    wanted = ["guided_backprop", "occlusion", "lrp", "grad_cam", "smooth_grad", "feedback"]
    sess = {"scales": 2, "prefilter": 0.0}
    jobs = [ExplainJob(image, tiny, [m], "2", sess) for image, m in zip(images, wanted, strict=True)]
    tickets = [desk.take(f"v{i}", job) for i, job in enumerate(jobs)]
    until(lambda: all(t.done for t in tickets), 60)
    for image, method, ticket in zip(images, wanted, tickets, strict=True):
        assert ticket.error is None
        alone = maskwise.SESS(maskwise.explainer(method, tiny), **sess)(image[None], "2")[0]
        assert torch.equal(ticket.items[0].map, alone), method
    assert not any(m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in tiny.modules())


@pytest.mark.parametrize("method", ["rise", "occlusion", "smooth_grad", "extremal_perturbation", "xrai"])
@pytest.mark.parametrize("sess", [None, {"scales": 12, "stride": 1}])
def test_a_job_can_be_stopped_within_a_method(
    tiny: Classifier, lines: Callable[..., WaitingLine], method: str, sess: dict[str, float] | None
) -> None:
    desk = Desk(lines(seats=1))
    forwards, own = [], desk.copies._copy(tiny, 0)
    assert own is not None
    own.module.register_forward_pre_hook(lambda module, inputs: forwards.append(1))
    ticket = desk.take("a", ExplainJob(torch.rand(3, 40, 40), tiny, [method], sess=sess))
    until(lambda: len(forwards) > 2)
    desk.line.leave(ticket)
    count = len(forwards)
    until(lambda: ticket.done, 5)
    assert isinstance(ticket.error, Stopped) and len(forwards) <= count + 2
    # The next visitor's job begins, and nothing of the stopped one is left in the classifier.
    image = torch.rand(3, 40, 40)
    after = desk.take("b", ExplainJob(image, tiny, ["gradient"]))
    until(lambda: after.done)
    assert torch.equal(after.items[0].map, maskwise.explainer("gradient", tiny)(image[None])[0])


def test_a_network_that_can_not_be_copied_is_one_visitor_s_at_a_time(
    tiny: Classifier, lines: Callable[..., WaitingLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(classifier: Classifier) -> Classifier:
        raise RuntimeError("it has a lock")

    monkeypatch.setattr("maskwise.web.copies.sharing_weights", no)
    desk = Desk(lines(seats=3, slice_=0.0))
    images = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    tickets = [desk.take(f"v{i}", ExplainJob(image, tiny, ["smooth_grad"], "1")) for i, image in enumerate(images)]
    until(lambda: all(t.done for t in tickets), 60)
    for image, ticket in zip(images, tickets, strict=True):
        assert ticket.error is None
        assert torch.equal(ticket.items[0].map, maskwise.explainer("smooth_grad", tiny)(image[None], "1")[0])

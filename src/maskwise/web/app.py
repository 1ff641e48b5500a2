"""The page itself, in Gradio: what is on it, and what happens when."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import gradio as gr
from gradio.data_classes import GradioRootModel
from torch import Tensor

from maskwise.classifiers import Classifier, load_classifier
from maskwise.core.errors import InputError
from maskwise.core.precision import Precision
from maskwise.explainers import methods
from maskwise.images import packaged_pictures, to_bytes
from maskwise.web.calls import Calls, Event, ignored, number, offered, selected, sent_file, some_of, switch, text
from maskwise.web.desk import Desk
from maskwise.web.job import ExplainJob, check_reads_pictures, probabilities
from maskwise.web.panel import answers_panel, preview, status, waiting
from maskwise.web.pictures import open_picture
from maskwise.web.uploads import Uploads
from maskwise.web.visitors import visitor_of
from maskwise.web.waiting_line import WAITING, Stopped, Ticket, WaitingLine

MOST_METHODS = 4
SESSIONS = 200  # whose pictures are kept, at most 3 MB each
MINUTES = 10  # that a picture stays in the memory of an idle session
BREATH = 0.1  # seconds between two looks at a job
SOON = 0.25  # seconds after which a visitor whose request works is told of a change; each time costs milliseconds
OFTEN = 1.5  # the same for one who waits, and for all where nothing changed: only then a browser that left is noticed
LEFT = 10.0  # seconds without a stream that anybody reads, after which a visitor has left
SCALES, PREFILTER = (1, 12), (0.0, 0.99)
TOP = "its top class"
INTRO = """# Which pixels does the classifier use?
Drop a picture, choose up to four methods, press **Explain**. Your picture stays in this session's memory only, and
is gone when you leave."""


@lru_cache(maxsize=3)
def load_once(name: str) -> Classifier:
    """A classifier by name, kept for the next visitor."""
    return load_classifier(name)


@dataclass(eq=False)
class Press:
    """One press of Explain: its place in the line, once it has one, and whether it was taken back."""

    ticket: Ticket | None = None
    stopped: bool = False


class Token(GradioRootModel):
    """The name of an upload."""

    root: str


@dataclass
class WebPage:
    """A page and what its server must know of it.

    Attributes:
        blocks: Gradio's.
        calls: what its events take.
        uploads: where the server puts what visitors send.
        listening: how many streams each session reads, as the server counts them.
        line: where visitors wait.
    """

    blocks: gr.Blocks
    calls: Calls
    uploads: Uploads
    line: WaitingLine
    listening: Counter[str] = field(default_factory=Counter)


def page(
    classifiers: Sequence[str],
    chosen: Sequence[str] = ("distilled", "grad_cam"),
    load: Callable[[str], Classifier] = load_once,
    precision: Precision = "fp32",
    line: WaitingLine | None = None,
) -> WebPage:
    """The page.

    Args:
        classifiers: names that a visitor may choose among; the first is chosen.
        chosen: methods that are chosen at first.
        load: gives the classifier of a name, the same one each time.
        precision: of the methods' forwards.
        line: where visitors wait; None is one of the usual size.
    """
    examples = packaged_pictures()
    uploads, listening = Uploads(), Counter[str]()
    desk = Desk(line or WaitingLine())
    running: dict[str, Press] = {}

    def loaded(name: str) -> Classifier:
        return check_reads_pictures(load(name))

    def show(image: Tensor | None, name: str) -> tuple[Any, Any, Any]:
        """Preview, class choices and status of a picture."""
        if image is None:
            return gr.skip(), gr.skip(), gr.skip()
        try:
            classifier = loaded(name)
        except InputError as error:
            return "", gr.skip(), status(str(error), wrong=True)
        found = probabilities(image / 255, classifier)
        best = found.topk(min(5, len(found)))
        top = [(classifier.labels.name(int(i)), float(p)) for p, i in zip(best.values, best.indices, strict=True)]
        choices = [(TOP, TOP), *((label, str(int(i))) for (label, _), i in zip(top, best.indices, strict=True))]
        return preview(image / 255, top), gr.Dropdown(choices=choices, value=TOP), status("")

    def dropped(token: str | None, name: str, request: gr.Request) -> tuple[Any, ...]:
        """The drop zone is empty again at once, since the upload behind it is gone."""
        if token is None:
            return (gr.skip(),) * 5
        try:
            image = to_bytes(open_picture(uploads.take(token, visitor(request))))
        except InputError as error:
            return None, None, "", gr.skip(), status(str(error), wrong=True)
        return None, image, *show(image, name)

    def example(name: str, event: gr.SelectData) -> tuple[Any, ...]:
        image = to_bytes(open_picture(examples[int(event.index)]))
        return image, *show(image, name)

    def end(session: str) -> None:
        if (press := running.get(session)) is not None:
            press.stopped = True
            if press.ticket is not None:
                desk.line.leave(press.ticket)

    async def explain(
        image: Tensor | None, name: str, wanted: list[str], target: str | None, sess: bool, scales: float,
        prefilter: float, with_curves: bool, request: gr.Request,
    ) -> AsyncIterator[tuple[Any, Any]]:  # fmt: skip
        if image is None:
            yield status("Drop a picture first, or choose one of the examples.", wrong=True), gr.skip()
            return
        if not 1 <= len(wanted) <= MOST_METHODS:
            yield status(f"Choose one to {MOST_METHODS} methods.", wrong=True), gr.skip()
            return
        session = str(request.session_hash)
        end(session)  # the press before, if there was one
        press = running[session] = Press()
        try:
            enhance = {"scales": int(scales), "prefilter": float(prefilter)} if sess else None
            asked = None if target in (None, "", TOP) else str(target)
            classifier = await asyncio.to_thread(loaded, name)
            job = ExplainJob(image / 255, classifier, wanted, asked, enhance, with_curves, precision)
            if press.stopped:  # while the classifier was loaded
                raise Stopped
            ticket = press.ticket = desk.take(visitor(request), job)
            async for shown in followed(ticket, job, session):
                yield shown
            yield status("done"), gr.skip()
        except Stopped:
            yield status("cancelled"), gr.skip()
        except InputError as error:
            yield status(str(error), wrong=True), gr.skip()
        finally:
            if press.ticket is not None:
                desk.line.leave(press.ticket)
            if running.get(session) is press:
                del running[session]

    async def followed(ticket: Ticket, job: ExplainJob, session: str) -> AsyncIterator[tuple[Any, Any]]:
        """What a visitor sees of a ticket, until it is done; raises what ended it."""
        count, before, told = 0, "", time.monotonic()
        heard = told
        while True:
            finished, place, now = ticket.done, desk.line.place(ticket), time.monotonic()
            answers = list(ticket.items)
            line = waiting(place) if place else status(ticket.progress.text, ticket.progress.share)
            if len(answers) > count:
                shown = await asyncio.to_thread(answers_panel, job.image, answers, job.classifier.mean.cpu())
                count, before, told = len(answers), line, now
                yield line, shown
            elif not before or now - told > (OFTEN if place or line == before else SOON):
                before, told = line, now
                yield line, gr.skip()
            if finished and len(answers) == len(ticket.items):
                if ticket.error is not None:
                    raise ticket.error
                return
            heard = now if listening[session] else heard
            if now - heard > LEFT:
                raise Stopped
            await asyncio.sleep(BREATH)

    def cancel(request: gr.Request) -> None:
        end(str(request.session_hash))

    hidden: dict[str, Any] = {"api_visibility": "private"}
    with gr.Blocks(title="maskwise", analytics_enabled=False, delete_cache=(30, 60), fill_width=True) as blocks:
        kept = gr.State(None, time_to_live=60 * MINUTES)
        gr.Markdown(INTRO)
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                drop = gr.Image(
                    label="Picture", type="filepath", image_mode=None, sources=["upload", "clipboard"], height=170,
                    buttons=[], elem_id="drop",
                )  # fmt: skip
                # Not by Gradio's own reading: a bad file is our message, not its stack trace. (A subclass would do, but
                # Gradio writes a .pyi file beside every subclass.)
                # What arrives is the upload's token: no file that Gradio could look for.
                drop.data_model = Token  # type: ignore[assignment]
                drop.preprocess = lambda payload: payload and payload.root  # type: ignore
                shown = gr.HTML(elem_id="preview")
                gallery = gr.Gallery(
                    [str(path) for path in examples], show_label=False, columns=len(examples), height=80,
                    allow_preview=False, interactive=False, buttons=[], object_fit="cover", elem_id="examples",
                )  # fmt: skip
                name = gr.Dropdown(list(classifiers), value=classifiers[0], label="Classifier", elem_id="classifier")
                wanted = gr.Dropdown(
                    [(f"{m} · {facts['family']}", m) for m, facts in methods.items()], value=list(chosen),
                    multiselect=True, max_choices=MOST_METHODS, label="Methods, side by side", elem_id="methods",
                )  # fmt: skip
                target = gr.Dropdown(
                    [TOP], value=TOP, allow_custom_value=True, label="Class: one of these, or any name or index",
                    elem_id="class",
                )  # fmt: skip
                sess = gr.Checkbox(label="SESS: sharpen by scaling and sliding", elem_id="sess")
                with gr.Group(visible=False) as settings:
                    scales = gr.Slider(*SCALES, 6, step=1, label="Scales", elem_id="scales")
                    prefilter = gr.Slider(
                        *PREFILTER, 0.9, step=0.01, label="Pre-filter: share of patches left out", elem_id="prefilter"
                    )
                with_curves = gr.Checkbox(label="Insertion and deletion curves (slower)", elem_id="curves")
            with gr.Column(scale=3, min_width=480):
                with gr.Row():
                    go = gr.Button("Explain", variant="primary", elem_id="go", scale=0, min_width=160)
                    stop = gr.Button("Cancel", elem_id="stop", scale=0, min_width=120)
                told = gr.HTML(elem_id="status")
                result = gr.HTML(elem_id="result")

        quiet: dict[str, Any] = {"show_progress": "hidden", **hidden}
        drop.upload(dropped, [drop, name], [drop, kept, shown, target, told], concurrency_limit=2, **quiet)
        gallery.select(example, [name], [kept, shown, target, told], concurrency_limit=2, **quiet)
        name.change(show, [kept, name], [shown, target, told], concurrency_limit=1, **quiet)
        sess.change(lambda on: gr.Group(visible=on), sess, settings, queue=False, **quiet)
        asked = [kept, name, wanted, target, sess, scales, prefilter, with_curves]
        # All at once, as far as Gradio is concerned: the line has its own order, and says it.
        go.click(explain, asked, [told, result], concurrency_limit=None, **quiet)
        stop.click(cancel, None, None, queue=False, **quiet)
        blocks.unload(cancel)
    # As many as the line takes may be followed, and as many again may look at pictures.
    blocks.max_threads, blocks.state_session_capacity = 2 * WAITING, SESSIONS
    blocks.queue(max_size=2 * WAITING, api_open=False, default_concurrency_limit=1)
    one, off = offered("the classifier", classifiers), ignored
    form = [
        off, one, some_of("methods", methods.names()), text("the class"), switch("SESS"), number("scales", *SCALES),
        number("the pre-filter", *PREFILTER), switch("the curves"),
    ]  # fmt: skip
    taken = {
        (drop, "upload"): Event([sent_file, one]),
        (gallery, "select"): Event([one], selected(len(examples))),
        (name, "change"): Event([off, one]),
        (sess, "change"): Event([switch("SESS")], at_once=True),
        (go, "click"): Event(form),
        (stop, "click"): Event([], at_once=True),
    }
    return WebPage(blocks, Calls(_by_number(blocks, taken)), uploads, desk.line, listening)


def _by_number(blocks: gr.Blocks, taken: Mapping[tuple[Any, str], Event]) -> dict[int, Event]:
    """Events by the number that a browser calls them by; those that no browser calls are not among them."""
    by_target = {(part._id, kind): event for (part, kind), event in taken.items()}
    found = {
        which: by_target[target] for which, fn in blocks.fns.items() for target in fn.targets if target in by_target
    }
    assert len(found) == len(taken), "an event of the page has no check"
    return found


def visitor(request: gr.Request) -> str:
    """Whose request it is."""
    address = request.client.host if request.client else "nobody"
    return visitor_of([request.headers.get("cookie", "")], address)

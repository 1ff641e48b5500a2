"""The page itself, in Gradio: what is on it, and what happens when."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import gradio as gr
from gradio.data_classes import GradioRootModel

from maskwise.classifiers import Classifier, load_classifier
from maskwise.core.errors import InputError
from maskwise.core.precision import Precision
from maskwise.explainers import methods
from maskwise.explainers.first_choice import first_choices
from maskwise.images import packaged_pictures
from maskwise.web.calls import Calls, Event, ignored, number, offered, selected, sent_file, some_of, switch, text
from maskwise.web.desk import Desk
from maskwise.web.job import Asked, best_guesses, check_reads_pictures
from maskwise.web.options import LONGEST_OPTIONS, read_options
from maskwise.web.panel import answers_panel, preview, status, waiting, working
from maskwise.web.pictures import Picture, open_picture
from maskwise.web.results import Result, Results, slim
from maskwise.web.script import page_script
from maskwise.web.uploads import Uploads
from maskwise.web.visitors import visitor_of
from maskwise.web.waiting_line import WAITING, Stopped, Ticket, WaitingLine

MOST_METHODS = 4
FIRST_METHODS = 2  # chosen at first
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
is gone when you leave; this page's address keeps the settings, not the picture."""
# What the browser does itself before it sends the values: maps on the page are of the past.
OLD = "(...values) => { maskwise.old(); return values; }"
ASKED = "(...values) => { maskwise.asked(); return values; }"


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
        line: where visitors wait.
        results: what visitors may download.
        script: what the browser does itself.
        listening: how many streams each session reads, as the server counts them.
    """

    blocks: gr.Blocks
    calls: Calls
    uploads: Uploads
    line: WaitingLine
    results: Results
    script: str
    listening: Counter[str] = field(default_factory=Counter)


def page(
    classifiers: Sequence[str],
    chosen: Sequence[str] | None = None,
    load: Callable[[str], Classifier] = load_once,
    precision: Precision = "fp32",
    line: WaitingLine | None = None,
) -> WebPage:
    """The page.

    Args:
        classifiers: names that a visitor may choose among; the first is chosen.
        chosen: methods that are chosen at first; None is the first few that the first classifier allows.
        load: gives the classifier of a name, the same one each time.
        precision: of the methods' forwards.
        line: where visitors wait; None is one of the usual size.
    """
    chosen = first_choices(load(classifiers[0]), FIRST_METHODS) if chosen is None else chosen
    examples = packaged_pictures()
    uploads, listening, results = Uploads(), Counter[str](), Results()
    desk = Desk(line or WaitingLine())
    running: dict[str, Press] = {}

    def loaded(name: str) -> Classifier:
        return check_reads_pictures(load(name))

    def look(picture: Picture | None, name: str, target: str | None) -> tuple[Any, ...]:
        """Picture, preview, class choices, status and (no) maps, once the classifier has seen the picture."""
        if picture is None:
            return (gr.skip(),) * 5
        try:
            classifier = loaded(name)
        except InputError as error:
            return picture, "", gr.skip(), status(str(error), wrong=True), ""
        found = best_guesses(picture.unit, classifier)
        top = [(classifier.labels.name(i), p) for i, p in found]
        names = [classifier.labels.nameable(i) for i, _ in found]
        # A class that was offered for the picture before says nothing about this one; one that was typed stays.
        kept = TOP if not target or target in picture.offered else target
        choices = [(TOP, TOP), *((label, value) for (label, _), value in zip(top, names, strict=True))]
        seen = replace(picture, offered=tuple(names))
        return seen, preview(seen, top), gr.Dropdown(choices=choices, value=kept), status(""), ""

    def fresh(picture: Picture, before: Picture | None, name: str, target: str | None, session: str) -> tuple[Any, ...]:
        end(session)  # what is at work is of the picture before
        return look(replace(picture, offered=before.offered if before else ()), name, target)

    def dropped(
        token: str | None, before: Picture | None, name: str, target: str | None, request: gr.Request
    ) -> tuple[Any, ...]:
        """The drop zone is empty again at once, since the upload behind it is gone."""
        if token is None:
            return (gr.skip(),) * 6
        try:
            picture = open_picture(*uploads.take(token, visitor(request)))
        except InputError as error:
            end(str(request.session_hash))
            return None, None, "", gr.skip(), status(str(error), wrong=True), ""
        return None, *fresh(picture, before, name, target, str(request.session_hash))

    def example(
        before: Picture | None, name: str, target: str | None, event: gr.SelectData, request: gr.Request
    ) -> tuple[Any, ...]:
        picture = open_picture(examples[int(event.index)])
        return fresh(picture, before, name, target, str(request.session_hash))

    def switched(picture: Picture | None, name: str, target: str | None, request: gr.Request) -> tuple[Any, ...]:
        end(str(request.session_hash))
        return look(picture, name, target)

    def end(session: str) -> None:
        if (press := running.get(session)) is not None:
            press.stopped = True
            if press.ticket is not None:
                desk.line.leave(press.ticket)

    async def explain(
        picture: Picture | None, name: str, wanted: list[str], target: str | None, sess: bool, scales: float,
        prefilter: float, with_curves: bool, options: str | None, request: gr.Request,
    ) -> AsyncIterator[tuple[Any, Any]]:  # fmt: skip
        session = str(request.session_hash)
        end(session)  # the press before, if there was one, says no more
        press = running[session] = Press()
        yield status("begins"), ""  # maps of the press before are gone before anything can go wrong
        try:
            if picture is None:
                raise InputError("Drop a picture first, or choose one of the examples.")
            if not 1 <= len(wanted) <= MOST_METHODS:
                raise InputError(f"Choose one to {MOST_METHODS} methods.")
            enhance = {"scales": int(scales), "prefilter": float(prefilter)} if sess else None
            named = None if target in (None, "", TOP) else str(target)
            asked = Asked(wanted, named, enhance, with_curves, read_options(options, wanted))
            classifier = await asyncio.to_thread(loaded, name)
            if named is not None:
                classifier.labels.resolve(named)  # what is no class is said before there is work
            if press.stopped:  # while the classifier was loaded
                raise Stopped
            ticket = press.ticket = desk.take(visitor(request), asked.job(picture.unit, classifier, precision))
            colour, said = classifier.mean.cpu(), f"{name} · {asked.said()}"
            drawn = partial(answers_panel, picture, colour=colour, said=said, whole=len(wanted))
            async for shown in followed(ticket, session, drawn):
                if press.stopped:  # while it was drawn: another picture may be on the page by now
                    raise Stopped
                yield shown
            facts = {"classifier": name, **asked.facts()}
            token = results.keep(visitor(request), Result(picture, list(map(slim, ticket.items)), colour, facts))
            if press.stopped:
                raise Stopped
            yield status("done"), drawn(ticket.items, download=f"result/{token}.zip")
        except Stopped:
            if running.get(session) is press:  # after a newer press the page is that one's
                yield status("cancelled"), gr.skip()
        except InputError as error:
            yield status(str(error), wrong=True), gr.skip()
        finally:
            if press.ticket is not None:
                desk.line.leave(press.ticket)
            if running.get(session) is press:
                del running[session]

    async def followed(ticket: Ticket, session: str, drawn: Callable[..., str]) -> AsyncIterator[tuple[Any, Any]]:
        """What a visitor sees of a ticket, until it is done; raises what ended it."""
        count, before, told = 0, "", time.monotonic()
        heard = told
        while True:
            finished, place, now = ticket.done, desk.line.place(ticket), time.monotonic()
            answers = list(ticket.items)
            line = waiting(place) if place else working(ticket.progress, ticket.remaining())
            if len(answers) > count:
                shown = await asyncio.to_thread(drawn, answers)
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
            with gr.Column(scale=1, min_width=300, elem_id="form"):
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
                    methods.names(), value=list(chosen), multiselect=True, max_choices=MOST_METHODS,
                    label="Methods, side by side", elem_id="methods",
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
                options = gr.Textbox(
                    label="Options of the methods", placeholder="rise.masks=1000, grad_cam.layer=blocks.5", lines=1,
                    elem_id="options",
                )  # fmt: skip
                gr.HTML('<p id="option-help"></p>')
            with gr.Column(scale=3, min_width=300, elem_id="answers"):
                with gr.Row(elem_id="press"):
                    go = gr.Button("Explain", variant="primary", elem_id="go", scale=0, min_width=160)
                    stop = gr.Button("Cancel", elem_id="stop", scale=0, min_width=120)
                told = gr.HTML(elem_id="status")
                result = gr.HTML(elem_id="result")

        quiet: dict[str, Any] = {"show_progress": "hidden", **hidden}
        looked = [kept, shown, target, told, result]
        drop.upload(dropped, [drop, kept, name, target], [drop, *looked], concurrency_limit=2, js=OLD, **quiet)
        gallery.select(example, [kept, name, target], looked, concurrency_limit=2, js=OLD, **quiet)
        name.change(switched, [kept, name, target], looked, concurrency_limit=1, js=OLD, **quiet)
        sess.change(lambda on: gr.Group(visible=on), sess, settings, queue=False, **quiet)
        form: list[Any] = [name, wanted, target, sess, scales, prefilter, with_curves, options]
        # All at once, as far as Gradio is concerned: the line has its own order, and says it.
        # A press while another is at work takes its place; by Gradio's own rule it would be lost without a word.
        go.click(
            explain, [kept, *form], [told, result], concurrency_limit=None, js=ASKED, trigger_mode="multiple", **quiet
        )  # fmt: skip
        stop.click(cancel, None, None, queue=False, **quiet)
        blocks.unload(cancel)
        # The browser alone: no request is made.
        for part in form:
            part.change(None, form, None, js="(...values) => { maskwise.changed(...values); }", **hidden)
        blocks.load(None, None, form, js="() => maskwise.restored()", **hidden)
    # As many as the line takes may be followed, and as many again may look at pictures.
    blocks.max_threads, blocks.state_session_capacity = 2 * WAITING, SESSIONS
    blocks.queue(max_size=2 * WAITING, api_open=False, default_concurrency_limit=1)
    one, off, named = offered("the classifier", classifiers), ignored, text("the class")
    fields = [
        one, some_of("methods", methods.names()), named, switch("SESS"), number("scales", *SCALES),
        number("the pre-filter", *PREFILTER), switch("the curves"), text("the options", LONGEST_OPTIONS),
    ]  # fmt: skip
    taken = {
        (drop, "upload"): Event([sent_file, off, one, named]),
        (gallery, "select"): Event([off, one, named], selected(len(examples))),
        (name, "change"): Event([off, one, named]),
        (sess, "change"): Event([switch("SESS")], at_once=True),
        (go, "click"): Event([off, *fields]),
        (stop, "click"): Event([], at_once=True),
    }
    usual = [part.value for part in form]
    bounds = {"most": MOST_METHODS, "scales": SCALES, "prefilter": PREFILTER}
    script = page_script(list(classifiers), usual, bounds)
    return WebPage(blocks, Calls(_by_number(blocks, taken)), uploads, desk.line, results, script, listening)


def _by_number(blocks: gr.Blocks, taken: Mapping[tuple[Any, str], Event]) -> dict[int, Event]:
    """Events by the number that a browser calls them by; those that no browser calls are not among them."""
    by_target = {(part._id, kind): event for (part, kind), event in taken.items()}
    found = {
        which: by_target[target]
        for which, fn in blocks.fns.items()
        for target in fn.targets
        if fn.fn is not None and target in by_target  # others are the browser's alone
    }
    assert len(found) == len(taken), "an event of the page has no check"
    return found


def visitor(request: gr.Request) -> str:
    """Whose request it is."""
    address = request.client.host if request.client else "nobody"
    return visitor_of([request.headers.get("cookie", "")], address)

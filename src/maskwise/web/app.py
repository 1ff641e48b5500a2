"""The page itself, in Gradio: what is on it, and what happens when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from torch import Tensor

from maskwise.classifiers import Classifier, load_classifier
from maskwise.core.errors import InputError
from maskwise.core.precision import Precision
from maskwise.explainers import methods
from maskwise.images import packaged_pictures
from maskwise.web.job import ExplainJob, JobProgress, Stopped, probabilities
from maskwise.web.panel import answers_panel, preview, status
from maskwise.web.pictures import MAX_BYTES, open_picture, take

MOST_METHODS = 4
WAITING = 16  # jobs in the queue; later visitors are told that it is full
MINUTES = 10  # that a picture stays in the memory of an idle session
TOP = "its top class"
INTRO = """# Which pixels does the classifier use?
Drop a picture, choose up to four methods, press **Explain**. Your picture stays in this session's memory only, and
is gone when you leave."""


@lru_cache(maxsize=3)
def load_once(name: str) -> Classifier:
    """A classifier by name, kept for the next visitor."""
    return load_classifier(name)


def page(
    classifiers: Sequence[str],
    chosen: Sequence[str] = ("casm", "grad_cam"),
    load: Callable[[str], Classifier] = load_once,
    precision: Precision = "fp32",
) -> gr.Blocks:
    """The page.

    Args:
        classifiers: names that a visitor may choose among; the first is chosen.
        chosen: methods that are chosen at first.
        load: gives the classifier of a name, the same one each time.
        precision: of the methods' forwards.
    """
    examples = packaged_pictures()
    running: dict[str, threading.Event] = {}

    def show(image: Tensor | None, name: str) -> tuple[Any, Any, Any]:
        """Preview, class choices and status of a picture."""
        if image is None:
            return gr.skip(), gr.skip(), gr.skip()
        labels, found = load(name).labels, probabilities(image, load(name))
        best = found.topk(min(5, len(labels)))
        top = [(labels.name(int(i)), float(p)) for p, i in zip(best.values, best.indices, strict=True)]
        choices = [(TOP, TOP), *((label, str(int(i))) for (label, _), i in zip(top, best.indices, strict=True))]
        return preview(image, top), gr.Dropdown(choices=choices, value=TOP), status("")

    def dropped(path: str | None, name: str) -> tuple[Any, ...]:
        """The drop zone is empty again at once, since the file behind it is gone."""
        if path is None:
            return (gr.skip(),) * 5
        try:
            image = take(path, get_upload_folder())
        except InputError as error:
            return None, None, "", gr.skip(), status(str(error), wrong=True)
        return None, image, *show(image, name)

    def example(name: str, event: gr.SelectData) -> tuple[Any, ...]:
        image = open_picture(examples[int(event.index)])
        return image, *show(image, name)

    def explain(
        image: Tensor | None, name: str, wanted: list[str], target: str | None, sess: bool, scales: float,
        prefilter: float, with_curves: bool, request: gr.Request,
    ) -> Iterator[tuple[Any, Any]]:  # fmt: skip
        if image is None:
            yield status("Drop a picture first, or choose one of the examples.", wrong=True), gr.skip()
            return
        if not 1 <= len(wanted) <= MOST_METHODS:
            yield status(f"Choose one to {MOST_METHODS} methods.", wrong=True), gr.skip()
            return
        session, answers = str(request.session_hash), []
        if session in running:
            running[session].set()
        try:
            enhance = {"scales": int(scales), "prefilter": float(prefilter)} if sess else None
            asked = None if target in (None, "", TOP) else str(target)
            job = ExplainJob(image, load(name), wanted, asked, enhance, with_curves, precision)
            running[session] = job.stop
            for item in job.run():
                if isinstance(item, JobProgress):
                    yield status(item.text, item.share), gr.skip()
                else:
                    answers.append(item)
                    share = len(answers) / len(wanted)
                    yield status("", share), answers_panel(image, answers, job.classifier.mean.cpu())
            yield status("done"), gr.skip()
        except Stopped:
            yield status("cancelled"), gr.skip()
        except InputError as error:
            yield status(str(error), wrong=True), gr.skip()
        finally:
            running.pop(session, None)

    def cancel(request: gr.Request) -> None:
        if str(request.session_hash) in running:
            running[str(request.session_hash)].set()

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
                drop.preprocess = lambda payload: None if payload is None else payload.path  # type: ignore[method-assign]
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
                    scales = gr.Slider(1, 12, 6, step=1, label="Scales", elem_id="scales")
                    prefilter = gr.Slider(
                        0, 0.99, 0.9, step=0.01, label="Pre-filter: share of patches left out", elem_id="prefilter"
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
        # Two at once, so that a visitor may cancel while another one's job runs; jobs themselves run one by one.
        go.click(explain, asked, [told, result], concurrency_limit=2, **quiet)
        stop.click(cancel, None, None, queue=False, **quiet)
        blocks.unload(cancel)
    queued: gr.Blocks = blocks.queue(max_size=WAITING, api_open=False, default_concurrency_limit=1)
    return queued


def launch(blocks: gr.Blocks, host: str, port: int, wait: bool = True) -> str:
    """Serves the page; returns its address once it listens, and where it waits, at the end.

    Raises:
        InputError: the port is taken.
    """
    style = (resources.files("maskwise.web") / "style.css").read_text(encoding="utf-8")
    plain = ["system-ui", "sans-serif"]
    theme = gr.themes.Default(primary_hue="emerald", font=plain, font_mono=["ui-monospace", "monospace"])
    try:
        _, address, _ = blocks.launch(
            server_name=host, server_port=port, prevent_thread_lock=not wait, share=False, quiet=True, show_error=False,
            max_file_size=MAX_BYTES, footer_links=[], ssr_mode=False, pwa=False, mcp_server=False, theme=theme,
            css=style, enable_monitoring=False, run_history=False, state_session_capacity=200, inbrowser=False,
        )  # fmt: skip
    except OSError:
        raise InputError(f"port {port} is taken on {host}: give another `port`") from None
    return address

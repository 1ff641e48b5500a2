"""The page of a training: its curves are the log's, its words are true, and a real browser shows it from a file."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from browser import opened
from conftest import tiny_net

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.training import Callback, Recipe, TrainingState, train
from maskwise.training.guard import Guard
from maskwise.training.watch import warnings as early
from maskwise.training.watch.charts import POINTS, block_means, charts
from maskwise.training.watch.page import command_line, read_log
from maskwise.training.watch.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, chart_svg, legend, log_ticks, ticks

RECIPE = Recipe(title="Small <one>", steps=4, batch_size=4, fraction=1.0, input_size=32, thinning="L100", seed=3)


def run(out: Path, data: str | Path = "shapes:n=12,size=40,labels=own", **options: Any) -> Path:
    recipe = options.pop("recipe", RECIPE)
    tiny = Classifier(tiny_net(classes=8), input_size=32, name="tiny")
    return train(recipe, data, classifier=tiny, out=out, device="cpu", **options)


def page(out: Path) -> str:
    text = (out / "index.html").read_text(encoding="utf-8")
    Whole(text)
    return text


class Whole(HTMLParser):
    """Every element that is opened is closed, in order; nothing is loaded from elsewhere and no script runs."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe")
        for name, value in attributes:
            assert not name.startswith("on") and not (name in ("src", "href") and not (value or "").startswith("data:"))
        if tag not in self.VOID and not (self.open and "svg" in self.open and tag in ("path", "polyline", "circle")):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "polyline", "circle"):
            assert self.open.pop() == tag


# ---- curves -----------------------------------------------------------------------------------------------------


def points(svg: str, line: int = 0) -> list[tuple[float, float]]:
    root = ElementTree.fromstring(svg)
    found = [e.attrib["points"] for e in root if e.tag == "polyline"][line]
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in found.split())]


def test_a_curve_is_drawn_where_its_axes_say() -> None:
    """From 10% at the first step to 50% at the last; the tick of a value lies at the height of its point."""
    (chart,) = charts([{"step": 1, "area": 0.1}, {"step": 51, "area": 0.3}, {"step": 101, "area": 0.5}])
    svg = chart_svg(chart)
    (x0, y0), (x1, y1), (x2, y2) = points(svg)
    assert (x0, x2) == (LEFT, WIDTH - RIGHT) and x1 == pytest.approx((x0 + x2) / 2, abs=0.06)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.06) and TOP < y2 < y0 < HEIGHT - BOTTOM
    texts = {e.text: e.attrib for e in ElementTree.fromstring(svg) if e.tag == "text"}
    for value, y in (("10", y0), ("30", y1), ("50", y2)):
        assert float(texts[value]["y"]) == pytest.approx(y + 4, abs=0.11)
    assert "mask area (% of the picture)" in texts and "step" in texts


def test_learning_rates_are_drawn_by_their_logarithm() -> None:
    lines = [{"step": s, "lr_masker": 10.0**-s, "lr_classifier": 0.0} for s in (1, 2, 3)]
    (chart,) = charts(lines)
    assert [c.name for c in chart.curves] == ["masker"], "a rate of 0 took no step"
    (_, y0), (_, y1), (_, y2) = points(chart_svg(chart))
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.11) and "log scale" in chart_svg(chart)


@pytest.mark.parametrize("log", [False, True])
def test_ticks_are_few_round_and_inside(log: bool) -> None:
    for exponent in range(-6, 7):
        for width in (1.3, 2.0, 7.7, 40.0, 900.0):
            low, high = 1.234 * 10.0**exponent, 1.234 * 10.0**exponent * width
            found = log_ticks(low, high) if log else ticks(low, high)
            assert 1 <= len(found) <= 8 and all(low * 0.99 <= t <= high * 1.01 for t in found), (low, high, found)
            assert all(float(f"{t:.2g}") == pytest.approx(t) for t in found)


def test_flat_curves_and_single_steps_are_drawn() -> None:
    flat = chart_svg(charts([{"step": s, "loss": 0.0} for s in (1, 2)])[0])
    assert points(flat)[0][1] == pytest.approx((TOP + HEIGHT - BOTTOM) / 2, abs=0.1)
    single = chart_svg(charts([{"step": 1, "loss": -3.0}])[0])
    assert "<circle" in single and ElementTree.fromstring(single) is not None


def test_long_trainings_have_few_points_and_the_same_mean() -> None:
    lines = [{"step": s, "loss": float(s % 7)} for s in range(1, 10_001)]
    (curve,) = charts(lines)[0].curves
    assert len(curve.points) <= POINTS and curve.last == lines[-1]["loss"]
    whole = block_means([(line["step"], line["loss"]) for line in lines], 400)
    assert sum(y for _, y in whole) / len(whole) == pytest.approx(sum(line["loss"] for line in lines) / 10_000)
    assert len(block_means([(1.0, 1.0)] * 401, 400)) == 201


def test_every_number_of_a_real_log_is_on_one_chart(tmp_path: Path) -> None:
    run(tmp_path, page=False)
    lines = read_log(tmp_path / "log.jsonl")
    found = {chart.family.title: [curve.name for curve in chart.curves] for chart in charts(lines)}
    assert found == {
        "Loss": ["loss"],
        "Mask area": ["mean mask"],
        "Accuracy": ["clean", "masked-out"],
        "Learning rates": ["masker", "classifier"],
        "Steering of the area": ["lambda factor"],
        "Time": ["mean since the start"],
        "Spread within a mask": ["spread"],
    }
    others = charts([{"step": 1, "kept_right_real": 0.5, "area_fake": 0.1, "tv": 0.2, "skipped": 1.0}])
    assert [(c.family.title, c.curves[0].name) for c in others] == [
        ("Mask area", "area fake"), ("Accuracy", "kept right real"), ("Other terms", "tv"),
    ]  # fmt: skip


def test_names_are_text() -> None:
    chart = charts([{"step": 1, "<b>&": 1.0}, {"step": 2, "<b>&": 2.0}])[0]
    assert "<b>&" not in chart_svg(chart) + legend(chart).replace("<b>2</b>", "")
    assert ElementTree.fromstring(chart_svg(chart)).attrib["aria-label"].startswith("Other terms: <b>& from 1 at step")


# ---- the page ---------------------------------------------------------------------------------------------------


class Grabs(Callback):
    """The page as it is after each look and step."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    def on_step(self, state: TrainingState) -> None:
        self.pages.append(page(state.out))


def test_it_runs_then_ends(tmp_path: Path) -> None:
    grabs = Grabs()
    run(tmp_path / "r", callbacks=[grabs], look_minutes=0.0)
    first, late = grabs.pages[0], grabs.pages[-1]
    assert 'http-equiv="refresh"' in first and "Running." in first and "No step has been read yet" in first
    assert "resume=True" in first, "no command of ours began it"
    assert "step 3 of 4" in late and "<polyline" in late and late.count("data:image/jpeg") == 2
    ended = page(tmp_path / "r")
    assert "refresh" not in ended and "Ended</b> after its last step." in ended and "masker.safetensors" in ended
    assert "r: Small &lt;one&gt;" in ended and "<one>" not in ended
    assert all(f'<th scope="row">{name}</th>' in ended for name in ("classifier", "pictures", "precision"))
    assert "thinning: L100" in ended and "the package&#39;s own pictures" in ended
    assert ended.count('role="img"') == 7 and ended.count("alt=") == 2


def test_it_says_why_it_ended(tmp_path: Path) -> None:
    class Enough(Callback):
        def on_step(self, state: TrainingState) -> None:
            if state.step == 2:
                state.end("the loss is small enough")

    run(tmp_path / "r", callbacks=[Enough()])
    assert "Ended</b> after step 2: the loss is small enough." in page(tmp_path / "r")


def test_it_says_that_it_was_interrupted_and_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    class Stop(Callback):
        def on_step(self, state: TrainingState) -> None:
            if state.step == 2:
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("sys.argv", ["/usr/bin/maskwise", "train", "casm", "--data", "https://me:secret@host/a b.zip"])
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "r", callbacks=[Stop()])
    text = page(tmp_path / "r")
    assert "refresh" not in text and re.search(r"Interrupted</b> after step [23], which is saved", text)
    assert "maskwise train casm --data &#39;https://…@host/a b.zip&#39; --resume</code>" in text
    assert "secret" not in text
    run(tmp_path / "r", resume=True)
    assert "Ended</b> after its last step." in page(tmp_path / "r")


def test_it_says_what_error_stopped_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Guard.step

    def fail(self: Guard, *batch: Any) -> Any:
        if self.trainer.steps == 2:
            raise InputError("the disk <is> full")
        return step(self, *batch)

    monkeypatch.setattr(Guard, "step", fail)
    with pytest.raises(InputError, match="full"):
        run(tmp_path / "r")
    text = page(tmp_path / "r")
    assert "refresh" not in text and "Stopped by an error</b> after step 2: the disk &lt;is&gt; full" in text


def test_warnings_are_on_it_and_stay_after_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "PATIENCE", 1)
    monkeypatch.setattr(early, "WAITING", 2.0)

    class Half(Callback):
        def on_step(self, state: TrainingState) -> None:
            if state.step == 2:
                state.interrupted = True
                state.end("interrupted")

    full = {"recipe": RECIPE.model_copy(update={"head_std": 0.0, "target_area": 0.01}), "data": "shapes:n=12,size=40"}
    monkeypatch.setattr(early.Extent, "__init__", _always_full)
    with pytest.warns(UserWarning, match="masks fill the picture"), pytest.raises(KeyboardInterrupt):
        run(tmp_path / "r", callbacks=[Half()], **full)
    assert "since step 1 masks fill the picture" in page(tmp_path / "r") and "1 warning<" in page(tmp_path / "r")
    run(tmp_path / "r", resume=True, **full)
    assert page(tmp_path / "r").count("masks fill the picture") == 1, "once, and still there"


def _always_full(self: Any, target: float | None = None) -> None:
    self.told, self.empty, self.full, self.side, self.since = [], 0.0, 0.0, 0, 0


def test_a_page_that_can_t_be_written_does_not_end_the_training(tmp_path: Path) -> None:
    class InTheWay(Callback):
        def on_look(self, state: TrainingState) -> None:
            (state.out / "index.html").mkdir(exist_ok=True)

    with pytest.warns(UserWarning, match="the page can't be written any more") as caught:
        assert run(tmp_path / "r", callbacks=[InTheWay()], look_minutes=0.0).is_file()
    assert sum("page" in str(w.message) for w in caught) == 1


def test_without_it_there_is_neither_page_nor_sheet(tmp_path: Path) -> None:
    run(tmp_path / "r", page=False)
    assert not (tmp_path / "r" / "index.html").exists() and not (tmp_path / "r" / "looks").exists()


def test_subjects_that_are_trained_on_and_held_out_are_named(
    picture_folder: Path, tmp_path: Path, tiny: Classifier
) -> None:
    names = sorted(file.name for file in (picture_folder / "images").iterdir())
    rows = [f"{name},P{i // 4}" for i, name in enumerate(names)]
    (picture_folder / "subjects.csv").write_text("\n".join(["file,subject", *rows]) + "\n")
    data = read_data(picture_folder)
    trained, left = data.subset(range(14)), data.subset(range(14, 20))
    with pytest.warns(UserWarning, match=r"1 subject \(P3\) has pictures among those trained on and among"):
        train(RECIPE, trained, classifier=tiny, out=tmp_path / "r", device="cpu", held_out=left, page=False)


def test_held_out_pictures_are_named_on_it(tmp_path: Path) -> None:
    run(tmp_path / "r", held_out="shapes:n=9,size=50,seed=5")
    assert "8 of 9 held-out pictures (shapes:n=9,size=50,seed=5)" in page(tmp_path / "r")
    with pytest.raises(InputError, match="neither a folder nor a zip"):
        run(tmp_path / "s", held_out=tmp_path / "nothing")
    assert not (tmp_path / "s").exists()


def test_half_a_line_of_the_log_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0}) + '\n{"step": 2, "lo')
    assert read_log(tmp_path / "log.jsonl") == [{"step": 1, "loss": 2.0}] and read_log(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["/x/bin/maskwise", "fit", "a b"], "maskwise fit 'a b'"),
        (["/x/maskwise/__main__.py", "fit", "s3://k:v@h/x", "https://h/z.zip?sig=1"], "maskwise fit s3://…@h/x"),
        (["/x/bin/pytest", "-q"], None),
        (["/x/other/__main__.py"], None),
    ],
)
def test_the_command_is_ours_or_none(argv: list[str], said: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", argv)
    found = command_line()
    assert found is None if said is None else found is not None and found.startswith(said) and "sig=1" not in found


def test_a_browser_shows_it_from_a_file(tmp_path: Path) -> None:
    """No error, nothing loaded, no wider than a phone, and every picture there."""
    run(tmp_path / "r", held_out="shapes:n=9,size=50,seed=5")
    for width in (390, 1200):
        with opened(f"file://localhost{tmp_path / 'r' / 'index.html'}", width=width) as tab:
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert tab.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)") == [True, True]
            boxes = tab.evaluate("[...document.querySelectorAll('figure svg[role=img]')].map(s => s.clientWidth)")
            assert len(boxes) == 7 and min(boxes) > 250
            assert tab.locator("text=Ended").count() >= 1

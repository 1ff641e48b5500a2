"""Frames from videos and folders, annotated, into videos, folders and nowhere; every way it can go wrong."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import tiny_net
from PIL import Image
from typer.testing import CliRunner

from maskwise.classifiers import Classifier
from maskwise.classifiers.link import Activation
from maskwise.cli import app
from maskwise.core.errors import InputError
from maskwise.explainers import Explainer, explainer
from maskwise.live import Frames, Nowhere, Video, camera, folder, live, video
from maskwise.live.loop import annotated, explained
from maskwise.live.sinks import ScreenWindow
from maskwise.live.sources import FrameSource
from maskwise.maskers import ClassMasker, save_masker


def pictures(count: int, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    draws = np.random.default_rng(0)
    return [draws.integers(0, 255, (*size, 3), dtype=np.uint8) for _ in range(count)]


@pytest.fixture
def explain(tiny: Classifier, tmp_path: Path) -> Explainer:
    save_masker(tmp_path / "m.safetensors", ClassMasker.build(tiny, (8, 4)), tiny, {})
    return explainer("dabkowski_gal", tiny, masker=tmp_path / "m.safetensors")


def test_a_video_that_is_written_can_be_read_again(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.avi"):
        with Video(tmp_path / name, 10) as sink:
            for grey in (0, 100, 200):
                assert sink.put(np.full((48, 64, 3), (grey, 0, 0), np.uint8))
            assert not (tmp_path / name).exists(), "it appears when it is whole"
        source = video(tmp_path / name)
        frames = list(source.frames)
        assert len(frames) == 3 and source.total == 3 and source.fps == pytest.approx(10)
        for frame, red in zip(frames, (0, 100, 200), strict=True):
            assert frame.shape == (48, 64, 3)
            assert frame.reshape(-1, 3).mean(0) == pytest.approx([red, 0, 0], abs=12), "RGB in, RGB out"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.avi"]


def test_a_video_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="broken"), Video(tmp_path / "a.mp4", 10) as sink:
        sink.put(pictures(1)[0])
        raise RuntimeError("broken")
    assert not list(tmp_path.iterdir())


def test_frames_of_other_sizes_fit_into_a_video(tmp_path: Path) -> None:
    with Video(tmp_path / "a.mp4", 10) as sink:
        for frame in (*pictures(1, (47, 63)), *pictures(1, (90, 30))):
            sink.put(frame)
    assert {f.shape for f in video(tmp_path / "a.mp4").frames} == {(46, 62, 3)}


def test_a_folder_is_read_in_order_and_written_as_pictures(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i, picture in enumerate(pictures(3)):
        Image.fromarray(picture).save(tmp_path / "in" / f"{i}.png")
    source = folder(tmp_path / "in")
    with Frames(tmp_path / "out") as sink:
        for frame, expected in zip(source.frames, pictures(3), strict=True):
            assert np.array_equal(frame, expected)
            sink.put(frame)
    assert source.total == 3
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["000000.jpg", "000001.jpg", "000002.jpg"]


def test_sources_that_are_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty").mkdir()
    for open_it, said in (
        (lambda: camera(99), "no camera 99"),
        (lambda: video(tmp_path / "none.mp4"), "no such file"),
        (lambda: video(tmp_path / "text.mp4"), "not a video"),
        (lambda: folder(tmp_path / "none"), "no such folder"),
        (lambda: folder(tmp_path / "empty"), "holds no pictures"),
        (lambda: Video(tmp_path / "a.gif", 10), "ends in"),
    ):
        with pytest.raises(InputError, match=said):
            open_it()
    assert "VIDEOIO" not in capfd.readouterr().err, "OpenCV's own complaints are not shown"


def test_a_camera_gives_its_frames_in_rgb_and_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    class Capture:
        left, released = 2, False

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def get(self, what: int) -> float:
            return 0.0  # many cameras do not know their speed

        def read(self) -> tuple[bool, np.ndarray | None]:
            self.left -= 1
            return (True, np.full((4, 6, 3), (255, 0, 0), np.uint8)) if self.left >= 0 else (False, None)

        def release(self) -> None:
            Capture.released = True

    asked: list[object] = []
    monkeypatch.setattr(cv2, "VideoCapture", lambda what: asked.append(what) or Capture())
    source = camera(3)
    frames = list(source.frames)
    assert asked == [3] and source.fps == 25 and source.total is None
    assert [f.shape for f in frames] == [(4, 6, 3)] * 2
    assert frames[0][0, 0].tolist() == [0, 0, 255], "OpenCV's blue is first, ours last"
    assert Capture.released


@pytest.mark.parametrize(("key", "visible"), [(ord("q"), 1.0), (27, 1.0), (-1, 0.0), (-1, None)])
def test_a_window_ends_with_q_escape_or_its_closing(
    key: int, visible: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Qt's OpenCV raises when it is asked of a window that was closed, the last one of the program."""
    shown: list[np.ndarray] = []
    keys, states = iter([-1, key]), iter([1.0, visible])

    def state(title: str, what: int) -> float:
        found = next(states)
        if found is None:
            raise cv2.error("NULL guiReceiver")
        return found

    def destroy() -> None:
        if visible is None:
            raise cv2.error("NULL guiReceiver")

    monkeypatch.setattr(cv2, "imshow", lambda title, frame: shown.append(frame))
    monkeypatch.setattr(cv2, "waitKey", lambda delay: next(keys))
    monkeypatch.setattr(cv2, "getWindowProperty", state)
    monkeypatch.setattr(cv2, "destroyAllWindows", destroy)
    red = np.full((4, 6, 3), (255, 0, 0), np.uint8)
    with ScreenWindow() as window:
        assert [window.put(red), window.put(red)] == [True, False]
    assert shown[0][0, 0].tolist() == [0, 0, 255]


def test_one_frame_is_one_forward_whatever_is_asked(explain: Explainer) -> None:
    forwards: list[int] = []
    explain.classifier.module.register_forward_hook(lambda *_: forwards.append(1))
    frame = pictures(1)[0]
    for targets, count in (((), 1), ((0, 3), 2)):
        forwards.clear()
        maps, logits = explained(frame, explain, targets)
        assert len(forwards) == 1 and maps.shape == (count, 32, 32) and logits.shape == (5,)
    image = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
    expected = explain.classifier.logits(explain.classifier.prepare(image))[0]
    assert torch.allclose(logits, expected, atol=1e-5)


def test_a_method_without_logits_of_its_own_is_live_too(tiny: Classifier) -> None:
    maps, logits = explained(pictures(1)[0], explainer("gradient", tiny), [2])
    assert maps.shape == (1, 32, 32) and logits.shape == (5,)


def test_frames_are_drawn_on_not_replaced(explain: Explainer) -> None:
    frame = np.full((384, 512, 3), 128, np.uint8)
    kept = frame.copy()
    maps = torch.zeros(2, 32, 32)
    maps[0, 12:20, 12:20], maps[1, 22:30, 22:30] = 1, 1
    drawn = annotated(frame, maps, torch.zeros(5), explain, [0, 1], 10.0)
    assert np.array_equal(frame, kept) and drawn.shape == frame.shape
    for colour, (rows, columns) in (
        ((0, 229, 160), (slice(130, 250), slice(180, 330))),
        ((255, 176, 0), (slice(254, 370), slice(340, 490))),
    ):
        ours, all_over = ((part == colour).all(-1).sum() for part in (drawn[rows, columns], drawn[120:]))
        assert ours == all_over > 100, "the outline of its own class, in its own place"
    over = annotated(frame, maps[:1], torch.zeros(5), explain, [0], 10.0)
    assert over[192, 256].mean() > 170 > 100 > over[330, 60].mean(), "bright where the map is, dark elsewhere"
    faint = annotated(frame, maps * 0.2, torch.zeros(5), explain, [0, 1], 10.0)
    assert (faint[150:] == 128).all(), "no outline of a class that is not there"


@pytest.mark.parametrize(("activation", "said"), [("none", ["46", "-14.5"]), ("sigmoid", ["100%", "0%"])])
def test_what_is_said_of_a_class_is_a_percentage_of_probabilities_alone(
    activation: Activation, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An age of 46 was said to be 4600%."""
    lines: list[str] = []
    monkeypatch.setattr("maskwise.live.loop._write", lambda picture, text, line, colour: lines.append(text))
    network = Classifier(tiny_net(classes=2), input_size=32, activation=activation, labels=["age", "other"])
    scores = torch.tensor([46.0, -14.5])
    annotated(pictures(1)[0], torch.zeros(2, 32, 32), scores, explainer("gradient", network), [0, 1], 10.0)
    assert lines[:2] == [f"age {said[0]}", f"other {said[1]}"]


def test_the_loop_counts_tells_and_stops(explain: Explainer) -> None:
    told: list[int] = []
    sink = Nowhere()
    pace = live(FrameSource(iter(pictures(5))), explain, sink, limit=3, tell=lambda number, _: told.append(number))
    assert pace.frames == sink.count == 3 and told == [1, 2, 3] and pace.fps > 0 and pace.milliseconds > 0

    class Closed(Nowhere):
        def put(self, frame: np.ndarray) -> bool:
            return False

    assert live(FrameSource(iter(pictures(5))), explain, Closed()).frames == 1
    assert live(FrameSource(iter([])), explain, Nowhere()).frames == 0


def test_the_command(explain: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda *_: explain.classifier)
    monkeypatch.setattr("maskwise.live.has_screen", lambda: False)
    monkeypatch.chdir(tmp_path)
    with Video("in.mp4", 12) as sink:
        for frame in pictures(4):
            sink.put(frame)

    def call(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["live", "--masker", "m.safetensors", *arguments])
        return done.exit_code, done.output

    code, output = call("--video", "in.mp4", "--target", "1", "--target", "3", "--json")
    assert code == 0, output
    assert json.loads(output)["frames"] == 4 and len(list(video("live.mp4").frames)) == 4
    code, output = call("--video", "in.mp4", "--out", "pictures", "--limit", "2")
    assert code == 0 and "2 frames, " in output and "frames/s" in output
    assert cv2.imread("pictures/000001.jpg").shape == (48, 64, 3)
    for bad in ((), ("--camera", "99"), ("--video", "in.mp4", "--folder", "."), ("--video", "in.mp4", "--target", "9")):
        assert call(*bad)[0] == 2

"""``maskwise live``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwise.commands.groups import Method, Model, Output
from maskwise.commands.registration import command
from maskwise.core.errors import InputError

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier

QUICKEST = Method(method="dabkowski_gal")


@command("live", section="Explain", after="service", example="maskwise live --camera 0 --target 'coffee mug'")
def live_command(
    camera: Annotated[int | None, typer.Option("--camera", min=0, help="A camera's number, from 0.")] = None,
    video: Annotated[Path | None, typer.Option("--video", help="A video file.")] = None,
    folder: Annotated[Path | None, typer.Option("--folder", help="A folder of pictures.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", help="A class to look for, or predicted: the top one. May be given again."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="A video (.mp4, .avi) or a folder, instead of a window.", rich_help_panel="Output"),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="End after so many frames.")] = None,
    *,
    model: Model,
    method: Method = QUICKEST,
    output: Output,
) -> None:
    """Explains frames as they come: in a window, or where there is no screen, in a video or folder; prints frames/s."""
    given = [source for source in (camera, video, folder) if source is not None]
    if len(given) != 1:
        raise InputError("name one source: --camera N, --video FILE or --folder DIR")
    from maskwise.live import Frames, ScreenWindow, Sink, Video, has_screen, live
    from maskwise.live import camera as from_camera
    from maskwise.live import folder as from_folder
    from maskwise.live import video as from_video

    method.check()  # a wrong name is said before anything is loaded
    if camera is not None:
        source = from_camera(camera)
    else:
        source = from_video(video) if video is not None else from_folder(folder or Path())
    sink: Sink
    if out is None and has_screen():
        sink = ScreenWindow()
    else:
        place = out or Path("live" if folder is not None else "live.mp4")
        sink = Video(place, source.fps) if place.suffix else Frames(place)
        out = place
    network = model.load()
    method = method.settled(network)
    explainer = method.make(network, model.precision)
    classes = _classes(target or [], network)

    def tell(number: int, fps: float) -> None:
        if number % 10 == 0:
            of = "" if source.total is None else f" of {source.total}"
            sys.stderr.write(f"\rframe {number}{of}, {fps:.1f} frames/s ")

    pace = live(source, explainer, sink, classes, limit, tell if output.shows_progress else None)
    if output.shows_progress:
        sys.stderr.write("\r\033[K")
    if not pace.frames:
        raise InputError("the source gave no frame")
    facts = {**asdict(pace), "method": method.method, "out": None if out is None else str(out)}
    where = "" if out is None else f"; {out}"
    said = f"{pace.frames} frames, {pace.fps:.1f} frames/s, {pace.milliseconds:.0f} ms for logits and map{where}"
    output.tell(facts, lines=(said,))


def _classes(targets: list[str], classifier: Classifier) -> list[int]:
    """The classes looked for; none stands for the top one of each frame."""
    if targets == ["predicted"]:
        return []
    for rule in ("predicted", "label", "each"):
        if rule in targets:
            raise InputError(f"`target={rule}` names no class; of a stream name classes, or predicted alone")
    return [classifier.labels.resolve(name) for name in targets]

"""``maskwise live``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands.options import ClassifierName, Json, MaskerFile, Options, Weights, make_explainer, method_options
from maskwise.core.errors import InputError
from maskwise.plain import speaks_plainly
from maskwise.volume import shows_progress


@speaks_plainly
def live(
    camera: Annotated[int | None, typer.Option("--camera", min=0, help="A camera's number, from 0.")] = None,
    video: Annotated[Path | None, typer.Option("--video", help="A video file.")] = None,
    folder: Annotated[Path | None, typer.Option("--folder", help="A folder of pictures.")] = None,
    classifier: ClassifierName = "efficientnet_lite0",
    weights: Weights = None,
    method: Annotated[str, typer.Option("--method", help="See `maskwise methods`.")] = "dabkowski_gal",
    masker: MaskerFile = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", help="A class to look for; may be given again. The top class.")
    ] = None,
    options: Options = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A video (.mp4, .avi) or a folder, instead of a window.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="End after so many frames.")] = None,
    as_json: Json = False,
) -> None:
    """Explains frames as they come: in a window, or where there is no screen, in a video or folder; prints frames/s."""
    given = [source for source in (camera, video, folder) if source is not None]
    if len(given) != 1:
        raise InputError("name one source: --camera N, --video FILE or --folder DIR")
    from maskwise.classifiers import load_classifier
    from maskwise.explainers import methods
    from maskwise.live import Frames, ScreenWindow, Sink, Video, has_screen
    from maskwise.live import camera as from_camera
    from maskwise.live import folder as from_folder
    from maskwise.live import live as run
    from maskwise.live import video as from_video

    methods.get(method)  # a wrong name is said before anything is loaded
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
    network = load_classifier(classifier, weights)
    explainer = make_explainer(method, network, method_options(options, masker), None)
    classes = [network.labels.resolve(name) for name in target or []]

    def tell(number: int, fps: float) -> None:
        if number % 10 == 0:
            of = "" if source.total is None else f" of {source.total}"
            sys.stderr.write(f"\rframe {number}{of}, {fps:.1f} frames/s ")

    pace = run(source, explainer, sink, classes, limit, tell if shows_progress() else None)
    if shows_progress():
        sys.stderr.write("\r\033[K")
    if not pace.frames:
        raise InputError("the source gave no frame")
    if as_json:
        typer.echo(json.dumps({**asdict(pace), "method": method, "out": None if out is None else str(out)}))
        return
    where = "" if out is None else f"; {out}"
    typer.echo(f"{pace.frames} frames, {pace.fps:.1f} frames/s, {pace.milliseconds:.0f} ms for logits and map{where}")

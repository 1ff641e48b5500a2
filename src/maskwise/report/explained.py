"""An explanation as a folder: map, pictures, figure and facts."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from maskwise.core.errors import InputError
from maskwise.core.files import atomic_folder
from maskwise.drawing import overlay
from maskwise.explain import Explanation, Panels
from maskwise.explainers import Explainer
from maskwise.images import to_uint8
from maskwise.report.figure import fig2
from maskwise.report.sess_panel import sess_panel
from maskwise.sess import SESS


def write_explanation(
    explanation: Explanation,
    panels: Panels,
    folder: Path,
    sess: Explainer | None = None,
    ending: str = "png",
    dpi: float = 100,
) -> None:
    """The folder of one picture: map.npy, pictures, figure.png and result.json; all of it or nothing.

    An earlier result of that name is replaced. map.npy and map.png hold the map as it is; the figure and overlay.png
    show it in the colours of ``panels.scale``.

    Args:
        sess: its patches are drawn as sess_panel.png.
        ending: of the figures: png, pdf, svg or jpg.
        dpi: dots an inch of the figures.

    Raises:
        InputError: the folder can't be written, or holds something else than a result.
    """
    check_replaceable(folder)
    pictures = {
        "masked_in": to_uint8(panels.masked_in),
        "masked_out": to_uint8(panels.masked_out),
        "inpainted": to_uint8(panels.inpainted),
        "overlay": overlay(panels.image, panels.map, scale=panels.scale),
        "map": (panels.map.numpy() * 255).round().astype(np.uint8),
    }
    with atomic_folder(folder) as temporary:
        np.save(temporary / "map.npy", panels.map.numpy().astype(np.float32))
        for name, picture in pictures.items():
            _, png = cv2.imencode(".png", picture[..., ::-1] if picture.ndim == 3 else picture)
            (temporary / f"{name}.png").write_bytes(png.tobytes())  # unlike cv2.imwrite this says why it fails
        fig2([panels], temporary / f"figure.{ending}", dpi=dpi)
        if isinstance(sess, SESS):
            views = sess.views(panels.image, explanation.target)
            sess_panel(panels.image, panels.map, views, temporary / f"sess_panel.{ending}", dpi=dpi)
        (temporary / "result.json").write_text(json.dumps(explanation.facts(), indent=2) + "\n", encoding="utf-8")


def check_replaceable(folder: Path) -> None:
    """Only what was written here may be replaced: ``dog.jpg`` must never cost its owner a folder ``dog``.

    Raises:
        InputError: a file, or a folder that is neither empty nor a result.
    """
    if folder.is_dir() and ((folder / "result.json").is_file() or not any(folder.iterdir())):
        return
    if folder.exists() or folder.is_symlink():
        raise InputError(f"{folder}: is in the way and no earlier result, so it stays; name another `out`")

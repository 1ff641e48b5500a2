"""An explanation as a folder: map, pictures, figure and facts."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskwise.core.errors import InputError
from maskwise.core.files import atomic_folder
from maskwise.drawing import overlay
from maskwise.explain import Explanation, NothingFound, Panels
from maskwise.explainers import Explainer
from maskwise.images import to_bytes, to_uint8
from maskwise.report.figure import fig2, small_panels
from maskwise.report.sess_panel import sess_panel
from maskwise.sess import SESS

RESULT, FINDINGS = "result.json", "findings.json"  # of one map, of each finding of a picture
LONGEST_NAME = 80  # bytes of a finding that its folder is called by
RESERVED = re.compile(r"(?i)con|prn|aux|nul|com\d|lpt\d")  # names of devices on Windows


def write_explanation(
    explanation: Explanation,
    panels: Panels,
    folder: Path,
    sess: Explainer | None = None,
    ending: str = "png",
    dpi: float = 100,
) -> None:
    """The folder of one picture: map.npy, pictures, figure.png and result.json; all of it or nothing.

    An earlier result of that name is replaced. map.npy and map.png hold the map as it is, but for values below 0, of a
    map with signs, which the grey picture has as black; figure and overlay.png show it in the colours of
    ``panels.scale``.

    Args:
        sess: its patches are drawn as sess_panel.png.
        ending: of the figures: png, pdf, svg or jpg.
        dpi: dots an inch of the figures.

    Raises:
        InputError: the folder can't be written, or holds something else than a result.
    """
    check_replaceable(folder)
    with atomic_folder(folder) as temporary:
        _fill(temporary, explanation, panels, sess, ending, dpi)
        _write_facts(temporary / RESULT, explanation.facts())


def write_findings(
    made: Iterable[tuple[Explanation, Panels]],
    nothing: NothingFound,
    folder: Path,
    sess: Explainer | None = None,
    ending: str = "png",
    dpi: float = 100,
) -> list[Explanation]:
    """The folder of one picture of which each finding has a map: all of it or nothing.

    A folder for each finding, called as the finding is, with what ``write_explanation`` writes; and figure.png of all
    of them, a row each, and findings.json, a list. Where there is none, that file alone says so.

    Args:
        made: maps, one after another.
        nothing: what is said where there is none.
        folder, sess, ending, dpi: as of ``write_explanation``.

    Raises:
        InputError: as ``write_explanation``.
    """
    check_replaceable(folder)
    done: list[Explanation] = []
    rows: list[Panels] = []
    taken = {FINDINGS, f"figure.{ending}"}  # which a finding may be called, too
    with atomic_folder(folder) as temporary:
        for explanation, panels in made:
            name = free_name(folder_name(str(explanation.target)), taken)
            taken.add(name)
            own = temporary / name
            own.mkdir()
            _fill(own, explanation, panels, sess, ending, dpi)
            _write_facts(own / RESULT, explanation.facts())
            done.append(explanation)
            rows.append(small_panels(panels))
        if rows:
            fig2(rows, temporary / f"figure.{ending}", dpi=dpi)
        _write_facts(temporary / FINDINGS, [one.facts() for one in done] or [nothing.facts()])
    return done


def folder_name(title: str) -> str:
    """A title as a folder may be called on every system: what could be read as a path or a command is an underscore.

    Example:
        >>> [folder_name(title) for title in ("Pleural Thickening", "../a/b:c", "..", "NUL")]
        ['Pleural Thickening', '_a_b_c', '_', '_NUL']
    """
    plain = "".join(sign if sign.isalnum() or sign in " -_.,()+" else "_" for sign in title)
    plain = plain.strip(" .").encode("utf-8", "ignore")[:LONGEST_NAME].decode("utf-8", "ignore").strip(" .") or "_"
    return f"_{plain}" if RESERVED.fullmatch(plain.partition(".")[0]) else plain


def free_name(wanted: str, taken: Collection[str]) -> str:
    """The name, or with a number behind it the first that is free, where upper and lower case are one."""
    known = {name.casefold() for name in taken}
    name, number = wanted, 2
    while name.casefold() in known:
        name, number = f"{wanted}-{number}", number + 1
    return name


def _write_facts(path: Path, facts: Any) -> None:
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _fill(
    folder: Path, explanation: Explanation, panels: Panels, sess: Explainer | None, ending: str, dpi: float
) -> None:
    """Map, pictures and figures, into a folder that is there."""
    pictures = {
        "masked_in": to_uint8(panels.masked_in),
        "masked_out": to_uint8(panels.masked_out),
        "inpainted": to_uint8(panels.inpainted),
        "overlay": overlay(panels.image, panels.map, scale=panels.scale),
        "map": to_bytes(panels.map).numpy(),
    }
    np.save(folder / "map.npy", panels.map.numpy().astype(np.float32))
    for name, picture in pictures.items():
        _, png = cv2.imencode(".png", picture[..., ::-1] if picture.ndim == 3 else picture)
        (folder / f"{name}.png").write_bytes(png.tobytes())  # unlike cv2.imwrite this says why it fails
    fig2([panels], folder / f"figure.{ending}", dpi=dpi)
    if isinstance(sess, SESS):
        views = sess.views(panels.image, explanation.target)
        sess_panel(panels.image, panels.map, views, folder / f"sess_panel.{ending}", dpi=dpi)


def check_replaceable(folder: Path) -> None:
    """Only what was written here may be replaced: ``dog.jpg`` must never cost its owner a folder ``dog``.

    Raises:
        InputError: a file, or a folder that is neither empty nor a result.
    """
    if folder.is_dir() and (any((folder / own).is_file() for own in (RESULT, FINDINGS)) or not any(folder.iterdir())):
        return
    if folder.exists() or folder.is_symlink():
        raise InputError(f"{folder}: is in the way and no earlier result, so it stays; name another `out`")

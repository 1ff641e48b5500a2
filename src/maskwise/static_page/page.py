"""The folder: page, graph, facts, examples and runtime."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import colormaps

import maskwise
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.files import atomic_folder
from maskwise.explainers import Explainer
from maskwise.exporting import Exported, export, masker_of, whose_logits
from maskwise.images import packaged_pictures
from maskwise.maskers import ClassMasker, Masker
from maskwise.static_page.runtime import find_runtime

FILES = Path(__file__).parent / "files"
COPIED = ("page.js", "worker.js", "pixels.js", "style.css")
FACTS = "model.json"  # beside index.html; by it a folder is known as such a page


@dataclass(frozen=True)
class PageWritten:
    """What was written.

    Attributes:
        folder: holds index.html.
        graph: the ONNX file in it.
        runtime: onnxruntime-web's place, relative to the page.
        runtime_version: of the copied files, where they say so.
        runtime_bytes: of the copied files.
        bytes: of the folder: what a first visit loads, examples aside.
    """

    folder: Path
    graph: Exported
    runtime: str
    runtime_version: str | None
    runtime_bytes: int
    bytes: int


def export_page(
    masker: Masker | ClassMasker | Explainer | str | Path,
    folder: str | Path,
    classifier: Classifier | None = None,
    *,
    half: bool = True,
    runtime: str | Path | None = None,
    runtime_at: str | None = None,
) -> PageWritten:
    """Writes a static page that explains pictures in the browser: map, box, classes. Any web server can offer it.

    The page asks no server but its own, and pictures stay in the browser. They are resized there as ``images.resize``
    does, maps are enlarged as an explainer does, and boxes are those of ``boxes``.

    Args:
        masker: as ``export`` takes it.
        folder: takes the place of an earlier page; another folder must be empty.
        classifier: as ``export`` takes it.
        half: store weights in 16 bits where the outputs stay within 1/255 (see ``export``).
        runtime, runtime_at: see ``find_runtime``.

    Raises:
        InputError: as ``export``; no runtime; a classifier of other than 1 or 3 channels; or the folder holds
            something else.
    """
    folder = Path(folder)
    check_page_folder(folder)
    found = find_runtime(runtime, runtime_at)
    masker = masker_of(masker, classifier)
    judge = masker.encoder
    if judge.channels not in (1, 3):
        raise InputError(
            f"{judge.name} takes {judge.channels} channels, and a browser's have 3: export the ONNX graph alone"
        )
    with atomic_folder(folder) as made:
        graph = export(masker, made / "model.onnx", classifier, half=half)
        (made / FACTS).write_text(json.dumps(_facts(judge, graph, found.address)), encoding="utf-8")
        (made / "index.html").write_text(_html(judge, graph), encoding="utf-8")
        for name in COPIED:
            shutil.copyfile(FILES / name, made / name)
        total = sum(path.stat().st_size for path in made.iterdir()) + found.bytes
        (made / "examples").mkdir()
        for path in packaged_pictures():
            shutil.copyfile(path, made / "examples" / path.name)
        shutil.copyfile(packaged_pictures()[0].parent / "LICENSES.md", made / "examples" / "LICENSES.md")
        found.copy(made)
    return PageWritten(folder, graph, found.address, found.version, found.bytes, total)


def check_page_folder(folder: str | Path) -> None:
    """Says before any work whether a page may be written to ``folder``.

    Raises:
        InputError: a file is in the way, or the folder holds something that is no such page.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; the page is a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FACTS).is_file():
        raise InputError(f"{folder}: holds something else than an exported page; name a new folder")


def _facts(judge: Classifier, graph: Exported, runtime: str) -> dict[str, object]:
    """What the page's programs need to know, as JSON."""
    names = [judge.labels.name(i) for i in range(len(judge.labels))]
    twice = {name for name in names if names.count(name) > 1}
    return {
        "maskwise": maskwise.__version__,
        "classifier": judge.name,
        "labels": [f"{name} ({i})" if name in twice else name for i, name in enumerate(names)],
        "shape": graph.shape,
        "needs_class": "classes" in graph.inputs,
        "activation": judge.activation,
        "colour": [min(max(float(value), 0.0), 1.0) for value in judge.mean],
        "colours": [[round(255 * float(c)) for c in colormaps["inferno"](i)[:3]] for i in range(256)],
        "bytes": graph.bytes,
        "runtime": runtime,
        "examples": [path.name for path in packaged_pictures()],
    }


def _html(judge: Classifier, graph: Exported) -> str:
    environment = Environment(
        loader=PackageLoader("maskwise.static_page", "files"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    needs_class = "classes" in graph.inputs
    whose = whose_logits(judge.name, graph.adapted)
    sees = "for a class" if needs_class else "for any class"
    sides = "x".join(map(str, graph.shape[1:]))
    return environment.get_template("index.html").render(
        title=f"What does {judge.name} look at?",
        lead=f"The map of a picture shows which pixels count {sees}.",
        needs_class=needs_class,
        note=f"Classes and probabilities are those of {whose}. Pictures are squashed to {sides}, maps enlarged to the "
        f"picture's size; masked pictures have the classifier's mean colour, and are judged at {sides}. Made by "
        f"maskwise {maskwise.__version__}.",
    )

"""The Python of README and documentation, typed as it stands there: all of it is run, or fits what it calls."""

from __future__ import annotations

import ast
import inspect
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_docs import ROOT, snippets

import maskwise as mw
from maskwise.images import packaged_pictures

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Pages whose snippets a test of their own runs, with it.
ELSEWHERE = {
    "docs/bring-your-own.md": "tests/test_docs.py::test_bring_your_own",
    "docs/notebooks/tutorial.md": "tests/test_docs.py::test_the_tutorial_as_a_notebook",
}
# What would take minutes or a download, and what a test puts in its place: more is not changed.
INSTEAD = {
    "README.md": {'"timm/convnext_tiny"), mw.load_images': '"efficientnet_lite0"), mw.load_images'},
    "docs/index.md": {'"timm/convnext_tiny"': '"efficientnet_lite0"'},
    "docs/anybodys-maps.md": {},
    "docs/black-boxes.md": {
        "    ...\n": "    return images.mean((2, 3))[:, :2].softmax(1)\n", "size=224": "size=32",
        'out="runs/box"': 'out="runs/box", max_steps=1, size=32, teacher="rise", page=False',
    },
    "docs/infillers.md": {},
    "docs/measuring.md": {"n=20": "n=2,size=64"},
    "docs/methods.md": {"masks=2000": "masks=8"},
    "docs/real-time.md": {},
    "docs/sess.md": {"scales=10": "scales=2", '"photograph.jpg"]': '"photograph.jpg"], size=240'},
}  # fmt: skip
# Those that are only held against what they call, and why they are not run.
TOO_LONG = {
    "docs/checks.md": "trains networks; tests/checks does",
    "docs/data.md": "its first is of a data set that is not here; its second is run by tests/data/test_docs.py",
    "docs/leak.md": "trains a judge; tests/checks does",
    "docs/other-networks.md": "weights of a detector and of a segmenter are fetched",
    "docs/shapley.md": "one line of a call, and one that a vision transformer answers",
    "docs/texts.md": "models of pictures and texts are fetched; tests/classifiers has small ones",
    "docs/training.md": "a network of yours, and one that is sent to a hub; its callback is run by tests/test_docs.py",
}


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


WITH_PYTHON = [page for page in PAGES if snippets(page)]


def test_every_page_with_python_is_looked_at() -> None:
    assert {_name(page) for page in WITH_PYTHON} == {*ELSEWHERE, *INSTEAD, *TOO_LONG}
    for where in ELSEWHERE.values():
        file, _, test = where.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A folder with the files that pages speak of, and the names that they take for granted."""
    monkeypatch.chdir(tmp_path)
    for name in ("dog.jpg", "photograph.jpg", "street.jpg"):
        shutil.copy(packaged_pictures()[0], name)
    (tmp_path / "maps" / "theirs").mkdir(parents=True)
    (tmp_path / "pictures").mkdir()
    draws = np.random.default_rng(0)
    with zipfile.ZipFile("pictures.zip", "w") as packed:
        packed.writestr("p/images.csv", "file,split,imagenet_index,x0,y0,x1,y1\na.png,val,1,2,2,20,20\n")
        Image.fromarray(draws.integers(0, 256, (32, 32, 3), np.uint8)).save("a.png")
        packed.write("a.png", "p/a.png")
    np.save("maps/theirs/a.npy", draws.random((32, 32)))
    for number in range(24):
        Image.fromarray(draws.integers(0, 256, (32, 32, 3), np.uint8)).save(f"pictures/{number}.png")
    images = mw.load_images(packaged_pictures()[:2], size=224)
    classifier = mw.load_classifier("efficientnet_lite0")
    return {
        "mw": mw, "torch": torch, "classifier": classifier, "images": images, "maps": images.mean(1),
        "lookup": lambda one: torch.rand(224, 224),
    }  # fmt: skip


@pytest.mark.parametrize("page", [ROOT / name for name in INSTEAD], ids=_name)
def test_the_snippets_of_a_page_run_one_after_another(page: Path, desk: dict[str, Any]) -> None:
    texts = snippets(page)
    for old, new in INSTEAD[_name(page)].items():
        assert any(old in text for text in texts), f"{old} is not there any more"
        texts = [text.replace(old, new) for text in texts]
    before = set(desk)
    for text in texts:
        desk["images"] = desk["images"][:1] if "(1,2,H,W)" in text else desk["images"]
        exec(compile(text, _name(page), "exec"), desk)
    for name in set(desk) - before & {"maps"}:
        if isinstance(desk[name], torch.Tensor) and desk[name].ndim >= 3:
            assert float(desk[name].min()) >= 0 and float(desk[name].max()) <= 1, "maps are in [0,1]"
    if "boxes" in desk:
        assert desk["boxes"].shape == (1, 4)
    assert not any(".save(" in text for text in texts) or Path("dog.png").stat().st_size > 1000


class Calls(ast.NodeVisitor):
    """Calls of the package's own functions in a snippet, with what they are called with."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {"mw": mw}
        self.found: list[tuple[str, Callable[..., Any], ast.Call]] = []

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if str(node.module).startswith("maskwise"):
            names: dict[str, Any] = {}
            exec(ast.unparse(node), names)
            self.known |= {name: value for name, value in names.items() if name != "__builtins__"}

    def visit_Call(self, node: ast.Call) -> None:
        root = node.func
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(root, ast.Name) and root.id in self.known:
            called = eval(compile(ast.Expression(node.func), "", "eval"), dict(self.known))
            self.found.append((ast.unparse(node.func), called, node))
        self.generic_visit(node)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=_name)
def test_calls_fit_what_they_call(page: Path) -> None:
    """A name that is gone or a parameter that is called otherwise is found without running anything."""
    calls = Calls()
    for text in snippets(page):
        if not text.startswith(">>>"):
            calls.visit(ast.parse(text))
    for name, called, node in calls.found:
        given = [None for _ in node.args], {str(word.arg): None for word in node.keywords if word.arg}
        try:
            inspect.signature(called).bind(*given[0], **given[1])
        except TypeError as error:
            pytest.fail(f"{_name(page)}: {name}(…): {error}")
    if page.name not in ("data.md",):
        assert calls.found or ">>>" in page.read_text(encoding="utf-8") or page.name in ("shapley.md",)

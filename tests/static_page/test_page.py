"""The page as a folder: what is in it, that its graph gives an explainer's maps, and that it asks nobody else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from calling import call
from torch import nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer
from maskwise.images import load_image
from maskwise.maskers import ClassMasker, Masker, save_masker
from maskwise.static_page import export_page
from maskwise.static_page.page import FILES
from maskwise.static_page.runtime import FILES as RUNTIME
from maskwise.static_page.runtime import find_runtime

PICTURE = Path(mw.__file__).parent / "assets" / "pictures" / "cat.jpg"


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """What npm leaves, as far as names go."""
    dist = tmp_path / "node_modules" / "onnxruntime-web" / "dist"
    dist.mkdir(parents=True)
    for name in RUNTIME:
        (dist / name).write_text(name)
    (dist.parent / "package.json").write_text('{"version": "1.2.3"}')
    return dist


def run(graph: Path, **feed: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    return session.run(None, feed)


@pytest.mark.parametrize("kind", ["agnostic", "of a class"])
def test_the_folder(kind: str, tiny: Classifier, runtime: Path, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        masker = Masker.build(tiny) if kind == "agnostic" else ClassMasker.build(tiny, (16, 8))
    file = tmp_path / "m.safetensors"
    save_masker(file, masker, tiny, {})
    written = export_page(file, tmp_path / "page", tiny, runtime=runtime)
    page = written.folder
    graph = {"index.html", "model.json", "model.onnx", "page.js", "worker.js", "pixels.js", "style.css"}
    assert {path.name for path in page.iterdir()} == graph | {"examples", "runtime"}
    assert [(page / "runtime" / name).read_text() for name in RUNTIME] == list(RUNTIME)
    assert written.runtime_version == "1.2.3" and written.graph.half
    loaded = [page / name for name in graph] + [page / "runtime" / name for name in RUNTIME]
    assert written.bytes == sum(path.stat().st_size for path in loaded)
    facts = json.loads((page / "model.json").read_text())
    assert facts["shape"] == [3, 32, 32] and facts["activation"] == "softmax" and len(facts["colours"]) == 256
    assert facts["needs_class"] == (kind != "agnostic") and facts["bytes"] == (page / "model.onnx").stat().st_size
    for name in facts["examples"]:
        assert (page / "examples" / name).is_file()

    explain = explainer("casm" if kind == "agnostic" else "dabkowski_gal", tiny, masker=file)
    images = mw.load_images(PICTURE, size=32)
    feed = {"images": images.numpy()}
    for target in (None, 0, 3):
        if facts["needs_class"]:
            feed["classes"] = np.array([-1 if target is None else target])
        logits, masks = run(page / "model.onnx", **feed)
        assert np.abs(masks - explain(images, target).numpy()).max() <= 1 / 255
        assert np.abs(logits - tiny(images).detach().numpy()).max() <= 1 / 255 * max(1, np.abs(logits).max())


def test_the_page_asks_nobody_else() -> None:
    for path in FILES.iterdir():
        addresses = re.findall(r"(?:https?:)?//[a-z][\w.:-]*", re.sub(r"//  ?\S.*", "", path.read_text()))
        assert set(addresses) <= {"http://localhost:8000"}, path.name


def test_what_the_programs_look_for_is_on_the_page(tiny: Classifier, runtime: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    save_masker(file, ClassMasker.build(tiny, (8, 4)), tiny, {})
    page = export_page(file, tmp_path / "page", tiny, runtime=runtime).folder
    ids = set(re.findall(r'id="(\w+)"', (page / "index.html").read_text()))
    wanted = set(re.findall(r'find\("(\w+)"\)', (page / "page.js").read_text()))
    assert wanted and wanted <= ids
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', (page / "index.html").read_text())
    assert policy is not None and "default-src 'none'" in policy[1] and "http" not in policy[1]


class Named(nn.Module):
    """A network of one grey channel whose pictures are not square, and whose outputs are findings."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


def test_grey_pictures_of_another_shape_and_labels_that_meet(runtime: Path, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Named()
    labels = ["crane", "</script>", "crane"]
    grey = Classifier(net, mean=[0.5], std=[0.2], input_size=(24, 32), labels=labels, activation="sigmoid", name="<b>")
    page = export_page(Masker.build(grey).eval(), tmp_path / "page", grey, runtime=runtime).folder
    facts = json.loads((page / "model.json").read_text())
    assert facts["labels"] == ["crane (0)", "</script>", "crane (2)"] and facts["shape"] == [1, 24, 32]
    assert facts["activation"] == "sigmoid" and facts["colour"] == [0.5]
    html = (page / "index.html").read_text()
    assert "<b>" not in html and "&lt;b&gt;" in html
    image = grey.prepare(load_image(PICTURE)[None])
    assert run(page / "model.onnx", images=image.numpy())[1].shape == (1, 24, 32)


def test_where_the_runtime_is(runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    copied = tuple(Path("node_modules/onnxruntime-web/dist") / name for name in RUNTIME)
    assert find_runtime().files == copied and find_runtime().address == "runtime/"
    for given in (runtime, runtime.parent, tmp_path / "node_modules", tmp_path):
        assert [path.resolve() for path in find_runtime(given).files] == [runtime / name for name in RUNTIME]
    beside = find_runtime(runtime_at="../shared/ort")
    assert (beside.address, beside.files, beside.bytes) == ("../shared/ort/", (), 0)
    for elsewhere in ("https://cdn.example/ort", "//cdn.example/ort", "data:,x", "\\\\server\\ort"):
        with pytest.raises(InputError, match="asks no other server"):
            find_runtime(runtime_at=elsewhere)
    with pytest.raises(InputError, match="one of the two"):
        find_runtime(runtime, "../ort")
    (runtime / RUNTIME[1]).unlink()
    with pytest.raises(InputError, match="npm install onnxruntime-web"):
        find_runtime()


def test_other_folders_are_left_alone(tiny: Classifier, runtime: Path, tmp_path: Path) -> None:
    mine, masker = tmp_path / "mine", Masker.build(tiny).eval()
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="something else"):
        export_page(masker, mine, tiny, runtime=runtime)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError, match="is a file"):
        export_page(masker, mine / "thesis.txt", tiny, runtime=runtime)
    for _ in range(2):  # a page takes the place of an earlier one
        export_page(masker, tmp_path / "page", tiny, runtime=runtime)
    net = nn.Sequential(nn.Conv2d(5, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    five = Classifier(net, mean=[0.5] * 5, std=[0.2] * 5, input_size=16)
    with pytest.raises(InputError, match="5 channels"):
        export_page(Masker.build(five).eval(), tmp_path / "five", five, runtime=runtime)
    assert not (tmp_path / "five").exists()


def test_the_command(tiny: Classifier, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "m.safetensors"
    save_masker(file, Masker.build(tiny), tiny, {})
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda *_, **__: tiny)
    page = str(tmp_path / "page")
    done = call("export", "casm", "--masker", str(file), "--web", page, "--runtime", str(runtime), "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["folder"] == page and Path(facts["graph"]["path"]).is_file() and facts["runtime"] == "runtime/"
    for words, said in (
        (["casm"], "name what to write: --onnx"),
        (["casm", "--web", page, "--onnx", "m.onnx"], "name what to write"),
        (["casm", "--onnx", "m.onnx", "--runtime", "x"], "--runtime and --runtime-at belong to a page"),
        (["casm", "--web", page, "--runtime", str(tmp_path / "no")], "npm install onnxruntime-web"),
        (["casm", "--web", str(tmp_path)], "something else"),
    ):
        bad = call("export", *words)
        assert bad.exit_code == 2 and said in bad.stderr and len(bad.stderr.splitlines()) == 1, bad.stderr

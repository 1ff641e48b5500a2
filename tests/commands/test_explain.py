"""``maskwise explain`` and ``demo``: what they write, and one clear line and exit 2 for every bad input."""

from __future__ import annotations

import json
import struct
import weakref
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from calling import call, refused, save_picture
from conftest import tiny_net
from PIL import Image

import maskwise
from maskwise.classifiers import Classifier
from maskwise.explain import explain_picture
from maskwise.maskers import Masker, save_masker

if TYPE_CHECKING:
    from click.testing import Result

PICTURES = {"map.png", "overlay.png", "masked_in.png", "masked_out.png", "inpainted.png"}
FILES = PICTURES | {"map.npy", "figure.png", "result.json"}


def explain(*arguments: object, out: Path) -> Result:
    return call("explain", *arguments, "--method", "grad_cam", "--out", out)


# What it does


@pytest.mark.parametrize("size", [(50, 70), (70, 50), (1, 90)])
def test_explain_writes_a_folder_at_the_pictures_own_size(
    small: Classifier, tmp_path: Path, size: tuple[int, int]
) -> None:
    path = save_picture(tmp_path / "dog.png", *size)
    result = explain(path, out=tmp_path / "out")
    assert result.exit_code == 0 and not result.stderr, "no progress bar in a pipe"
    assert "dog.png" in result.stdout and "grad_cam on tiny" in result.stdout
    folder = tmp_path / "out" / "dog"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["dog"], "no temporary folder is left"
    assert {p.name for p in folder.iterdir()} == FILES
    saliency = np.load(folder / "map.npy")
    assert saliency.dtype == np.float32 and saliency.shape == size and 0 <= saliency.min() <= saliency.max() <= 1
    for name in PICTURES:
        assert np.asarray(Image.open(folder / name)).shape[:2] == size, name
    assert np.abs(np.asarray(Image.open(folder / "map.png")) - 255 * saliency).max() <= 0.51


def test_the_pictures_follow_from_map_and_photograph(small: Classifier, picture: Path, tmp_path: Path) -> None:
    """Against numpy alone: value rule, mean colour, largest 4-connected part by flood fill."""
    assert explain(picture, out=tmp_path / "out").exit_code == 0
    folder = tmp_path / "out" / "dog"
    saliency, photo = np.load(folder / "map.npy"), np.asarray(Image.open(picture)).astype(float)
    keep = saliency >= saliency.astype(np.float64).mean()
    grey = 255 * small.mean.numpy()
    inside, outside, painted = (
        np.asarray(Image.open(folder / f"{n}.png")) for n in ("masked_in", "masked_out", "inpainted")
    )
    assert np.abs(inside - np.where(keep[..., None], photo, grey)).max() <= 0.51
    assert np.abs(outside - np.where(keep[..., None], grey, photo)).max() <= 0.51
    assert np.array_equal(painted[~keep], photo[~keep]) and not np.array_equal(painted[keep], photo[keep])

    parts, left = [], set(map(tuple, np.argwhere(keep)))
    while left:
        part, edge = [], [left.pop()]
        while edge:
            y, x = edge.pop()
            part.append((y, x))
            near = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & left
            left -= near
            edge += near
        parts.append(np.array(part))
    most = max(len(p) for p in parts)
    boxes = [[*p.min(0)[::-1], *(p.max(0)[::-1] + 1)] for p in parts if len(p) == most]
    assert json.loads((folder / "result.json").read_text())["box"] in boxes


def test_result_json_and_the_json_on_stdout_agree(small: Classifier, picture: Path, tmp_path: Path) -> None:
    result = explain(picture, "--target", "3", "--json", out=tmp_path / "out")
    (facts,) = json.loads(result.stdout)
    assert facts == json.loads((tmp_path / "out" / "dog" / "result.json").read_text())
    assert facts["target"] == "3" and facts["method"] == "grad_cam" and facts["classifier"] == "tiny"
    assert len(facts["top"]) == 5 and sum(p for _, p in facts["top"]) == pytest.approx(1)
    assert facts["area"] == pytest.approx(np.load(tmp_path / "out" / "dog" / "map.npy").mean(), abs=1e-5)
    assert facts["seconds"] > 0 and facts["protocol"]["binarise"]
    with torch.no_grad():
        image = maskwise.load_images([picture])
        expected = small.logits(small.prepare(image)).softmax(1)[0].max().item()
    assert facts["top"][0][1] == pytest.approx(expected)


def test_options_of_a_method(small: Classifier, picture: Path, tmp_path: Path) -> None:
    ask = ("explain", picture, "--method", "rise", "--out", tmp_path / "out")
    assert call(*ask, "--set", "masks=8", "--set", "scoring=logit").exit_code == 0
    measured = json.loads((tmp_path / "out" / "dog" / "result.json").read_text())["measured"]
    assert measured["masks"] == 8 and measured["standard_error"] > 0
    for wrong, said in (
        ("masks", "key=value"),
        ("nets=3", "no option"),
        ("masks=abc", "masks must be a whole number, not 'abc'"),
        ("masks=1", "masks >= 2"),
    ):
        refused(call(*ask, "--set", wrong), said)


def test_the_target_is_what_is_explained(small: Classifier, picture: Path, tmp_path: Path) -> None:
    for target in "01":
        assert explain(picture, "--target", target, out=tmp_path / target).exit_code == 0
    maps = [np.load(tmp_path / t / "dog" / "map.npy") for t in "01"]
    assert not np.allclose(*maps)
    image = maskwise.load_images([picture])
    assert np.allclose(maps[1], maskwise.explainer("grad_cam", small)(image, 1)[0].numpy(), atol=1e-6)


def test_pictures_of_one_name_get_folders_of_their_own(small: Classifier, tmp_path: Path) -> None:
    paths = []
    for i, name in enumerate(("a/dog.png", "b/dog.png", "b/dog.jpg", "b/dog-2.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        paths.append(save_picture(tmp_path / name, 20 + i, 30, seed=i))
    assert explain(*paths, out=tmp_path / "out").exit_code == 0
    folders = {np.load(p / "map.npy").shape[0] for p in (tmp_path / "out").iterdir()}
    assert folders == {20, 21, 22, 23}


def test_a_folder_of_pictures(small: Classifier, picture: Path, tmp_path: Path) -> None:
    save_picture(picture.parent / "cat.png", 20, 20)
    assert explain(picture.parent, out=tmp_path / "out").exit_code == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"cat", "dog"}


def test_an_earlier_result_is_replaced_whole(small: Classifier, picture: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert explain(picture, out=tmp_path / "out").exit_code == 0
        assert {p.name for p in (tmp_path / "out" / "dog").iterdir()} == FILES
        (tmp_path / "out" / "dog" / "stale").touch()


def test_the_demo_adds_one_figure_of_all(small: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from maskwise.explainers import explainer

    monkeypatch.setattr("maskwise.explainers.explainer", lambda name, classifier: explainer("gradient", classifier))
    result = call("demo", "--out", tmp_path / "demo")
    assert result.exit_code == 0, result.output
    from maskwise.images import packaged_pictures

    names = {p.stem for p in packaged_pictures()}
    assert {p.name for p in (tmp_path / "demo").iterdir()} == names | {"figure.png", "report.html"} and len(names) >= 3
    for name in names:
        assert f"{name}.jpg" in result.stdout


# Bad input


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


BROKEN: dict[str, tuple[Callable[[], bytes | None], str]] = {
    "missing": (lambda: None, "no such file"),
    "empty": (lambda: b"", "empty"),
    "text": (lambda: b"dear reader\n" * 20, "not a picture"),
    "truncated": (lambda: (maskwise_picture().read_bytes())[:3000], "damaged"),
    "bomb": (lambda: png_header(60_000, 60_000), "pixels"),
}


def maskwise_picture() -> Path:
    from maskwise.images import packaged_pictures

    return packaged_pictures()[0]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_bad_picture_is_named_and_the_others_are_done(
    small: Classifier, picture: Path, tmp_path: Path, kind: str
) -> None:
    content, word = BROKEN[kind]
    bad, data = tmp_path / "in" / "bad.jpg", content()
    if data is not None:
        bad.write_bytes(data)
    refused(explain(bad, out=tmp_path / "alone"), "bad.jpg", word)
    assert not (tmp_path / "alone").exists(), "nothing half-written"
    result = explain(bad, picture, out=tmp_path / "out")
    refused(result, "bad.jpg", word)
    assert "dog.png" in result.stdout and {p.name for p in (tmp_path / "out").iterdir()} == {"dog"}


def test_a_folder_without_pictures(small: Classifier, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    refused(explain(tmp_path / "none", out=tmp_path / "alone"), "none", "no pictures")
    result = explain(tmp_path / "none", picture, out=tmp_path / "out")
    refused(result, "no pictures")
    assert (tmp_path / "out" / "dog" / "result.json").is_file()


def test_no_picture_at_all_is_a_usage_error() -> None:
    assert call("explain").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "gradcam"], ["gradcam", "grad_cam"]),
        (["--classifier", "efficientnet_light0"], ["efficientnet_light0", "efficientnet_lite0"]),
        (["--classifier", "torchvision/resnet51"], ["resnet51"]),
        (["--classifier", "timm/nonsense"], ["nonsense"]),
        (["--classifier", "hub/resnet50"], ["hub"]),
        (["--method", "grad_cam", "--target", "egiptian cat"], ["egyptian cat"]),
        (["--method", "grad_cam", "--target", "1000"], ["999"]),
        (["--weights", "no_such_file.pth"], ["no_such_file.pth"]),
        (["--masker", "no_such_file.safetensors"], ["no_such_file.safetensors"]),
    ],
)
def test_unknown_names(picture: Path, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    refused(call("explain", picture, "--out", tmp_path / "out", *arguments), *words)
    assert not (tmp_path / "out").exists()


def test_weights_of_another_network(picture: Path, tmp_path: Path) -> None:
    torch.save(tiny_net().state_dict(), tmp_path / "tiny.pth")
    refused(explain(picture, "--weights", tmp_path / "tiny.pth", out=tmp_path / "out"), "efficientnet_lite0", "fit")
    torch.save(tiny_net(), tmp_path / "pickle.pth")
    refused(explain(picture, "--weights", tmp_path / "pickle.pth", out=tmp_path / "out"), "pickle.pth")
    (tmp_path / "text.pth").write_text("hello")
    refused(explain(picture, "--weights", tmp_path / "text.pth", out=tmp_path / "out"), "text.pth")
    assert not (tmp_path / "out").exists()


def masker_file(path: Path, classifier: Classifier, value: float | None = None) -> Path:
    masker = Masker.build(classifier, width=4)
    if value is not None:
        with torch.no_grad():
            masker.decoder.head.bias.fill_(value)
    save_masker(path, masker, classifier, {"width": 4})
    return path


def test_maskers_of_ones_own(small: Classifier, picture: Path, tmp_path: Path) -> None:
    def run(masker: Path) -> Result:
        return call("explain", picture, "--masker", masker, "--out", tmp_path / "out")

    refused(run(masker_file(tmp_path / "nan.safetensors", small, float("nan"))), "NaN")
    other = Classifier(tiny_net(seed=1), input_size=32, name="another")
    refused(run(masker_file(tmp_path / "other.safetensors", other)), "another", "tiny")
    assert not (tmp_path / "out").exists()
    good = run(masker_file(tmp_path / "good.safetensors", small))
    assert good.exit_code == 0, good.output
    assert json.loads((tmp_path / "out" / "dog" / "result.json").read_text())["target"] is None


def test_a_classifier_that_gives_nan(small: Classifier, picture: Path, tmp_path: Path) -> None:
    with torch.no_grad():
        small.module[-1].bias.fill_(float("nan"))  # type: ignore[index,union-attr,operator]
    refused(explain(picture, out=tmp_path / "out"), "NaN")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["file", "file/below"])
@pytest.mark.parametrize("command", ["demo", "explain", "train"])
def test_an_output_that_can_not_be_written_is_said_before_any_work(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, where: str
) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda *a: pytest.fail("began to work"))
    arguments = {"demo": [], "explain": [picture], "train": ["casm", "--data", picture.parent]}[command]
    refused(call(command, *arguments, "--out", tmp_path / where), "can't write", "--out")
    assert (tmp_path / "file").read_text() == "mine"


def test_what_is_not_a_result_is_never_replaced(small: Classifier, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "dog").mkdir()
    (tmp_path / "in" / "dog" / "diary.txt").write_text("mine")
    refused(explain(picture, out=tmp_path / "in"), "in the way")
    assert [p.name for p in (tmp_path / "in" / "dog").iterdir()] == ["diary.txt"]


def test_pictures_are_let_go_of_one_by_one(
    small: Classifier, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of photographs, half a gigabyte each when explained, must fit into memory."""
    held: list[weakref.ref[object]] = []

    def watched(*arguments: object) -> object:
        assert not any(row() for row in held)
        explanation, row = explain_picture(*arguments)  # type: ignore[arg-type]
        held.append(weakref.ref(row))
        return explanation, row

    monkeypatch.setattr("maskwise.explain.explain_picture", watched)
    for number in range(3):
        save_picture(picture.parent / f"{number}.png", 30, 40, number)
    done = explain(picture.parent, "--report", out=tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert len(held) == 4 and not any(row() for row in held)


def test_a_full_disk_leaves_no_folder(
    small: Classifier, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("maskwise.report.explained.fig2", full)
    refused(explain(picture, out=tmp_path / "out"), "No space left")
    assert not list((tmp_path / "out").iterdir())


class TestSess:
    def test_explains_with_sess(self, small: Classifier, picture: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        options = ("--sess", "--scales", 5, "--prefilter", 0.5, "--sess-set", "pool=max", "--sess-panel")
        result = call("explain", picture, "--method", "grad_cam", *options, "--out", out, "--json")
        assert result.exit_code == 0, result.output
        [facts] = json.loads(result.stdout)
        assert facts["sess"]["scales"] == [32, 41, 50, 59, 69] and facts["sess"]["pool"] == "max"
        assert facts["measured"]["kept"] == facts["measured"]["windows"] - int(facts["measured"]["windows"] * 0.5)
        assert facts["protocol"]["resize"] == "own size" and facts["target"] is not None
        folder = out / "dog"
        assert {p.name for p in folder.iterdir()} == FILES | {"sess_panel.png"}
        expected = maskwise.SESS(maskwise.explainer("grad_cam", small), scales=5, prefilter=0.5, pool="max")
        image = maskwise.load_images([picture])
        assert np.allclose(np.load(folder / "map.npy"), expected(image)[0].numpy(), atol=1e-6)

    def test_evaluates_with_sess(self, small: Classifier, picture_folder: Path) -> None:
        result = call(
            "evaluate", "--data", picture_folder, "--method", "grad_cam", "--sess", "--sess-preset", "sess_fast",
            "--limit", 3, "--json",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["rows"][0]["pictures"] == 3

    @pytest.mark.parametrize("options, words", [
        (("--scales", 3), ("--scales", "--sess")), (("--sess-preset", "sess_fast"), ("--sess-preset", "--sess")),
        (("--sess", "--prefilter", 1), ("prefilter",)), (("--sess", "--sess-set", "pol=max"), ("pol", "pool")),
        (("--sess", "--sess-preset", "fast"), ("sess_fast",)), (("--sess", "--budget", "soon"), ("budget",)),
        (("--sess", "--sess-set", "batch=many"), ("batch",)), (("--sess", "--stride", 99), ("stride",)),
    ])  # fmt: skip
    def test_refuses(self, small: Classifier, picture: Path, tmp_path: Path, options: tuple, words: tuple) -> None:  # type: ignore[type-arg]
        out = tmp_path / "out"
        refused(call("explain", picture, "--method", "grad_cam", *options, "--out", out), *words)
        assert not out.exists()


AGES = """
import torch
from conftest import tiny_net


class Ages(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = tiny_net()

    def forward(self, pictures):
        return self.network(pictures) + 45


def network():
    return Ages()
"""


def test_curves_of_scores_that_are_no_probabilities_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "ages.py").write_text(AGES)
    picture = save_picture(tmp_path / "dog.png", 40, 50)
    asked = ["explain", picture, "--classifier", f"{tmp_path}/ages.py:network", "--activation", "none", "--size", 32,
             "--method", "gradient", "--out", tmp_path / "out"]  # fmt: skip
    refused(call(*asked, "--curves"), "this measure is of probabilities, and with activation none the network gives 4")
    assert not (tmp_path / "out" / "dog").exists() and not (tmp_path / "out" / "report.html").exists()
    assert call(*asked, "--report").exit_code == 0 and (tmp_path / "out" / "report.html").is_file()

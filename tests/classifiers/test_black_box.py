"""Classifiers that are asked only: a function of pictures, an ONNX file."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from calling import call, refused, save_picture
from conftest import tiny_net
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.classifiers.black_box import FunctionBox, is_function
from maskwise.training.likelihood import likelihood_of

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}


def brightness(images: Tensor) -> np.ndarray:
    """Chances of three classes, by the mean of each colour in the upper half."""
    colours = images[:, :, :16].mean((2, 3)) ** 4
    return (colours / colours.sum(1, keepdim=True)).numpy()


# ---- a function of pictures ---------------------------------------------------------------------------------


def test_a_functions_answers_are_the_classifiers_probabilities() -> None:
    classifier = mw.load_classifier(brightness, labels=["red", "green", "blue"], size=32)
    assert classifier.name == "brightness" and classifier.is_black_box and classifier.activation == "softmax"
    found = classifier.probabilities(classifier.logits(IMAGES))
    assert torch.allclose(found, torch.from_numpy(brightness(IMAGES)), atol=1e-6)
    again = classifier.described(labels=list("abc"))
    assert torch.equal(again.probabilities(again.logits(IMAGES)), found)


def test_it_sees_pictures_whatever_the_normalisation_and_the_mean_colour_in_holes() -> None:
    seen: list[Tensor] = []

    def watch(images: Tensor) -> Tensor:
        seen.append(images.clone())
        return images.mean((2, 3)).softmax(1)

    watch.fingerprint = lambda: "watch"  # type: ignore[attr-defined]
    classifier = Classifier(watch, input_size=32, mean=[0.2, 0.4, 0.6], std=[0.1, 0.2, 0.3])
    classifier.logits(IMAGES)
    assert torch.allclose(seen[-1], IMAGES, atol=1e-6)
    classifier.network(torch.zeros(1, 3, 32, 32))
    assert torch.allclose(seen[-1], torch.tensor([0.2, 0.4, 0.6])[:, None, None].expand(1, 3, 32, 32), atol=1e-6)
    other = classifier.described(mean=[0.5] * 3)
    other.logits(IMAGES)
    assert torch.allclose(seen[-1], IMAGES, atol=1e-6), "it is put behind the other normalisation"
    other.network(torch.full((1, 3, 32, 32), 99.0))
    assert seen[-1].max() == 1, "what rounding leaves beyond the range is cut off"


def test_scores_are_logits_and_probabilities_of_findings_must_be_said() -> None:
    def scores(images: Tensor) -> Tensor:
        return 9 * images.mean((2, 3)) - 3

    def findings(images: Tensor) -> Tensor:
        return images.mean((2, 3))

    assert mw.load_classifier(scores, size=32).activation == "softmax"
    assert torch.allclose(mw.load_classifier(scores, size=32).logits(IMAGES), scores(IMAGES), atol=1e-5)
    with pytest.raises(mw.InputError, match=r"from 0 to 1 that don't add up to one: say what they are, `activation"):
        mw.load_classifier(findings, size=32)
    said = mw.load_classifier(findings, size=32, activation="none")
    assert torch.allclose(said.probabilities(said.logits(IMAGES)), findings(IMAGES), atol=1e-6)
    certain = mw.load_classifier(lambda x: torch.eye(3)[x.mean((2, 3)).argmax(1)], size=32)
    assert certain.logits(IMAGES).isfinite().all(), "a chance of 0 has a logarithm, too"
    assert torch.allclose(certain.probabilities(certain.logits(IMAGES)).amax(1), torch.ones(3))
    assert likelihood_of(certain).right(certain.logits(IMAGES), certain.logits(IMAGES).argmax(1)).all()


def _by(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda images: (factor * images.mean((2, 3))).softmax(1)


def test_who_a_function_is_goes_by_its_code() -> None:
    first, same, other = (mw.load_classifier(_by(k), size=32).fingerprint() for k in (2.0, 2.0, 3.0))
    assert first == same and first != other
    assert first != mw.load_classifier(_by(2.0), size=32, mean=[0.1] * 3).fingerprint()
    stream = np.random.default_rng(0)  # whose content can't be read

    def unreadable(images: Tensor) -> Tensor:
        return images.mean((2, 3)).softmax(1) + 0 * stream.normal()

    with pytest.raises(mw.InputError, match="unreadable: .* attribute `fingerprint`"):
        mw.load_classifier(unreadable, size=32)
    said = []
    for version in ("1", "1", "2"):
        unreadable.fingerprint = lambda version=version: version  # type: ignore[attr-defined]
        said.append(mw.load_classifier(unreadable, size=32).fingerprint())
    assert said[0] == said[1] != said[2]


def test_a_copy_shares_the_function_and_no_hooks() -> None:
    box = FunctionBox(brightness, [0.5] * 3, [0.5] * 3)
    twin = copy.deepcopy(box)
    assert twin.function is box.function and torch.equal(twin.digest, box.digest)
    handle = twin.register_forward_hook(lambda *_: None)
    assert not box._forward_hooks and twin._forward_hooks
    handle.remove()
    twin.digest.zero_()
    twin.training = False
    assert box.digest.any() and box.training


@pytest.mark.parametrize("given", ["a file that is not there.onnx", 3, None, nn.Flatten])
def test_what_is_no_classifier(given: object) -> None:
    with pytest.raises(mw.InputError):
        mw.load_classifier(given)  # type: ignore[arg-type]


def test_what_makes_a_network_is_no_function_of_pictures() -> None:
    assert is_function(brightness) and is_function(brightness.__call__)
    assert not is_function(nn.Flatten) and not is_function(tiny_net()) and not is_function(3)


def test_what_only_networks_have_is_not_said_of_a_function(tmp_path: Path) -> None:
    with pytest.raises(mw.InputError, match="`weights` is of networks"):
        mw.load_classifier(brightness, tmp_path / "w.pth")
    with pytest.raises(mw.InputError, match="`texts` is of networks"):
        mw.load_classifier(brightness, texts=["a cat"])


def test_it_may_answer_in_any_type_and_layout() -> None:
    """An array that may not be written to, one that is read backwards, float64 within a dictionary."""
    plain = brightness(IMAGES)

    def fixed(images: Tensor) -> np.ndarray:
        found = brightness(images)
        found.setflags(write=False)
        return found

    def backwards(images: Tensor) -> np.ndarray:
        return np.flip(np.flip(brightness(images), 1).copy(), 1)

    def double(images: Tensor) -> dict[str, Tensor]:
        return {"chances": torch.from_numpy(brightness(images)).double()}

    for function in (fixed, backwards, double):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            classifier = mw.load_classifier(function, size=32)
            logits = classifier.logits(IMAGES)
        assert logits.dtype == torch.float32, function.__name__
        assert torch.allclose(classifier.probabilities(logits), torch.from_numpy(plain), atol=1e-6), function.__name__


def test_precision_around_it_is_not_its_own() -> None:
    weight = torch.rand(3, 4, generator=torch.Generator().manual_seed(1))

    def product(images: Tensor) -> Tensor:
        return images.mean((2, 3)) @ weight

    classifier = mw.load_classifier(product, size=32)
    expected = classifier.logits(IMAGES)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(classifier.logits(IMAGES), expected)
    assert torch.allclose(classifier.logits(IMAGES.bfloat16()), expected, atol=0.02)


# ---- methods on it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(mw.methods()))
def test_each_method_explains_a_black_box_or_says_in_one_line_why_not(name: str) -> None:
    classifier = mw.load_classifier(brightness, size=32)
    works = mw.methods()[name]["family"] == "references" or name in ("banzhaf", "kernel_shap", "occlusion", "rise")
    options = {"masks": 8} if name in ("banzhaf", "kernel_shap", "rise") else {}
    if works:
        assert mw.explainer(name, classifier, **options)(IMAGES[:1], 0).shape == (1, 32, 32)
        return
    with pytest.raises(mw.InputError, match="black box|masker|packaged network") as refusal:
        mw.explainer(name, classifier)(IMAGES[:1], 0)
    assert "\n" not in str(refusal.value) and "grad_cam" not in str(refusal.value)


def test_a_gradient_through_it_is_refused_and_none_is_recorded() -> None:
    classifier = mw.load_classifier(brightness, size=32)
    asked = IMAGES.clone().requires_grad_(True)
    with pytest.raises(mw.InputError, match="gives no gradients"):
        classifier.logits(asked)
    with torch.no_grad():
        assert not classifier.logits(asked).requires_grad
        assert not classifier.module(asked).requires_grad, "where none is recorded, none is asked for"


# ---- an ONNX file -------------------------------------------------------------------------------------------


def exported(net: nn.Module, path: Path, *, batch: int = 2, free: bool = True, outside: bool = False) -> Path:
    pytest.importorskip("onnxruntime")
    axes = ({0: torch.export.Dim("batch")},) if free else None
    torch.onnx.export(
        net, (torch.rand(batch, 3, 32, 32),), str(path), dynamo=True, dynamic_shapes=axes, external_data=outside,
        verbose=False,
    )  # fmt: skip
    return path


@pytest.mark.parametrize("free", [True, False])
def test_a_network_and_its_onnx_file_give_the_same_labels(tmp_path: Path, free: bool) -> None:
    """Logits, and what teachers make of them, to rounding; also of a graph that takes two pictures at a time."""
    network = Classifier(tiny_net(), input_size=32, **HALF)
    box = mw.load_classifier(str(exported(tiny_net(), tmp_path / "net.onnx", free=free)), **HALF)
    assert box.is_black_box and box.size == (32, 32) and box.name == "net.onnx"
    assert torch.allclose(box(IMAGES), network(IMAGES), atol=1e-5)
    for name in ("banzhaf", "kernel_shap", "occlusion"):
        ours, theirs = (mw.explainer(name, c)(IMAGES, 1) for c in (network, box))
        assert torch.allclose(ours, theirs, atol=1e-3), name


def test_who_an_onnx_file_is_goes_by_its_content_and_by_weights_beside_it(tmp_path: Path) -> None:
    path = exported(tiny_net(), tmp_path / "net.onnx", outside=True)
    weights = path.with_name("net.onnx.data")
    assert weights.is_file(), "this export keeps its weights outside"
    first = mw.load_classifier(str(path)).fingerprint()
    assert mw.load_classifier(str(path)).fingerprint() == first
    again = mw.load_classifier(str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # its session can't be read, and need not be
        assert again.digest() == first
    changed = bytearray(weights.read_bytes())
    changed[7] ^= 1
    weights.write_bytes(bytes(changed))
    assert mw.load_classifier(str(path)).fingerprint() != first


def made(tmp_path: Path, shape: list[object], type_: int = 1, inputs: int = 1) -> Path:
    """A graph that gives the mean of each channel of pictures (N,C,H,W), or of each column of others."""
    onnx = pytest.importorskip("onnx")
    values = [onnx.helper.make_tensor_value_info(f"x{k}", type_, shape) for k in range(inputs)]
    axes = onnx.numpy_helper.from_array(np.array([2, 3] if shape[-1] != 3 else [1, 2]), "axes")
    nodes = [onnx.helper.make_node("ReduceMean", ["x0", "axes"], ["y"], keepdims=0)]
    out = onnx.helper.make_tensor_value_info("y", type_, None)
    graph = onnx.helper.make_graph(nodes, "g", values, [out], [axes])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    path = tmp_path / "made.onnx"
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("shape", "kind"), [(["n", 3, 32, 32], 1), (["n", 32, 32, 3], 1), ([1, 3, "h", "w"], 11), ([4, 3, 32, 32], 10)]
)
def test_layouts_and_types(tmp_path: Path, shape: list[object], kind: int) -> None:
    """(N,C,H,W) and (N,H,W,C); free and fixed numbers of pictures; float32, float64 and float16."""
    pytest.importorskip("onnxruntime")
    box = mw.load_classifier(str(made(tmp_path, shape, kind)), size=32, activation="softmax", **HALF)
    expected = (2 * IMAGES - 1).mean((2, 3))
    assert torch.allclose(box(IMAGES), expected, atol=2e-3 if kind == 10 else 1e-6)


@pytest.mark.parametrize("shape", [["n", 3, 20, 32], ["n", 20, 32, 3], ["n", 3, "h", "w"], ["n", 3, 20, 3]])
def test_oblong_pictures_keep_their_sides(tmp_path: Path, shape: list[object]) -> None:
    """Of each picture the graph gives its whole, pixel by pixel, so that no exchange of rows and columns is hidden."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    value = onnx.helper.make_tensor_value_info("x", 1, shape)
    node = onnx.helper.make_node("Flatten", ["x"], ["y"])
    out = onnx.helper.make_tensor_value_info("y", 1, None)
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", [value], [out]), ir_version=10,
        opset_imports=[onnx.helper.make_opsetid("", 18)],
    )  # fmt: skip
    onnx.save(model, str(tmp_path / "net.onnx"))
    last = shape[3] == 3 and shape[1] != 3
    sides = (20, 3) if shape[2:] == [20, 3] else (20, 32)
    known = {} if "h" not in shape else {"size": (20, 32)}
    box = mw.load_classifier(str(tmp_path / "net.onnx"), activation="none", **known, **HALF)
    assert box.size == sides
    images = torch.rand(2, 3, *sides)
    given = 2 * images - 1
    assert torch.allclose(box(images), (given.permute(0, 2, 3, 1) if last else given).flatten(1), atol=1e-6)


def within(tmp_path: Path, location: str) -> Path:
    """A graph that adds to the mean of each channel a weight that lies in another file, inside of a branch."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    weight = onnx.TensorProto(name="w", data_type=1, dims=[3], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "12")):
        weight.external_data.add(key=key, value=value)
    free = helper.make_tensor_value_info
    branch = helper.make_graph(
        [helper.make_node("Add", ["m", "w"], ["b"])], "branch", [], [free("b", 1, None)], [weight]
    )
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=0),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.array([2, 3]), "axes"),
        onnx.numpy_helper.from_array(np.array(True), "yes"),
    ]
    graph = helper.make_graph(nodes, "g", [free("x", 1, ["n", 3, 32, 32])], [free("y", 1, None)], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "net.onnx"


def test_weights_of_a_branch_are_a_part_of_who_it_is(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path, found = within(tmp_path, "w.bin"), list[tuple[str, Tensor]]()
    for first in (0.0, 0.0, 5.0):
        np.array([first, 1, 2], np.float32).tofile(tmp_path / "w.bin")
        box = mw.load_classifier(str(path), activation="softmax")
        found.append((box.fingerprint(), box(IMAGES)))
    assert found[0][0] == found[1][0] != found[2][0]
    assert torch.allclose((found[2][1] - found[0][1])[:, 0], torch.tensor(5.0))


@pytest.mark.parametrize("location", ["/dev/zero", "../w.bin", "gone.bin", "."])
def test_weights_that_lie_elsewhere_are_not_read(tmp_path: Path, location: str) -> None:
    pytest.importorskip("onnxruntime")
    np.zeros(3, np.float32).tofile(tmp_path / "w.bin")
    (tmp_path / "own").mkdir()
    with pytest.raises(mw.InputError, match="keeps weights in .*, which is no file beside it"):
        mw.load_classifier(str(within(tmp_path / "own", location)), activation="softmax")


def test_what_an_onnx_file_must_be(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    for name, said in (("junk.onnx", "can't be run as an ONNX file"), ("gone.onnx", "no such file")):
        with pytest.raises(mw.InputError, match=said) as refusal:
            mw.load_classifier(str(tmp_path / name))
        assert "\n" not in str(refusal.value)
    with pytest.raises(mw.InputError, match="takes x0 .*, x1 .*one input"):
        mw.load_classifier(str(made(tmp_path, ["n", 3, 32, 32], inputs=2)))
    with pytest.raises(mw.InputError, match="a classifier takes pictures"):
        mw.load_classifier(str(made(tmp_path, ["n", 3, 32, 32], type_=6)))
    fixed = made(tmp_path, ["n", 3, 32, 32])
    with pytest.raises(mw.InputError, match="pictures of 32x32 pixels, and these have 48x48"):
        mw.load_classifier(str(fixed), size=48, activation="softmax")
    with pytest.raises(mw.InputError, match="leave `weights` out"):
        mw.load_classifier(str(fixed), tmp_path / "w.pth")


# ---- on the command line ------------------------------------------------------------------------------------


def test_a_function_in_a_file_is_the_classifier_where_it_asks_for_pictures(tmp_path: Path) -> None:
    file = tmp_path / "box.py"
    file.write_text(
        "def predict(images):\n    return images.mean((2, 3)).softmax(1).numpy()\n\n"
        "def make():\n    return predict\n\n"
        "def two(images, more):\n    return images\n"
    )
    direct, given = (mw.load_classifier(f"{file}:{name}", size=32) for name in ("predict", "make"))
    assert direct.is_black_box and torch.equal(direct(IMAGES), given(IMAGES))
    with pytest.raises(mw.InputError, match="no weights to be filled"):
        torch.save({}, tmp_path / "w.pth")
        mw.load_classifier(f"{file}:predict", tmp_path / "w.pth", size=32)
    picture, said = save_picture(tmp_path / "a.png", 32, 32), ["--classifier", f"{file}:predict", "--size", "32"]
    done = call("explain", picture, *said, "--method", "banzhaf", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    refused(call("explain", picture, *said, "--method", "grad_cam", "--out", tmp_path / "no"), "black box", "banzhaf")
    refused(call("layers", *said), "black box")
    refused(call("explain", picture, "--classifier", f"{file}:two", "--out", tmp_path / "no"), "without arguments")


@pytest.mark.parametrize("last", [False, True])
def test_an_onnx_file_of_grey_pictures_says_so(tmp_path: Path, last: bool) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    shape = [None, 32, 48, 1] if last else [None, 1, 32, 48]
    axes = onnx.numpy_helper.from_array(np.array([2, 3] if not last else [1, 2]), "axes")
    nodes = [onnx.helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)]
    graph = onnx.helper.make_graph(
        nodes, "g", [onnx.helper.make_tensor_value_info("x", 1, shape)],
        [onnx.helper.make_tensor_value_info("y", 1, None)], [axes],
    )  # fmt: skip
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), str(tmp_path / "grey.onnx"))
    with pytest.raises(mw.InputError, match="takes pictures of 1 channel, and these have 3: give `mean` and `std`"):
        mw.load_classifier(str(tmp_path / "grey.onnx"), activation="sigmoid")
    known = mw.load_classifier(str(tmp_path / "grey.onnx"), activation="sigmoid", mean=[0.5], std=[0.25])
    assert known.channels == 1 and known.size == (32, 48)
    # It sees windows of no other size, so that SESS has the maps of the same function in Python.
    twin = mw.Classifier(
        lambda x: (x.mean((2, 3)) - 0.5) / 0.25, mean=[0.5], std=[0.25], input_size=(32, 48), activation="sigmoid"
    )  # a function gets pictures in [0,1]
    images = torch.full((1, 1, 70, 96), 0.4)
    images[..., 20:40, 50:80] = 1
    maps = [mw.SESS(mw.explainer("occlusion", box), scales=2)(images, 0) for box in (known, twin)]
    assert maps[0].shape == (1, 70, 96) and maps[0].any()
    # Apart from rounding, which a window with little in it enlarges.
    assert maps[0].max() > 0.1 and (maps[0] - maps[1]).abs().max() < 0.005
    assert (maps[0] - maps[1]).abs().mean() < 1e-4

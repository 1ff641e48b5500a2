"""ONNX graphs that anybody wrote: their shapes, types and answers are looked at, and refused in one line of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_net

from maskwise.classifiers import Classifier, load_classifier
from maskwise.classifiers.classifier import MOST_PIXELS
from maskwise.core.errors import InputError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
FREE = ["n", 3, 16, 16]


def graph(folder: Path, given: list[Any], *nodes: Any, **constants: Any) -> Path:
    """A graph of one input ``x`` of this shape, and one output ``y`` of the last node's type."""
    helper = onnx.helper
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node(*node, **options) for *node, options in nodes], "g",
        [info("x", 1, given)], [info("y", nodes[-1][-1].get("to", 1), None)],
        [onnx.numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )  # fmt: skip
    path = folder / "g.onnx"
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def mean_of(folder: Path, shape: list[Any], *axes: int) -> Path:
    return graph(folder, shape, ("ReduceMean", ["x", "axes"], ["y"], {"keepdims": 0}), axes=np.array(axes))


def refused(path: Path, said: str, capfd: pytest.CaptureFixture[str], pictures: int = 2) -> None:
    with pytest.raises(InputError, match=said) as caught:
        classifier = load_classifier(str(path), activation="none")
        classifier.logits(torch.rand(pictures, 3, *classifier.size))
    assert "\n" not in str(caught.value) and capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "shape",
    [
        ["n", 3, 2**31, 2**31],
        ["n", 3, 2**40, 1],
        ["n", 3, 20_000, 20_000],
        [10**9, 3, 16, 16],
        [2**62, 3, "h", "w"],
        [2**16, 3, "h", "w"],
    ],
)
def test_shapes_that_would_take_all_memory(shape: list[Any], tmp_path: Path, capfd: Any) -> None:
    refused(mean_of(tmp_path, shape, 2, 3), "numbers at once|at once, |pixels", capfd)


@pytest.mark.parametrize(("axes", "pictures"), [((0, 2), 2), ((0, 2), 3), ((1, 2, 3), 0), ((0, 1, 2, 3), 2)])
def test_an_answer_is_a_row_for_each_picture(axes: tuple[int, ...], pictures: int, tmp_path: Path, capfd: Any) -> None:
    """Not fewer, nor more of which the first would pass for them."""
    if pictures:
        refused(mean_of(tmp_path, FREE, *axes), "2 pictures|forward of two", capfd, pictures)
    else:
        found = load_classifier(str(mean_of(tmp_path, FREE, *axes)), activation="none")
        assert len(found.labels) == 2, "one number a picture: not, and yes"


def test_the_number_of_rows_is_looked_at_each_time(tmp_path: Path, capfd: Any) -> None:
    """Two rows however many pictures: as many as the first look asks with."""
    node = ("Constant", [], ["y"], {"value": onnx.numpy_helper.from_array(np.ones((2, 4), np.float32))})
    refused(graph(tmp_path, FREE, node), r"\(2, 4\) for 5 pictures", capfd, pictures=5)
    both = Classifier(lambda images: images.new_ones(2, 4), input_size=16, activation="none")
    with pytest.raises(InputError, match=r"\(2, 4\) for 5 pictures"):
        both(torch.rand(5, 3, 16, 16))


@pytest.mark.parametrize("to", [2, 4, 12, 13, 3, 6, 7, 10, 11])
def test_whole_numbers_of_any_kind(to: int, tmp_path: Path) -> None:
    """Bytes, unsigned and signed numbers, half and double: the scores are what they say."""
    nodes = (
        ("ReduceMean", ["x", "axes"], ["m"], {"keepdims": 0}), ("Mul", ["m", "k"], ["s"], {}),
        ("Cast", ["s"], ["y"], {"to": to}),
    )  # fmt: skip
    path = graph(tmp_path, FREE, *nodes, axes=np.array([2, 3]), k=np.float32(100))
    found = load_classifier(str(path), mean=(0, 0, 0), std=(1, 1, 1), activation="none")
    images = torch.tensor([0.1, 0.5, 0.9])[:, None, None].expand(4, 3, 16, 16)
    assert torch.allclose(found(images), torch.tensor([10.0, 50, 90]).expand(4, 3), atol=1)


def test_onnxruntime_says_nothing_itself(tmp_path: Path, capfd: Any) -> None:
    """Neither of weights that are too short nor of a node that fails while it runs."""
    path = graph(tmp_path, FREE, ("Add", ["x", "w"], ["y"], {}), w=np.zeros(3, np.float32))
    model = onnx.load(str(path))
    model.graph.initializer[0].raw_data = b""
    path.write_bytes(model.SerializeToString())
    refused(path, "can't be run as an ONNX file", capfd)
    path = graph(tmp_path, FREE, ("Reshape", ["x", "shape"], ["y"], {}), shape=np.array([7, 11]))
    refused(path, "a forward of two pictures", capfd)


@pytest.mark.parametrize("size", [0, -1, 10**6, (MOST_PIXELS, 2), (1, 0)])
def test_a_classifier_s_input_has_a_size_that_can_be_made(size: Any) -> None:
    with pytest.raises(InputError, match="pixels: a side has at least 1"):
        Classifier(tiny_net(), input_size=size, name="tiny")

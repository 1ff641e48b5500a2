"""A classifier in an ONNX file, asked through onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from maskwise.classifiers.black_box import BlackBox
from maskwise.core.errors import InputError
from maskwise.core.files import is_file
from maskwise.core.reading import sha256_of
from maskwise.core.text import how_many, one_line

if TYPE_CHECKING:
    from onnx import GraphProto, TensorProto

TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16, "tensor(double)": torch.float64}
COLOURS = (1, 3)
SILENT = 4  # what is fatal alone: what fails is raised, and would be written to stderr, too
MOST_NUMBERS = 2**27  # of the pictures that a graph asks for at once: half a gigabyte
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class OnnxBox(BlackBox):
    """An ONNX graph of one input, pictures (N,C,H,W) or (N,H,W,C), and of scores, alone or beside other outputs.

    A graph that fixed the number of pictures is asked for so many at a time; the last are filled up with black ones.
    It runs on as many threads as PyTorch.

    Args:
        path: of the file. Weights that lie in files beside it are read, too, and are a part of who it is.

    Attributes:
        size: (h,w) of the pictures that it takes, None where it does not say.
        channels: of these, likewise.

    Raises:
        InputError: no such file, onnxruntime is not installed or can't run it, or it takes no pictures.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise InputError(f'{path}: an ONNX file needs {error.name}: pip install "maskwise[onnx]"') from None
        if not is_file(path):
            raise InputError(f"{path}: no such file")
        try:
            graph = onnx.load(str(path), load_external_data=False).graph
            super().__init__(_content(path, graph))
            options = onnxruntime.SessionOptions()
            options.log_severity_level = SILENT
            options.intra_op_num_threads = torch.get_num_threads()
            there = [name for name in PROVIDERS if name in onnxruntime.get_available_providers()]
            # Where there is nothing to fall back to, it would try once more, and print that it does.
            session = onnxruntime.InferenceSession(
                str(path), options, providers=there, enable_fallback=int(len(there) > 1)
            )
        except InputError:
            raise
        except Exception as error:  # onnxruntime's and protobuf's own classes derive from Exception alone
            said = f"{type(error).__name__}: {one_line(error, 120)}"
            raise InputError(f"{path}: can't be run as an ONNX file ({said})") from None
        self.session: Any = session
        self.quietly: Any = onnxruntime.RunOptions()
        self.quietly.log_severity_level = SILENT
        inputs = session.get_inputs()
        shape = list(inputs[0].shape) if inputs else []
        if len(inputs) != 1 or len(shape) != 4 or inputs[0].type not in TYPES:
            takes = ", ".join(f"{one.name} {one.shape} {one.type}" for one in inputs) or "nothing"
            raise InputError(f"{path}: takes {takes}, and a classifier takes pictures (N,C,H,W) of floats, one input")
        self.input = inputs[0].name
        self.floats = TYPES[inputs[0].type]
        self.colours_last = shape[3] in COLOURS and shape[1] not in COLOURS
        sides = shape[1:3] if self.colours_last else shape[2:4]
        self.size = (sides[0], sides[1]) if all(isinstance(side, int) for side in sides) else None
        channels = shape[3 if self.colours_last else 1]
        self.channels = channels if isinstance(channels, int) else None
        self.pictures = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
        numbers = (self.pictures or 1) * math.prod(side for side in shape[1:] if isinstance(side, int) and side > 0)
        if numbers > MOST_NUMBERS:
            raise InputError(
                f"{path}: takes {inputs[0].shape}, {numbers:,} numbers at once, and no more than {MOST_NUMBERS:,} are "
                "given: export it for fewer or smaller pictures"
            )
        self.outputs = [one.name for one in session.get_outputs()]

    def answer(self, normalised: Tensor) -> Any:
        if self.size is not None and tuple(normalised.shape[-2:]) != self.size:
            had, wanted = ("x".join(map(str, side)) for side in (normalised.shape[-2:], self.size))
            raise InputError(f"this ONNX file takes pictures of {wanted} pixels, and these have {had}")
        if self.channels is not None and normalised.shape[1] != self.channels:
            raise InputError(
                f"this ONNX file takes pictures of {how_many(self.channels, 'channel')}, and these have "
                f"{normalised.shape[1]}: give `mean` and `std` with {how_many(self.channels, 'value')}"
            )
        given = normalised.permute(0, 2, 3, 1) if self.colours_last else normalised
        found = [self._run(part) for part in given.to(self.floats).cpu().split(self.pictures or len(given))]
        held = {name: torch.cat([part[k] for part in found]) for k, name in enumerate(self.outputs)}
        return next(iter(held.values())) if len(held) == 1 else held

    def _run(self, part: Tensor) -> list[Tensor]:
        """Outputs of pictures, in their order; what has another number of rows than pictures were given is left so."""
        count, asked = len(part), self.pictures or len(part)
        if count < asked:
            numbers = asked * part[0].numel()  # which the graph alone does not tell where sides are free
            if numbers > MOST_NUMBERS:
                raise InputError(
                    f"this ONNX file takes {asked:,} pictures at once, {numbers:,} numbers, and no more than "
                    f"{MOST_NUMBERS:,} are given: export it for fewer or smaller pictures"
                )
            part = torch.cat([part, part.new_zeros(asked - count, *part.shape[1:])])
        given = {self.input: part.contiguous().numpy()}
        found = [_tensor_of(array) for array in self.session.run(None, given, self.quietly)]
        return [one[:count] if one.ndim and len(one) == asked else one for one in found]


def _tensor_of(array: Any) -> Tensor:
    """Whole numbers without a sign as those with one, since little is defined of them in torch."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.float64)
    return torch.from_numpy(array)


def _content(path: Path, graph: GraphProto) -> bytes:
    """The file, and the files in which it keeps weights: digests in the order of their names.

    Raises:
        InputError: it names a file that is not beside it, such as a device that never ends.
    """
    outside = {entry.value for tensor in _tensors(graph) for entry in tensor.external_data if entry.key == "location"}
    files = [path]
    for name in sorted(outside):
        if Path(name).is_absolute() or ".." in Path(name).parts or not is_file(path.parent / name):
            raise InputError(f"{path}: keeps weights in {one_line(name, 80)!r}, which is no file beside it")
        files.append(path.parent / name)
    return b"".join(bytes.fromhex(sha256_of(file)) for file in files)


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """All weights and constants, also of graphs within."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)

"""Classifier and masker as one ONNX graph, checked against PyTorch."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write
from maskwise.explainers import Explainer, explainer, methods
from maskwise.explainers.masker import packaged_masker
from maskwise.images import load_image, packaged_pictures, resize, with_channels
from maskwise.maskers import ClassMasker, Masker, load_masker

if TYPE_CHECKING:
    import onnxruntime

OPSET = 18
TOLERANCE = 1e-4
HALF_TOLERANCE = 1 / 255  # what a picture of 8 bits can show
STEPS = 32767  # of 16 bits, on either side of zero
FEWEST = 256  # values of a weight that 16 bits are worth two nodes for
BATCHES = (1, 3)  # both are checked: a graph that froze its batch size fails on one of them


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        inputs: ``images`` (N,c,H,W) in [0,1]; a class-conditional masker also takes ``classes`` (N,), int64, where a
            negative one stands for the top class.
        outputs: ``logits`` (N,C) and ``masks`` (N,H,W) in [0,1].
        shape: (c,H,W) of a picture.
        size: the longer of H and W, in pixels.
        half: are the weights stored in 16 bits?
        adapted: are the logits those of a copy of the classifier, which the masker's training has adapted?
        difference: the largest one between onnxruntime and PyTorch, over logits (relative to their largest
            magnitude) and masks.
        bytes: of the file.
    """

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shape: tuple[int, int, int]
    size: int
    half: bool
    adapted: bool
    difference: float
    bytes: int


class _Graph(nn.Module):
    """``(images[, classes]) -> (logits, masks)`` of either kind of masker, in one forward."""

    def __init__(self, masker: Masker | ClassMasker) -> None:
        super().__init__()
        self.masker = masker

    def forward(self, images: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        logits, taps = self.masker.encoder.features(images)
        best = logits.argmax(1)
        asked = (best if classes is None else torch.where(classes < 0, best, classes))[:, None]
        if isinstance(self.masker, ClassMasker):
            return logits, self.masker.masks_for(taps, asked, (images.shape[-2], images.shape[-1]))[:, 0]
        return logits, self.masker.masks_for(images, taps, asked)[:, 0]


def export(
    masker: Masker | ClassMasker | Explainer | str | Path,
    path: str | Path,
    classifier: Classifier | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    half: bool = False,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Writes one ONNX graph of classifier and masker, with any batch size, atomically.

    The classifier runs once; its normalisation is part of the graph.

    Args:
        masker: of either kind, with a deterministic end; or an explainer that has one; or, with ``classifier``, its
            file, or the name of a method whose masker comes with the package.
        path: ends in .onnx.
        size: side of the pictures, or (H,W); None is the classifier's own.
        half: store the weights in 16 bits, which halves the file, if logits and masks stay within 1/255 of PyTorch's;
            it computes in float32 all the same. Otherwise they are stored as they are.
        tolerance: how far onnxruntime may be from PyTorch.

    Raises:
        InputError: no masker, onnx is not installed, the network can't be exported, or the graph gives other numbers.
    """
    told = classifier or getattr(masker, "classifier", None)  # an explainer has one
    masker, path = masker_of(masker, classifier), Path(path)
    classifier = masker.encoder
    adapted = told is not None and told.fingerprint() != classifier.fingerprint()
    if path.suffix != ".onnx":
        raise InputError(f"{path}: an ONNX file's name ends in .onnx")
    _check(masker)
    sides = classifier.size if size is None else (size, size) if isinstance(size, int) else (size[0], size[1])
    shape = (classifier.channels, *sides)
    graph = _Graph(masker).eval()
    example = _example(masker, 2, shape)
    inputs, outputs = ("images", "classes")[: len(example)], ("logits", "masks")
    batch = torch.export.Dim("batch", min=1)
    axes = tuple({0: batch} for _ in example)
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                graph, example, dynamo=True, opset_version=OPSET, dynamic_shapes=axes, verbose=False,
                input_names=list(inputs), output_names=list(outputs),
            )  # fmt: skip
        except Exception as error:  # the exporter raises many kinds
            raise InputError(f"{classifier.name} can't be exported to ONNX ({_line(error)})") from None
    assert program is not None
    with atomic_write(path) as temporary:
        program.model.metadata_props.update(_facts(masker, shape, adapted))
        program.save(str(temporary), external_data=False)
        difference = _difference(graph, temporary.read_bytes(), masker, shape)
        if not difference <= tolerance:
            raise InputError(f"the ONNX graph differs from PyTorch by {difference:.2g}, more than {tolerance:g}")
        if half:
            smaller = _halved(temporary.read_bytes())
            theirs = _difference(graph, smaller, masker, shape)
            half = theirs <= HALF_TOLERANCE
            if half:
                temporary.write_bytes(smaller)
                difference = theirs
    return Exported(path, inputs, outputs, shape, max(sides), half, adapted, difference, path.stat().st_size)


def _halved(graph: bytes) -> bytes:
    """The graph with its large weights in 16 bits; what makes float32 of them again runtimes fold when they load.

    Each row of a weight is a scale times whole numbers: a step of 1/32767 of the row's largest, where float16 has one
    of 1/2048 of each value, and masks with steep edges show that.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(graph)
    stored, nodes = [], []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.ndim < 2 or values.size < FEWEST:
            stored.append(weight)
            continue
        largest = np.abs(values).max(tuple(range(1, values.ndim)), keepdims=True)
        scale = (np.where(largest > 0, largest, 1) / STEPS).astype(np.float32)
        whole = np.rint(values / scale).astype(np.int16)
        name = weight.name
        names = [f"{name}_int16", f"{name}_scale", f"{name}_whole"]
        stored += [numpy_helper.from_array(whole, names[0]), numpy_helper.from_array(scale, names[1])]
        nodes.append(helper.make_node("Cast", names[:1], names[2:], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", names[1:], [name]))
    nodes += model.graph.node
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(stored)
    smaller: bytes = model.SerializeToString()
    return smaller


def masker_of(
    masker: Masker | ClassMasker | Explainer | str | Path, classifier: Classifier | None
) -> Masker | ClassMasker:
    """The network of a masker, of an explainer that has one, of a file, or of a method whose masker is packaged.

    Raises:
        InputError: there is none, or a name comes without its classifier.
    """
    if isinstance(masker, Explainer):
        masker = getattr(masker, "masker", masker)
    if isinstance(masker, (Masker, ClassMasker)):
        return masker
    names = sorted(  # a graph has no gradients to ask for
        known for known, facts in methods.items() if packaged_masker(known).is_file() and not facts["needs_gradients"]
    )
    is_file = str(masker).endswith(".safetensors")
    if not is_file and masker not in names:
        what = "this explainer" if isinstance(masker, Explainer) else repr(str(masker))
        raise InputError(f"{what} can't be exported: name a masker's .safetensors file, or one of {', '.join(names)}")
    if classifier is None:
        raise InputError(f"{str(masker)!r} is a name: give its classifier, too")
    return load_masker(str(masker), classifier) if is_file else masker_of(explainer(str(masker), classifier), None)


def _check(masker: Masker | ClassMasker) -> None:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f'export needs {error.name}: pip install "maskwise[onnx]"') from None
    if isinstance(masker, Masker) and masker.finish.superpixels is not None:
        raise InputError("a masker that averages over superpixels can't be one ONNX graph")
    if not masker.shares_encoder:
        raise InputError("this masker has an encoder of its own, which gives no logits to export")


def _example(masker: Masker | ClassMasker, batch: int, shape: tuple[int, int, int]) -> tuple[Tensor, ...]:
    """Noise, and beside it as many packaged photographs as there is room for: a mask of noise alone is hardly one."""
    draws = torch.Generator().manual_seed(batch)
    images = torch.rand(batch, *shape, generator=draws)
    if shape[0] in (1, 3):
        for i, path in enumerate(packaged_pictures()[: batch - 1], 1):
            images[i] = resize(with_channels(load_image(path)[None], shape[0]), shape[1:])[0]
    if not masker.needs_class:
        return (images.to(masker.encoder.device),)
    classes = torch.randint(-1, len(masker.encoder.labels), (batch,), generator=draws)
    return images.to(masker.encoder.device), classes.to(masker.encoder.device)


def _difference(graph: nn.Module, written: bytes, masker: Masker | ClassMasker, shape: tuple[int, int, int]) -> float:
    session = _session(written)
    worst = 0.0
    for batch in BATCHES:
        example = _example(masker, batch, shape)
        with torch.no_grad():
            expected = [tensor.cpu().numpy() for tensor in graph(*example)]
        feed = {given.name: tensor.cpu().numpy() for given, tensor in zip(session.get_inputs(), example, strict=True)}
        try:
            got = session.run(None, feed)
        except Exception as error:  # onnxruntime's own classes derive from Exception alone
            raise InputError(f"the ONNX graph does not run on {batch} pictures ({_line(error)})") from None
        scale = max(1.0, float(np.abs(expected[0]).max()))
        worst = max(worst, np.abs(got[0] - expected[0]).max() / scale, np.abs(got[1] - expected[1]).max())
    return float(worst)


def _session(written: bytes) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(written, options, providers=["CPUExecutionProvider"])


def _facts(masker: Masker | ClassMasker, shape: tuple[int, int, int], adapted: bool) -> dict[str, str]:
    """What a program that finds the file should know."""
    classifier = masker.encoder
    colours = {1: "grey", 3: "RGB"}.get(shape[0], f"{shape[0]} channels")
    return {
        "maskwise": "class-conditional masker" if masker.needs_class else "class-agnostic masker",
        "classifier": classifier.name,
        "logits": f"of {whose_logits(classifier.name, adapted)}",
        "input": f"{colours} in [0,1], squashed to {shape[1]}x{shape[2]}; normalised inside",
        "labels": json.dumps([classifier.labels.name(i) for i in range(len(classifier.labels))]),
    }


def whose_logits(name: str, adapted: bool) -> str:
    """Whose the logits of a graph are, in words."""
    return f"{name}, as the masker's training has adapted it" if adapted else name


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's notes on what it decomposes say nothing to who calls this."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]

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
from maskwise.maskers import ClassMasker, Masker, load_masker

if TYPE_CHECKING:
    import onnxruntime

OPSET = 18
TOLERANCE = 1e-4
BATCHES = (1, 3)  # both are checked: a graph that froze its batch size fails on one of them


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        inputs: ``images`` (N,3,S,S) in [0,1]; a class-conditional masker also takes ``classes`` (N,), int64.
        outputs: ``logits`` (N,C) and ``masks`` (N,S,S) in [0,1].
        size: S in pixels.
        difference: the largest one between onnxruntime and PyTorch, over logits (relative to their largest
            magnitude) and masks.
        bytes: of the file.
    """

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    size: int
    difference: float
    bytes: int


class _Graph(nn.Module):
    """``(images[, classes]) -> (logits, masks)`` of either kind of masker."""

    def __init__(self, masker: Masker | ClassMasker) -> None:
        super().__init__()
        self.masker = masker

    def forward(self, images: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if classes is None:
            logits, masks = self.masker(images)
            return logits, masks
        logits, masks = self.masker(images, classes[:, None])
        return logits, masks[:, 0]


def export(
    masker: Masker | ClassMasker | Explainer | str | Path,
    path: str | Path,
    classifier: Classifier | None = None,
    *,
    size: int | None = None,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Writes one ONNX graph of classifier and masker, with any batch size, atomically.

    The classifier runs once; its normalisation is part of the graph.

    Args:
        masker: of either kind, with a deterministic end; or an explainer that has one; or, with ``classifier``, its
            file, or the name of a method whose masker comes with the package.
        path: ends in .onnx.
        size: side of the pictures; None is the classifier's own.
        tolerance: how far onnxruntime may be from PyTorch.

    Raises:
        InputError: no masker, onnx is not installed, the network can't be exported, or the graph gives other numbers.
    """
    masker, path = _masker_of(masker, classifier), Path(path)
    classifier = masker.encoder
    if path.suffix != ".onnx":
        raise InputError(f"{path}: an ONNX file's name ends in .onnx")
    _check(masker)
    side = classifier.input_size if size is None else size
    graph = _Graph(masker).eval()
    example = _example(masker, 2, side)
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
        program.model.metadata_props.update(_facts(masker, side))
        program.save(str(temporary), external_data=False)
        difference = _difference(graph, temporary, masker, side)
        if not difference <= tolerance:
            raise InputError(f"the ONNX graph differs from PyTorch by {difference:.2g}, more than {tolerance:g}")
    return Exported(path, inputs, outputs, side, difference, path.stat().st_size)


def _masker_of(
    masker: Masker | ClassMasker | Explainer | str | Path, classifier: Classifier | None
) -> Masker | ClassMasker:
    if isinstance(masker, Explainer):
        masker = getattr(masker, "masker", masker)
    if isinstance(masker, (Masker, ClassMasker)):
        return masker
    names = sorted(known for known in methods.names() if packaged_masker(known).is_file())
    is_file = str(masker).endswith(".safetensors")
    if not is_file and masker not in names:
        what = "this explainer" if isinstance(masker, Explainer) else repr(str(masker))
        raise InputError(f"{what} can't be exported: name a masker's .safetensors file, or one of {', '.join(names)}")
    if classifier is None:
        raise InputError(f"{str(masker)!r} is a name: give its classifier, too")
    return load_masker(str(masker), classifier) if is_file else _masker_of(explainer(str(masker), classifier), None)


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


def _example(masker: Masker | ClassMasker, batch: int, side: int) -> tuple[Tensor, ...]:
    draws = torch.Generator().manual_seed(batch)
    images = torch.rand(batch, 3, side, side, generator=draws)
    if not masker.needs_class:
        return (images.to(masker.encoder.device),)
    classes = torch.randint(len(masker.encoder.labels), (batch,), generator=draws)
    return images.to(masker.encoder.device), classes.to(masker.encoder.device)


def _difference(graph: nn.Module, path: Path, masker: Masker | ClassMasker, side: int) -> float:
    session = _session(path)
    worst = 0.0
    for batch in BATCHES:
        example = _example(masker, batch, side)
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


def _session(path: Path) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _facts(masker: Masker | ClassMasker, side: int) -> dict[str, str]:
    """What a program that finds the file should know."""
    classifier = masker.encoder
    return {
        "maskwise": "class-conditional masker" if masker.needs_class else "class-agnostic masker",
        "classifier": classifier.name,
        "input": f"RGB in [0,1], squashed to {side}x{side}; normalised inside",
        "labels": json.dumps([classifier.labels.name(i) for i in range(len(classifier.labels))]),
    }


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

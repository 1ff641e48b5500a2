"""The classifier of a command, the device it runs on, and the user's own code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from maskwise.commands import completion
from maskwise.core.errors import InputError
from maskwise.core.files import is_file
from maskwise.core.importing import import_file

if TYPE_CHECKING:
    import torch

    from maskwise.classifiers import Classifier


@dataclass(frozen=True)
class Imports:
    """Python files of the user's, imported before anything is looked up by name."""

    heading: ClassVar[str] = "Your own code"
    imports: Annotated[
        list[Path] | None,
        typer.Option(
            "--import",
            help="FILE.py that registers methods, metrics, objectives, infillers, …; it is run. May be given again.",
        ),
    ] = None

    @contextmanager
    def applied(self) -> Iterator[None]:
        for path in self.imports or []:
            import_file(path)
        yield


@dataclass(frozen=True)
class Compute(Imports):
    """Where it runs, and in which number format."""

    heading: ClassVar[str] = "Device"
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda or mps.", autocompletion=completion.devices)
    ] = "auto"
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="fp32, bf16, fp16, or auto: bf16 on a GPU that has it.",
            autocompletion=completion.precisions,
        ),
    ] = "fp32"

    def on(self) -> torch.device:
        """The device.

        Raises:
            InputError: it is unknown or not here, or the precision is unknown.
        """
        from maskwise.core.devices import device_of
        from maskwise.core.precision import check_precision

        check_precision(self.precision)
        return device_of(self.device)


@dataclass(frozen=True)
class Model(Compute):
    """The classifier of a command."""

    heading: ClassVar[str] = "Classifier"
    classifier: Annotated[
        str,
        typer.Option(
            "--classifier",
            help="See `maskwise classifiers`; or FILE.py:NAME, FILE.onnx, FILE.pt2 or a TorchScript file of your own.",
            autocompletion=completion.classifier_names,
        ),
    ] = "efficientnet_lite0"
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="The classifier's weights: .safetensors or .pth, or hf://owner/name/FILE."),
    ] = None
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Names of the classifier's classes, one a line, for weights of yours."),
    ] = None
    mean: Annotated[str | None, typer.Option("--mean", help="Of its normalisation: a value a channel, in [0,1].")] = (
        None
    )
    std: Annotated[str | None, typer.Option("--std", help="Of its normalisation, likewise.")] = None
    size: Annotated[str | None, typer.Option("--size", help="Of the pictures it takes: a side in pixels, or HxW.")] = (
        None
    )
    activation: Annotated[
        str | None,
        typer.Option("--activation", help="softmax, sigmoid, or none: what makes probabilities of its outputs."),
    ] = None
    output_of: Annotated[
        str | None,
        typer.Option("--output", help="Index or name of the scores, where it gives several things."),
    ] = None

    texts: Annotated[
        list[str] | None,
        typer.Option(
            "--texts",
            help='The classes of open_clip/NAME@TAG or hf/NAME (CLIP, SigLIP): "a cat" "a dog"; or a file, one a line.',
        ),
    ] = None
    templates: Annotated[
        list[str] | None,
        typer.Option("--template", help="A sentence around each text: 'a photo of a {}.'; may be given again."),
    ] = None
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Divides the logits of texts (1); 10 makes CLIP less certain.")
    ] = None

    def load(self, name: str | None = None) -> Classifier:
        """The classifier on its device.

        Args:
            name: instead of ``classifier``.

        Raises:
            InputError: as ``load_classifier``, or a device that is not here.
        """
        from maskwise.classifiers import load_classifier

        device = self.on()
        return load_classifier(name or self.classifier, self.weights, **self.described()).to(device)

    def described(self) -> dict[str, Any]:
        """What was said of the classifier beside its name and weights, as keywords of ``load_classifier``."""
        values = {
            "labels": self.labels, "mean": _numbers(self.mean, "mean"), "std": _numbers(self.std, "std"),
            "size": None if self.size is None else _size(self.size), "activation": self.activation,
            "output": _index_or_name(self.output_of), "texts": _texts_or_file(self.texts),
            "templates": self.templates, "temperature": self.temperature,
        }  # fmt: skip
        return {key: value for key, value in values.items() if value is not None}


def _numbers(text: str | None, name: str) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"`{name}` takes numbers with commas between, not {text!r}") from None


def _texts_or_file(given: list[str] | None) -> list[str] | Path | None:
    """One word that names a file is that file; texts that look like one that is missing are not taken for classes."""
    if given is not None and len(given) == 1 and (is_file(given[0]) or Path(given[0]).suffix == ".txt"):
        return Path(given[0])
    return given


def _size(text: str) -> int | tuple[int, int]:
    sides = text.lower().split("x")
    if not all(side.strip().isdigit() for side in sides) or len(sides) > 2:
        raise InputError(f"`size` is a number of pixels, or HxW, not {text!r}")
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def _index_or_name(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdigit() else text

"""The classifier of a command, the device it runs on, and the user's own code."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from maskwise.commands import completion
from maskwise.core.errors import InputError

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


def import_file(path: Path) -> None:
    """Runs a Python file as a module, once in a process.

    Raises:
        InputError: there is no such file, or it raises an error.
    """
    name = f"maskwise_import:{path.resolve()}"
    if name in sys.modules:
        return
    if path.suffix != ".py" or not path.is_file():
        raise InputError(f"`imports={path}`: no such Python file")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        line = _line(error, path)
        raise InputError(f"`imports={path}`: {line}{type(error).__name__}: {error}") from error


def _line(error: BaseException, path: Path) -> str:
    """``line 3: `` of the file, the innermost one that the error came through."""
    if isinstance(error, SyntaxError):
        return ""  # whose text says it
    found, at = "", error.__traceback__
    while at is not None:
        if Path(at.tb_frame.f_code.co_filename) == path:
            found = f"line {at.tb_lineno}: "
        at = at.tb_next
    return found


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
        typer.Option("--classifier", help="See `maskwise classifiers`.", autocompletion=completion.classifier_names),
    ] = "efficientnet_lite0"
    weights: Annotated[
        Path | None, typer.Option("--weights", help="The classifier's weights: .safetensors or .pth.")
    ] = None
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Names of the classifier's classes, one a line, for weights of yours."),
    ] = None
    mean: Annotated[
        str | None, typer.Option("--mean", help="Of its normalisation: R,G,B in [0,1], instead of the usual one.")
    ] = None
    std: Annotated[str | None, typer.Option("--std", help="Of its normalisation, likewise.")] = None
    size: Annotated[
        int | None, typer.Option("--size", min=8, help="Side in pixels of the pictures it takes, not the usual one.")
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
            "size": self.size,
        }  # fmt: skip
        return {key: value for key, value in values.items() if value is not None}


def _numbers(text: str | None, name: str) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"`{name}` takes numbers with commas between, not {text!r}") from None

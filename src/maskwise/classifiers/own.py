"""Networks of the user's own, by file: ``FILE.py:NAME``, ``FILE.pt2``, TorchScript, ``FILE.onnx``."""

from __future__ import annotations

import inspect
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from maskwise.classifiers.black_box import PictureFunction, is_function
from maskwise.classifiers.classifier import Classifier
from maskwise.classifiers.onnx_file import OnnxBox
from maskwise.core.errors import InputError
from maskwise.core.files import is_file
from maskwise.core.importing import import_file
from maskwise.core.weights import fill, read_weights

ONNX = ".onnx"
PROGRAMS = (".pt2", ".pt", ".torchscript", ".ts", ONNX)
STATES = (".pth", ".safetensors", ".bin", ".ckpt")


def is_own(name: str) -> bool:
    """Does a classifier's name say a file?"""
    file, colon, _ = name.rpartition(":")
    return (bool(colon) and file.endswith(".py")) or name.endswith((".py", *PROGRAMS, *STATES))


def classifier_from(name: str, weights: str | Path | None, said: Mapping[str, Any]) -> Classifier:
    """The network in a file as a classifier.

    Args:
        name: ``FILE.py:NAME``, or the file of a program.
        weights: a state dict that is put into a network of ``FILE.py``.
        said: keywords of ``Classifier``.

    Raises:
        InputError: there is no such file or name in it, it gives no network, or the weights do not fit.
    """
    file, colon, attribute = name.rpartition(":")
    if not colon:
        file, attribute = name, ""
    path = Path(file)
    if path.suffix in STATES:
        raise InputError(
            f"{path}: weights alone say no network: name it as `classifier=FILE.py:NAME` or torchvision/NAME, and this "
            "file as `weights`"
        )
    if path.suffix != ".py":
        if weights is not None:
            raise InputError(f"{path}: a program has its weights: leave `weights` out")
        program = OnnxBox(path) if path.suffix == ONNX else _program(path)
        known = {"input_size": program.size} if isinstance(program, OnnxBox) and program.size else {}
        return Classifier(program, **{"name": path.name, **known, **said})
    made = _made(path, attribute)
    if weights is not None:
        network = made.module if isinstance(made, Classifier) else made
        if not isinstance(network, nn.Module):
            raise InputError(f"{name}: a function of pictures has no weights to be filled: leave `weights` out")
        fill(network, read_weights(weights), f"the weights do not fit {name}")
    return made.described(**said) if isinstance(made, Classifier) else Classifier(made, **{"name": name, **said})


def _made(path: Path, name: str) -> nn.Module | PictureFunction:
    """What the name in the file is, or gives when it is called; a function of one argument is a classifier."""
    module = import_file(path, "classifier")
    there = [
        key
        for key, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__
    ]
    if not name or not hasattr(module, name):
        # Functions first, which ask for nothing more often than classes do. The first one can be copied as it stands;
        # a path for each would make the line too long.
        there.sort(key=lambda key: isinstance(getattr(module, key), type))
        names = [f"{path if i == 0 else path.name}:{key}" for i, key in enumerate(there)]
        listed = ", ".join(names) or "nothing that can be called"
        raise InputError(f"`classifier={path}{':' * bool(name)}{name}`: name what gives the network; there is {listed}")
    found = getattr(module, name)
    if not isinstance(found, nn.Module) and not _asks_for_pictures(found):
        if not callable(found):
            raise InputError(
                f"`classifier={path}:{name}` is {type(found).__name__}, no network and nothing that gives one"
            )
        try:
            found = found()
        except Exception as error:  # it is the user's own code
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            raise InputError(f"`classifier={path}:{name}`: calling it without arguments failed ({said})") from error
    if not isinstance(found, nn.Module) and not is_function(found):
        what = f"{type(found).__name__}, not a torch.nn.Module or a function of pictures"
        raise InputError(f"`classifier={path}:{name}` gives {what}")
    made: nn.Module | PictureFunction = found
    return made


def _asks_for_pictures(found: Any) -> bool:
    """Is it a function of one argument, rather than one without any, which gives a network?"""
    if not is_function(found):
        return False
    try:
        asked = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return False
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        p.kind in places for p in asked if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ] == [True]


def _program(path: Path) -> nn.Module:
    """A ``torch.export`` program or a TorchScript file; neither runs Python code when it is read."""
    if not is_file(path):
        raise InputError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.suffix == ".pt2":
                exported: nn.Module = torch.export.load(path).module()
                return exported
            if not _is_torchscript(path):
                raise InputError(
                    f"{path}: no TorchScript program; of a state dict name the network as `classifier=FILE.py:NAME`, "
                    "and this file as `weights`"
                )
            scripted: nn.Module = torch.jit.load(path, map_location="cpu")
            return scripted
    except InputError:
        raise
    except Exception as error:  # each reader raises its own kinds
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise InputError(f"{path}: can't be read as a program ({said})") from None


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())

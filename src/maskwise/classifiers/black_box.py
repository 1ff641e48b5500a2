"""Black boxes: classifiers that are asked and never looked into, such as a function of pictures."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maskwise.core.code_digest import UnreadableCodeError, code_digest
from maskwise.core.errors import InputError

PictureFunction = Callable[[Tensor], Any]


class BlackBox(nn.Module, ABC):
    """A network of which nothing is known but what it says: no layers, no gradients, no weights to change.

    Args:
        content: what tells it from every other one; a classifier's fingerprint is of its digest.
    """

    digest: Tensor

    def __init__(self, content: bytes) -> None:
        super().__init__()
        # A buffer, as weights are: whoever asks who a network is, reads its state.
        self.register_buffer("digest", torch.tensor(list(hashlib.sha256(content).digest()), dtype=torch.uint8))

    @abstractmethod
    def answer(self, normalised: Tensor) -> Any:
        """Scores (N,K), or something that holds them, of normalised pictures (N,C,H,W) in float32.

        They may be of any type and on any device.
        """

    def forward(self, normalised: Tensor) -> Any:
        if torch.is_grad_enabled() and normalised.requires_grad:
            raise InputError(
                "a black box gives no gradients: take a method that needs none, such as rise, banzhaf or occlusion, or "
                "train a masker that is taught by one (`maskwise fit`)"
            )
        # It answers as it always does, whatever precision is asked of what surrounds it.
        with torch.no_grad(), torch.autocast(normalised.device.type, enabled=False):
            return self.answer(normalised.detach().float())

    def __deepcopy__(self, memo: dict[int, Any]) -> BlackBox:
        """What answers is shared, since nothing changes it and it may not be copied."""
        twin = copy.copy(self)
        own = {
            key: copy.copy(value) if isinstance(value, dict) else value for key, value in vars(self).items()
        }  # hooks
        twin.__dict__ = {**own, "_buffers": copy.deepcopy(self._buffers, memo)}
        return twin


class FunctionBox(BlackBox):
    """A function from pictures (N,C,H,W) in [0,1], float32 on the classifier's device, to scores (N,K) of classes.

    It stands behind the normalisation of a ``Classifier``, which it undoes: there a 0 is the mean colour, and that is
    what the holes of masked pictures show.

    Args:
        function: gives a tensor, an array, or what ``scores_of`` finds one in. What it computes with must be readable
            (see ``code_digest``), or it has an attribute ``fingerprint``: a function that gives a text.
        mean, std: of that normalisation.

    Raises:
        InputError: nobody can tell it from another function.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, function: PictureFunction, mean: Sequence[float], std: Sequence[float]) -> None:
        said = getattr(function, "fingerprint", None)
        try:
            content = str(said()) if callable(said) else code_digest(function)
        except UnreadableCodeError as error:
            raise InputError(
                f"{function_name(function)}: {error}, so that nobody can tell it from another: give the function an "
                "attribute `fingerprint`, a function that returns a text which changes when its answers do"
            ) from None
        super().__init__(content.encode("utf-8", "surrogateescape"))
        self.function = function
        for key, values in (("mean", mean), ("std", std)):
            self.register_buffer(key, torch.tensor([float(v) for v in values])[:, None, None], persistent=False)

    def behind(self, mean: Sequence[float], std: Sequence[float]) -> FunctionBox:
        """The same function behind another normalisation."""
        return FunctionBox(self.function, mean, std)

    def answer(self, normalised: Tensor) -> Any:
        raw = self.function((normalised * self.std + self.mean).clamp(0, 1))
        return torch.from_numpy(np.array(raw, order="C")) if isinstance(raw, np.ndarray) else raw


def is_function(value: Any) -> bool:
    """Is it called with pictures, rather than a network or what makes one?"""
    return callable(value) and not isinstance(value, (nn.Module, type, torch.export.ExportedProgram))


def function_name(function: PictureFunction) -> str:
    """What reports call it."""
    return str(getattr(function, "__name__", type(function).__name__))

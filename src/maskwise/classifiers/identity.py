"""Who a classifier is: digests of what it computes scores with, by which files of it are known again."""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from maskwise.classifiers.black_box import BlackBox
from maskwise.classifiers.link import Activation
from maskwise.classifiers.output import ScoresAt
from maskwise.core.code_digest import UnreadableCodeError, code_digest, own_code
from maskwise.core.object_content import PROGRAMS, program_constants

UNREAD = "unread"


def fingerprint_of(module: nn.Module, mean: Tensor, std: Tensor, activation: Activation) -> str:
    """First 16 hex digits of the SHA-256 of all weights, of the normalisation, and of a link that is not softmax.

    Of a program also of the tensors that are constants in it.
    """
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        if key.endswith("num_batches_tracked"):
            continue
        digest.update(key.encode())
        digest.update(_bytes(value))
    for part in module.modules():
        for constant in program_constants(part) if isinstance(part, PROGRAMS) else ():
            digest.update(_bytes(constant))
    digest.update(torch.cat([mean, std]).cpu().numpy().tobytes())
    if activation != "softmax":
        digest.update(activation.encode())
    return digest.hexdigest()[:16]


def code_of(kind: type, module: nn.Module, output: ScoresAt, name: str) -> str | None:
    """16 hex digits of what weights do not say; None where there is nothing of that kind.

    Args:
        kind: the classifier's class.
        module: its network.
        output: where its scores are.
        name: what the classifier is called, for the warning that ``UNREAD`` comes with, where code can't be read.
    """
    own: list[Any] = [] if kind.__module__.startswith("maskwise.") else [kind]
    own += [output] * (output is not None)
    try:
        if not isinstance(module, BlackBox):  # whose digest is among its weights
            own += [code for code in [own_code(module)] if code is not None]
        return code_digest(own)[:16] if own else None
    except UnreadableCodeError as error:
        warnings.warn(f"{name}: {error}, so an edited one would not be told from it", stacklevel=3)
        return UNREAD


def _bytes(value: Any) -> bytes:
    """Of an entry of a state dict; quantised networks have pairs of tensors, types and numbers there, too."""
    if isinstance(value, (tuple, list)):
        return b"".join(map(_bytes, value))
    if not isinstance(value, Tensor):
        return repr(value).encode()
    value = value.detach().cpu()
    value = value.to_dense() if value.is_mkldnn else value  # as of ``torch.jit.optimize_for_inference``
    scale = b""
    if value.is_quantized:
        scale = repr((value.qscheme(), str(value.dequantize().abs().max()))).encode()
        value = value.int_repr()
    found: bytes = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return found + scale

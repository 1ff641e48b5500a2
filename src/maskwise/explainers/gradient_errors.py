"""PyTorch's errors about gradients, said of the network that is explained: what it does, and what to do."""

from __future__ import annotations

import torch
from torch.utils.checkpoint import CheckpointError

from maskwise.core.errors import InputError

NONE = (
    "{name} has no gradient from {where} to its answer, since it computes without one on the way (torch.no_grad or "
    "inference_mode around its forward, detach, NumPy, argmax): take that out, or take a method without gradients, "
    "such as rise"
)
ANEW = (
    "{name} computes its layers anew for the backward (torch.utils.checkpoint), and what is read of them or put in "
    "their place is lost: switch that off while it is explained (timm: set_grad_checkpointing(False); torchvision's "
    "DenseNet: memory_efficient=False)"
)
OVERWRITTEN = (
    "{name} overwrites in place what its backward needs (such as x.mul_(2) right behind a ReLU), so that it could not "
    "be trained either: write x = x * 2 there, or take a method without gradients, such as rise"
)
INFERRED = (
    "{name} has weights that were made within torch.inference_mode, through which nothing can be differentiated: make "
    "or load it outside of that, or take a method without gradients, such as rise"
)
UNKNOWN = "{name} uses an operation that has no derivative ({said}): take a method without gradients, such as rise"
DEFAULT_TYPE = (
    "tensors without a type of their own are {kind} in this process, and maps are computed in float32: call "
    "torch.set_default_dtype(torch.float32) while they are made"
)
# What PyTorch's messages hold, in the order in which they are looked for.
SAYINGS = (
    ("torch.utils.checkpoint", ANEW),
    ("Checkpointing is not compatible", ANEW),
    ("modified by an inplace operation", OVERWRITTEN),
    ("used in an in-place operation", OVERWRITTEN),
    ("being modified inplace", OVERWRITTEN),
    ("does not require grad", NONE),
    ("not have been used in the graph", NONE),
    ("Inference tensors cannot be saved for backward", INFERRED),
    ("derivative for", UNKNOWN),
    ("not differentiable", UNKNOWN),
)


def no_gradient(name: str, where: str = "its pictures") -> InputError:
    """Of a network whose answer depends on ``where`` by no gradient."""
    return InputError(NONE.format(name=name, where=where))


def differentiation_error(error: RuntimeError, name: str) -> InputError | None:
    """What an error of PyTorch's autograd, or of types, means for a classifier; None where it is about something else.

    Args:
        error: as it was raised while a network was differentiated.
        name: of the classifier.
    """
    said = " ".join(str(error).split())
    default = torch.get_default_dtype()
    if default != torch.float32 and ("expected scalar type" in said or "same dtype" in said):
        return InputError(DEFAULT_TYPE.format(kind=str(default).removeprefix("torch.")))
    if isinstance(error, CheckpointError):
        return InputError(ANEW.format(name=name))
    for piece, line in SAYINGS:
        if piece in said:
            return InputError(line.format(name=name, where="its pictures, or the layer that is read,", said=said[:120]))
    return None

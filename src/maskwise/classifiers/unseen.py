"""Parts of a network whose operations Python does not call: scripted ones, and exported programs."""

from __future__ import annotations

import torch
from torch import nn

from maskwise.core.errors import InputError


def unseen_part(module: nn.Module) -> str | None:
    """The name of the first part whose operations neither hooks nor function modes see; None where there is none."""
    return next((name for name, part in module.named_modules() if _is_unseen(part)), None)


def takes_hooks(part: nn.Module) -> bool:
    """Can hooks be put on it? Not on a scripted one, which also hides its parts."""
    return not isinstance(part, torch.jit.ScriptModule)


def refuse_unseen(module: nn.Module, method: str, name: str, instead: str) -> None:
    """Refuses a network with a part that is not seen, for a method with a backward of its own.

    Args:
        module: of the classifier.
        method, name: of the method and of the classifier, for the message.
        instead: what it says to do.

    Raises:
        InputError: through that part relevance would go back by the ordinary gradient, and look like any other.
    """
    part = unseen_part(module)
    if part is not None:
        raise InputError(
            f"{method} has a backward of its own for each operation, and sees none of those in {part or 'the whole'!r} "
            f"of {name}, which is scripted or exported: take what that was made from; or {instead}"
        )


def _is_unseen(part: nn.Module) -> bool:
    if not takes_hooks(part):
        return True
    graph = part.graph if isinstance(part, torch.fx.GraphModule) else None
    return graph is not None and any(isinstance(node.target, torch._ops.OpOverload) for node in graph.nodes)

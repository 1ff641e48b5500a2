"""``torch.compile`` for a training: a classifier's scores and taps, and networks, with plain words where it fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])
VARIANTS = 64  # of one function: train and eval mode, with and without gradients, part and whole batches


def compiled(function: F, backend: str) -> F:
    """The function through ``torch.compile``.

    Args:
        backend: ``inductor``, or ``aot_eager`` and ``eager`` to find out where one goes wrong.

    Raises:
        InputError: an unknown backend; when it is called: the compiler fails, for example since there is no C++ one.
    """
    import torch._dynamo as dynamo
    import torch._functorch.config as functorch

    if backend not in dynamo.list_backends(exclude_tags=()):
        raise InputError(f"torch.compile has no backend {backend!r}: use inductor")
    dynamo.config.recompile_limit = max(dynamo.config.recompile_limit, VARIANTS)
    functorch.donated_buffer = False  # one graph may be read twice, for the mask's gradients and the classifier's
    quick = torch.compile(function, backend=backend)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return quick(*args, **kwargs)
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise InputError(
                f"compiling failed ({reason[:160]}): install a C++ compiler, or leave `compiler` out"
            ) from error

    return cast(F, call)


class Tapping(nn.Module):
    """A classifier's logits and taps without hooks that come and go, which a compiled graph would not see.

    Its hooks stay, and do nothing while no forward of this module runs.

    Args:
        classifier: its module is run.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.taps: dict[str, Tensor] = {}
        self.listens = False
        layers = dict(classifier.module.named_modules())
        for name in classifier.tap_names:
            if "#" in name:
                raise InputError(f"{classifier.name} calls {name.partition('#')[0]} again: leave compile out")
            layers[name].register_forward_hook(self._kept(name))

    def _kept(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(_: nn.Module, __: Any, output: Tensor) -> None:
            if self.listens:
                layout = self.classifier.layout(name)
                assert layout is not None
                self.taps[name] = cast(Tensor, layout.grid(output))

        return keep

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        self.listens = True
        logits = self.classifier.logits(images)
        self.listens = False
        return logits, [self.taps.pop(name) for name in self.classifier.tap_names]
